//! A lab whose router learns from the nodes where the VIPs are.
//!
//! The ASNs are those of people who run this at home: 64512 for the router,
//! 64513 for the nodes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::address::{self, Pair};
use super::{Lab, Spec, Wire};
use crate::frr::Frr;
use crate::wait;

/// For the router to know what has changed.
const LIMIT: Duration = Duration::from_secs(30);
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
        self.frr().start(&config(&self.spec))
    }

    /// Waits until the router's way to every VIP is by exactly these nodes.
    pub fn wait_next_hops(&self, nodes: &[u8]) -> Result<()> {
        let frr = self.frr();
        for vip in self.vips() {
            let of = |number: &u8| self.node(*number).address_like(vip).to_string();
            let mut expected: Vec<String> = nodes.iter().map(of).collect();
            expected.sort();
            wait::until_ok(LIMIT, &format!("{vip} is by the nodes {nodes:?}"), || {
                let hops = frr.bgp_next_hops(vip)?;
                ensure!(hops == expected, "it is by {hops:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until the router and all nodes have each other by BFD.
    pub fn wait_watched(&self) -> Result<()> {
        let frr = self.frr();
        wait::until_ok(LIMIT, "all sessions of BFD are up", || {
            let peers = frr.json("show bfd peers")?;
            let peers = peers.as_array().cloned().unwrap_or_default();
            let expected = 2 * usize::from(self.spec.nodes);
            ensure!(peers.len() == expected, "{peers:?}");
            ensure!(peers.iter().all(|peer| peer["status"] == "up"), "{peers:?}");
            Ok(())
        })
    }
}

/// The two addresses of each node.
fn neighbors(nodes: u8) -> impl Iterator<Item = Pair> {
    (1..=nodes).map(|node| address::node(Wire::Routed, node).address)
}

/// Of FRR.
fn config(spec: &Spec) -> String {
    let all = |line: &dyn Fn(Pair) -> String| neighbors(spec.nodes).map(line).collect::<String>();
    let neighbor = |Pair { v4, v6 }: Pair| {
        let plain = format!(
            " neighbor {v4} remote-as {NODES_ASN}\n neighbor {v6} remote-as {NODES_ASN}\n \
             no neighbor {v6} activate\n"
        );
        let watched = format!(" neighbor {v4} bfd profile lab\n neighbor {v6} bfd profile lab\n");
        plain + if spec.bfd { &watched } else { "" }
    };
    let profile = "bfd
 profile lab
  receive-interval 100
  transmit-interval 100
  detect-multiplier 3
";
    let profile = if spec.bfd { profile } else { "" };
    let activate = |Pair { v6, .. }: Pair| format!("  neighbor {v6} activate\n");
    // FRR 8.4 loses a next hop in the kernel after a link flap without the
    // first line; policies are for routers that have other peers.
    format!(
        "no zebra nexthop kernel enable
frr defaults traditional
{profile}router bgp {ROUTER_ASN}
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
pub(super) fn objects(spec: &Spec) -> String {
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
    let watched = if spec.bfd {
        text += "---
apiVersion: metallb.io/v1beta1
kind: BFDProfile
metadata:
  name: lab
  namespace: metallb-system
spec:
  receiveInterval: 100
  transmitInterval: 100
  detectMultiplier: 3
";
        "  bfdProfile: lab\n"
    } else {
        ""
    };
    let hold = spec.bgp_hold_s.map(|s| format!("  holdTime: {s}s\n"));
    let hold = hold.unwrap_or_default();
    for node in spec.node_numbers() {
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
{watched}{hold}  nodeSelectors:
    - matchLabels:
        kubernetes.io/hostname: node{node}
"
            );
        }
    }
    text
}
