//! Later fragments: what was done with the first is done with them.

use lb_common::{
    addr::Addr,
    config::Config,
    fragment::{FragmentKey, FragmentValue},
    limits::FRAGMENT_SECONDS,
    table::Target,
    verdict::Reason,
};

use crate::{
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

/// Prepares word of what is done with the first fragment in hand, for
/// [`lb_remember`] to leave.
#[inline(always)]
pub fn prepare(ip: &Ip, frontend: u32, target: Target, done: u16, translated: Addr) -> bool {
    if !ip.fragment.is_first() {
        return false;
    }
    let Some(pending) = maps::pending() else {
        return false;
    };
    pending.fragment_key = key(ip, &ip.fragment);
    pending.fragment = FragmentValue {
        translated,
        covered: ip.fragment.len,
        seen: jiffies(),
        frontend,
        target,
        what: done,
    };
    true
}

/// Leaves word of what was done with a first fragment.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_remember() -> u32 {
    if let Some(pending) = maps::pending() {
        // A full table evicts the oldest; a failure costs this datagram only.
        let _ = FRAGMENTS.insert(&pending.fragment_key, &pending.fragment, 0);
    }
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
