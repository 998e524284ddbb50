//! The part of an agent that talks to the others: the real one
//! (`lb_core::moved::Talk`), between the maps of a node here and a network of
//! datagrams.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use lb_common::{
    addr::Addr,
    flow::{FlowKey, TCP, UDP},
    frontend::FrontendKey,
};
use lb_core::{
    moved::{Act, Awaiting, Living, Output, Presence, Set, Sets, Talk},
    time::Timestamp,
};

use crate::{
    endpoints::{NodeId, Tuple},
    node::{Node, Time},
    rng::low,
};

/// Flows that a node's `MOVED` has room for.
const MOVED_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) up: bool,
    pub(crate) talk: Talk,
    /// As the planner heard it last.
    pub(crate) awaiting: Awaiting,
}

/// A moment of the run by the nodes' clocks, which began earlier.
pub(crate) fn at(now: Time) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(1_000_000 + now))
}

/// Of a time of the core: in this run.
pub(crate) fn since_start(moment: Timestamp) -> Time {
    Time::try_from(moment.since(at(0)).as_millis()).unwrap_or(Time::MAX)
}

/// The only VIP and port, by protocol.
pub(crate) fn frontend(protocol: u8) -> FrontendKey {
    FrontendKey::new(Ipv4Addr::new(203, 0, 113, 80).into(), 443, protocol)
}

/// This node's number of a frontend.
pub(crate) fn frontend_id(protocol: u8) -> u32 {
    u32::from(protocol == UDP)
}

/// The key of a flow: what it says of the client is the tuple's number.
fn key(tuple: u32, protocol: u8) -> FlowKey {
    let frontend = frontend(protocol);
    FlowKey {
        client: Ipv4Addr::from(tuple).into(),
        vip: frontend.vip,
        client_port: 40_000,
        vip_port: frontend.port,
        protocol: protocol.into(),
    }
}

fn tuple_of(client: Addr) -> u32 {
    let [.., a, b, c, d] = client.bytes;
    u32::from_be_bytes([a, b, c, d])
}

impl Agent {
    pub(crate) fn new(up: bool) -> Self {
        Self {
            up,
            talk: Talk::new(1, [], MOVED_MAX),
            awaiting: Awaiting::unknown(),
        }
    }
}

impl Node {
    /// A new process of the agent, with what the maps hold.
    pub(crate) fn start_agent(
        &mut self,
        boot: u64,
        peers: &BTreeMap<NodeId, Presence>,
        protocols: &[Tuple],
        now: Time,
    ) {
        let held = self.moved.iter().filter_map(|(&tuple, &node)| {
            let index = usize::try_from(tuple).ok()?;
            Some((key(tuple, protocols.get(index)?.protocol), node))
        });
        self.agent = Agent {
            up: true,
            talk: Talk::new(boot, held, MOVED_MAX),
            awaiting: Awaiting::unknown(),
        };
        self.agent.talk.set_peers(peers, at(now));
        self.agent.talk.set_tables(&self.sets(), at(now));
    }

    /// The set of endpoints as agents talk about it.
    pub(crate) fn sets(&self) -> Sets {
        let changed = self.changed.map_or(0, |changed| at(changed).seconds());
        let set = |protocol| Set {
            id: frontend_id(protocol),
            hash: self.set.hash,
            changed_s: changed,
            nodes: self
                .set
                .nodes
                .iter()
                .copied()
                .filter(|&n| n != self.id)
                .collect(),
            serving: self
                .set
                .serving
                .iter()
                .copied()
                .filter(|&n| n != self.id)
                .collect(),
            here: self.set.nodes.contains(&self.id),
        };
        let sets = [TCP, UDP].map(|protocol| (frontend(protocol), Arc::new(set(protocol))));
        sets.into()
    }

    /// Looks through the flows.
    pub(crate) fn walk(&mut self, tuples: &[Tuple], now: Time) {
        let watched: BTreeSet<FlowKey> = self.agent.talk.watched();
        let living = self.flows.keys().filter_map(|&tuple| {
            let flow = self.established(tuple)?;
            let tuple = tuples.get(usize::try_from(tuple).ok()?)?;
            let home = self.set.home(tuple.pick);
            let living = Living {
                flow: key(tuple.id, tuple.protocol),
                idle_ms: low(now).wrapping_sub(flow.value.seen),
                elsewhere: home.filter(|&home| home != self.id),
            };
            let matters = living.elsewhere.is_some() || watched.contains(&living.flow);
            matters.then_some(living)
        });
        let living: Vec<Living> = living.collect();
        let sets = self.sets();
        self.agent.talk.walked(&sets, living, at(now));
    }

    /// The planner hears who is waited for.
    pub(crate) fn plan(&mut self, now: Time) {
        self.agent.awaiting = self.agent.talk.awaiting(at(now));
    }

    /// Does to the maps what is to be done; the datagrams that leave.
    pub(crate) fn settle(&mut self, now: Time) -> Vec<(NodeId, Vec<u8>)> {
        let mut leaving = Vec::new();
        while let Some(act) = self.agent.talk.poll_act() {
            match act {
                Act::Transmit { peer, datagram } => leaving.push((peer, datagram)),
                Act::Map(Output::Hold { flow, node }) => {
                    self.moved.insert(tuple_of(flow.client), node);
                }
                Act::Map(Output::Release { flow }) => {
                    self.moved.remove(&tuple_of(flow.client));
                }
                Act::Map(Output::Compare {
                    peer,
                    flow,
                    idle_ms,
                }) => self.compare(peer, flow, idle_ms, now),
            }
        }
        self.told = self.agent.talk.told(at(now));
        leaving
    }

    /// Of two connections of one tuple only the later one lives: a client that
    /// vanished left the other.
    fn compare(&mut self, peer: NodeId, flow: FlowKey, idle_ms: u32, now: Time) {
        let tuple = tuple_of(flow.client);
        let Some(ours) = self.established(tuple) else {
            return;
        };
        let ours_ms = low(now).wrapping_sub(ours.value.seen);
        if ours_ms > idle_ms {
            self.flows.remove(&tuple);
        } else {
            self.agent.talk.kept(peer, flow, ours_ms, at(now));
        }
    }
}
