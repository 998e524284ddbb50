//! What was computed for each service, with what it was computed from.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::plan::{Plan, plan};
use crate::config::Configuration;
use crate::ipam::{self, Assignment, served};
use crate::model::{Inputs, Node, NodeName, Origin, Service, Slice};
use crate::owner::{Absent, Electorate};

/// The plans of the last time. Start with an empty one, and hand the same one
/// in again.
#[derive(Debug, Default)]
pub struct Memo {
    ipam: ipam::Memo,
    roster: Roster,
    absent: Arc<Absent>,
    /// Sorted by the service's name.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    service: Arc<Service>,
    /// When it was made, the youngest last; here, since services lie all over
    /// the memory.
    made_s: u64,
    slices: Option<Arc<Vec<Slice>>>,
    /// The addresses that it was planned for.
    served: Vec<IpAddr>,
    plan: Plan,
}

/// What all plans depend on.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) this_node: NodeName,
    pub(super) secret: Vec<u8>,
    pub(super) nodes: BTreeMap<NodeName, Arc<Node>>,
    /// Whose address it is.
    pub(super) addresses: BTreeMap<IpAddr, NodeName>,
    pub(super) electorate: Electorate,
    /// What the electorate is made of, beside the nodes.
    origin: Origin,
    config: Option<Arc<Configuration>>,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            this_node: NodeName::new(""),
            secret: Vec::new(),
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            electorate: Electorate::default(),
            origin: Origin::default(),
            config: None,
        }
    }
}

impl Roster {
    fn new(inputs: &Inputs) -> Self {
        let nodes = &inputs.facts.nodes;
        let addresses = nodes.values().flat_map(|node| {
            let addresses = node.addresses.iter();
            addresses.map(|address| (*address, node.name.clone()))
        });
        Self {
            this_node: inputs.this_node.clone(),
            secret: inputs.secret.clone(),
            nodes: nodes.clone(),
            addresses: addresses.collect(),
            electorate: Electorate::new(&inputs.facts),
            origin: inputs.facts.origin,
            config: inputs.facts.config.good.clone(),
        }
    }

    fn holds_for(&self, inputs: &Inputs) -> bool {
        self.nodes == inputs.facts.nodes
            && self.this_node == inputs.this_node
            && self.secret == inputs.secret
            && self.origin == inputs.facts.origin
            && match (&self.config, &inputs.facts.config.good) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                (a, b) => a.is_none() && b.is_none(),
            }
    }
}

impl Memo {
    /// All plans, with when their service was made.
    pub(super) fn plans(&self) -> impl Iterator<Item = (u64, &Plan)> {
        self.entries.iter().map(|entry| (entry.made_s, &entry.plan))
    }

    pub(super) fn assignment(&self) -> Arc<Assignment> {
        self.ipam.assignment()
    }

    pub(super) fn absent(&self) -> Arc<Absent> {
        self.absent.clone()
    }

    /// Makes the plans those of `inputs`. Services, slices and old plans are
    /// all in the order of the names, so one walk over them does; looking each
    /// name up would take longer than all the rest.
    pub(super) fn update(&mut self, inputs: &Inputs) {
        let same_roster = self.roster.holds_for(inputs);
        if !same_roster {
            self.roster = Roster::new(inputs);
        }
        let absent = Absent::new(&inputs.members, &inputs.facts.nodes);
        if *self.absent != absent {
            self.absent = Arc::new(absent);
            for entry in &mut self.entries {
                entry.plan.elect(&self.roster, &self.absent);
            }
        }
        // Where statuses say what is served, a Service that has not changed is
        // served at the same addresses.
        let origin = inputs.facts.origin;
        let same_served = !self.ipam.update(&inputs.facts) || origin == Origin::Cluster;
        let assignment = self.ipam.assignment();
        let mut old = core::mem::take(&mut self.entries).into_iter().peekable();
        let mut slices = inputs.facts.slices.iter().peekable();
        self.entries.reserve_exact(inputs.facts.services.len());
        for service in inputs.facts.services.values() {
            // Mostly nothing has changed, which the pointers tell; names lie
            // all over the memory.
            if same_roster
                && same_served
                && let Some(entry) = old.next_if(|old| {
                    let now = slices.peek().map(|(_, slices)| *slices);
                    Arc::ptr_eq(&old.service, service)
                        && matches!((&old.slices, now), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
                })
            {
                slices.next();
                self.entries.push(entry);
                continue;
            }
            while slices.next_if(|(name, _)| **name < service.name).is_some() {}
            let slices = slices
                .next_if(|(name, _)| **name == service.name)
                .map(|(_, slices)| slices.clone());
            while old.next_if(|e| e.service.name < service.name).is_some() {}
            let old = old.next_if(|e| e.service.name == service.name);
            let served = served(origin, service, &assignment);
            let entry = match old {
                Some(old)
                    if same_roster
                        && old.service == *service
                        && old.slices == slices
                        && old.served == served =>
                {
                    old
                }
                old => Entry {
                    served: served.to_vec(),
                    plan: plan(
                        service,
                        served,
                        slices.as_deref().map_or(&[], Vec::as_slice),
                        &self.roster,
                        &self.absent,
                        old.as_ref().map(|old| &old.plan),
                    ),
                    made_s: service.created_s.unwrap_or(u64::MAX),
                    service: service.clone(),
                    slices,
                },
            };
            self.entries.push(entry);
        }
    }
}
