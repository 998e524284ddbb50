//! Which prefixes which routers are told by this node: MetalLB's decision
//! (`speaker/bgp_controller.go`).
//!
//! A Service's addresses are told by a node if an advertisement for their pool
//! selects the node and the Service, the node's network is up, it is not
//! excluded, and an endpoint can be used: anywhere, or, with
//! `externalTrafficPolicy: Local`, on this node.
//!
//! What one Service offers ([`offer`]) is kept with its plan. What all offer
//! together ([`merged`]) is made anew only where an offer is another one, once
//! for all peers that are told the same, and they share it.

mod merged;
mod offer;
mod session;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::bgp;
use crate::bgp::rib::Route;
use crate::config::{self, BfdProfile};
use crate::model::ServiceName;
use crate::shared::SharedMap;

pub(super) use merged::{Merged, Offered};
pub(super) use offer::{Offer, Terms};
pub use offer::{Untold, Why};

/// A router that this node has a session with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    pub peer: config::Peer,
    pub bfd: Option<BfdProfile>,
    /// What is to be agreed on; the shell knows whether it was started anew.
    pub session: bgp::Config,
    pub prefixes: Prefixes,
    /// This node is to be left alone.
    pub leaving: bool,
}

/// What a router is told, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub route: Arc<Route>,
    /// The Services, and their addresses in it; sorted, never empty.
    pub holders: Arc<[(ServiceName, IpAddr)]>,
}

/// Peers that are told the same share them.
pub type Prefixes = SharedMap<IpNet, Prefix>;

/// By the peers' names.
pub type BgpPeers = BTreeMap<String, Arc<BgpPeer>>;
