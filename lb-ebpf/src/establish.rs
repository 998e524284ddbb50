//! How a flow is entered: first as an embryo, then, on proof that both sides
//! take part, as established.

use lb_common::{
    addr::Addr,
    backend::{BackendRef, BackendValue},
    config::Config,
    flow::{
        EMBRYO_WAYS, Embryo, FlowKey, FlowValue, ReverseKey, ReverseValue, TCP, reverse, state,
    },
    hash::source_hash,
    traffic::rate,
    verdict::Reason,
};

use crate::{
    count,
    lookup::{client_hash, filter_bit},
    maps::{self, TCP_FLOWS, TCP_REVERSE, UDP_FLOWS, UDP_REVERSE, find},
    packet::jiffies,
};

/// How a flow is entered, in one number: the client's port as the pod sees it,
/// the state it begins in, and whether it is delivered past the stack.
#[derive(Clone, Copy)]
pub struct How(pub u32);

impl How {
    const DIRECT: u32 = 1 << 31;

    #[inline(always)]
    pub fn new(pod_client_port: u16, state: u16, direct: bool) -> Self {
        let direct = if direct { Self::DIRECT } else { 0 };
        Self(u32::from(pod_client_port) | u32::from(state & 0x7fff) << 16 | direct)
    }

    #[inline(always)]
    pub fn pod_client_port(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    fn state(self) -> u16 {
        (self.0 >> 16) as u16 & 0x7fff
    }

    #[inline(always)]
    fn direct(self) -> bool {
        self.0 & Self::DIRECT != 0
    }
}

/// Everything that the two entries of an established flow say.
pub struct NewFlow<'a> {
    pub key: &'a FlowKey,
    pub backend_ref: BackendRef,
    pub backend: &'a BackendValue,
    pub frontend: u32,
    pub how: How,
}

/// Enters the flow that is pending.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_enter() -> u32 {
    let (Some(config), Some(pending)) = (maps::config(), maps::pending()) else {
        return 0;
    };
    let Some(backend) = maps::backend_of(pending.backend) else {
        return 0;
    };
    let flow = NewFlow {
        key: &pending.flow,
        backend_ref: pending.backend,
        backend,
        frontend: pending.frontend,
        how: How(pending.how),
    };
    enter(config, &flow);
    0
}

/// Where the pod already knows the client's address and port by another VIP,
/// enters the flow that is pending with a source port that it does not know,
/// and says which. 0: nothing is in the way, or nothing can be done.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_other_port() -> u32 {
    let (Some(config), Some(pending)) = (maps::config(), maps::pending()) else {
        return 0;
    };
    let Some(backend) = maps::backend_of(pending.backend) else {
        return 0;
    };
    let key = &pending.flow;
    let taken = reverse_key(key, backend.addr, backend.port, key.client_port);
    if !taken_by_other(&taken, key) {
        return 0;
    }
    let Some(port) = other_port(taken, config, pending.frontend) else {
        count::event(Reason::no_source_port);
        return 0;
    };
    count::event(Reason::source_port_changed);
    let flow = NewFlow {
        key,
        backend_ref: pending.backend,
        backend,
        frontend: pending.frontend,
        how: How::new(port, state::UNPROVEN, How(pending.how).direct()),
    };
    enter(config, &flow);
    u32::from(port)
}

/// A source port that the pod does not know from this client.
#[inline(always)]
fn other_port(mut key: ReverseKey, config: &Config, frontend: u32) -> Option<u16> {
    const TRIES: u32 = 4;
    const DYNAMIC: u16 = 0xc000;
    let limit = config.rates[rate::SOURCE_PORT as usize];
    if !count::within_rate(rate::SOURCE_PORT, limit, jiffies()) {
        return None;
    }
    let taken = key.client_port;
    let hash = source_hash(u64::from(frontend), key.client, taken, key.protocol as u8);
    for attempt in 0..TRIES {
        key.client_port = DYNAMIC | (hash >> (attempt * 13)) as u16;
        if key.client_port != taken && find!(TCP_REVERSE, &key).is_none() {
            return Some(key.client_port);
        }
    }
    None
}

/// The flow as the pod sees it.
#[inline(always)]
pub fn reverse_key(flow: &FlowKey, pod: Addr, pod_port: u16, client_port: u16) -> ReverseKey {
    ReverseKey {
        client: flow.client,
        pod,
        client_port,
        pod_port,
        protocol: flow.protocol,
    }
}

/// Enters a flow in both directions. Full tables are counted and harmless: the
/// flow goes on by the pick.
#[inline(always)]
pub fn enter(config: &Config, flow: &NewFlow<'_>) {
    let seen = jiffies();
    let reverse_key = reverse_key(
        flow.key,
        flow.backend.addr,
        flow.backend.port,
        flow.how.pod_client_port(),
    );
    let mut flags = if flow.how.state() != 0 {
        reverse::CLOSING
    } else {
        0
    };
    if flow.how.direct() {
        flags |= reverse::DIRECT;
    }
    let reverse_value = ReverseValue {
        vip: flow.key.vip,
        vip_port: flow.key.vip_port,
        client_port: flow.key.client_port,
        frontend: flow.frontend,
        seen,
        flags,
        pad: [0; 2],
    };
    let value = FlowValue {
        backend: flow.backend_ref,
        frontend: flow.frontend,
        seen,
        client_fin: 0,
        pod_fin: 0,
        pod_client_port: flow.how.pod_client_port(),
        state: flow.how.state(),
        pad: [0; 4],
    };
    let entered = if flow.key.protocol == u32::from(TCP) {
        TCP_REVERSE.insert(&reverse_key, &reverse_value, 0).is_ok()
            && (TCP_FLOWS.insert(flow.key, &value, 0).is_ok() || {
                // Half a flow would be worse than none.
                let _ = TCP_REVERSE.remove(&reverse_key);
                false
            })
    } else {
        UDP_REVERSE.insert(&reverse_key, &reverse_value, 0).is_ok()
            && UDP_FLOWS.insert(flow.key, &value, 0).is_ok()
    };
    if !entered {
        count::event(Reason::flows_full);
        return;
    }
    if flow.key.protocol == u32::from(TCP) {
        let client_hash = client_hash(config, flow.key);
        mark_client(config, client_hash, 0);
        mark_client(config, client_hash, 1);
    }
    count::event(Reason::flow_established);
}

/// Notes that a client has an established flow here, in one half of the
/// filter. The agent clears and refills the half that is not in use.
#[inline(always)]
fn mark_client(config: &Config, client_hash: u64, half: u32) {
    if let Some((byte, bit)) = filter_bit(config, client_hash, half) {
        *byte |= bit;
    }
}

/// The other end of a would-be flow, if the pod already knows one of the same
/// addresses and ports that came by another VIP.
#[inline(always)]
fn taken_by_other(key: &ReverseKey, flow: &FlowKey) -> bool {
    let Some(other) = find!(TCP_REVERSE, key) else {
        return false;
    };
    if other.vip == flow.vip
        && other.vip_port == flow.vip_port
        && other.client_port == flow.client_port
    {
        return false;
    }
    let other_flow = FlowKey {
        vip: other.vip,
        client_port: other.client_port,
        vip_port: other.vip_port,
        ..*flow
    };
    find!(TCP_FLOWS, &other_flow).is_some_and(|other| !other.is_closed())
}

/// The way of the set to write an embryo to: the flow's own, a free one, or
/// the one that was written longest ago.
#[inline(always)]
pub fn place(
    set: &mut [Embryo; EMBRYO_WAYS],
    tag: u32,
    frontend: u32,
    jiffies: u32,
    zero: u32,
) -> &mut Embryo {
    for index in 0..EMBRYO_WAYS {
        if set[index].tag == tag && set[index].frontend == frontend {
            return &mut set[index];
        }
    }
    oldest(set, jiffies, zero)
}

/// A free way of the set, or the one that was written longest ago.
///
/// Without a branch on what it finds: under a flood no CPU guesses right which
/// of four that is. `zero` is [`Config::zero`], which keeps the compiler from
/// making comparisons of the shifts.
#[inline(always)]
pub fn oldest(set: &mut [Embryo; EMBRYO_WAYS], jiffies: u32, zero: u32) -> &mut Embryo {
    let sign = 63 + zero;
    let mut best = 0;
    for (index, embryo) in set.iter().enumerate() {
        let age = u64::from(jiffies.wrapping_sub(embryo.seen));
        let is_free = u64::from(embryo.tag).wrapping_sub(1) >> sign;
        let score = ((is_free << 32 | age) << 2 | index as u64) as i64;
        // The greater of the two.
        let lead = score.wrapping_sub(best);
        best = best.wrapping_add(lead & !(lead >> sign));
    }
    &mut set[best as usize & (EMBRYO_WAYS - 1)]
}
