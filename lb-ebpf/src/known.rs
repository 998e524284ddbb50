//! The short way of most packets: their flow is established, nothing of it has
//! begun to end, and its pod is here. It is what [`crate::here`] would do too,
//! but with nothing to leave for a later stage.

use lb_common::{
    backend::BackendValue,
    flow::{FlowKey, FlowValue, L4, TCP, tcp_flags},
    frontend::flags,
    verdict::Reason,
};

use crate::{
    count,
    locate::Packet,
    maps::{TCP_FLOWS, UDP_FLOWS, backend_of, find},
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
    let (frame, at) = (&packet.frame, packet.ip.at());
    let mut past = 0;
    if frontend_flags & flags::DIRECT != 0 {
        past = backend.ifindex;
    }
    if past != 0 {
        translate::as_the_stack(frame, at, packet.ip.ttl)?;
    }
    translate::to_pod(frame, at, &whose.vip, backend, flow.pod_client_port)?;
    let action = translate::pass(packet.ctx, past);
    Ok(Step::done(Reason::delivered_established, action))
}
