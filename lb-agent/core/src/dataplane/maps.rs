//! The maps as plain values: what the shell reads back from the kernel, and
//! what tests write to instead of it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::filter::AddrFilter;
use lb_common::frontend::{FrontendKey, FrontendValue};
use lb_common::maps::NodeNet;
use lb_common::node::{NodeMacs, NodeName, NodeNetValue, NodeValue};
use lb_common::table::{CHUNK_SLOTS, Slot};
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName};

use super::diff::Step;
use super::image::{Body, FrontendImage, Image, NO_ADDRESSES, NO_MACS, NodeImage};
use super::places::chunks_of;
use super::slots::Slots;
use crate::table::TABLE_SLOTS_MAX;

/// What the maps hold, entry by entry. Of arrays, the entries in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Maps {
    /// Whether this node owns it: its expiry is not 0.
    pub vips: BTreeMap<Addr, bool>,
    pub frontends: BTreeMap<FrontendKey, FrontendValue>,
    /// By chunk. Those that no frontend refers to may be left out.
    pub tables: BTreeMap<u32, Box<[Slot; CHUNK_SLOTS]>>,
    pub names: BTreeMap<u32, FrontendName>,
    pub endpoints: BTreeMap<EndpointKey, EndpointValue>,
    /// Those whose generation is not 0.
    pub backends: BTreeMap<u16, BackendValue>,
    /// Those that have a name.
    pub nodes: BTreeMap<u16, NodeValue>,
    pub node_names: BTreeMap<u16, NodeName>,
    pub node_macs: Box<NodeMacs>,
    pub node_nets: BTreeMap<NodeNet, NodeNetValue>,
    pub vip_filter: Box<AddrFilter>,
    pub pod_filter: Box<AddrFilter>,
}

impl Default for Maps {
    fn default() -> Self {
        Self {
            vips: BTreeMap::new(),
            frontends: BTreeMap::new(),
            tables: BTreeMap::new(),
            names: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            backends: BTreeMap::new(),
            nodes: BTreeMap::new(),
            node_names: BTreeMap::new(),
            node_macs: Box::new(NO_MACS),
            node_nets: BTreeMap::new(),
            vip_filter: Box::new(NO_ADDRESSES),
            pod_filter: Box::new(NO_ADDRESSES),
        }
    }
}

impl Maps {
    /// Does what the shell does with a step.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::PutNode(id, node) => {
                self.nodes.insert(*id, node.value);
                self.node_names.insert(*id, node.name);
            }
            Step::PutNodeNet(net, value) => {
                self.node_nets.insert(*net, *value);
            }
            Step::PutNodeMacs(macs) => self.node_macs = macs.clone(),
            Step::PutBackend(id, value) => {
                self.backends.insert(*id, *value);
            }
            Step::PutPodFilter(filter) => self.pod_filter = filter.clone(),
            Step::PutVipFilter(filter) => self.vip_filter = filter.clone(),
            Step::PutTable(first, slots) => self.put_table(*first, slots),
            Step::PutName(id, name) => {
                self.names.insert(*id, **name);
            }
            Step::PutEndpoint(key, value) => {
                self.endpoints.insert(*key, *value);
            }
            Step::PutFrontend(key, value) => {
                self.frontends.insert(*key, *value);
            }
            Step::PutVip(vip, ours) => {
                self.vips.insert(*vip, *ours);
            }
            Step::ResetTraffic(_) | Step::ResetPodTraffic(_) => {}
            Step::RemoveVip(vip) => {
                self.vips.remove(vip);
            }
            Step::RemoveFrontend(key) => {
                self.frontends.remove(key);
            }
            Step::RemoveEndpoint(key) => {
                self.endpoints.remove(key);
            }
            Step::RemoveName(id) => {
                self.names.remove(id);
            }
            Step::RemoveBackend(id) => {
                self.backends.remove(id);
            }
            Step::RemoveNodeNet(net) => {
                self.node_nets.remove(net);
            }
            Step::RemoveNode(id) => {
                self.nodes.remove(id);
                self.node_names.remove(id);
            }
        }
    }

    fn put_table(&mut self, first: u32, slots: &Slots) {
        let chunks = slots.len().div_ceil(CHUNK_SLOTS);
        let mut slots = slots.iter();
        for chunk in (first..).take(chunks) {
            let mut whole = [Slot::default(); CHUNK_SLOTS];
            for (to, from) in whole.iter_mut().zip(slots.by_ref()) {
                *to = from;
            }
            self.tables.insert(chunk, Box::new(whole));
        }
    }

    fn table(&self, value: &FrontendValue) -> Slots {
        // Whatever is read, it is no reason to take all memory.
        let slots = value.slots.min(TABLE_SLOTS_MAX);
        let chunks = value.chunk..value.chunk.saturating_add(chunks_of(slots));
        let empty = [Slot::default(); CHUNK_SLOTS];
        let chunk = |chunk| self.tables.get(&chunk).map_or(&empty, |slots| &**slots);
        let slots = usize::try_from(slots).unwrap_or(0);
        chunks.flat_map(chunk).copied().take(slots).collect()
    }
}

impl Image {
    /// The image of maps that were read back.
    #[must_use]
    pub fn read(maps: &Maps) -> Self {
        let mut endpoints: BTreeMap<u32, BTreeMap<EndpointKey, EndpointValue>> = BTreeMap::new();
        for (key, value) in &maps.endpoints {
            let group = endpoints.entry(key.frontend).or_default();
            group.insert(*key, *value);
        }
        let mut names = maps.names.clone();
        let frontends = maps
            .frontends
            .iter()
            .map(|(key, value)| {
                let body = Body {
                    slots: maps.table(value),
                    endpoints: endpoints.remove(&value.id).unwrap_or_default(),
                    name: names.remove(&value.id),
                };
                let body = Arc::new(body);
                (
                    *key,
                    FrontendImage {
                        value: *value,
                        body,
                    },
                )
            })
            .collect();
        let strays: Vec<_> = endpoints.into_values().flatten().collect();
        let backends = maps.backends.iter();
        let mut image = Self {
            vips: maps.vips.iter().map(|(vip, ours)| (*vip, *ours)).collect(),
            frontends,
            backends: backends.map(|(id, value)| (*id, *value)).collect(),
            nodes: nodes(maps),
            node_macs: maps.node_macs.clone(),
            node_nets: maps.node_nets.clone(),
            vip_filter: maps.vip_filter.clone(),
            pod_filter: maps.pod_filter.clone(),
            stray_endpoints: strays.into_iter().map(|(key, _)| key).collect(),
            stray_names: names.into_keys().collect(),
            ..Self::default()
        };
        image.index_backends();
        image
    }
}

/// A node without a name cannot be told from another, and gets no packets:
/// whoever has it in a table has its name too.
fn nodes(maps: &Maps) -> BTreeMap<u16, NodeImage> {
    let named = maps.node_names.iter();
    named
        .filter_map(|(id, name)| {
            let value = *maps.nodes.get(id)?;
            Some((*id, NodeImage { value, name: *name }))
        })
        .collect()
}
