//! The way of a packet that leaves: an answer of a pod becomes the VIP's.
//!
//! Checksums are changed by the kernel's helpers: a locally generated packet
//! has only a part of its checksum yet, which plain arithmetic would ruin.

use aya_ebpf::{bindings::__sk_buff, helpers::generated as helpers};
use lb_common::{
    addr::Addr,
    backend::BackendRef,
    config::Config,
    filter::pod_bit,
    flow::{
        EMBRYO_WAYS, Embryo, FlowKey, FlowValue, L4, ReverseKey, ReverseValue, TCP, at_or_after,
        embryo, reverse, state, tcp_flags,
    },
    fragment::what,
    hash::source_hash,
    table::Target,
    verdict::Reason,
};

use crate::{
    count,
    establish::{How, lb_enter},
    fragment::{self, lb_remember},
    header::{Tcp, Udp},
    lookup::{embryo_set, is_young, tag},
    maps::{self, NODE_NETS, POD_FILTER, TCP_FLOWS, TCP_REVERSE, UDP_REVERSE, filtered, find},
    packet::{Frame, boottime_ns, jiffies},
    parse::{self, Family, Ip, has_ports, is_icmp},
    reply_error::lb_reply_error,
    step::{Stage, Step},
};

/// On with the next program, then the stack.
pub const NEXT: i32 = -1;
const SHOT: i32 = 2;

/// What an answer is to look like: everything but the client's address changes.
#[derive(Clone, Copy)]
pub struct Outside {
    pub vip: Addr,
    pub vip_port: u16,
    pub client_port: u16,
}

/// On an uplink: translates, counts, and lets everything leave.
#[inline(always)]
pub fn egress(skb: *mut __sk_buff) -> i32 {
    let step = translated(skb, 0);
    count::reason(step.reason());
    let reason = step.reason();
    if reason == Reason::reply_fragment_overlap as u32 || reason == Reason::reply_too_early as u32 {
        SHOT
    } else {
        NEXT
    }
}

/// On a pod's device: answers of flows that were delivered past the stack leave
/// past it too, by the first uplink. All others take their usual way.
#[inline(always)]
pub fn return_directly(skb: *mut __sk_buff) -> i32 {
    let step = translated(skb, 1);
    if step.reason() != Reason::reply_translated as u32 {
        return NEXT;
    }
    count::reason(step.reason());
    let Some(config) = maps::config() else {
        return NEXT;
    };
    let uplink = config.uplinks[0].ifindex;
    // SAFETY: a helper call; no parameters, so the kernel looks the route up.
    unsafe { helpers::bpf_redirect_neigh(uplink, core::ptr::null_mut(), 0, 0) as i32 }
}

/// Translates, then does what is left for when its stack is free again.
#[inline(always)]
fn translated(skb: *mut __sk_buff, direct_only: u32) -> Step {
    let mut step = Step(lb_reply(skb, direct_only));
    if step.is(Stage::Icmp) && direct_only == 0 {
        step = Step(lb_reply_error(skb));
    }
    if step.has_flow_to_enter() {
        lb_enter();
    }
    if step.has_fragment_to_remember() {
        lb_remember();
    }
    step
}

/// Translates the packet if it is an answer; `direct_only`: of a flow that was
/// delivered past the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_reply(skb: *mut __sk_buff, direct_only: u32) -> u32 {
    match reply(skb, direct_only != 0) {
        Ok(step) => step.0,
        Err(reason) => Step::done(reason, 0).0,
    }
}

/// The linear part of the packet, with all headers in it.
#[inline(always)]
pub fn headers(skb: *mut __sk_buff, config: &Config) -> Frame {
    const WANTED: u32 = 128;
    let frame = Frame::of_skb(skb, config);
    // SAFETY: the kernel passes a valid context.
    let len = unsafe { (*skb).len };
    let linear = frame.len() as u32;
    if linear >= WANTED || linear >= len {
        return frame;
    }
    let wanted = if len < WANTED { len } else { WANTED };
    // SAFETY: a helper call with a valid context. A failure leaves it as it is.
    unsafe { helpers::bpf_skb_pull_data(skb, wanted) };
    Frame::of_skb(skb, config)
}

/// Translates the packet if it is an answer. `Err`: it is not, and why.
#[inline(always)]
fn reply(skb: *mut __sk_buff, direct_only: bool) -> Result<Step, Reason> {
    let config = maps::config().ok_or(Reason::egress_untouched)?;
    let frame = headers(skb, config);
    let l2 = parse::l2(&frame).ok_or(Reason::egress_untouched)?;
    let (family, marked) = Family::of(&frame, l2).ok_or(Reason::egress_untouched)?;
    if marked {
        return Err(Reason::egress_untouched);
    }
    let ip = parse::leaving(&frame, family, l2.len).ok_or(Reason::egress_untouched)?;
    if ip.fragment.is_later() {
        return later(skb, &ip, config, direct_only);
    }
    if is_icmp(&ip) {
        return Ok(Step::go_on(Stage::Icmp));
    }
    if !has_ports(ip.protocol) {
        return Err(Reason::egress_untouched);
    }
    let l4 = parse::l4(&frame, &ip).map_err(|_| Reason::egress_untouched)?;
    if !filtered!(POD_FILTER, pod_bit(ip.src, l4.src_port)) {
        return Err(Reason::egress_untouched);
    }
    let Some((outside, enters)) = outside(&ip, &l4, config, direct_only) else {
        if !direct_only && is_too_early(&ip, &l4, config) {
            return Err(Reason::reply_too_early);
        }
        return Err(Reason::egress_untouched);
    };
    let target = Target::NONE;
    let first = fragment::prepare(&ip, 0, target, what::REPLY, outside.vip);
    write(skb, &frame, &ip, &l4, &outside, config).ok_or(Reason::egress_untouched)?;
    Ok(Step::done(Reason::reply_translated, 0)
        .and_enter(enters)
        .and_remember(first))
}

/// Whether a segment that nobody here knows may be of a flow that was lost with
/// the maps, and not seen again yet. Its client would reset what comes from the
/// pod's own address. Handshakes and resets belong to no such flow, or do it no
/// harm; nodes and pods do not come by VIPs from here.
#[inline(always)]
fn is_too_early(ip: &Ip, l4: &L4, config: &Config) -> bool {
    const NEITHER: u8 = tcp_flags::SYN | tcp_flags::RST;
    const SECOND: u64 = 1_000_000_000;
    config.fresh_until_s != 0
        && ip.protocol == TCP
        && l4.flags & NEITHER == 0
        && boottime_ns() < u64::from(config.fresh_until_s) * SECOND
        && NODE_NETS
            .get(&aya_ebpf::btf_maps::lpm_trie::Key::new(128, ip.dst))
            .is_none()
}

/// Whose answer it is, from the established flows or those in their handshake,
/// and whether it proves a flow that is then pending.
#[inline(always)]
fn outside(ip: &Ip, l4: &L4, config: &Config, direct_only: bool) -> Option<(Outside, bool)> {
    let key = ReverseKey {
        client: ip.dst,
        pod: ip.src,
        client_port: l4.dst_port,
        pod_port: l4.src_port,
        protocol: ip.protocol.into(),
    };
    // A pod that answers a SYN begins a flow: what is known of these ports is of
    // one that is over, unless nothing is in its handshake.
    let begins = ip.protocol == TCP && l4.flags & tcp_flags::SYN != 0;
    let mut known = None;
    if !begins {
        known = established(&key);
    }
    if known.is_none() {
        let found = in_handshake(ip, l4, config, direct_only);
        if found.is_some() || !begins {
            return found;
        }
        known = established(&key);
    }
    let known = known?;
    if direct_only && known.flags & reverse::DIRECT == 0 {
        return None;
    }
    known.seen = jiffies();
    if ip.protocol == TCP {
        follow(known, &key, l4);
    }
    let outside = Outside {
        vip: known.vip,
        vip_port: known.vip_port,
        client_port: known.client_port,
    };
    Some((outside, false))
}

#[inline(always)]
fn established(key: &ReverseKey) -> Option<&'static mut ReverseValue> {
    if key.protocol == u32::from(TCP) {
        find!(TCP_REVERSE, key)
    } else {
        find!(UDP_REVERSE, key)
    }
}

/// What ends a flow, as the pod says it.
#[inline(always)]
fn follow(known: &mut ReverseValue, key: &ReverseKey, l4: &L4) {
    const ENDS: u8 = tcp_flags::FIN | tcp_flags::RST;
    if known.flags & reverse::CLOSING == 0 && l4.flags & ENDS == 0 {
        return;
    }
    let flow = FlowKey {
        client: key.client,
        vip: known.vip,
        client_port: known.client_port,
        vip_port: known.vip_port,
        protocol: key.protocol,
    };
    let Some(flow) = find!(TCP_FLOWS, &flow) else {
        return;
    };
    known.flags |= reverse::CLOSING;
    note_end(flow, l4);
    if flow.state & state::CLOSING == 0 && !flow.is_closed() {
        known.flags &= !reverse::CLOSING;
    }
}

#[inline(always)]
fn note_end(flow: &mut FlowValue, l4: &L4) {
    if l4.flags & tcp_flags::RST != 0 {
        flow.state |= state::POD_RESET;
        return;
    }
    // The pod goes on: the client's reset was not in its window, and the flow
    // is proven if it was not.
    flow.state &= !(state::CLIENT_RESET | state::UNPROVEN);
    if l4.flags & tcp_flags::FIN != 0 {
        flow.state |= state::POD_FIN;
        flow.pod_fin = l4.seq.wrapping_add(l4.seq_len);
    }
    if flow.state & state::CLIENT_FIN != 0 && at_or_after(l4.ack, flow.client_fin) {
        flow.state |= state::CLIENT_FIN_ACKED;
    }
}

/// An answer of a flow that is not established yet. The pod proves its part by
/// payload, FIN, or an ACK beyond the client's first; a bare ACK proves
/// nothing.
#[inline(always)]
fn in_handshake(ip: &Ip, l4: &L4, config: &Config, direct_only: bool) -> Option<(Outside, bool)> {
    let hash = source_hash(config.client_seed, ip.dst, l4.dst_port, ip.protocol);
    let set = embryo_set(config, hash)?;
    let tag = tag(hash);
    let now = jiffies();
    let mut found = EMBRYO_WAYS;
    for index in 0..EMBRYO_WAYS {
        let embryo = &set[index];
        if embryo.tag == tag && is_of(embryo, ip, l4) && is_young(config, embryo, now) {
            found = index;
        }
    }
    if found >= EMBRYO_WAYS {
        return None;
    }
    let embryo = &mut set[found & (EMBRYO_WAYS - 1)];
    let direct = embryo.flags & embryo::DIRECT != 0;
    if direct_only && !direct {
        return None;
    }
    let frontend = maps::frontend_key(embryo.frontend)?;
    let outside = Outside {
        vip: frontend.vip,
        vip_port: frontend.port,
        client_port: l4.dst_port,
    };
    if ip.protocol != TCP {
        embryo.flags |= embryo::ANSWERED;
        return Some((outside, false));
    }
    let first_ack = embryo.client_isn.wrapping_add(1);
    let adopted = embryo.flags & embryo::ADOPTED != 0;
    if l4.flags & tcp_flags::SYN != 0 {
        // To this client's SYN, or it is none of ours.
        if l4.ack != first_ack {
            return None;
        }
        if embryo.flags & embryo::ANSWERED == 0 {
            embryo.first_isn = l4.seq;
        }
        embryo.last_isn = l4.seq;
        embryo.flags |= embryo::ANSWERED;
        return Some((outside, false));
    }
    if l4.flags & tcp_flags::RST != 0 {
        return (adopted || l4.ack == first_ack || embryo.flags & embryo::ANSWERED != 0)
            .then_some((outside, false));
    }
    if !adopted {
        // A connection that the client has with the pod itself, by the same
        // port, answers with other numbers: it is left alone.
        if embryo.flags & embryo::ANSWERED == 0 || !at_or_after(l4.ack, first_ack) {
            return None;
        }
        if l4.seq_len == 0 && l4.ack == first_ack {
            return Some((outside, false));
        }
    }
    let pending = maps::pending()?;
    pending.flow = FlowKey {
        client: ip.dst,
        vip: outside.vip,
        client_port: l4.dst_port,
        vip_port: outside.vip_port,
        protocol: ip.protocol.into(),
    };
    pending.frontend = embryo.frontend;
    pending.backend = BackendRef {
        id: embryo.backend_id,
        generation: embryo.backend_generation,
    };
    pending.how = How::new(l4.dst_port, 0, direct).0;
    embryo.tag = 0;
    Some((outside, true))
}

/// Whether an embryo is of the pod that this packet comes from.
#[inline(always)]
fn is_of(embryo: &Embryo, ip: &Ip, l4: &L4) -> bool {
    let udp = embryo.flags & embryo::UDP != 0;
    let named = BackendRef {
        id: embryo.backend_id,
        generation: embryo.backend_generation,
    };
    udp == (ip.protocol != TCP)
        && maps::backend_of(named)
            .is_some_and(|backend| backend.addr == ip.src && backend.port == l4.src_port)
}

/// A later fragment of an answer.
#[inline(always)]
fn later(skb: *mut __sk_buff, ip: &Ip, config: &Config, direct_only: bool) -> Result<Step, Reason> {
    if direct_only {
        return Err(Reason::egress_untouched);
    }
    let known = match fragment::continues(ip, &ip.fragment, config, Reason::reply_fragment_overlap)
    {
        Ok(known) => known,
        Err(Reason::reply_fragment_overlap) => return Err(Reason::reply_fragment_overlap),
        Err(_) => return Err(Reason::egress_untouched),
    };
    if known.what != what::REPLY {
        return Err(Reason::egress_untouched);
    }
    source(skb, ip, known.translated).ok_or(Reason::egress_untouched)?;
    Ok(Step::done(Reason::reply_fragment_translated, 0))
}

/// Where a field is in a header.
macro_rules! field {
    ($header:ty, $field:ident) => {
        core::mem::offset_of!($header, $field)
    };
}

/// Writes the answer as it is to leave.
#[inline(always)]
fn write(
    skb: *mut __sk_buff,
    frame: &Frame,
    ip: &Ip,
    l4: &L4,
    outside: &Outside,
    config: &Config,
) -> Option<()> {
    const PSEUDO: u64 = 16;
    const MANGLED_0: u64 = 32;
    let tcp = ip.protocol == TCP;
    let clamp = if tcp && l4.flags & tcp_flags::SYN != 0 {
        mss(frame, ip, config).unwrap_or(Clamp::NONE)
    } else {
        Clamp::NONE
    };
    let (check_at, udp_flag) = if tcp {
        (ip.l4 + field!(Tcp, checksum), 0)
    } else {
        (ip.l4 + field!(Udp, checksum), MANGLED_0)
    };
    // IPv4 UDP without a checksum stays without one (RFC 768).
    let has_checksum = tcp || frame.header::<Udp>(ip.l4)?.checksum != 0;
    let mut from = ip.src.words();
    let mut to = outside.vip.words();
    let check_at = check_at as u32;
    if has_checksum {
        // IPv4's mapped prefix is equal on both sides and adds nothing.
        const LEN: u32 = size_of::<Addr>() as u32;
        // SAFETY: helper calls on a valid context and local arrays.
        unsafe {
            let diff = helpers::bpf_csum_diff(from.as_mut_ptr(), LEN, to.as_mut_ptr(), LEN, 0);
            helpers::bpf_l4_csum_replace(skb, check_at, 0, diff as u64, PSEUDO | udp_flag);
        }
        port_checksum(skb, check_at, l4.src_port, outside.vip_port, udp_flag);
        port_checksum(skb, check_at, l4.dst_port, outside.client_port, udp_flag);
    }
    if clamp.at != 0 {
        let Clamp { at, old, new } = clamp;
        // An option at an odd offset lies across two words of the sum.
        let (old, new) = if (at - ip.l4) & 1 == 0 {
            (old.to_be(), new.to_be())
        } else {
            (old, new)
        };
        // SAFETY: as above.
        unsafe { helpers::bpf_l4_csum_replace(skb, check_at, old.into(), new.into(), 2) };
    }
    source(skb, ip, outside.vip)?;
    let ports = [outside.vip_port.to_be(), outside.client_port.to_be()];
    store(skb, ip.l4, &ports)?;
    if clamp.at != 0 {
        store(skb, clamp.at, &clamp.new.to_be())?;
    }
    Some(())
}

#[inline(always)]
fn port_checksum(skb: *mut __sk_buff, at: u32, old: u16, new: u16, flag: u64) {
    if old != new {
        // SAFETY: a helper call with a valid context.
        unsafe {
            helpers::bpf_l4_csum_replace(skb, at, old.to_be().into(), new.to_be().into(), flag | 2)
        };
    }
}

#[inline(always)]
fn store<T>(skb: *mut __sk_buff, at: usize, value: &T) -> Option<()> {
    // SAFETY: a helper call with a valid context; it checks the bounds.
    let failed = unsafe {
        helpers::bpf_skb_store_bytes(
            skb,
            at as u32,
            core::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
            0,
        )
    };
    (failed == 0).then_some(())
}

/// Writes a new source address and keeps the IP header's checksum true.
#[inline(always)]
fn source(skb: *mut __sk_buff, ip: &Ip, to: Addr) -> Option<()> {
    use crate::header::{Ipv4, Ipv6};
    if ip.family.is_v4() {
        let (old, new) = (ip.src.words()[3], to.words()[3]);
        let check_at = (ip.l3 + field!(Ipv4, checksum)) as u32;
        // SAFETY: a helper call with a valid context.
        unsafe { helpers::bpf_l3_csum_replace(skb, check_at, old.into(), new.into(), 4) };
        store(skb, ip.l3 + field!(Ipv4, src), &new)
    } else {
        store(skb, ip.l3 + field!(Ipv6, src), &to.words())
    }
}

/// Where the MSS option of a SYN-ACK is, what it says and what it is to say;
/// at 0 there is nothing to change. Not an `Option`: see [`lb_common::rules::Code`].
#[derive(Clone, Copy)]
struct Clamp {
    at: usize,
    old: u16,
    new: u16,
}

impl Clamp {
    const NONE: Self = Self {
        at: 0,
        old: 0,
        new: 0,
    };
}

/// How to clamp the MSS (RFC 9293 §3.7.1), if it is too large. Senders put the
/// option first or nearly so.
#[inline(always)]
fn mss(frame: &Frame, ip: &Ip, config: &Config) -> Option<Clamp> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const MSS: u8 = 2;
    const OPTIONS: usize = 4;
    let limit = if ip.family.is_v4() {
        config.mss_v4
    } else {
        config.mss_v6
    } as u16;
    if limit == 0 {
        return None;
    }
    let mut at = ip.l4 + size_of::<Tcp>();
    for _ in 0..OPTIONS {
        let option = *frame.header::<[u8; 4]>(at)?;
        let len = match option[0] {
            END => return None,
            NOP => 1,
            MSS => {
                let said = u16::from_be_bytes([option[2], option[3]]);
                return (said > limit).then_some(Clamp {
                    at: at + 2,
                    old: said,
                    new: limit,
                });
            }
            _ => usize::from(option[1]),
        };
        at = frame.blur(at + len, parse::OFFSET_MAX);
    }
    None
}
