//! What the advertisements say about nodes, worked out once for all Services.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Contest, LinkChoice};
use crate::config::{Configuration, L2Advertisement, LabelSelector};
use crate::model::{Facts, Node, NodeName, Origin};

/// The nodes, and who of them is allowed what.
#[derive(Clone, Debug, Default)]
pub struct Electorate {
    pub(super) nodes: BTreeMap<NodeName, Arc<Node>>,
    pub(super) rules: Rules,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Rules {
    /// Nobody says anything about announcing: all nodes, on all links.
    #[default]
    Everybody,
    Advertised(Advertised),
}

#[derive(Clone, Debug)]
pub(super) struct Advertised {
    config: Arc<Configuration>,
    /// For each L2Advertisement, by its name: the nodes that it selects, and
    /// the sum of its preferences for each.
    nodes: BTreeMap<String, BTreeMap<NodeName, u32>>,
    /// The pools' ranges by their first address; no two overlap.
    ranges: BTreeMap<IpAddr, (IpAddr, String)>,
}

impl Electorate {
    #[must_use]
    pub fn new(facts: &Facts) -> Self {
        let rules = match &facts.config.good {
            Some(config) if is_about_announcing(facts.origin, config) => {
                Rules::Advertised(Advertised::new(config, &facts.nodes))
            }
            _ => Rules::Everybody,
        };
        Self {
            nodes: facts.nodes.clone(),
            rules,
        }
    }
}

impl Electorate {
    /// Whether routers are told of a Service's addresses.
    #[must_use]
    pub fn advertises_to_routers(&self, contest: Contest<'_>) -> bool {
        let Rules::Advertised(advertised) = &self.rules else {
            return false;
        };
        let Some(pool) = advertised.pool_of(contest.served) else {
            return false;
        };
        let all = advertised.config.bgp_advertisements.values();
        let mut of_pool = all.filter(|advertisement| advertisement.pools.contains(pool));
        of_pool.any(|advertisement| {
            let selectors = &advertisement.service_selectors;
            selectors.is_empty() || LabelSelector::any(selectors, &contest.service.labels)
        })
    }
}

/// In a cluster, nothing is announced without an advertisement, as in MetalLB.
/// A folder of Services alone is to work as it is; it has to be about
/// announcing at all before what it does not announce stays silent.
fn is_about_announcing(origin: Origin, config: &Configuration) -> bool {
    origin == Origin::Cluster
        || !config.l2_advertisements.is_empty()
        || !config.bgp_advertisements.is_empty()
}

impl Advertised {
    fn new(config: &Arc<Configuration>, nodes: &BTreeMap<NodeName, Arc<Node>>) -> Self {
        let selected = config.l2_advertisements.values().map(|advertisement| {
            let nodes = nodes.values().filter(|node| selects(advertisement, node));
            let weights = nodes.map(|node| (node.name.clone(), weight(advertisement, node)));
            (advertisement.name.clone(), weights.collect())
        });
        let ranges = config.pools.values().flat_map(|pool| {
            let ranges = pool.ranges.iter();
            ranges.map(|range| (range.first(), (range.last(), pool.name.clone())))
        });
        Self {
            nodes: selected.collect(),
            ranges: ranges.collect(),
            config: config.clone(),
        }
    }

    /// The one pool that has all the addresses. What the pool avoids is in it
    /// too: MetalLB's speaker does not look at `avoidBuggyIPs` either.
    pub(super) fn pool_of(&self, addresses: &[IpAddr]) -> Option<&str> {
        let mut pools = addresses.iter().map(|address| {
            let address = address.to_canonical();
            let (_, (last, pool)) = self.ranges.range(..=address).next_back()?;
            let inside = last.is_ipv4() == address.is_ipv4() && address <= *last;
            inside.then_some(pool.as_str())
        });
        let first = pools.next().flatten()?;
        pools.all(|pool| pool == Some(first)).then_some(first)
    }

    /// The L2Advertisements for a pool, whatever Services they select.
    pub(super) fn of_pool(&self, pool: &str) -> impl Iterator<Item = &L2Advertisement> {
        let all = self.config.l2_advertisements.values();
        all.filter(move |advertisement| advertisement.pools.contains(pool))
    }

    /// The sum of an advertisement's preferences for a node that it selects.
    pub(super) fn weight(&self, advertisement: &L2Advertisement, node: &NodeName) -> Option<u32> {
        let nodes = self.nodes.get(&advertisement.name)?;
        nodes.get(node).copied()
    }

    /// On which links a node announces: those of all advertisements that
    /// select it together, and all links if one of them names none.
    pub(super) fn links(&self, of: &[&L2Advertisement], node: &NodeName) -> LinkChoice {
        let select = of.iter().filter(|a| self.weight(a, node).is_some());
        let names: Vec<_> = select.map(|a| &a.interfaces).collect();
        if names.iter().any(|names| names.is_empty()) {
            return LinkChoice::All;
        }
        LinkChoice::Named(names.into_iter().flatten().cloned().collect())
    }
}

fn selects(advertisement: &L2Advertisement, node: &Node) -> bool {
    let selectors = &advertisement.node_selectors;
    selectors.is_empty() || LabelSelector::any(selectors, &node.labels)
}

fn weight(advertisement: &L2Advertisement, node: &Node) -> u32 {
    let preferences = advertisement.preferences.iter();
    let fitting = preferences.filter(|preference| preference.selector.matches(&node.labels));
    fitting.map(|preference| u32::from(preference.weight)).sum()
}
