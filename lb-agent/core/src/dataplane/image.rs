//! What every map holds, or should hold.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use lb_common::addr::Addr;
use lb_common::backend::{self, BackendValue};
use lb_common::filter::{AddrFilter, FILTER_WORDS};
use lb_common::frontend::{FrontendKey, FrontendValue};
use lb_common::maps::NodeNet;
use lb_common::node::{MAC_BUCKETS, MacBucket, NodeMacs, NodeNetValue, NodeValue};
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName};

use super::names;
use super::slots::Slots;
use crate::desired::{Frontend, LocalBackend, Reach};
use crate::model::{FrontendAddress, NodeName};
use crate::shared::SharedMap;

/// All maps that the agent alone writes. `CONFIG` is the shell's, which knows
/// the uplinks; flows are the programs' own.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Whether this node owns it. Until when it answers is the shell's to push
    /// forward.
    pub vips: SharedMap<Addr, bool>,
    pub frontends: SharedMap<FrontendKey, FrontendImage>,
    pub backends: SharedMap<u16, BackendValue>,
    pub nodes: BTreeMap<u16, NodeImage>,
    pub node_macs: Box<NodeMacs>,
    pub node_nets: BTreeMap<NodeNet, NodeNetValue>,
    pub vip_filter: Box<AddrFilter>,
    pub pod_filter: Box<AddrFilter>,
    /// Entries of frontends that are not there: a plan was cut short.
    pub stray_endpoints: BTreeSet<EndpointKey>,
    pub stray_names: BTreeSet<u32>,
    /// The backends by what they are. Nothing that they do not say: where two
    /// are the same, one of them.
    pub(super) ids: SharedMap<LocalBackend, u16>,
    pub(super) reaches: SharedMap<LocalBackend, Reach>,
    pub(super) sources: Sources,
}

/// What frontends were made from, where that was done here and nothing was
/// lacking: as long as it is the same, so are they.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(pub(super) SharedMap<FrontendAddress, Arc<Frontend>>);

/// Maps that are read back do not say it.
impl PartialEq for Sources {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A node's entries in `NODES` and `NODE_NAMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeImage {
    pub value: NodeValue,
    pub name: lb_common::node::NodeName,
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
    pub slots: Slots,
    pub endpoints: BTreeMap<EndpointKey, EndpointValue>,
    /// None: it could not be read back.
    pub name: Option<FrontendName>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.endpoints == other.endpoints && self.slots == other.slots
    }
}

impl Image {
    /// The number of each of these nodes that has one.
    #[must_use]
    pub fn node_ids<T>(&self, nodes: &BTreeMap<NodeName, T>) -> BTreeMap<NodeName, u16> {
        let labels = self.nodes.iter();
        let labels: BTreeMap<_, _> = labels.map(|(id, node)| (node.name.name, *id)).collect();
        let known = |name: &NodeName| labels.get(&names::padded(name.as_str())).copied();
        nodes
            .keys()
            .filter_map(|name| Some((name.clone(), known(name)?)))
            .collect()
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

impl Image {
    /// Sets what follows from the backends.
    pub(super) fn index_backends(&mut self) {
        let backends = self.backends.iter();
        let named = backends.map(|(id, value)| (local_backend(value), *id));
        self.ids = named.collect();
        let backends = self.backends.values();
        let reached = backends.map(|value| (local_backend(value), reach(value)));
        self.reaches = reached.collect();
    }
}

fn local_backend(value: &BackendValue) -> LocalBackend {
    LocalBackend {
        address: value.addr.into(),
        port: value.port,
    }
}

fn reach(value: &BackendValue) -> Reach {
    Reach {
        direct: value.flags & backend::flags::DIRECT != 0,
        link: (value.ifindex != 0).then_some(value.ifindex),
    }
}

impl Default for Image {
    /// What maps hold that have just been made.
    fn default() -> Self {
        Self {
            vips: SharedMap::new(),
            frontends: SharedMap::new(),
            backends: SharedMap::new(),
            nodes: BTreeMap::new(),
            node_macs: Box::new(NO_MACS),
            node_nets: BTreeMap::new(),
            vip_filter: Box::new(NO_ADDRESSES),
            pod_filter: Box::new(NO_ADDRESSES),
            stray_endpoints: BTreeSet::new(),
            stray_names: BTreeSet::new(),
            ids: SharedMap::new(),
            reaches: SharedMap::new(),
            sources: Sources::default(),
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
