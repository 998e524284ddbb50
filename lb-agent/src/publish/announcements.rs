//! Who says what about which Service: what is to stand in the objects
//! `ServiceL2Status` and `ServiceBGPStatus` of this node, and which objects of
//! other nodes are not true any more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lb_core::desired::Vip;
use lb_core::model::ServiceName;
use lb_core::owner::LinkChoice;

use super::Decided;

/// What this node says, by Service: names of links or of peers.
pub(super) type Told = BTreeMap<ServiceName, BTreeSet<String>>;

/// The Services that have an address which some node answers for.
fn answered(decided: &Decided) -> impl Iterator<Item = (&ServiceName, &Vip)> {
    let allocations = decided.assignment.allocations.iter();
    allocations.filter_map(|(service, allocation)| {
        let handle = decided.handles.get(service)?;
        // The first decides for the others.
        let mut there = handle.ingress.iter().filter_map(|entry| entry.ip);
        let first = there.find(|ip| allocation.addresses.contains(ip))?;
        let vip = decided.vips.get(&first.to_canonical())?;
        Some((service, &**vip))
    })
}

/// Services that this node answers ARP and NDP for, with the links that it does
/// so on; none: on all.
pub(super) fn layer2(decided: &Decided) -> Told {
    let ours = answered(decided).filter(|(_, vip)| vip.ours);
    let links = |vip: &Vip| match &vip.candidacy.links {
        LinkChoice::All => BTreeSet::new(),
        LinkChoice::Named(names) => names.clone(),
    };
    ours.map(|(service, vip)| (service.clone(), links(vip)))
        .collect()
}

/// Services that this node tells routers about, with the names of the peers.
pub(super) fn bgp(decided: &Decided) -> Told {
    let mut told = Told::new();
    for (name, peer) in &decided.bgp {
        let prefixes = peer.prefixes.values();
        for (service, _) in prefixes.flat_map(|prefix| &*prefix.holders) {
            let peers = told.entry(service.clone()).or_default();
            peers.insert(name.clone());
        }
    }
    told
}

/// Whether a node may say that it answers for a Service.
pub(super) fn layer2_is_true(decided: &Decided) -> impl Fn(&str, &ServiceName) -> bool {
    let owners: BTreeMap<_, _> = answered(decided)
        .filter_map(|(service, vip)| Some((service, vip.owner.as_ref()?)))
        .collect();
    move |node, service| owners.get(service).is_some_and(|o| o.as_str() == node)
}

/// Whether a node may say that it tells routers about a Service.
pub(super) fn bgp_is_true(decided: &Decided) -> impl Fn(&str, &ServiceName) -> bool {
    let nodes: BTreeSet<&str> = decided.nodes.iter().map(|node| node.as_str()).collect();
    move |node, service| nodes.contains(node) && decided.handles.contains_key(service)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::sync::Arc;

    use lb_core::ipam::Allocation;
    use lb_core::model::NodeName;
    use lb_core::owner::Candidacy;
    use lb_core::shared::SharedMap;

    use crate::source::{Handle, Ingress};

    fn name(name: &str) -> ServiceName {
        ServiceName::new("shop", name)
    }

    /// Services with addresses, and who owns these; node1 is this one.
    fn decided(services: &[(&str, &[&str])], owners: &[(&str, &str)]) -> Decided {
        let ips =
            |ips: &[&str]| -> Vec<IpAddr> { ips.iter().map(|i| i.parse().unwrap()).collect() };
        let mut decided = Decided::default();
        let (mut handles, mut vips) = (BTreeMap::new(), SharedMap::new());
        let mut assignment = lb_core::ipam::Assignment::default();
        for (service, addresses) in services {
            let ingress = ips(addresses).into_iter().map(|ip| Ingress {
                ip: Some(ip),
                mode: None,
            });
            let handle = Handle {
                ingress: ingress.collect(),
                ..Handle::default()
            };
            handles.insert(name(service), Arc::new(handle));
            let allocation = Allocation {
                addresses: ips(addresses),
                ..Allocation::default()
            };
            assignment.allocations.insert(name(service), allocation);
        }
        for (vip, owner) in owners {
            let links = match *vip {
                "192.0.2.2" => LinkChoice::Named(["eth1".to_owned()].into()),
                _ => LinkChoice::All,
            };
            let vip_of = Vip {
                service: name("first"),
                owner: Some(NodeName::new(owner)),
                ours: *owner == "node1",
                next: None,
                candidacy: Arc::new(Candidacy {
                    links,
                    ..Candidacy::default()
                }),
            };
            vips.insert(vip.parse().unwrap(), Arc::new(vip_of));
        }
        decided.assignment = Arc::new(assignment);
        decided.handles = Arc::new(handles);
        decided.vips = vips;
        decided
    }

    #[test]
    fn the_first_address_says_who_announces_also_what_is_shared() {
        let decided = decided(
            &[
                ("both", &["192.0.2.1", "2001:db8::1"]),
                ("shares", &["192.0.2.1"]),
                ("on-one-link", &["192.0.2.2"]),
                ("elsewhere", &["192.0.2.3"]),
                ("by-nobody", &["192.0.2.4"]),
                ("without", &[]),
            ],
            &[
                ("192.0.2.1", "node1"),
                ("2001:db8::1", "node1"),
                ("192.0.2.2", "node1"),
                ("192.0.2.3", "node2"),
            ],
        );
        let told = layer2(&decided);
        let links = |service| told.get(&name(service)).map(BTreeSet::len);
        assert_eq!(links("both"), Some(0), "all links");
        assert_eq!(links("shares"), Some(0));
        assert_eq!(links("on-one-link"), Some(1));
        assert_eq!(told.len(), 3, "{told:?}");
        let is_true = layer2_is_true(&decided);
        assert!(is_true("node2", &name("elsewhere")));
        for (node, service) in [
            ("node1", "elsewhere"),
            ("node2", "both"),
            ("node1", "by-nobody"),
            ("node1", "gone"),
        ] {
            assert!(!is_true(node, &name(service)), "{node} {service}");
        }
    }

    #[test]
    fn what_is_not_written_yet_is_not_announced() {
        let mut decided = decided(&[("new", &["192.0.2.1"])], &[("192.0.2.1", "node1")]);
        let handles = [(name("new"), Arc::new(Handle::default()))];
        decided.handles = Arc::new(handles.into());
        assert_eq!(layer2(&decided), Told::new());
    }

    #[test]
    fn routers_are_told_of_a_service_by_nodes_that_are_there() {
        let mut decided = decided(&[("web", &["192.0.2.1"])], &[]);
        decided.nodes = Arc::new([NodeName::new("node1")].into());
        assert_eq!(bgp(&decided), Told::new());
        let is_true = bgp_is_true(&decided);
        assert!(is_true("node1", &name("web")));
        assert!(!is_true("node1", &name("gone")));
        assert!(!is_true("node2", &name("web")), "its agent is gone");
    }
}
