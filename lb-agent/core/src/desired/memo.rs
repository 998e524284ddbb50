//! What was computed for each service, with what it was computed from.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::bgp::{self, Offer, Offered, Terms};
use super::merged::Merged;
use super::plan::{Plan, plan};
use crate::config::Configuration;
use crate::ipam::{self, Assignment, served};
use crate::model::{Inputs, Node, NodeName, Origin, Service, Slice};
use crate::owner::{Absent, Electorate};
use crate::problem::Problem;

/// The plans of the last time. Start with an empty one, and hand the same one
/// in again.
#[derive(Debug, Default)]
pub struct Memo {
    ipam: ipam::Memo,
    roster: Roster,
    absent: Arc<Absent>,
    /// Sorted by the service's name.
    entries: Vec<Entry>,
    merged: Merged,
    bgp: bgp::Merged,
}

#[derive(Debug)]
pub(super) struct Entry {
    service: Arc<Service>,
    /// When it was made, the youngest last; here, since services lie all over
    /// the memory.
    pub(super) made_s: u64,
    slices: Option<Arc<Vec<Slice>>>,
    /// The addresses that it was planned for.
    served: Vec<IpAddr>,
    pub(super) plan: Plan,
    /// What routers may be told of it.
    offer: Offer,
}

/// What was computed anew.
#[derive(Debug)]
struct Updated {
    replaced: Replaced,
    /// Routers are told the same as before.
    same_offers: bool,
}

/// Which plans were.
#[derive(Debug)]
pub(super) enum Replaced {
    /// The plans at these places, which claim the same as those before.
    Plans(Vec<usize>),
    /// Who claims what, too.
    Claims,
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
    pub(super) terms: Terms,
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
            terms: Terms::default(),
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
        let config = &inputs.facts.config.good;
        let this = nodes.get(&inputs.this_node).map(|node| &**node);
        Self {
            terms: Terms::new(config.as_ref(), this),
            this_node: inputs.this_node.clone(),
            secret: inputs.secret.clone(),
            nodes: nodes.clone(),
            addresses: addresses.collect(),
            electorate: Electorate::new(&inputs.facts),
            origin: inputs.facts.origin,
            config: config.clone(),
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
    /// Of all services.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let plans = self.entries.iter().map(|entry| &entry.plan);
        let own = plans.flat_map(|plan| plan.problems.iter().chain(&plan.unowned));
        own.chain(&self.merged.taken).chain(&self.bgp.problems)
    }

    /// What routers are told.
    pub(super) const fn bgp(&self) -> &bgp::Merged {
        &self.bgp
    }

    /// What all services have together.
    pub(super) fn merged(&self) -> &Merged {
        &self.merged
    }

    pub(super) fn assignment(&self) -> Arc<Assignment> {
        self.ipam.assignment()
    }

    pub(super) fn absent(&self) -> Arc<Absent> {
        self.absent.clone()
    }

    /// Makes everything that of `inputs`.
    pub(super) fn update(&mut self, inputs: &Inputs) {
        let updated = self.update_plans(inputs);
        let pods = &inputs.links.pods;
        self.merged.update(&self.entries, &updated.replaced, pods);
        if !updated.same_offers {
            let offered = self.entries.iter().map(Entry::offered);
            let offered: Vec<_> = offered.collect();
            self.bgp.update(&self.roster.terms, &offered);
        }
    }

    /// Services, slices and old plans are all in the order of the names, so one
    /// walk over them does; looking each name up would take longer than all the
    /// rest.
    fn update_plans(&mut self, inputs: &Inputs) -> Updated {
        let same_roster = self.roster.holds_for(inputs);
        if !same_roster {
            self.roster = Roster::new(inputs);
        }
        let same_owners = !self.elect(inputs);
        // Where statuses say what is served, a Service that has not changed is
        // served at the same addresses.
        let origin = inputs.facts.origin;
        let same_served = !self.ipam.update(&inputs.facts) || origin == Origin::Cluster;
        let assignment = self.ipam.assignment();
        let old = core::mem::take(&mut self.entries);
        let (before, mut old) = (old.len(), old.into_iter().peekable());
        let mut slices = inputs.facts.slices.iter().peekable();
        let (mut places, mut same_claims) = (Vec::new(), true);
        let mut same_offers = same_roster;
        self.entries.reserve_exact(before);
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
                old => {
                    let new = self.entry(service, served, slices, old.as_ref());
                    let old = old.as_ref();
                    same_claims &= old.is_some_and(|old| old.claims_the_same(&new));
                    same_offers &= old.is_some_and(|old| old.offers_the_same(&new));
                    places.push(self.entries.len());
                    new
                }
            };
            self.entries.push(entry);
        }
        // Each of them has a predecessor, so none is gone.
        let same_services = self.entries.len() == before;
        if !same_owners {
            places = (0..before).collect();
        }
        Updated {
            replaced: if same_claims && same_services {
                Replaced::Plans(places)
            } else {
                Replaced::Claims
            },
            same_offers: same_offers && same_services,
        }
    }

    /// Among those that are there. True: somebody came or went.
    fn elect(&mut self, inputs: &Inputs) -> bool {
        let absent = Absent::new(inputs);
        let changed = *self.absent != absent;
        if changed {
            self.absent = Arc::new(absent);
            for entry in &mut self.entries {
                entry.plan.elect(&self.roster, &self.absent);
            }
        }
        changed
    }

    fn entry(
        &self,
        service: &Arc<Service>,
        served: &[IpAddr],
        slices: Option<Arc<Vec<Slice>>>,
        old: Option<&Entry>,
    ) -> Entry {
        let of_service = slices.as_deref().map_or(&[][..], Vec::as_slice);
        let (roster, absent) = (&self.roster, &self.absent);
        let old = old.map(|old| &old.plan);
        let plan = plan(service, served, of_service, roster, absent, old);
        Entry {
            served: served.to_vec(),
            offer: roster.terms.offer(service, &plan.vips, of_service),
            plan,
            made_s: service.created_s.unwrap_or(u64::MAX),
            service: service.clone(),
            slices,
        }
    }
}

impl Entry {
    fn offered(&self) -> Offered<'_> {
        Offered {
            service: &self.service.name,
            vips: &self.plan.vips,
            offer: &self.offer,
        }
    }

    /// Under the same terms.
    fn offers_the_same(&self, other: &Self) -> bool {
        self.offer == other.offer && self.plan.vips == other.plan.vips
    }

    /// Whether one in the place of the other takes nothing from anybody.
    fn claims_the_same(&self, other: &Self) -> bool {
        let frontends = self.plan.frontends.iter().map(|f| f.address);
        self.made_s == other.made_s
            && self.plan.vips == other.plan.vips
            && frontends.eq(other.plan.frontends.iter().map(|f| f.address))
    }
}
