//! The address plan. Documentation ranges outside; what a CNI would hand out
//! inside the nodes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::spec::{Place, Wire};

/// Routed nodes have a /28 each out of 198.51.100.0/24.
pub const NODES_MAX: u8 = 16;
/// One IPv4 byte, less the network, the gateway and the broadcast address.
pub const PODS_PER_NODE_MAX: u16 = 253;

/// An IPv4 and an IPv6 address of the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Pair {
    #[must_use]
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.v4, self.v6)
    }
}

/// A pair of addresses with the lengths of their subnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    pub address: Pair,
    pub v4_len: u8,
    pub v6_len: u8,
}

/// The `number`th service address, from 0.
#[must_use]
pub fn vip(wire: Wire, number: u8) -> Pair {
    let last = 80 + number;
    // "::80" and "::81" read the same in hexadecimal.
    let v6_last = 0x80 + u16::from(number);
    match wire {
        Wire::SameLink => Pair {
            v4: Ipv4Addr::new(192, 0, 2, last),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, v6_last),
        },
        Wire::Routed => Pair {
            v4: Ipv4Addr::new(203, 0, 113, last),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0xcb, 0, 0, 0, v6_last),
        },
    }
}

/// The client, the same with and without a router.
#[must_use]
pub fn client() -> Interface {
    on_link(200, 0x200)
}

/// A cluster's control plane, on the nodes' link.
#[must_use]
pub fn control_plane() -> Interface {
    on_link(100, 0x100)
}

/// The client's gateway when there is a router.
#[must_use]
pub fn client_gateway() -> Interface {
    on_link(254, 0xfe)
}

fn on_link(last: u8, v6_last: u16) -> Interface {
    Interface {
        address: Pair {
            v4: Ipv4Addr::new(192, 0, 2, last),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, v6_last),
        },
        v4_len: 24,
        v6_len: 64,
    }
}

/// A node's uplink.
#[must_use]
pub fn node(wire: Wire, node: u8) -> Interface {
    match wire {
        Wire::SameLink => on_link(node, u16::from(node)),
        Wire::Routed => routed(node, 2),
    }
}

/// The router's end of a node's link.
#[must_use]
pub fn node_gateway(node: u8) -> Interface {
    routed(node, 1)
}

fn routed(node: u8, place: u8) -> Interface {
    Interface {
        address: Pair {
            v4: Ipv4Addr::new(198, 51, 100, (node - 1) * 16 + place),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 1, node.into(), 0, 0, 0, place.into()),
        },
        v4_len: 28,
        v6_len: 64,
    }
}

#[must_use]
pub fn pod(place: Place) -> Pair {
    in_pod_subnet(place.node, place.pod + 1)
}

/// The node's own address on its pods' links.
#[must_use]
pub fn pod_gateway(node: u8) -> Pair {
    in_pod_subnet(node, 1)
}

/// What all nodes' pod subnets are in.
pub const POD_SUBNETS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];

/// The subnets of a node's pods, as in the Node object's `podCIDRs`.
#[must_use]
pub fn pod_subnets(node: u8) -> [String; 2] {
    let first = in_pod_subnet(node, 0);
    [format!("{}/24", first.v4), format!("{}/64", first.v6)]
}

fn in_pod_subnet(node: u8, last: u16) -> Pair {
    let v4_last = u8::try_from(last).expect("Spec::check bounds the pods of a node");
    Pair {
        v4: Ipv4Addr::new(10, 244, node, v4_last),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_as_documented() {
        assert_eq!(
            vip(Wire::SameLink, 0).to_string(),
            "192.0.2.80 2001:db8:0:2::80"
        );
        assert_eq!(
            vip(Wire::Routed, 1).to_string(),
            "203.0.113.81 2001:db8:0:cb::81"
        );
        assert_eq!(
            client().address.to_string(),
            "192.0.2.200 2001:db8:0:2::200"
        );
        assert_eq!(
            node(Wire::SameLink, 3).address.to_string(),
            "192.0.2.3 2001:db8:0:2::3"
        );
        assert_eq!(
            node(Wire::Routed, 2).address.to_string(),
            "198.51.100.18 2001:db8:1:2::2"
        );
        let place = Place { node: 2, pod: 1 };
        assert_eq!(pod(place).to_string(), "10.244.2.2 fd00:10:244:2::2");
        assert_eq!(pod_subnets(2), ["10.244.2.0/24", "fd00:10:244:2::/64"]);
    }
}
