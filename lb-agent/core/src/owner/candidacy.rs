//! Who may own the VIPs of one Service, in order: what the objects say.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use super::electorate::{Advertised, Rules};
use super::{Absent, Electorate, NotAnnounced, NotCandidate, rank};
use crate::config::{L2Advertisement, LabelSelector};
use crate::model::{Node, NodeName, Service, Slice, TrafficPolicy};

/// What is elected for.
#[derive(Clone, Copy, Debug)]
pub struct Contest<'a> {
    pub service: &'a Service,
    /// The addresses that it has. The first decides for all of them: both
    /// families of a Service live together, and so do Services that share it.
    pub served: &'a [IpAddr],
    pub slices: &'a [Slice],
    /// The node whose links are chosen.
    pub this_node: &'a NodeName,
}

/// The outcome, before anybody asks who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidacy {
    /// Those who may own, the first before the others.
    pub order: Vec<NodeName>,
    /// All other nodes, by name.
    pub others: Vec<(NodeName, NotCandidate)>,
    /// Why nobody may.
    pub refused: Option<NotAnnounced>,
    /// The links of this node that it would be announced on.
    pub links: LinkChoice,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkChoice {
    /// All uplinks.
    #[default]
    All,
    /// Those of these names.
    Named(BTreeSet<String>),
}

impl LinkChoice {
    #[must_use]
    pub fn has(&self, link: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(link),
        }
    }
}

impl Candidacy {
    /// Elects, as far as the objects say.
    #[must_use]
    pub fn of(contest: Contest<'_>, electorate: &Electorate) -> Self {
        let Some(first) = contest.served.first() else {
            return Self::default();
        };
        let rules = match &electorate.rules {
            Rules::Everybody => Selected::EVERYBODY,
            Rules::Advertised(advertised) => match advertisements(contest, advertised) {
                Ok(advertisements) => Selected(Some((advertised, advertisements))),
                Err(refused) => return Self::refused(refused),
            },
        };
        let local = local_nodes(contest);
        let mut order = Vec::new();
        let mut others = Vec::new();
        for node in electorate.nodes.values() {
            match rules.weight(node, local.as_ref()) {
                Ok(weight) => order.push((weight, &node.name)),
                Err(reason) => others.push((node.name.clone(), reason)),
            }
        }
        order.sort_by_cached_key(|(weight, name)| (Reverse(*weight), rank(name, *first)));
        let order: Vec<_> = order.into_iter().map(|(_, name)| name.clone()).collect();
        Self {
            refused: order.is_empty().then_some(NotAnnounced::NoCandidate),
            links: rules.links(contest.this_node),
            order,
            others,
        }
    }

    /// Those who are there: the first owns, the second would after it.
    pub fn present<'a>(&'a self, absent: &'a Absent) -> impl Iterator<Item = &'a NodeName> {
        let there = |node: &&NodeName| absent.why(node).is_none();
        self.order.iter().filter(there)
    }

    /// Why a node does not own; none: it could.
    #[must_use]
    pub fn why_not(&self, node: &NodeName, absent: &Absent) -> Option<NotCandidate> {
        let others = self.others.binary_search_by_key(&node, |(name, _)| name);
        match others {
            Ok(at) => self.others.get(at).map(|(_, why)| *why),
            Err(_) => absent.why(node),
        }
    }

    fn refused(why: NotAnnounced) -> Self {
        Self {
            refused: Some(why),
            ..Self::default()
        }
    }
}

/// The advertisements that count for a Service; none: everybody may.
struct Selected<'a>(Option<(&'a Advertised, Vec<&'a L2Advertisement>)>);

impl Selected<'_> {
    const EVERYBODY: Self = Self(None);

    /// How much a node is preferred.
    fn weight(
        &self,
        node: &Node,
        local: Option<&BTreeSet<&NodeName>>,
    ) -> Result<u32, NotCandidate> {
        let weight = match &self.0 {
            None => 0,
            Some((advertised, advertisements)) => {
                let weights = advertisements.iter();
                let weights = weights.filter_map(|a| advertised.weight(a, &node.name));
                let sum = weights.reduce(u32::saturating_add);
                sum.ok_or(NotCandidate::NotSelected)?
            }
        };
        if node.excluded {
            Err(NotCandidate::Excluded)
        } else if node.network_unavailable {
            Err(NotCandidate::NetworkUnavailable)
        } else if local.is_some_and(|local| !local.contains(&node.name)) {
            Err(NotCandidate::NoLocalEndpoint)
        } else {
            Ok(weight)
        }
    }

    fn links(&self, node: &NodeName) -> LinkChoice {
        match &self.0 {
            None => LinkChoice::All,
            Some((advertised, advertisements)) => advertised.links(advertisements, node),
        }
    }
}

/// Those for the Service's pool and labels, in MetalLB's order of questions.
fn advertisements<'a>(
    contest: Contest<'_>,
    advertised: &'a Advertised,
) -> Result<Vec<&'a L2Advertisement>, NotAnnounced> {
    let service = contest.service;
    let pool = advertised
        .pool_of(contest.served)
        .ok_or(NotAnnounced::NoPool)?;
    let fitting = advertised.of_pool(pool).filter(|advertisement| {
        let selectors = &advertisement.service_selectors;
        selectors.is_empty() || LabelSelector::any(selectors, &service.labels)
    });
    let fitting: Vec<_> = fitting.collect();
    if fitting.is_empty() {
        return Err(NotAnnounced::NoAdvertisement);
    }
    let selects = |a: &&L2Advertisement| !a.service_selectors.is_empty();
    if service.request.sharing_key.is_some() && fitting.iter().any(selects) {
        return Err(NotAnnounced::SharedAndSelected);
    }
    Ok(fitting)
}

/// With `externalTrafficPolicy: Local`, the nodes with an endpoint that can be
/// used; none: all nodes. Where no endpoint can be used at all it does not
/// matter who says so.
fn local_nodes<'a>(contest: Contest<'a>) -> Option<BTreeSet<&'a NodeName>> {
    if contest.service.traffic_policy == TrafficPolicy::Cluster {
        return None;
    }
    let endpoints = contest.slices.iter().flat_map(|slice| &slice.endpoints);
    let usable = endpoints.filter(|e| e.conditions.ready || e.conditions.serving);
    let nodes: BTreeSet<_> = usable.filter_map(|e| e.node.as_ref()).collect();
    (!nodes.is_empty()).then_some(nodes)
}
