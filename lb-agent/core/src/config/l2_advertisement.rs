//! An `L2Advertisement`: which nodes may answer ARP and NDP for which pools.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::declared::{L2AdvertisementSpec, Object, PreferenceSpec};
use super::refused::Refusals;
use super::{LabelSelector, Place, Pool, Reason, lists, pools};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L2Advertisement {
    pub name: String,
    /// Names of the pools it is for.
    pub pools: BTreeSet<String>,
    /// Nodes that one of them fits may answer; empty: all.
    pub node_selectors: Vec<LabelSelector>,
    /// Names of links to answer on; empty: all.
    pub interfaces: BTreeSet<String>,
    /// Services that one of them fits; empty: all.
    pub service_selectors: Vec<LabelSelector>,
    pub preferences: Vec<Preference>,
}

/// Nodes that should rather own a VIP than others: the weights of all that fit
/// are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// 1 to 100.
    pub weight: u8,
    pub selector: LabelSelector,
}

impl L2Advertisement {
    pub(super) fn of(
        object: &Object<L2AdvertisementSpec>,
        all: &BTreeMap<String, Pool>,
        refusals: &mut Refusals,
    ) -> Self {
        let Object { place, spec, .. } = object;
        let preferences = spec.preferred_node_selectors.iter().enumerate();
        Self {
            name: object.name.clone(),
            pools: pools::of(place, &spec.pools, all, refusals),
            node_selectors: lists::selectors(
                place,
                "nodeSelectors",
                &spec.node_selectors,
                refusals,
            ),
            interfaces: spec.interfaces.iter().cloned().collect(),
            service_selectors: lists::selectors(
                place,
                "serviceSelectors",
                &spec.service_selectors,
                refusals,
            ),
            preferences: preferences
                .filter_map(|(index, spec)| preference(place, index, spec, refusals))
                .collect(),
        }
    }
}

fn preference(
    place: &Place,
    index: usize,
    spec: &PreferenceSpec,
    refusals: &mut Refusals,
) -> Option<Preference> {
    let field = |name: &str| format!("preferredNodeSelectors[{index}].{name}");
    let weight = spec.weight;
    let in_range = u8::try_from(weight).ok().filter(|w| (1..=100).contains(w));
    let in_range = in_range.ok_or(Reason::Weight { weight });
    let weight = refusals.keep(place, &field("weight"), in_range);
    let selector = lists::selector(place, &field("preference"), &spec.preference, refusals);
    Some(Preference {
        weight: weight?,
        selector: selector?,
    })
}
