//! Which pools an advertisement is for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use super::declared::PoolsSpec;
use super::refused::Refusals;
use super::{LabelSelector, Place, Pool, lists};

/// By name and by labels together; all where neither is given. Names of pools
/// that are not there count for nothing, as in MetalLB.
pub(super) fn of(
    place: &Place,
    spec: &PoolsSpec,
    all: &BTreeMap<String, Pool>,
    refusals: &mut Refusals,
) -> BTreeSet<String> {
    let PoolsSpec { names, selectors } = spec;
    lists::once(place, "ipAddressPools", names, refusals);
    let field = "ipAddressPoolSelectors";
    let of_labels = lists::selectors(place, field, selectors, refusals);
    let everything = names.is_empty() && selectors.is_empty();
    let chosen = all.values().filter(|pool| {
        everything || names.contains(&pool.name) || LabelSelector::any(&of_labels, &pool.labels)
    });
    chosen.map(|pool| pool.name.clone()).collect()
}
