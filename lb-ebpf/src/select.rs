//! From a packet for a frontend to the slot of its flow. Most packets that go
//! to another node's pod are handed over right here; for all others
//! [`crate::here`] asks the tables.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    addr::Addr,
    config::Config,
    flow::{FlowKey, TCP, tcp_flags},
    fragment::what,
    frontend::FrontendValue,
    hash::source_hash,
    node::{self, NodeValue},
    rules::{Segment, begins_with_flows, plainly},
    table::{Slot, TARGET_LOCAL, Target, slot_index},
    verdict::Reason,
};

use crate::{
    count, fragment,
    known::{known, newcomer},
    locate::{self, Packet},
    lookup::sender,
    maps,
    parse::{self, Ip},
    reject::Answer,
    step::{Hint, Stage, Step, flatten},
    translate,
    tunnel::{overhead, pop, send},
};

/// A TCP or UDP packet whose destination may be a VIP.
#[inline(always)]
pub fn select(packet: &Packet, config: &Config) -> Result<Step, Step> {
    let ip = &packet.ip;
    let l4 = parse::l4(&packet.frame, &packet.ip)?;
    let flow = FlowKey {
        client: ip.src,
        vip: ip.dst,
        client_port: l4.src_port,
        vip_port: l4.dst_port,
        protocol: ip.protocol.into(),
    };
    let Some((place, frontend)) = maps::frontend(config, &flow, packet.vip_hash) else {
        if maps::vip(ip.dst).is_none() {
            return Err(Reason::not_for_us.into());
        }
        return Err(Step::answer(Answer::NoFrontend));
    };
    count::frontend(frontend.id, ip.len);
    let slot = pick(frontend, &flow)?;
    if cfg!(feature = "log") {
        maps::pending().ok_or(Reason::not_for_us)?.flow = flow;
    }
    let segment = segment(ip.protocol, l4.flags);
    let node = plainly(segment, slot);
    if node != Target::NONE && is_a_clients(packet) {
        return straight(packet, node.0);
    }
    let mut is_stranger = 0;
    if begins_with_flows(segment, slot) && is_plain(packet) {
        let known = known(packet, &flow, &l4, frontend.flags);
        if !known.step.is(Stage::Here) {
            return Ok(known.step);
        }
        is_stranger = known.is_stranger;
    } else if segment == Segment::Syn && slot.now.is_local() && is_plain(packet) {
        let id = slot.now.0 & !TARGET_LOCAL;
        let step = newcomer(packet, &flow, &l4, frontend, config, id);
        if !step.is(Stage::Here) {
            return Ok(step);
        }
    }
    let pending = maps::pending().ok_or(Reason::not_for_us)?;
    pending.flow = flow;
    pending.is_stranger = is_stranger;
    pending.place = place;
    pending.frontend = frontend.id;
    pending.frontend_flags = frontend.flags;
    pending.slot = slot;
    pending.zero = config.zero;
    packet.leave(&mut pending.located);
    Err(Step::go_on(Stage::Here))
}

/// Surely from a client or a router, and whole. What is not is looked at in
/// more detail elsewhere.
#[inline(always)]
fn is_a_clients(packet: &Packet) -> bool {
    is_plain(packet) && sender(&packet.frame) == 0
}

/// Whole, and nothing is around it.
#[inline(always)]
fn is_plain(packet: &Packet) -> bool {
    !packet.came.around() && !packet.ip.fragment.is_part()
}

/// The slot of a flow in its frontend's table.
#[inline(always)]
pub fn pick(frontend: &FrontendValue, whose: &FlowKey) -> Result<Slot, Reason> {
    let protocol = whose.protocol as u8;
    let hash = source_hash(frontend.seed, whose.client, whose.client_port, protocol);
    maps::slot(frontend.chunk, slot_index(hash, frontend.slots)).ok_or(Reason::no_next_hop)
}

#[inline(always)]
pub fn segment(protocol: u8, flags: u8) -> Segment {
    if protocol != TCP {
        Segment::Udp
    } else if flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN {
        Segment::Syn
    } else {
        Segment::Tcp
    }
}

/// Hands a whole packet over as it is, if it fits and has a hop to live.
#[inline(always)]
fn straight(packet: &Packet, node: u16) -> Result<Step, Step> {
    let ip = &packet.ip;
    let next_hop = maps::node(node).ok_or(Reason::no_next_hop)?;
    if ip.ttl <= 1 {
        return Err(Step::answer(Answer::TimeExceeded));
    }
    if next_hop.kind != node::kind::SAME_LINK {
        fits(ip, next_hop)?;
        return Ok(Step::hand_over(node, false));
    }
    translate::step_ttl(&packet.frame, ip.at()).ok_or(Reason::malformed_for_vip)?;
    let action = send(&packet.frame, next_hop).ok_or(Reason::malformed_for_vip)?;
    Ok(Step::done(Reason::handed_over, action))
}

/// The same for any packet: a first fragment leaves word for those that follow
/// it.
#[inline(always)]
pub fn to_node(packet: &Packet, node: u16, marked: bool, frontend: u32) -> Result<Step, Step> {
    let ip = &packet.ip;
    let done = if marked {
        what::HANDED_ON_MARKED
    } else {
        what::HANDED_OVER
    };
    let target = Target::node(node);
    let step = if marked || packet.came.around() {
        let next_hop = maps::node(node).ok_or(Reason::no_next_hop)?;
        if ip.ttl <= 1 {
            return Err(Step::answer(Answer::TimeExceeded));
        }
        fits(ip, next_hop)?;
        Step::hand_over(node, marked)
    } else {
        straight(packet, node)?
    };
    let first = fragment::prepare(ip, frontend, target, done, Addr::UNSPECIFIED);
    Ok(step.and_remember(first))
}

#[inline(always)]
fn fits(ip: &Ip, node: &NodeValue) -> Result<(), Step> {
    if node.kind == node::kind::ROUTED {
        let room = node.mtu.saturating_sub(overhead(node));
        if ip.len > room {
            return Err(Step::answer(Answer::TooBig(room)));
        }
    }
    Ok(())
}

/// A later fragment: to where its first went.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_later_fragment(ctx: *mut xdp_md, hint: u32) -> u32 {
    flatten(later_fragment(ctx, Hint(hint))).0
}

#[inline(always)]
fn later_fragment(ctx: *mut xdp_md, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let packet = &locate::again(ctx, config, hint)?;
    let ip = &packet.ip;
    let part = ip.fragment;
    if maps::vip(ip.dst).is_none() {
        return Err(Reason::not_for_us.into());
    }
    let known = fragment::continues(ip, &part, config, Reason::fragment_overlap)?;
    count::frontend(known.frontend, ip.len);
    if known.what == what::DELIVERED {
        translate::destination(&packet.frame, ip.at(), &known.translated)
            .ok_or(Reason::malformed_for_vip)?;
        if packet.came.around() {
            pop(packet).ok_or(Reason::malformed_for_vip)?;
        }
        let action = translate::pass(packet.ctx, 0);
        return Ok(Step::done(Reason::delivered_fragment, action));
    }
    let next_hop = maps::node(known.target.0).ok_or(Reason::no_next_hop)?;
    if ip.ttl <= 1 || packet.came.marked() {
        return Err(Reason::stranded.into());
    }
    fits(ip, next_hop)?;
    let marked = known.what == what::HANDED_ON_MARKED;
    Ok(Step::hand_over(known.target.0, marked))
}
