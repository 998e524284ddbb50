//! A lab whose router learns from the nodes where the VIPs are.
//!
//! The ASNs are those of people who run this at home: 64512 for the router,
//! 64513 for the nodes.

use anyhow::{Result, ensure};

use super::address::{self, Pair};
use super::{Lab, Wire};
use crate::frr::Frr;

const ROUTER_ASN: u32 = 64512;
const NODES_ASN: u32 = 64513;

/// What the router does with several ways to one VIP.
const ECMP: &[(&str, &str)] = &[
    // By addresses and ports, not by addresses alone.
    ("net/ipv4/fib_multipath_hash_policy", "1"),
    ("net/ipv6/fib_multipath_hash_policy", "1"),
];

impl Lab {
    /// FRR in the router of a lab with BGP.
    #[must_use]
    pub fn frr(&self) -> Frr {
        Frr::new(self.router(), self.folder().join("frr"))
    }

    pub(super) fn start_router(&self) -> Result<()> {
        ensure!(self.spec.wire == Wire::Routed, "BGP needs a router");
        self.router().sysctl(ECMP)?;
        self.frr().start(&config(self.spec.nodes))
    }
}

/// The two addresses of each node.
fn neighbors(nodes: u8) -> impl Iterator<Item = Pair> {
    (1..=nodes).map(|node| address::node(Wire::Routed, node).address)
}

/// Of FRR.
fn config(nodes: u8) -> String {
    let all = |line: &dyn Fn(Pair) -> String| neighbors(nodes).map(line).collect::<String>();
    let neighbor = |Pair { v4, v6 }: Pair| {
        format!(
            " neighbor {v4} remote-as {NODES_ASN}\n neighbor {v6} remote-as {NODES_ASN}\n \
             no neighbor {v6} activate\n"
        )
    };
    let activate = |Pair { v6, .. }: Pair| format!("  neighbor {v6} activate\n");
    // FRR 8.4 loses a next hop in the kernel after a link flap without the
    // first line; policies are for routers that have other peers.
    format!(
        "no zebra nexthop kernel enable
frr defaults traditional
router bgp {ROUTER_ASN}
 bgp router-id {router}
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
{neighbors} address-family ipv4 unicast
  maximum-paths 16
 exit-address-family
 address-family ipv6 unicast
{activated}  maximum-paths 16
 exit-address-family
",
        router = address::client_gateway().address.v4,
        neighbors = all(&neighbor),
        activated = all(&activate),
    )
}

/// A pool with all VIPs, the router as each node sees it, and one
/// advertisement of everything to everybody.
pub(super) fn objects(nodes: u8) -> String {
    let first = address::vip(Wire::Routed, 0);
    let last = address::vip(Wire::Routed, 15);
    let mut text = format!(
        "apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: lab
  namespace: metallb-system
spec:
  addresses:
    - {}-{}
    - {}-{}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata:
  name: lab
  namespace: metallb-system
",
        first.v4, last.v4, first.v6, last.v6
    );
    for node in 1..=nodes {
        let gateway = address::node_gateway(node).address;
        for (family, router) in [
            ("ipv4", gateway.v4.to_string()),
            ("ipv6", gateway.v6.to_string()),
        ] {
            text += &format!(
                "---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: router-node{node}-{family}
  namespace: metallb-system
spec:
  myASN: {NODES_ASN}
  peerASN: {ROUTER_ASN}
  peerAddress: \"{router}\"
  enableGracefulRestart: true
  nodeSelectors:
    - matchLabels:
        kubernetes.io/hostname: node{node}
"
            );
        }
    }
    text
}
