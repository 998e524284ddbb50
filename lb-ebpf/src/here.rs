//! A packet for a pod that is here, or may be: what the tables say about its
//! flow, the rules, and then to the pod, to another node, or an answer.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    backend::{BackendRef, BackendValue},
    config::Config,
    flow::{Embryo, FlowValue, L4, TCP, at_or_after, embryo, state, tcp_flags},
    fragment::what,
    frontend::flags,
    pending::Pending,
    rules::{Code, Segment, coded, kind},
    table::Target,
    verdict::Reason,
};

use crate::{
    count,
    establish::{self, How, reverse_key},
    fragment,
    locate::Packet,
    lookup::{Lookup, embryo_set, tag},
    maps::{self, TCP_REVERSE, find},
    packet::Frame,
    reject::Answer,
    select::{segment, to_node},
    step::{Hint, Stage, Step, flatten},
    translate,
    tunnel::Came,
};

/// The packet that is pending.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_here(ctx: *mut xdp_md, hint: u32) -> u32 {
    flatten(here(ctx, Hint(hint))).0
}

#[inline(always)]
fn here(ctx: *mut xdp_md, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let pending = maps::pending().ok_or(Reason::not_for_us)?;
    let l4 = &pending.l4;
    let came = Came::of_bits(pending.located.came);
    let frame = Frame::of_xdp(ctx, config);
    let frontend = maps::frontend_at(pending.place).ok_or(Reason::not_for_us)?;
    let segment = segment(pending.flow.protocol as u8, l4.flags);
    let mut lookup = Lookup::new(config, frame, came, frontend, &pending.flow, segment);
    lookup.l4 = Some(l4);
    let code = coded(segment, came.marked(), pending.slot, &mut lookup);
    match code.kind() {
        kind::HAND_OVER => {
            let packet = &Packet::of_pending(ctx, config, pending);
            to_node(packet, code.node(), code.marked(), frontend.id)
        }
        kind::REJECT => Err(Step::answer(Answer::NoBackend)),
        kind::UNSETTLED => Err(Reason::unsettled.into()),
        kind::STRANDED => Err(Reason::stranded.into()),
        _ => deliver(&InHand { ctx, pending }, code, &mut lookup, hint),
    }
}

/// The packet, where it lies: what is not kept in registers need not be saved
/// from them.
struct InHand<'a> {
    ctx: *mut xdp_md,
    pending: &'a Pending,
}

impl InHand<'_> {
    /// To be made where it is used, and not before.
    #[inline(always)]
    fn packet(&self, config: &Config) -> Packet {
        Packet::of_pending(self.ctx, config, self.pending)
    }
}

/// To the pod on this node: note the flow, translate, and on.
#[inline(always)]
fn deliver(
    in_hand: &InHand<'_>,
    code: Code,
    lookup: &mut Lookup<'_>,
    hint: Hint,
) -> Result<Step, Step> {
    let (config, l4) = (lookup.config, &in_hand.pending.l4);
    let direct = lookup.frontend.flags & flags::DIRECT != 0;
    let mut enters = false;
    let id = code.backend_id();
    let (reason, backend, client_port) = match code.kind() {
        kind::ESTABLISHED => {
            let backend = lookup.backend.ok_or(Reason::stranded)?;
            let flow = lookup.established.take().ok_or(Reason::stranded)?;
            follow(flow, l4, lookup, backend);
            (Reason::delivered_established, backend, flow.pod_client_port)
        }
        kind::EMBRYONIC => {
            let backend = lookup.backend.ok_or(Reason::stranded)?;
            let embryo = lookup.embryo.take().ok_or(Reason::stranded)?;
            enters = grow(embryo, l4, lookup, code.backend(), direct);
            (Reason::delivered_embryonic, backend, l4.src_port)
        }
        kind::NEW => {
            let backend = maps::backend(id).ok_or(Reason::stranded)?;
            let client_port = begin(l4, lookup, id, backend, direct, hint)?;
            (Reason::delivered_new, backend, client_port)
        }
        _ => {
            let backend = maps::backend(id).ok_or(Reason::stranded)?;
            if l4.flags & tcp_flags::RST == 0 {
                conceive(l4, lookup, id, backend, embryo::ADOPTED, direct);
            }
            (Reason::delivered_pick, backend, l4.src_port)
        }
    };
    count::backend(id, in_hand.pending.located.len);
    let ip = &in_hand.packet(config).ip;
    let target = Target::local(id);
    let frontend = lookup.frontend.id;
    let first = fragment::prepare(ip, frontend, target, what::DELIVERED, backend.addr);
    let direct_ifindex = if direct { backend.ifindex } else { 0 };
    let action = to_pod(
        &in_hand.packet(config),
        backend,
        client_port,
        direct_ifindex,
    )?;
    Ok(Step::done(reason, action)
        .and_uncover(leave_cover(&in_hand.packet(config)))
        .and_enter(enters)
        .and_remember(first))
}

/// Leaves what lies around the packet for a later stage to take away: the frame
/// begins elsewhere after that.
#[inline(always)]
fn leave_cover(packet: &Packet) -> bool {
    if !packet.came.around() {
        return false;
    }
    let Some(pending) = maps::pending() else {
        return false;
    };
    pending.cover = packet.cover();
    true
}

/// Translates, removes what other nodes put around, and passes on.
#[inline(always)]
fn to_pod(
    packet: &Packet,
    backend: &BackendValue,
    client_port: u16,
    direct_ifindex: u32,
) -> Result<u32, Step> {
    let ip = &packet.ip;
    // The stack takes a hop off by itself.
    if direct_ifindex != 0 {
        if ip.ttl <= 1 {
            return Err(Step::answer(Answer::TimeExceeded));
        }
        translate::step_ttl(&packet.frame, ip).ok_or(Reason::malformed_for_vip)?;
    }
    translate::to_pod(&packet.frame, ip, backend, client_port)?;
    Ok(translate::pass(packet.ctx, direct_ifindex))
}

/// A packet of an established flow: when it was seen, and what ends it.
#[inline(always)]
fn follow(flow: &mut FlowValue, l4: &L4, lookup: &mut Lookup<'_>, backend: &BackendValue) {
    if flow.seen != lookup.jiffies {
        flow.seen = lookup.jiffies;
    }
    if lookup.flow.protocol != u32::from(TCP) {
        return;
    }
    if flow.state & state::POD_FIN != 0
        && l4.flags & tcp_flags::ACK != 0
        && at_or_after(l4.ack, flow.pod_fin)
    {
        flow.state |= state::POD_FIN_ACKED;
    }
    if l4.flags & (tcp_flags::FIN | tcp_flags::RST) == 0 {
        return;
    }
    if l4.flags & tcp_flags::RST != 0 {
        flow.state |= state::CLIENT_RESET;
    } else {
        flow.state |= state::CLIENT_FIN;
        flow.client_fin = l4.seq.wrapping_add(l4.seq_len);
    }
    let key = reverse_key(
        lookup.flow,
        backend.addr,
        backend.port,
        flow.pod_client_port,
    );
    if let Some(reverse) = find!(TCP_REVERSE, &key) {
        reverse.flags |= lb_common::flow::reverse::CLOSING;
    }
}

/// A packet of a flow in its handshake. Here the client proves itself: its ACK
/// fits the pod's SYN-ACK (the lookup has seen to that), or, for UDP, it
/// speaks again after the pod has answered.
#[inline(always)]
fn grow(
    embryo: &mut Embryo,
    l4: &L4,
    lookup: &mut Lookup<'_>,
    named: BackendRef,
    direct: bool,
) -> bool {
    embryo.seen = lookup.jiffies;
    if lookup.segment == Segment::Syn {
        embryo.client_isn = l4.seq;
        return false;
    }
    if lookup.segment == Segment::Udp && embryo.flags & embryo::ANSWERED == 0 {
        return false;
    }
    embryo.tag = 0;
    let how = How::new(l4.src_port, 0, direct);
    leave_flow(lookup, named, how)
}

/// Leaves the flow in hand for a later stage.
#[inline(always)]
fn leave_flow(lookup: &mut Lookup<'_>, backend: BackendRef, how: How) -> bool {
    let Some(pending) = maps::pending() else {
        return false;
    };
    // The flow is there already: see `select`.
    pending.frontend = lookup.frontend.id;
    pending.backend = backend;
    pending.how = how.0;
    true
}

/// Writes an embryo.
#[inline(always)]
fn conceive(
    l4: &L4,
    lookup: &mut Lookup<'_>,
    id: u16,
    backend: &BackendValue,
    begun: u16,
    direct: bool,
) {
    let hash = lookup.client_hash();
    let Some(set) = embryo_set(lookup.config, hash) else {
        return;
    };
    let tag = tag(hash);
    let mut flags = begun;
    if lookup.flow.protocol != u32::from(TCP) {
        flags |= embryo::UDP;
    }
    if direct {
        flags |= embryo::DIRECT;
    }
    *establish::place(set, tag, lookup.frontend.id, lookup.jiffies) = Embryo {
        tag,
        frontend: lookup.frontend.id,
        backend_id: id,
        backend_generation: backend.generation,
        seen: lookup.jiffies,
        client_isn: l4.seq,
        first_isn: 0,
        last_isn: 0,
        pod_client_port: l4.src_port,
        flags,
    };
}

/// Begins a flow: an embryo, and the client's port as the pod is to see it.
///
/// One client port, two VIPs, one pod: to the pod the second flow would be the
/// first. It gets another source port then and is entered at once (an embryo
/// is found by the client's own port, which answers no longer carry); that
/// costs table space before any proof, so it has a budget.
#[inline(always)]
fn begin(
    l4: &L4,
    lookup: &mut Lookup<'_>,
    id: u16,
    backend: &BackendValue,
    direct: bool,
    hint: Hint,
) -> Result<u16, Step> {
    if hint.begins() && hint.port() != 0 {
        return Ok(hint.port());
    }
    if !hint.begins() && lookup.is_known_client {
        let named = BackendRef {
            id,
            generation: backend.generation,
        };
        if leave_flow(lookup, named, How::new(l4.src_port, 0, direct)) {
            return Err(Step::go_on(Stage::Collision));
        }
    }
    conceive(l4, lookup, id, backend, 0, direct);
    Ok(l4.src_port)
}
