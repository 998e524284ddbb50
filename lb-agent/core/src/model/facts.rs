//! Everything that the desired state is a function of.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Labels, Links, Members, Node, NodeName, Service, ServiceName, Slice};
use crate::config::Kept;
use crate::shared::SharedMap;

/// What the user and the cluster say. The same on all nodes, once they have
/// all seen it.
///
/// Whole objects, shared: what has not changed since the last time is told by
/// looking at the pointer first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub origin: Origin,
    pub services: SharedMap<ServiceName, Arc<Service>>,
    /// All slices of a service together, whether or not it is ours.
    pub slices: SharedMap<ServiceName, Arc<Vec<Slice>>>,
    pub nodes: BTreeMap<NodeName, Arc<Node>>,
    /// Pools, advertisements, peers: what an administrator says.
    pub config: Kept,
    /// The labels of each namespace.
    pub namespaces: BTreeMap<Arc<str>, Arc<Labels>>,
    /// Services that were given addresses and are of another type by now, with
    /// the addresses that their status still has.
    pub released: BTreeMap<ServiceName, Arc<Vec<IpAddr>>>,
    /// The addresses of Services that others serve: another load balancer may
    /// have the same pools.
    pub foreign: BTreeMap<ServiceName, Arc<Vec<IpAddr>>>,
}

/// Who keeps the status of Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: facts from files. What is assigned holds as it is computed.
    #[default]
    Files,
    /// One of the agents writes there what is assigned; it holds as soon as it
    /// is written.
    Cluster,
}

#[derive(Clone, Debug)]
pub struct Inputs {
    pub facts: Facts,
    pub this_node: NodeName,
    /// Known to all nodes and to nobody else: clients must not be able to tell
    /// which source port leads to which pod.
    pub secret: Vec<u8>,
    pub links: Links,
    pub members: Members,
    /// Nodes whose VIPs may be taken over, as the fence finds; none: there is
    /// no fence, and members that are down are free.
    pub free: Option<BTreeSet<NodeName>>,
}
