//! How this machine reaches others, and its own pods: from netlink.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;

use super::NodeName;

pub type Mac = [u8; 6];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The way to each other node; one that is missing cannot be reached.
    pub next_hops: BTreeMap<NodeName, NextHop>,
    /// The MACs that each other node has on links that we share with it: what
    /// comes from there may have been handed over.
    pub macs: BTreeMap<NodeName, BTreeSet<Mac>>,
    /// The device on the host behind which a pod's address is.
    pub pods: BTreeMap<IpAddr, u32>,
}

/// The first hop on the way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub ifindex: u32,
    pub source_mac: Mac,
    pub mac: Mac,
    pub mtu: u32,
    pub way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The next hop is the node itself.
    SameLink,
    /// The next hop is a router: packets travel in an outer header.
    Routed { source: IpAddr, destination: IpAddr },
}
