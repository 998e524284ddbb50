//! What every map holds, or should hold.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::filter::{AddrFilter, FILTER_WORDS};
use lb_common::frontend::{FrontendKey, FrontendValue};
use lb_common::maps::NodeNet;
use lb_common::node::{MAC_BUCKETS, MacBucket, NodeMacs, NodeName, NodeNetValue, NodeValue};
use lb_common::table::Slot;
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName};

use crate::desired::Frontend;

/// All maps that the agent alone writes. `CONFIG` is the shell's, which knows
/// the uplinks; flows are the programs' own.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Whether this node owns it. Until when it answers is the shell's to push
    /// forward.
    pub vips: BTreeMap<Addr, bool>,
    pub frontends: BTreeMap<FrontendKey, FrontendImage>,
    pub backends: BTreeMap<u16, BackendValue>,
    pub nodes: BTreeMap<u16, NodeImage>,
    pub node_macs: Box<NodeMacs>,
    pub node_nets: BTreeMap<NodeNet, NodeNetValue>,
    pub vip_filter: Box<AddrFilter>,
    pub pod_filter: Box<AddrFilter>,
    /// Entries of frontends that are not there: a plan was cut short.
    pub stray_endpoints: BTreeSet<EndpointKey>,
    pub stray_names: BTreeSet<u32>,
}

/// A node's entries in `NODES` and `NODE_NAMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeImage {
    pub value: NodeValue,
    pub name: NodeName,
}

/// All entries of one frontend.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendImage {
    pub value: FrontendValue,
    pub body: Arc<Body>,
}

/// The part of a frontend that is large, and shared while it stays the same.
#[derive(Clone, Debug)]
pub struct Body {
    pub slots: Arc<[Slot]>,
    pub endpoints: BTreeMap<EndpointKey, EndpointValue>,
    /// None: it could not be read back.
    pub name: Option<FrontendName>,
    /// What it was made from, if it was made here and nothing was lacking:
    /// as long as that is the same, so is this.
    pub(super) source: Option<Arc<Frontend>>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.endpoints == other.endpoints
            && (Arc::ptr_eq(&self.slots, &other.slots) || self.slots == other.slots)
    }
}

impl FrontendImage {
    /// Equal, told from the pointer where that is possible.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.value == other.value && self.same_body(other)
    }

    pub(super) fn same_body(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.body, &other.body) || self.body == other.body
    }
}

impl Default for Image {
    /// What maps hold that have just been made.
    fn default() -> Self {
        Self {
            vips: BTreeMap::new(),
            frontends: BTreeMap::new(),
            backends: BTreeMap::new(),
            nodes: BTreeMap::new(),
            node_macs: Box::new(NO_MACS),
            node_nets: BTreeMap::new(),
            vip_filter: Box::new(NO_ADDRESSES),
            pod_filter: Box::new(NO_ADDRESSES),
            stray_endpoints: BTreeSet::new(),
            stray_names: BTreeSet::new(),
        }
    }
}

pub(super) const NO_ADDRESSES: AddrFilter = AddrFilter {
    words: [0; FILTER_WORDS],
};

pub(super) const NO_MACS: NodeMacs = NodeMacs {
    buckets: [MacBucket {
        ways: [lb_common::node::MacEntry {
            mac: [0; 6],
            node: 0,
        }; lb_common::node::MAC_WAYS],
    }; MAC_BUCKETS],
};
