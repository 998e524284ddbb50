//! The short ways of most packets whose pod is here: their flow is established
//! and nothing of it has begun to end, or they begin one. It is what
//! [`crate::here`] would do too, but with nothing to leave for a later stage.

use lb_common::{
    backend::BackendValue,
    config::Config,
    flow::{Embryo, FlowKey, FlowValue, L4, TCP, embryo, tcp_flags},
    frontend::{FrontendValue, flags},
    verdict::Reason,
};

use crate::{
    count, establish,
    locate::Packet,
    lookup::{client_hash, embryo_set, may_be_established, tag},
    maps::{self, TCP_FLOWS, UDP_FLOWS, backend_of, find},
    packet::jiffies,
    step::{Stage, Step, flatten},
    translate,
};

/// What became of it.
pub struct Known {
    /// [`Stage::Here`] if it has to go the long way.
    pub step: Step,
    /// 1: the table has no such flow, so that nobody need ask again.
    pub is_stranger: u32,
}

/// For a whole packet with nothing around it, whose rules begin with the table
/// of flows.
#[inline(always)]
pub fn known(packet: &Packet, whose: &FlowKey, l4: &L4, frontend_flags: u32) -> Known {
    const ENDS: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    let mut known = Known {
        step: Step::go_on(Stage::Here),
        is_stranger: 0,
    };
    let flow = if packet.ip.protocol == TCP {
        find!(TCP_FLOWS, whose)
    } else {
        find!(UDP_FLOWS, whose)
    };
    let Some(flow) = flow else {
        known.is_stranger = 1;
        return known;
    };
    if flow.state == 0
        && l4.flags & ENDS == 0
        && let Some(backend) = backend_of(flow.backend)
    {
        known.step = flatten(deliver(packet, whose, flow, backend, frontend_flags));
    }
    known
}

#[inline(always)]
fn deliver(
    packet: &Packet,
    whose: &FlowKey,
    flow: &mut FlowValue,
    backend: &BackendValue,
    frontend_flags: u32,
) -> Result<Step, Step> {
    let now = jiffies();
    // Written once a jiffy, so that CPUs need not take turns at it.
    if flow.seen != now {
        flow.seen = now;
    }
    count::backend(flow.backend.id, packet.ip.len);
    let action = to_pod(packet, whose, backend, flow.pod_client_port, frontend_flags)?;
    Ok(Step::done(Reason::delivered_established, action))
}

/// Translates and passes on; the action for the kernel.
#[inline(always)]
fn to_pod(
    packet: &Packet,
    whose: &FlowKey,
    backend: &BackendValue,
    client_port: u16,
    frontend_flags: u32,
) -> Result<u32, Step> {
    let (frame, at) = (&packet.frame, packet.ip.at());
    let mut past = 0;
    if frontend_flags & flags::DIRECT != 0 {
        past = backend.ifindex;
    }
    if past != 0 {
        translate::as_the_stack(frame, at, packet.ip.ttl)?;
    }
    translate::to_pod(frame, at, &whose.vip, backend, client_port)?;
    Ok(translate::pass(packet.ctx, past))
}

/// A whole SYN, with nothing around it, for the backend `id` here, whose client
/// has no flow here, nor one in its handshake: a flood is made of these.
/// [`Stage::Here`]: it may have one.
#[inline(always)]
pub fn newcomer(
    packet: &Packet,
    whose: &FlowKey,
    l4: &L4,
    frontend: &FrontendValue,
    config: &Config,
    id: u16,
) -> Step {
    let here = Step::go_on(Stage::Here);
    let hash = client_hash(config, whose);
    if may_be_established(config, hash) {
        return here;
    }
    let (Some(set), Some(backend)) = (embryo_set(config, hash), maps::backend(id)) else {
        return here;
    };
    let tag = tag(hash);
    if set.iter().any(|embryo| embryo.tag == tag) {
        return here;
    }
    let now = jiffies();
    let flags = if frontend.flags & flags::DIRECT != 0 {
        embryo::DIRECT
    } else {
        0
    };
    *establish::oldest(set, now, config.zero) = Embryo {
        tag,
        frontend: frontend.id,
        backend_id: id,
        backend_generation: backend.generation,
        seen: now,
        client_isn: l4.seq,
        pod_client_port: whose.client_port,
        flags,
        ..Embryo::default()
    };
    count::backend(id, packet.ip.len);
    let action = to_pod(packet, whose, backend, whose.client_port, frontend.flags);
    flatten(action.map(|action| Step::done(Reason::delivered_new, action)))
}
