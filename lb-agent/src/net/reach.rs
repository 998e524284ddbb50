//! From devices, routes and neighbours to the way to each node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_core::model::{Links, Mac, NextHop, NodeName, Way};

use super::netlink::{Device, Neighbours, Route};

/// What was found out about the machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) devices: BTreeMap<u32, Device>,
    pub(super) neighbours: Neighbours,
    /// By the node's address that was asked for.
    pub(super) routes: BTreeMap<IpAddr, Route>,
    /// By the pod's address.
    pub(super) pod_routes: BTreeMap<IpAddr, Route>,
    /// MACs of neighbours that cannot be resolved right now.
    pub(super) remembered: BTreeMap<(u32, IpAddr), Mac>,
}

impl Machine {
    fn mac(&self, ifindex: u32, address: IpAddr) -> Option<Mac> {
        let key = (ifindex, address);
        let fresh = self.neighbours.get(&key).and_then(|there| there.mac);
        fresh.or_else(|| self.remembered.get(&key).copied())
    }

    /// The neighbours that packets for these addresses go to first.
    pub(super) fn first_hops(&self) -> BTreeSet<(u32, IpAddr)> {
        let remote = self.routes.iter().filter(|(_, route)| !route.local);
        remote
            .filter(|(_, route)| self.devices.contains_key(&route.ifindex))
            .map(|(address, route)| (route.ifindex, route.gateway.unwrap_or(*address)))
            .collect()
    }

    /// The way to a node by one of its addresses.
    fn way(&self, address: IpAddr, own: &[IpAddr]) -> Option<NextHop> {
        let route = self.routes.get(&address).filter(|route| !route.local)?;
        let device = self.devices.get(&route.ifindex)?;
        let way = match route.gateway {
            None => Way::SameLink,
            Some(_) => {
                // Peers know us by the addresses of our Node object.
                let same = |own: &&IpAddr| own.is_ipv4() == address.is_ipv4();
                Way::Routed {
                    source: own.iter().find(same).copied().or(route.source)?,
                    destination: address,
                }
            }
        };
        Some(NextHop {
            ifindex: route.ifindex,
            source_mac: device.mac,
            mac: self.mac(route.ifindex, route.gateway.unwrap_or(address))?,
            mtu: route.mtu.map_or(device.mtu, |mtu| mtu.min(device.mtu)),
            way,
        })
    }

    /// How nodes and pods are reached. `own`: the addresses that peers know
    /// this node by.
    pub(super) fn links(
        &self,
        nodes: &BTreeMap<NodeName, Vec<IpAddr>>,
        own: &[IpAddr],
        pods: &BTreeSet<IpAddr>,
    ) -> Links {
        let mut links = Links::default();
        for (name, addresses) in nodes {
            let ways: Vec<NextHop> = addresses
                .iter()
                .filter_map(|address| self.way(*address, own))
                .collect();
            let same_link = ways.iter().find(|hop| hop.way == Way::SameLink);
            if let Some(hop) = same_link.or(ways.first()) {
                links.next_hops.insert(name.clone(), *hop);
            }
            let here = ways.iter().filter(|hop| hop.way == Way::SameLink);
            let macs: BTreeSet<Mac> = here.map(|hop| hop.mac).collect();
            if !macs.is_empty() {
                links.macs.insert(name.clone(), macs);
            }
        }
        for pod in pods {
            let route = self.pod_routes.get(pod);
            // By a router means not on this machine.
            if let Some(route) = route.filter(|route| route.gateway.is_none() && !route.local) {
                links.pods.insert(*pod, route.ifindex);
            }
        }
        links
    }
}

/// The devices that carry VIPs: those that were named, or else those with an
/// address of this node or a default route.
pub(super) fn uplinks(
    named: &[String],
    devices: &BTreeMap<u32, Device>,
    addresses: &[(u32, IpAddr)],
    own: &[IpAddr],
    default_devices: &[u32],
) -> Vec<Device> {
    let is_uplink = |device: &&Device| {
        if !named.is_empty() {
            return named.contains(&device.name);
        }
        let has_own = addresses
            .iter()
            .any(|(ifindex, address)| *ifindex == device.ifindex && own.contains(address));
        has_own || default_devices.contains(&device.ifindex)
    };
    devices.values().filter(is_uplink).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::netlink::{Neighbour, XdpState};
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn device(ifindex: u32, name: &str) -> Device {
        Device {
            ifindex,
            name: name.into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: XdpState::None,
        }
    }

    fn neighbour(mac: u8) -> Neighbour {
        Neighbour {
            mac: Some([2, 0, 0, 0, 0, mac]),
            failed: false,
            permanent: false,
            managed: true,
        }
    }

    fn route(gateway: Option<&str>) -> Route {
        Route {
            ifindex: 2,
            gateway: gateway.map(ip),
            source: Some(ip("192.0.2.1")),
            mtu: None,
            local: false,
        }
    }

    fn machine() -> Machine {
        Machine {
            devices: [(2, device(2, "eth0"))].into(),
            neighbours: [
                ((2, ip("192.0.2.2")), neighbour(2)),
                ((2, ip("192.0.2.254")), neighbour(254)),
            ]
            .into(),
            routes: [
                (ip("192.0.2.2"), route(None)),
                (ip("198.51.100.3"), route(Some("192.0.2.254"))),
            ]
            .into(),
            ..Machine::default()
        }
    }

    fn links_of(machine: &Machine, name: &str, addresses: &[&str]) -> Links {
        let addresses = addresses.iter().map(|address| ip(address)).collect();
        let nodes = [(NodeName::new(name), addresses)].into();
        machine.links(&nodes, &[ip("192.0.2.1")], &BTreeSet::new())
    }

    #[test]
    fn a_node_on_the_link_is_reached_by_its_own_mac() {
        let links = links_of(&machine(), "b", &["192.0.2.2"]);
        let hop = links.next_hops[&NodeName::new("b")];
        assert_eq!((hop.way, hop.mac[5], hop.mtu), (Way::SameLink, 2, 1500));
        assert_eq!(links.macs.len(), 1);
    }

    #[test]
    fn a_node_behind_a_router_is_reached_by_the_routers_mac() {
        let mut machine = machine();
        let way = machine.routes.get_mut(&ip("198.51.100.3")).unwrap();
        way.mtu = Some(1400);
        let links = links_of(&machine, "c", &["198.51.100.3"]);
        let hop = links.next_hops[&NodeName::new("c")];
        let routed = Way::Routed {
            source: ip("192.0.2.1"),
            destination: ip("198.51.100.3"),
        };
        assert_eq!((hop.way, hop.mac[5], hop.mtu), (routed, 254, 1400));
        assert!(links.macs.is_empty(), "the router is no node");
    }

    #[test]
    fn the_same_link_is_preferred_to_a_router() {
        let links = links_of(&machine(), "b", &["198.51.100.3", "192.0.2.2"]);
        assert_eq!(links.next_hops[&NodeName::new("b")].way, Way::SameLink);
    }

    #[test]
    fn a_neighbour_that_is_lost_for_a_moment_keeps_its_mac() {
        let mut machine = machine();
        let lost = machine.neighbours.get_mut(&(2, ip("192.0.2.2"))).unwrap();
        let mac = lost.mac.take().unwrap();
        assert!(links_of(&machine, "b", &["192.0.2.2"]).next_hops.is_empty());
        machine.remembered.insert((2, ip("192.0.2.2")), mac);
        assert_eq!(links_of(&machine, "b", &["192.0.2.2"]).next_hops.len(), 1);
    }

    #[test]
    fn a_pod_is_behind_the_device_of_its_route() {
        let mut machine = machine();
        let pod = Route {
            ifindex: 7,
            ..route(None)
        };
        machine.pod_routes.insert(ip("10.1.1.2"), pod);
        let pods = [ip("10.1.1.2"), ip("10.1.9.9")].into();
        let links = machine.links(&BTreeMap::new(), &[], &pods);
        assert_eq!(links.pods, [(ip("10.1.1.2"), 7)].into());
    }

    #[test]
    fn uplinks_have_the_nodes_addresses_or_a_default_route_unless_named() {
        let devices = [
            (2, device(2, "eth0")),
            (3, device(3, "eth1")),
            (4, device(4, "cni0")),
        ];
        let devices = devices.into();
        let addresses = [(2, ip("192.0.2.1")), (4, ip("10.1.1.1"))];
        let names = |named: &[String]| {
            let own = [ip("192.0.2.1")];
            let found = uplinks(named, &devices, &addresses, &own, &[3]);
            found.into_iter().map(|d| d.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["eth0", "eth1"]);
        assert_eq!(names(&["cni0".into()]), ["cni0"]);
    }
}
