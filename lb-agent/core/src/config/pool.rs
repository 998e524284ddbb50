//! An `IPAddressPool`: addresses to give to Services, and to which.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU64;

use super::declared::{Object, PoolSpec, ServiceAllocationSpec};
use super::refused::Refusals;
use super::{AddressRange, LabelSelector, Labels, Place, Reason, lists};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    pub labels: Labels,
    /// In the order in which they are listed, which is that of allocation. No
    /// two of any pool overlap.
    pub ranges: Vec<AddressRange>,
    /// Whether Services that ask for nothing may get addresses of it.
    pub auto_assign: bool,
    /// Keeps IPv4 addresses that end with .0 or .255 out of the pool.
    pub avoid_buggy_ips: bool,
    /// Which Services it is for; none: for all.
    pub service_allocation: Option<ServiceAllocation>,
}

/// Which Services a pool is for: those in one of the namespaces (by name or by
/// labels) that fit one of the selectors. What is empty is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAllocation {
    /// The lowest number comes first; pools without one come last.
    pub priority: Option<NonZeroU64>,
    pub namespaces: BTreeSet<String>,
    pub namespace_selectors: Vec<LabelSelector>,
    pub service_selectors: Vec<LabelSelector>,
}

impl Pool {
    /// Whether an address is one of the pool's. Addresses that it avoids are
    /// not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address)) && !self.avoids(address)
    }

    /// Whether an address of its ranges is none of the pool's all the same.
    #[must_use]
    pub fn avoids(&self, address: IpAddr) -> bool {
        self.avoid_buggy_ips && is_buggy(address)
    }

    /// Alone, without the other pools.
    pub(super) fn of(object: &Object<PoolSpec>, refusals: &mut Refusals) -> Self {
        let Object { place, spec, .. } = object;
        if spec.addresses.is_empty() {
            refusals.refuse(place, "addresses", Reason::NoAddresses);
        }
        let ranges = spec.addresses.iter().enumerate();
        let ranges = ranges.filter_map(|(index, text)| {
            let range = text.parse().map_err(Reason::Range);
            refusals.keep(place, &format!("addresses[{index}]"), range)
        });
        let ranges = ranges.collect();
        let allocation = spec.service_allocation.as_ref();
        Self {
            name: object.name.clone(),
            labels: object.labels.clone(),
            ranges,
            auto_assign: spec.auto_assign.unwrap_or(true),
            avoid_buggy_ips: spec.avoid_buggy_ips,
            service_allocation: allocation.map(|a| ServiceAllocation::of(place, a, refusals)),
        }
    }

    /// All that it may give, in the order in which it gives them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.ranges.iter().flat_map(AddressRange::addresses);
        all.filter(|address| !self.avoids(*address))
    }
}

impl ServiceAllocation {
    fn of(place: &Place, spec: &ServiceAllocationSpec, refusals: &mut Refusals) -> Self {
        let field = |name: &str| format!("serviceAllocation.{name}");
        let selectors =
            |name, of, refusals: &mut _| lists::selectors(place, &field(name), of, refusals);
        lists::once(place, &field("namespaces"), &spec.namespaces, refusals);
        Self {
            // MetalLB takes numbers below 1 for none.
            priority: u64::try_from(spec.priority).ok().and_then(NonZeroU64::new),
            namespaces: spec.namespaces.iter().cloned().collect(),
            namespace_selectors: selectors(
                "namespaceSelectors",
                &spec.namespace_selectors,
                refusals,
            ),
            service_selectors: selectors("serviceSelectors", &spec.service_selectors, refusals),
        }
    }

    /// Whether it is for a Service with these labels in this namespace.
    #[must_use]
    pub fn allows(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        let everywhere = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        let everything = self.service_selectors.is_empty();
        let here = self.namespaces.contains(namespace)
            || LabelSelector::any(&self.namespace_selectors, namespace_labels);
        (everywhere || here) && (everything || LabelSelector::any(&self.service_selectors, labels))
    }
}

/// Old clients and routers took .0 and .255 for addresses of the network
/// itself, whatever its mask (MetalLB's `avoidBuggyIPs`).
fn is_buggy(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => matches!(v4.octets()[3], 0 | 255),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn pool(ranges: &[&str]) -> Pool {
        Pool {
            name: "pool".to_string(),
            labels: Labels::new(),
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            auto_assign: true,
            avoid_buggy_ips: false,
            service_allocation: None,
        }
    }

    #[test]
    fn addresses_come_in_the_order_of_the_list_then_ascending() {
        let pool = pool(&["192.0.2.8/31", "192.0.2.1-192.0.2.2", "2001:db8::/127"]);
        let texts: Vec<_> = pool.addresses().map(|a| a.to_string()).collect();
        let expected = [
            "192.0.2.8",
            "192.0.2.9",
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::",
            "2001:db8::1",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn buggy_addresses_are_of_the_pool_unless_it_avoids_them() {
        let mut pool = pool(&["192.0.2.254-192.0.3.1", "2001:db8::/120"]);
        let buggy = "192.0.2.255".parse().unwrap();
        assert!(pool.contains(buggy));
        pool.avoid_buggy_ips = true;
        assert!(!pool.contains(buggy));
        assert!(pool.contains("2001:db8::ff".parse().unwrap()));
        assert_eq!(pool.addresses().count(), 2 + 256);
    }

    #[test]
    fn a_pool_is_for_services_by_namespace_and_label() {
        let team = Labels::from([("team".to_string(), "a".to_string())]);
        let web = Labels::from([("app".to_string(), "web".to_string())]);
        let none = Labels::new();
        let select = |labels: &Labels| LabelSelector::of_labels(labels.clone()).unwrap();
        let by = |namespaces: &[&str], of: &[&Labels], services: &[&Labels]| ServiceAllocation {
            priority: None,
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            namespace_selectors: of.iter().map(|labels| select(labels)).collect(),
            service_selectors: services.iter().map(|labels| select(labels)).collect(),
        };
        for (allocation, namespace, of_namespace, of_service, expected) in [
            (by(&[], &[], &[]), "x", &none, &none, true),
            (by(&["x"], &[], &[]), "x", &none, &none, true),
            (by(&["x"], &[], &[]), "y", &none, &none, false),
            (by(&["x"], &[&team], &[]), "y", &team, &none, true),
            (by(&[], &[&team], &[]), "y", &none, &none, false),
            (by(&["x"], &[], &[&web]), "x", &none, &web, true),
            (by(&["x"], &[], &[&web]), "x", &none, &none, false),
            (by(&[], &[], &[&web]), "x", &none, &web, true),
        ] {
            let allowed = allocation.allows(namespace, of_namespace, of_service);
            assert_eq!(allowed, expected, "{allocation:?} in {namespace}");
        }
    }
}
