//! A `BGPAdvertisement`: how addresses of which pools are told to which peers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::declared::{BgpAdvertisementSpec, Object};
use super::refused::Refusals;
use super::{Community, LabelSelector, Place, Pool, Reason, lists, pools};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpAdvertisement {
    pub name: String,
    /// Names of the pools it is for.
    pub pools: BTreeSet<String>,
    /// Length of the prefix that is advertised for an address, in bits.
    pub aggregation_length: u8,
    pub aggregation_length_v6: u8,
    /// 0: not said.
    pub local_pref: u32,
    pub communities: BTreeSet<Community>,
    /// Names of peers; empty: all.
    pub peers: BTreeSet<String>,
    /// Nodes that one of them fits advertise; empty: all.
    pub node_selectors: Vec<LabelSelector>,
    /// Services that one of them fits; empty: all.
    pub service_selectors: Vec<LabelSelector>,
}

impl BgpAdvertisement {
    pub(super) fn of(
        object: &Object<BgpAdvertisementSpec>,
        all: &BTreeMap<String, Pool>,
        aliases: &BTreeMap<String, Community>,
        refusals: &mut Refusals,
    ) -> Self {
        let Object { place, spec, .. } = object;
        let selectors = |field, of, refusals: &mut _| lists::selectors(place, field, of, refusals);
        lists::once(place, "peers", &spec.peers, refusals);
        let advertisement = Self {
            name: object.name.clone(),
            pools: pools::of(place, &spec.pools, all, refusals),
            aggregation_length: length(place, spec.aggregation_length, true, refusals),
            aggregation_length_v6: length(place, spec.aggregation_length_v6, false, refusals),
            local_pref: spec.local_pref,
            communities: communities(place, &spec.communities, aliases, refusals),
            peers: spec.peers.iter().cloned().collect(),
            node_selectors: selectors("nodeSelectors", &spec.node_selectors, refusals),
            service_selectors: selectors("serviceSelectors", &spec.service_selectors, refusals),
        };
        let aggregates = (
            advertisement.aggregation_length,
            advertisement.aggregation_length_v6,
        ) != (32, 128);
        if aggregates && !spec.service_selectors.is_empty() {
            let reason = Reason::AggregationWithSelectors;
            refusals.refuse(place, "serviceSelectors", reason);
        }
        advertisement
    }

    /// How long a prefix of one family is.
    #[must_use]
    pub const fn length(&self, ipv4: bool) -> u8 {
        if ipv4 {
            self.aggregation_length
        } else {
            self.aggregation_length_v6
        }
    }
}

/// Name of the field for a family.
pub(super) const fn length_field(ipv4: bool) -> &'static str {
    if ipv4 {
        "aggregationLength"
    } else {
        "aggregationLengthV6"
    }
}

fn length(place: &Place, given: Option<i32>, ipv4: bool, refusals: &mut Refusals) -> u8 {
    let (min, max) = if ipv4 { (1, 32) } else { (0, 128) };
    let length = given.unwrap_or(max.into());
    let in_range = u8::try_from(length).ok();
    let in_range = in_range.filter(|length| (min..=max).contains(length));
    let read = in_range.ok_or(Reason::AggregationLength { length, ipv4 });
    refusals
        .keep(place, length_field(ipv4), read)
        .unwrap_or(max)
}

/// An alias comes before a value that looks the same.
fn communities(
    place: &Place,
    texts: &[String],
    aliases: &BTreeMap<String, Community>,
    refusals: &mut Refusals,
) -> BTreeSet<Community> {
    let mut all = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let read = aliases.get(text).copied().map_or_else(|| text.parse(), Ok);
        let field = format!("communities[{index}]");
        let Some(community) = refusals.keep(place, &field, read) else {
            continue;
        };
        if !all.insert(community) {
            let value = format!("community \"{text}\"");
            refusals.refuse(place, &field, Reason::Duplicate { value });
        }
    }
    all
}
