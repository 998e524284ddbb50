//! Sets of endpoints and their pick tables: what an agent applies.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
};

use lb_common::{
    addr::Addr,
    hash::{mix, source_hash},
    table::{Slot, Target, slot_index},
};
use lb_core::table::{Candidate, build};

use crate::rng::Rng;

pub(crate) type NodeId = u16;
pub(crate) type PodId = u16;

/// An endpoint of an EndpointSlice. Present in any condition: it counts until
/// it leaves the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) pod: PodId,
    pub(crate) node: NodeId,
    /// Takes new flows.
    pub(crate) usable: bool,
    /// Answers those that it has.
    pub(crate) serving: bool,
}

/// A set of endpoints, with the table that it gives on every node.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) hash: u64,
    pub(crate) pods: BTreeSet<PodId>,
    /// The nodes that have endpoints.
    pub(crate) nodes: BTreeSet<NodeId>,
    /// Those of them that have some that serve, if only the flows they have.
    pub(crate) serving: BTreeSet<NodeId>,
    slots: Vec<[Option<(PodId, NodeId)>; 2]>,
}

impl Set {
    /// The slot as the table of node `me` has it.
    pub(crate) fn slot(&self, pick: u64, me: NodeId) -> Slot {
        let target = |place: Option<(PodId, NodeId)>| match place {
            None => Target::NONE,
            Some((pod, node)) if node == me => Target::local(pod),
            Some((_, node)) => Target::node(node),
        };
        let [now, next] = self.at(pick);
        Slot {
            now: target(now),
            next: target(next),
        }
    }

    /// The node that the packets of a flow come to.
    pub(crate) fn home(&self, pick: u64) -> Option<NodeId> {
        let [now, next] = self.at(pick);
        now.or(next).map(|(_, node)| node)
    }

    fn at(&self, pick: u64) -> [Option<(PodId, NodeId)>; 2] {
        let slots = u32::try_from(self.slots.len()).unwrap_or(0);
        let index = usize::try_from(slot_index(pick, slots)).unwrap_or(0);
        self.slots.get(index).copied().unwrap_or_default()
    }
}

/// Builds each set's table once, for all nodes.
#[derive(Debug)]
pub(crate) struct Tables {
    seed: u64,
    built: BTreeMap<Vec<Endpoint>, Rc<Set>>,
}

impl Tables {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            built: BTreeMap::new(),
        }
    }

    pub(crate) fn set(&mut self, endpoints: Vec<Endpoint>) -> Rc<Set> {
        if let Some(set) = self.built.get(&endpoints) {
            return Rc::clone(set);
        }
        let set = Rc::new(self.build(&endpoints));
        self.built.insert(endpoints, Rc::clone(&set));
        set
    }

    fn build(&self, endpoints: &[Endpoint]) -> Set {
        let candidates: Vec<Candidate> = endpoints.iter().map(candidate).collect();
        let table = build(self.seed, &candidates);
        let place = |index: Option<usize>| {
            let endpoint = index.and_then(|index| endpoints.get(index));
            endpoint.map(|endpoint| (endpoint.pod, endpoint.node))
        };
        let slots = table.slots();
        let serving = endpoints.iter().filter(|endpoint| endpoint.serving);
        Set {
            serving: serving.map(|endpoint| endpoint.node).collect(),
            hash: endpoints.iter().fold(mix(self.seed), |hash, endpoint| {
                mix(hash ^ (u64::from(endpoint.pod) << 1 | u64::from(endpoint.usable)))
            }),
            pods: endpoints.iter().map(|endpoint| endpoint.pod).collect(),
            nodes: endpoints.iter().map(|endpoint| endpoint.node).collect(),
            slots: slots
                .map(|slot| [place(slot.now()), place(slot.next())])
                .collect(),
        }
    }

    /// A client's address and port, with its place in every table.
    pub(crate) fn tuple(&self, id: u32, protocol: u8, rng: &mut Rng) -> Tuple {
        // Documentation and benchmark ranges: 198.18.0.0/15 (RFC 2544).
        let client = Addr::from(Ipv4Addr::from(0xc612_0000 | (rng.word() & 0x1_ffff)));
        let port = u16::try_from(rng.between(1024, 65_535)).unwrap_or(1024);
        Tuple {
            id,
            client,
            port,
            protocol,
            pick: source_hash(self.seed, client, port, protocol),
        }
    }
}

fn candidate(endpoint: &Endpoint) -> Candidate {
    Candidate {
        address: IpAddr::V4(Ipv4Addr::from(
            0x0a00_0002 + (u32::from(endpoint.node) << 8) + (u32::from(endpoint.pod) << 16),
        )),
        port: 8080,
        usable: endpoint.usable,
    }
}

/// A client's address, port and protocol; the VIP and its port are the same
/// for all. Named by a number, which stands for the flow key in the maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuple {
    pub(crate) id: u32,
    pub(crate) client: Addr,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
    pub(crate) pick: u64,
}
