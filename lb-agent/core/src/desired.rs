//! What should be, from what is known: the table of contents of the product.
//!
//! [`desired`] is total and deterministic, and computes everything each time
//! it is called. What it computes for one service depends on that service, on
//! its slices and on the nodes alone, so it is kept in a [`Memo`] together
//! with these, and taken again as long as they are equal; likewise what all
//! services have together, and what routers are told. Nothing else is remembered: with an empty memo the
//! result is the same.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::ipam::Assignment;
use crate::model::{
    Conditions, Delivery, FrontendAddress, Inputs, Mac, NextHop, Node, NodeName, ServiceName,
};
use crate::owner::{Absent, Candidacy};
use crate::problem::Problem;
use crate::shared::SharedMap;
use crate::table::Table;

mod bgp;
mod memo;
mod merged;
mod plan;
#[cfg(test)]
mod tests;

pub use bgp::{BgpPeer, BgpPeers, Prefix, Prefixes, Untold, Why};
pub use memo::Memo;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub vips: SharedMap<IpAddr, Arc<Vip>>,
    pub frontends: SharedMap<FrontendAddress, Arc<Frontend>>,
    /// The backends on this node, of all frontends.
    pub local: SharedMap<LocalBackend, Reach>,
    /// All other nodes.
    pub peers: BTreeMap<NodeName, Peer>,
    /// The addresses that Services are to have.
    pub assignment: Arc<Assignment>,
    /// Nodes that cannot own a VIP just now, whatever the objects say.
    pub absent: Arc<Absent>,
    /// The routers that this node has sessions with, and what they are told.
    pub bgp: BgpPeers,
    /// The addresses that this node tells none of its routers.
    pub untold: Arc<Vec<Untold>>,
    /// Sorted, each once.
    pub problems: Vec<Problem>,
}

/// An address that we answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The service that decides about it; others may have ports on it.
    pub service: ServiceName,
    /// Who answers ARP and NDP for it.
    pub owner: Option<NodeName>,
    /// That is this node.
    pub ours: bool,
    /// Who would if the owner went.
    pub next: Option<NodeName>,
    /// Who may, and why others may not.
    pub candidacy: Arc<Candidacy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub address: FrontendAddress,
    pub service: ServiceName,
    pub port_name: Arc<str>,
    pub delivery: Delivery,
    /// Equal on all nodes.
    pub seed: u64,
    /// Sorted by address and port; the table's slots name them by index.
    pub backends: Vec<Backend>,
    /// Those of them that are here.
    pub local: Vec<LocalBackend>,
    pub table: Arc<Table>,
    /// Of the set of backends, as it matters to the table and to who is asked
    /// about moved flows: equal on all nodes that see the same slices.
    pub backends_hash: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub address: IpAddr,
    /// The pod's port.
    pub port: u16,
    pub node: NodeName,
    /// That is this node.
    pub here: bool,
    pub conditions: Conditions,
}

/// A backend on this node, as the maps tell them apart. How it is reached is not
/// part of that: flows outlive a change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalBackend {
    pub address: IpAddr,
    pub port: u16,
}

/// How a backend on this node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Past the stack, by at least one service.
    pub direct: bool,
    /// The pod's device on the host; none: not known.
    pub link: Option<u32>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The way there; none: not known, and packets for it are dropped.
    pub next_hop: Option<NextHop>,
    /// The MACs that it has on our links.
    pub macs: BTreeSet<Mac>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods' addresses.
    pub pod_cidrs: Vec<IpNet>,
}

impl Backend {
    #[must_use]
    pub fn as_local(&self) -> LocalBackend {
        LocalBackend {
            address: self.address,
            port: self.port,
        }
    }
}

/// Computes what should be.
pub fn desired(inputs: &Inputs, memo: &mut Memo) -> Desired {
    memo.update(inputs);
    let mut problems: Vec<_> = memo.problems().cloned().collect();
    let merged = memo.merged();
    unknown_links(&merged.local, &mut problems);
    let peers = peers(inputs, &mut problems);
    let assignment = memo.assignment();
    refusals(&assignment, &mut problems);
    let refused = inputs.facts.config.refused.iter().cloned();
    problems.extend(refused.map(|refused| Problem::ConfigurationRefused { refused }));
    let told = memo.bgp();
    problems.sort_unstable();
    problems.dedup();
    Desired {
        vips: merged.vips.clone(),
        bgp: told.peers.clone(),
        untold: told.untold.clone(),
        frontends: merged.frontends.clone(),
        local: merged.local.clone(),
        peers,
        assignment,
        absent: memo.absent(),
        problems,
    }
}

/// Who gets no address is told why, and not that it has none.
fn refusals(assignment: &Assignment, problems: &mut Vec<Problem>) {
    let refused = |service: &ServiceName| {
        let allocation = assignment.allocations.get(service)?;
        allocation.refusal.as_ref()
    };
    problems.retain(|problem| match problem {
        Problem::NoVip { service } => refused(service).is_none(),
        _ => true,
    });
    for (service, allocation) in &assignment.allocations {
        if let Some(refusal) = &allocation.refusal {
            problems.push(Problem::NotAllocated {
                service: service.clone(),
                keeps: allocation.addresses.clone(),
                refusal: refusal.clone(),
            });
        }
    }
}

/// Pods that are to be reached directly, who knows how.
fn unknown_links(local: &SharedMap<LocalBackend, Reach>, problems: &mut Vec<Problem>) {
    for (backend, reach) in local {
        if reach.direct && reach.link.is_none() {
            problems.push(Problem::PodLinkUnknown {
                address: backend.address,
            });
        }
    }
}

fn peers(inputs: &Inputs, problems: &mut Vec<Problem>) -> BTreeMap<NodeName, Peer> {
    let this = &inputs.this_node;
    let nodes = &inputs.facts.nodes;
    if !nodes.contains_key(this) {
        problems.push(Problem::ThisNodeUnknown { node: this.clone() });
    }
    let others = nodes.values().filter(|node| node.name != *this);
    others
        .map(|node| {
            let peer = peer(inputs, node);
            if peer.next_hop.is_none() {
                let node = node.name.clone();
                problems.push(Problem::NoNextHop { node });
            }
            (node.name.clone(), peer)
        })
        .collect()
}

fn peer(inputs: &Inputs, node: &Node) -> Peer {
    Peer {
        next_hop: inputs.links.next_hops.get(&node.name).copied(),
        macs: inputs
            .links
            .macs
            .get(&node.name)
            .cloned()
            .unwrap_or_default(),
        addresses: node.addresses.clone(),
        pod_cidrs: node.pod_cidrs.clone(),
    }
}
