//! Later fragments: what was done with the first is done with them.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    addr::Addr,
    config::Config,
    fragment::{FragmentKey, FragmentValue, what},
    limits::FRAGMENT_SECONDS,
    table::Target,
    verdict::Reason,
};

use crate::{
    locate,
    maps::{self, FRAGMENTS, find},
    packet::jiffies,
    parse::{Fragment, Ip},
};

#[inline(always)]
pub fn key(ip: &Ip, part: &Fragment) -> FragmentKey {
    FragmentKey {
        src: ip.src,
        dst: ip.dst,
        identification: part.identification,
        protocol: ip.protocol.into(),
    }
}

/// Leaves word of what is done with the first fragment in hand: `target` is a
/// node's id, or a backend's where it is delivered here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_remember(ctx: *mut xdp_md, frontend: u32, target: u32, done: u32) -> u32 {
    let Some(config) = maps::config() else {
        return 0;
    };
    let Ok(packet) = locate::again(ctx, config) else {
        return 0;
    };
    let part = packet.ip.fragment;
    let mut value = FragmentValue {
        translated: Addr::UNSPECIFIED,
        covered: part.len,
        seen: jiffies(),
        frontend,
        target: Target::node(target as u16),
        what: done as u16,
    };
    if value.what == what::DELIVERED {
        let Some(backend) = maps::backend(target as u16) else {
            return 0;
        };
        value.translated = backend.addr;
        value.target = Target::local(target as u16);
    }
    // A full table evicts the oldest; a failure costs this datagram only.
    let _ = FRAGMENTS.insert(key(&packet.ip, &part), value, 0);
    0
}

/// What was done with the first fragment, if this one continues it: the next
/// byte, and soon enough.
#[inline(always)]
pub fn continues(
    ip: &Ip,
    part: &Fragment,
    config: &Config,
    overlap: Reason,
) -> Result<FragmentValue, Reason> {
    let key = key(ip, part);
    let known = find!(FRAGMENTS, &key).ok_or(Reason::fragment_unknown)?;
    if jiffies().wrapping_sub(known.seen) > FRAGMENT_SECONDS * config.hz {
        return Err(Reason::fragment_unknown);
    }
    if part.offset != known.covered {
        return Err(overlap);
    }
    known.covered += part.len;
    Ok(*known)
}
