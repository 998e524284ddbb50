//! A lab whose router learns from the nodes where the VIPs are.
//!
//! The ASNs are those of people who run this at home: 64512 for the router,
//! 64513 for the nodes.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::address::{self, Pair};
use super::topology::UPLINK;
use super::{Lab, Node, Spec, Wire};
use crate::frr::{Frr, host_prefix};
use crate::wait;

/// For the router to know what has changed.
const LIMIT: Duration = Duration::from_secs(30);
const ROUTER_ASN: u32 = 64512;
pub(crate) const NODES_ASN: u32 = 64513;

/// What the router does with several ways to one VIP.
pub(crate) const ECMP: &[(&str, &str)] = &[
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
        let unnumbered = self.spec.unnumbered;
        for vip in self.vips() {
            let of = |number: &u8| match unnumbered {
                true => link(*number),
                false => self.node(*number).address_like(vip).to_string(),
            };
            let mut expected: Vec<String> = nodes.iter().map(of).collect();
            expected.sort();
            wait::until_ok(LIMIT, &format!("{vip} is by the nodes {nodes:?}"), || {
                let hops = match unnumbered {
                    true => frr.next_links(&host_prefix(vip))?,
                    false => frr.bgp_next_hops(vip)?,
                };
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
            let sessions = if self.spec.unnumbered { 1 } else { 2 };
            let expected = sessions * usize::from(self.spec.nodes);
            ensure!(peers.len() == expected, "{peers:?}");
            ensure!(peers.iter().all(|peer| peer["status"] == "up"), "{peers:?}");
            Ok(())
        })
    }
}

impl Node<'_> {
    /// What its agent says of its routers.
    pub fn routers(self) -> Result<Vec<Value>> {
        let answer = self.ask(&["bgp"])?;
        Ok(answer["routers"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until it has so many sessions of BGP, each with one of BFD that
    /// is up, and as fast as both ends have agreed on.
    pub fn wait_sessions(self, count: usize, transmit_ms: u64) -> Result<()> {
        let what = format!("{count} sessions of {} are up and fast", self.name());
        wait::until_ok(LIMIT, &what, || {
            let rows = self.routers()?;
            ensure!(rows.len() == count, "{rows:?}");
            for row in rows {
                let bfd = &row["bfd"];
                ensure!(row["established"] == true && bfd["up"] == true, "{row}");
                ensure!(bfd["transmit_ms"] == transmit_ms, "{row}");
            }
            Ok(())
        })
    }
}

/// Of FRR: what it knows its sessions by, and whether each is for IPv4 routes.
fn neighbors(spec: &Spec) -> Vec<(String, bool)> {
    let by_link = |node: u8| vec![(link(node), true)];
    let by_address = |node: u8| {
        let Pair { v4, v6 } = address::node(Wire::Routed, node).address;
        vec![(v4.to_string(), true), (v6.to_string(), false)]
    };
    let all = spec.node_numbers();
    if spec.unnumbered {
        all.flat_map(by_link).collect()
    } else {
        all.flat_map(by_address).collect()
    }
}

/// The router's end of a node's link.
fn link(node: u8) -> String {
    format!("node{node}")
}

/// Of FRR.
fn config(spec: &Spec) -> String {
    let (mut sessions, mut activated) = (String::new(), String::new());
    for (name, ipv4) in neighbors(spec) {
        let by_link = if spec.unnumbered { " interface" } else { "" };
        sessions += &format!(" neighbor {name}{by_link} remote-as {NODES_ASN}\n");
        if !ipv4 {
            sessions += &format!(" no neighbor {name} activate\n");
        }
        if spec.bfd {
            sessions += &format!(" neighbor {name} bfd profile lab\n");
        }
        if !ipv4 || spec.unnumbered {
            activated += &format!("  neighbor {name} activate\n");
        }
    }
    let profile = "bfd
 profile lab
  receive-interval 100
  transmit-interval 100
  detect-multiplier 3
";
    let profile = if spec.bfd { profile } else { "" };
    let own = address::client_gateway().address.v4;
    router_config(own, profile, &sessions, &activated)
}

/// Of FRR: a router that spreads packets over all nodes. `before`: what stands
/// before its sessions, `sessions`: lines of these, `activated`: those for IPv6
/// routes.
pub(crate) fn router_config(
    own: Ipv4Addr,
    before: &str,
    sessions: &str,
    activated: &str,
) -> String {
    // FRR 8.4 loses a next hop in the kernel after a link flap without the
    // first line; policies are for routers that have other peers.
    format!(
        "no zebra nexthop kernel enable
frr defaults traditional
{before}router bgp {ROUTER_ASN}
 bgp router-id {own}
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
{sessions} address-family ipv4 unicast
  maximum-paths 16
 exit-address-family
 address-family ipv6 unicast
{activated}  maximum-paths 16
 exit-address-family
"
    )
}

/// A pool with all VIPs, the router as each node sees it, and one
/// advertisement of everything to everybody.
pub(super) fn objects(spec: &Spec) -> String {
    let first = address::vip(Wire::Routed, 0);
    let last = address::vip(Wire::Routed, 15);
    let mut text = pool(&[
        format!("{}-{}", first.v4, last.v4),
        format!("{}-{}", first.v6, last.v6),
    ]);
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
    let common = format!("  enableGracefulRestart: true\n{watched}{hold}");
    if spec.unnumbered {
        let end = format!("  interface: {UPLINK}\n{common}");
        return text + &peer("router", &end);
    }
    for node in spec.node_numbers() {
        let gateway = address::node_gateway(node).address;
        for (family, router) in [
            ("ipv4", gateway.v4.to_string()),
            ("ipv6", gateway.v6.to_string()),
        ] {
            let name = format!("router-node{node}-{family}");
            let end = format!(
                "  peerAddress: \"{router}\"\n{common}  nodeSelectors:\n    - matchLabels:\n        \
                 kubernetes.io/hostname: node{node}\n"
            );
            text += &peer(&name, &end);
        }
    }
    text
}

/// These addresses, and one advertisement of everything to everybody.
pub(crate) fn pool(ranges: &[String]) -> String {
    let ranges = ranges.iter().map(|range| format!("    - {range}\n"));
    format!(
        "apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: lab
  namespace: metallb-system
spec:
  addresses:
{}---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata:
  name: lab
  namespace: metallb-system
",
        ranges.collect::<String>()
    )
}

/// `lines`: of its spec, besides the ASNs.
pub(crate) fn peer(name: &str, lines: &str) -> String {
    format!(
        "---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: {name}
  namespace: metallb-system
spec:
  myASN: {NODES_ASN}
  peerASN: {ROUTER_ASN}
{lines}"
    )
}
