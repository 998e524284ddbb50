//! Which node answers ARP and NDP for a VIP.
//!
//! MetalLB's order, so that a cluster that moves over keeps its owners: the
//! candidates sorted by `sha256(node name + "#" + ip)`, the first one wins
//! (`sortCandidates` in MetalLB's `speaker/layer2_controller.go`). No state
//! and no messages: every node computes it, and a node that is not the owner
//! moves nothing when it goes.
//!
//! Unlike MetalLB's, the owner does not depend on endpoints: a VIP without
//! them still has to say so (RST, port unreachable).

use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::IpAddr;

use sha2::digest::Update as _;
use sha2::{Digest as _, Sha256};

use crate::model::{Node, NodeName};

/// Who owns the VIPs of a service. `first_ip` is the service's first VIP, and
/// decides for the others too: both families of a service live together.
#[must_use]
pub fn owner<'a>(
    first_ip: IpAddr,
    nodes: impl IntoIterator<Item = &'a Node>,
) -> Option<&'a NodeName> {
    nodes
        .into_iter()
        .filter(|node| node.may_own())
        .map(|node| &node.name)
        .min_by_key(|name| rank(name, first_ip))
}

/// All candidates in order: the first owns, the second would after it.
#[must_use]
pub fn order<'a>(first_ip: IpAddr, nodes: impl IntoIterator<Item = &'a Node>) -> Vec<&'a NodeName> {
    let mut names: Vec<_> = nodes
        .into_iter()
        .filter(|node| node.may_own())
        .map(|node| &node.name)
        .collect();
    names.sort_by_cached_key(|name| rank(name, first_ip));
    names
}

/// The address goes in as Go's `net.IP.String()` prints it, which is RFC 5952
/// as Rust prints it too, with a v4-mapped address as IPv4.
fn rank(name: &NodeName, ip: IpAddr) -> [u8; 32] {
    struct Text(Sha256);
    impl core::fmt::Write for Text {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            sha2::digest::Update::update(&mut self.0, text.as_bytes());
            Ok(())
        }
    }
    let text = Sha256::new().chain(name.as_str()).chain("#");
    let mut text = Text(text);
    write!(text, "{}", ip.to_canonical()).expect("hashing does not fail");
    text.0.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;
    use proptest::prelude::*;

    fn node(name: &str) -> Node {
        Node {
            name: NodeName::new(name),
            addresses: vec![],
            pod_cidrs: vec![],
            excluded: false,
            network_unavailable: false,
            labels: Default::default(),
        }
    }

    fn order_of(ip: &str, names: &[&str]) -> Vec<alloc::string::String> {
        let nodes: Vec<Node> = names.iter().map(|name| node(name)).collect();
        let order = order(ip.parse().unwrap(), &nodes);
        order.iter().map(|name| format!("{name}")).collect()
    }

    /// From MetalLB's `TestSortL2Candidates`, and computed by hand for others.
    #[test]
    fn the_order_is_the_one_of_metallb() {
        let abc = ["node-a", "node-b", "node-c"];
        for (ip, nodes, expected) in [
            ("10.0.0.1", &abc[..], ["node-b", "node-a", "node-c"]),
            ("10.0.0.2", &abc, ["node-b", "node-c", "node-a"]),
            ("192.168.1.240", &abc, ["node-a", "node-c", "node-b"]),
            ("192.168.1.241", &abc, ["node-c", "node-a", "node-b"]),
            ("2001:db8::1", &abc, ["node-b", "node-a", "node-c"]),
        ] {
            assert_eq!(order_of(ip, nodes), expected, "{ip}");
        }
        assert_eq!(order_of("10.20.30.1", &abc[..2]), ["node-b", "node-a"]);
        // There edge-a goes first, by a preference; the others by hash.
        let edges = ["edge-b", "worker-a", "worker-b"];
        assert_eq!(order_of("10.20.30.1", &edges), edges);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let names = ["node-a", "node-b", "node-c"];
        assert_eq!(
            order_of("::ffff:10.0.0.1", &names),
            order_of("10.0.0.1", &names)
        );
    }

    #[test]
    fn excluded_nodes_and_nodes_without_network_own_nothing() {
        let ip = "10.0.0.1".parse().unwrap();
        let mut nodes = [node("node-a"), node("node-b"), node("node-c")];
        nodes[1].excluded = true;
        assert_eq!(owner(ip, &nodes).unwrap().as_str(), "node-a");
        nodes[0].network_unavailable = true;
        assert_eq!(owner(ip, &nodes).unwrap().as_str(), "node-c");
        nodes[2].excluded = true;
        assert_eq!(owner(ip, &nodes), None);
    }

    proptest! {
        #[test]
        fn only_the_owner_going_moves_a_vip(
            ip: [u8; 4],
            names in prop::collection::btree_set("[a-z]{1,8}", 2..12),
            gone in any::<prop::sample::Index>(),
        ) {
            let ip = IpAddr::from(ip);
            let mut nodes: Vec<Node> = names.iter().map(|name| node(name)).collect();
            let before = owner(ip, &nodes).unwrap().clone();
            let gone = nodes.remove(gone.index(nodes.len()));
            let after = owner(ip, &nodes).unwrap();
            prop_assert_eq!(gone.name == before, *after != before);
        }
    }
}
