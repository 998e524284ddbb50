//! A packet for a pod that is here, or may be: what the tables say about its
//! flow, the rules, and then to the pod, to another node, or an answer.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    backend::{BackendRef, BackendValue},
    flow::{Embryo, FlowValue, TCP, at_or_after, embryo, state, tcp_flags},
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
    header::Tcp,
    locate::Packet,
    lookup::{Lookup, embryo_set, tag},
    maps::{self, TCP_REVERSE, find},
    packet::Frame,
    parse::At,
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
    let pending = maps::pending().ok_or(Reason::not_for_us)?;
    let in_hand = &InHand::new(ctx, pending).ok_or(Reason::malformed_for_vip)?;
    let came = Came::of_bits(pending.located.came);
    let segment = segment(in_hand.at.protocol, in_hand.tcp_flags);
    let mut lookup = Lookup::new(in_hand.frame, came, pending, segment);
    lookup.ack = in_hand.ack();
    lookup.compares_ack = true;
    let code = coded(segment, came.marked(), pending.slot, &mut lookup);
    match code.kind() {
        kind::HAND_OVER => {
            let packet = &Packet::of_pending(ctx, pending);
            to_node(packet, code.node(), code.marked(), pending.frontend)
        }
        kind::REJECT => Err(Step::answer(Answer::NoBackend)),
        kind::UNSETTLED => Err(Reason::unsettled.into()),
        kind::STRANDED => Err(Reason::stranded.into()),
        _ => deliver(in_hand, code, &mut lookup, hint),
    }
}

/// The packet, where it lies: what is not kept in registers need not be saved
/// from them.
struct InHand<'a> {
    ctx: *mut xdp_md,
    frame: Frame,
    at: At,
    /// For UDP 0, like the numbers.
    tcp_flags: u8,
    /// In network order: most packets need none of them.
    seq: u32,
    ack: u32,
    pending: &'a Pending,
}

impl<'a> InHand<'a> {
    /// None: it has fewer bytes than it had, which cannot be.
    #[inline(always)]
    fn new(ctx: *mut xdp_md, pending: &'a Pending) -> Option<Self> {
        let frame = Frame::with_zero(ctx, pending.zero);
        let at = At::of_pending(pending);
        let (mut tcp_flags, mut seq, mut ack) = (0, 0, 0);
        if at.protocol == TCP {
            let tcp = frame.header::<Tcp>(at.l4)?;
            (tcp_flags, seq, ack) = (tcp.flags, tcp.seq, tcp.ack);
        }
        Some(Self {
            ctx,
            frame,
            at,
            tcp_flags,
            seq,
            ack,
            pending,
        })
    }

    /// The number that its sequence space begins with.
    #[inline(always)]
    fn seq(&self) -> u32 {
        u32::from_be(self.seq)
    }

    #[inline(always)]
    fn ack(&self) -> u32 {
        u32::from_be(self.ack)
    }

    /// The number that follows its sequence space.
    #[inline(always)]
    fn seq_end(&self) -> u32 {
        let Some(tcp) = self.frame.header::<Tcp>(self.at.l4) else {
            return 0;
        };
        let header = (self.at.l4 - self.at.l3) as u32 + tcp.header_len();
        let payload = self.pending.located.len.wrapping_sub(header);
        let numbers = payload.wrapping_add(tcp.sequence_of_flags());
        self.seq().wrapping_add(numbers)
    }

    /// For what is rare: it is much to copy.
    #[inline(always)]
    fn packet(&self) -> Packet {
        Packet::of_pending(self.ctx, self.pending)
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
    let direct = lookup.flags & flags::DIRECT != 0;
    let own_port = lookup.flow.client_port;
    let mut enters = false;
    let id = code.backend_id();
    let (reason, backend, client_port) = match code.kind() {
        kind::ESTABLISHED => {
            let backend = lookup.backend.ok_or(Reason::stranded)?;
            let flow = lookup.established.take().ok_or(Reason::stranded)?;
            follow(flow, in_hand, lookup, backend);
            (Reason::delivered_established, backend, flow.pod_client_port)
        }
        kind::EMBRYONIC => {
            let backend = lookup.backend.ok_or(Reason::stranded)?;
            let embryo = lookup.embryo.take().ok_or(Reason::stranded)?;
            enters = grow(embryo, in_hand, lookup, code.backend(), direct);
            (Reason::delivered_embryonic, backend, own_port)
        }
        kind::NEW => {
            let backend = maps::backend(id).ok_or(Reason::stranded)?;
            let client_port = begin(in_hand, lookup, id, backend, direct, hint)?;
            (Reason::delivered_new, backend, client_port)
        }
        _ => {
            let backend = maps::backend(id).ok_or(Reason::stranded)?;
            if in_hand.tcp_flags & tcp_flags::RST == 0 {
                conceive(in_hand, lookup, id, backend, embryo::ADOPTED, direct);
            }
            (Reason::delivered_pick, backend, own_port)
        }
    };
    let located = &in_hand.pending.located;
    count::backend(id, located.len);
    let direct_ifindex = if direct { backend.ifindex } else { 0 };
    let action = to_pod(in_hand, backend, client_port, direct_ifindex)?;
    let mut first = false;
    if located.is_fragment != 0 {
        let (ip, target) = (&in_hand.packet().ip, Target::local(id));
        first = fragment::prepare(ip, lookup.frontend, target, what::DELIVERED, backend.addr);
    }
    let around = Came::of_bits(located.came).around();
    Ok(Step::done(reason, action)
        .and_uncover(around && leave_cover(&in_hand.packet()))
        .and_enter(enters)
        .and_remember(first))
}

/// Leaves what lies around the packet for a later stage to take away: the frame
/// begins elsewhere after that.
#[inline(always)]
fn leave_cover(packet: &Packet) -> bool {
    let Some(pending) = maps::pending() else {
        return false;
    };
    pending.cover = packet.cover();
    true
}

/// Translates, removes what other nodes put around, and passes on.
#[inline(always)]
fn to_pod(
    in_hand: &InHand<'_>,
    backend: &BackendValue,
    client_port: u16,
    direct_ifindex: u32,
) -> Result<u32, Step> {
    let InHand {
        ref frame,
        at,
        pending,
        ..
    } = *in_hand;
    if direct_ifindex != 0 {
        translate::as_the_stack(frame, at, pending.located.ttl as u8)?;
    }
    translate::to_pod(frame, at, &pending.flow.vip, backend, client_port)?;
    Ok(translate::pass(in_hand.ctx, direct_ifindex))
}

/// A packet of an established flow: when it was seen, and what ends it.
#[inline(always)]
fn follow(
    flow: &mut FlowValue,
    in_hand: &InHand<'_>,
    lookup: &mut Lookup<'_>,
    backend: &BackendValue,
) {
    if flow.seen != lookup.jiffies {
        flow.seen = lookup.jiffies;
    }
    let flags = in_hand.tcp_flags;
    if flow.state & state::POD_FIN != 0
        && flags & tcp_flags::ACK != 0
        && at_or_after(in_hand.ack(), flow.pod_fin)
    {
        flow.state |= state::POD_FIN_ACKED;
    }
    if flags & (tcp_flags::FIN | tcp_flags::RST) == 0 {
        return;
    }
    if flags & tcp_flags::RST != 0 {
        flow.state |= state::CLIENT_RESET;
    } else {
        flow.state |= state::CLIENT_FIN;
        flow.client_fin = in_hand.seq_end();
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
    in_hand: &InHand<'_>,
    lookup: &mut Lookup<'_>,
    named: BackendRef,
    direct: bool,
) -> bool {
    embryo.seen = lookup.jiffies;
    if lookup.segment == Segment::Syn {
        embryo.client_isn = in_hand.seq();
        return false;
    }
    if lookup.segment == Segment::Udp && embryo.flags & embryo::ANSWERED == 0 {
        return false;
    }
    embryo.tag = 0;
    let how = How::new(lookup.flow.client_port, 0, direct);
    leave_flow(named, how)
}

/// Leaves the flow in hand for a later stage.
#[inline(always)]
fn leave_flow(backend: BackendRef, how: How) -> bool {
    let Some(pending) = maps::pending() else {
        return false;
    };
    // The flow and its frontend are there already: see `select`.
    pending.backend = backend;
    pending.how = how.0;
    true
}

/// Writes an embryo.
#[inline(always)]
fn conceive(
    in_hand: &InHand<'_>,
    lookup: &mut Lookup<'_>,
    id: u16,
    backend: &BackendValue,
    begun: u16,
    direct: bool,
) {
    let hash = lookup.client_hash();
    let Some(set) = lookup.config().and_then(|config| embryo_set(config, hash)) else {
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
    let (seen, zero) = (lookup.jiffies, in_hand.pending.zero);
    *establish::place(set, tag, lookup.frontend, seen, zero) = Embryo {
        tag,
        frontend: lookup.frontend,
        backend_id: id,
        backend_generation: backend.generation,
        seen,
        client_isn: in_hand.seq(),
        pod_client_port: lookup.flow.client_port,
        flags,
        ..Embryo::default()
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
    in_hand: &InHand<'_>,
    lookup: &mut Lookup<'_>,
    id: u16,
    backend: &BackendValue,
    direct: bool,
    hint: Hint,
) -> Result<u16, Step> {
    if hint.begins() && hint.port() != 0 {
        return Ok(hint.port());
    }
    let port = lookup.flow.client_port;
    if !hint.begins() && lookup.is_known_client {
        let named = BackendRef {
            id,
            generation: backend.generation,
        };
        if leave_flow(named, How::new(port, 0, direct)) {
            return Err(Step::go_on(Stage::Collision));
        }
    }
    conceive(in_hand, lookup, id, backend, 0, direct);
    Ok(port)
}
