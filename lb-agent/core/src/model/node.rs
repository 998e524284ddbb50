//! Machines.

use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{Labels, NodeName};

/// A Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: NodeName,
    /// Internal and external, in the object's order.
    pub addresses: Vec<IpAddr>,
    pub pod_cidrs: Vec<IpNet>,
    /// Carries the label `node.kubernetes.io/exclude-from-external-load-balancers`:
    /// owns no VIP, but its pods are backends like others.
    pub excluded: bool,
    /// The condition of that name: its network is not set up.
    pub network_unavailable: bool,
    pub labels: Labels,
}

impl Node {
    /// Whether it may own a VIP.
    #[must_use]
    pub fn may_own(&self) -> bool {
        !self.excluded && !self.network_unavailable
    }
}
