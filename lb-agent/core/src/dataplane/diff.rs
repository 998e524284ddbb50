//! The steps from one image to another.
//!
//! What others refer to is put first and removed last, so that the maps are
//! whole after every step, also where the agent dies between two of them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::filter::AddrFilter;
use lb_common::frontend::{FrontendKey, FrontendValue};
use lb_common::maps::NodeNet;
use lb_common::node::{NodeMacs, NodeNetValue};
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName};

use super::image::{FrontendImage, Image, NodeImage};
use super::slots::Slots;
use crate::shared::pairs;

/// One write to the maps.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `NODES` and `NODE_NAMES`.
    PutNode(u16, Box<NodeImage>),
    PutNodeNet(NodeNet, NodeNetValue),
    PutNodeMacs(Box<NodeMacs>),
    PutBackend(u16, BackendValue),
    PutPodFilter(Box<AddrFilter>),
    PutVipFilter(Box<AddrFilter>),
    /// `TABLES`, from this chunk on.
    PutTable(u32, Slots),
    PutName(u32, Box<FrontendName>),
    PutEndpoint(EndpointKey, EndpointValue),
    PutFrontend(FrontendKey, FrontendValue),
    /// `VIPS`; true: this node owns it, and the shell says until when.
    PutVip(Addr, bool),
    /// `TRAFFIC`: the id counts for another frontend from here on.
    ResetTraffic(u32),
    /// `POD_TRAFFIC`: the id counts for another backend from here on.
    ResetPodTraffic(u16),
    RemoveVip(Addr),
    RemoveFrontend(FrontendKey),
    RemoveEndpoint(EndpointKey),
    RemoveName(u32),
    RemoveBackend(u16),
    RemoveNodeNet(NodeNet),
    RemoveNode(u16),
}

/// The steps that make `current` into `target`, in the order to take them.
#[must_use]
pub fn diff(current: &Image, target: &Image) -> Vec<Step> {
    let mut plan = Plan {
        steps: Vec::new(),
        removals: Vec::new(),
    };
    plan.nodes(current, target);
    plan.backends(current, target);
    plan.vip_filter(current, target);
    plan.frontends(current, target);
    let vips = current.vips.unshared(&target.vips);
    for (vip, change) in changes(vips, |a, b| a == b) {
        match change {
            Change::Put(_, ours) => plan.steps.push(Step::PutVip(*vip, *ours)),
            Change::Remove(_) => plan.removals.push(Step::RemoveVip(*vip)),
        }
    }
    let Plan {
        mut steps,
        mut removals,
    } = plan;
    // Collected in the order of putting.
    removals.reverse();
    steps.append(&mut removals);
    steps
}

struct Plan {
    steps: Vec<Step>,
    /// In the order in which things would be put: backwards.
    removals: Vec<Step>,
}

impl Plan {
    fn nodes(&mut self, current: &Image, target: &Image) {
        let nodes = pairs(current.nodes.iter(), target.nodes.iter());
        for (id, change) in changes(nodes, |a, b| a == b) {
            match change {
                Change::Put(_, node) => self.steps.push(Step::PutNode(*id, Box::new(*node))),
                Change::Remove(_) => self.removals.push(Step::RemoveNode(*id)),
            }
        }
        let nets = pairs(current.node_nets.iter(), target.node_nets.iter());
        for (net, change) in changes(nets, |a, b| a == b) {
            match change {
                Change::Put(_, value) => self.steps.push(Step::PutNodeNet(*net, *value)),
                Change::Remove(_) => self.removals.push(Step::RemoveNodeNet(*net)),
            }
        }
        if current.node_macs != target.node_macs {
            let macs = target.node_macs.clone();
            self.steps.push(Step::PutNodeMacs(macs));
        }
    }

    /// A filter says yes to the old and the new until both are done.
    fn backends(&mut self, current: &Image, target: &Image) {
        let union = union(&current.pod_filter, &target.pod_filter);
        if union != current.pod_filter {
            self.steps.push(Step::PutPodFilter(union.clone()));
        }
        if target.pod_filter != union {
            let exact = target.pod_filter.clone();
            self.removals.push(Step::PutPodFilter(exact));
        }
        let backends = current.backends.unshared(&target.backends);
        for (id, change) in changes(backends, |a, b| a == b) {
            match change {
                Change::Put(old, value) => {
                    if old.is_none_or(|old| old.generation != value.generation) {
                        self.steps.push(Step::ResetPodTraffic(*id));
                    }
                    self.steps.push(Step::PutBackend(*id, *value));
                }
                Change::Remove(_) => self.removals.push(Step::RemoveBackend(*id)),
            }
        }
    }

    fn vip_filter(&mut self, current: &Image, target: &Image) {
        let union = union(&current.vip_filter, &target.vip_filter);
        if union != current.vip_filter {
            self.steps.push(Step::PutVipFilter(union.clone()));
        }
        if target.vip_filter != union {
            let exact = target.vip_filter.clone();
            self.removals.push(Step::PutVipFilter(exact));
        }
    }

    fn frontends(&mut self, current: &Image, target: &Image) {
        let strays = current.stray_endpoints.iter();
        let strays = strays.map(|key| Step::RemoveEndpoint(*key));
        self.steps.extend(strays);
        let names = current.stray_names.iter();
        self.steps.extend(names.map(|id| Step::RemoveName(*id)));
        let frontends = current.frontends.unshared(&target.frontends);
        for (key, change) in changes(frontends, FrontendImage::same) {
            match change {
                Change::Put(old, new) => self.frontend(key, old, new),
                Change::Remove(old) => {
                    let endpoints = old.body.endpoints.keys();
                    let endpoints = endpoints.map(|key| Step::RemoveEndpoint(*key));
                    self.removals.extend(endpoints);
                    if old.body.name.is_some() {
                        self.removals.push(Step::RemoveName(old.value.id));
                    }
                    self.removals.push(Step::RemoveFrontend(*key));
                }
            }
        }
    }

    fn frontend(&mut self, key: &FrontendKey, old: Option<&FrontendImage>, new: &FrontendImage) {
        let FrontendImage { value, body } = new;
        let same_id = old.filter(|old| old.value.id == value.id);
        if same_id.is_none() {
            self.steps.push(Step::ResetTraffic(value.id));
        }
        if old.is_none_or(|old| !new.same_body(old) || old.value.chunk != value.chunk) {
            if let Some(name) = body.name
                && same_id.is_none_or(|old| old.body.name != body.name)
            {
                self.steps.push(Step::PutName(value.id, Box::new(name)));
            }
            let none = BTreeMap::new();
            let known = old.map_or(&none, |old| &old.body.endpoints);
            let endpoints = pairs(known.iter(), body.endpoints.iter());
            for (key, change) in changes(endpoints, |a, b| a == b) {
                match change {
                    Change::Put(_, value) => self.steps.push(Step::PutEndpoint(*key, *value)),
                    Change::Remove(_) => self.removals.push(Step::RemoveEndpoint(*key)),
                }
            }
            // After the endpoints: who is displaced cannot be seen any more
            // when a table has been changed where it is.
            let there = old
                .is_some_and(|old| old.value.chunk == value.chunk && old.body.slots == body.slots);
            if !there {
                self.steps
                    .push(Step::PutTable(value.chunk, body.slots.clone()));
            }
            if let Some(old) = old
                && same_id.is_none()
                && old.body.name.is_some()
            {
                self.removals.push(Step::RemoveName(old.value.id));
            }
        }
        if old.is_none_or(|old| old.value != *value) {
            self.steps.push(Step::PutFrontend(*key, *value));
        }
    }
}

fn union(one: &AddrFilter, other: &AddrFilter) -> Box<AddrFilter> {
    let mut union = Box::new(*one);
    for (word, more) in union.words.iter_mut().zip(other.words) {
        *word |= more;
    }
    union
}

enum Change<'a, V> {
    /// The old value, if there is one, and the new.
    Put(Option<&'a V>, &'a V),
    Remove(&'a V),
}

/// Those that differ.
fn changes<'a, K: 'a, V: 'a>(
    pairs: impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)>,
    same: impl Fn(&V, &V) -> bool,
) -> impl Iterator<Item = (&'a K, Change<'a, V>)> {
    pairs.filter_map(move |(key, old, new)| match (old, new) {
        (Some(old), Some(new)) if same(old, new) => None,
        (old, Some(new)) => Some((key, Change::Put(old, new))),
        (Some(old), None) => Some((key, Change::Remove(old))),
        (None, None) => None,
    })
}
