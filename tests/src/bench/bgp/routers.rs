//! Four routers in one namespace, by port; and one that is four, by address.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use crate::frr::Frr;
use crate::lab::address::{node, node_gateway};
use crate::lab::{Lab, Wire};
use crate::routers::{Bird, Gobgp};

const ROUTER_ASN: u32 = 64512;
const NODE_ASN: u32 = 64513;

/// In the order of the peers' names: the name, and the port.
const ALL: [(&str, u16); 4] = [
    ("bird", 1790),
    ("bird2", 1792),
    ("frr", 179),
    ("gobgp", 1791),
];

/// FRR, BIRD twice, and GoBGP.
#[derive(Debug)]
pub struct Routers {
    frr: Frr,
    birds: [Bird; 2],
    gobgp: Gobgp,
}

/// The node's first one, and three more on the same link.
pub(super) fn node_addresses() -> [Ipv4Addr; 4] {
    four(node(Wire::Routed, 1).address.v4)
}

pub(super) fn router_addresses() -> [Ipv4Addr; 4] {
    four(node_gateway(1).address.v4)
}

/// An address and the next ones; the node's and the router's take turns.
fn four(first: Ipv4Addr) -> [Ipv4Addr; 4] {
    [0, 2, 4, 6].map(|more| Ipv4Addr::from_bits(first.to_bits() + more))
}

impl Routers {
    /// All four, which take sessions of the lab's one node.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (here, there) = (router_addresses()[0], node_addresses()[0]);
        let frr = lab.frr();
        frr.start(&format!(
            "frr defaults traditional
router bgp {ROUTER_ASN}
 bgp router-id {here}
 no bgp ebgp-requires-policy
 neighbor {there} remote-as {NODE_ASN}
 neighbor {there} passive
"
        ))?;
        let bird = |name: &str, port: u16| {
            let protocol = protocol(0, here, there, port, "");
            let config = format!("router id {here}; protocol device {{}} {protocol}");
            Bird::start(lab.router(), lab.folder().join(name), &config)
        };
        let gobgp = format!(
            "[global.config]\nas = {ROUTER_ASN}\nrouter-id = \"{here}\"\nport = 1791\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{there}\"\n\
             peer-as = {NODE_ASN}\n[neighbors.transport.config]\npassive-mode = true\n"
        );
        Ok(Self {
            frr,
            birds: [bird("bird", 1790)?, bird("bird2", 1792)?],
            gobgp: Gobgp::start(lab.router(), &lab.folder().join("gobgp"), &gobgp)?,
        })
    }

    #[must_use]
    pub fn names(&self) -> [&'static str; 4] {
        ALL.map(|(name, _)| name)
    }

    /// How many it has of the node.
    pub fn prefixes(&self, index: usize) -> Result<usize> {
        let there = node_addresses()[0];
        let number = match index {
            0 | 1 => {
                let text = self.birds[index].ask("show route count")?;
                let words = text.split_whitespace().collect::<Vec<_>>();
                let of = words.windows(2).find(|pair| pair[1] == "of");
                of.and_then(|pair| pair[0].parse().ok())
            }
            2 => {
                let summary = self.frr.json("show bgp ipv4 unicast summary")?;
                summary["peers"][there.to_string()]["pfxRcd"].as_u64()
            }
            _ => {
                let summary = self.gobgp.ask("global rib summary -a ipv4")?;
                summary["num_destination"]
                    .as_u64()
                    .or(summary["num_path"].as_u64())
            }
        };
        Ok(usize::try_from(number.unwrap_or_default())?)
    }
}

fn protocol(number: usize, here: Ipv4Addr, there: Ipv4Addr, port: u16, more: &str) -> String {
    format!(
        "protocol bgp node{number} {{
            local {here} port {port} as {ROUTER_ASN};
            neighbor {there} as {NODE_ASN};
            passive on;
            hold time 90;
            {more}
            ipv4 {{ import all; export none; }};
        }}
        "
    )
}

/// BIRD as four routers at four addresses, with BFD.
pub(super) fn bird_of_four(lab: &Lab) -> Result<Bird> {
    let pairs = router_addresses().into_iter().zip(node_addresses());
    let protocols = pairs.enumerate();
    let protocols: String = protocols
        .map(|(number, (here, there))| protocol(number, here, there, 179, "bfd on;"))
        .collect();
    let config = format!(
        "router id {};
        protocol device {{}}
        protocol bfd {{ interface \"*\" {{ interval 100 ms; multiplier 3; }}; }}
        {protocols}",
        router_addresses()[0]
    );
    Bird::start(lab.router(), lab.folder().join("birds"), &config).context("BIRD of four")
}

/// Of BFD, which nobody needs to use.
pub(super) fn profile(name: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1
kind: BFDProfile
metadata:
  name: {name}
  namespace: metallb-system
spec:
  receiveInterval: 100
  transmitInterval: 100
"
    )
}

/// What the agent is told: four routers at one address, or at four and by BFD.
#[must_use]
pub fn objects(by_address: bool) -> String {
    let mut text = profile("fast");
    for (index, (name, port)) in ALL.into_iter().enumerate() {
        let address = router_addresses()[if by_address { index } else { 0 }];
        let more = if by_address {
            let source = node_addresses()[index];
            format!("  sourceAddress: {source}\n  bfdProfile: fast\n")
        } else {
            format!("  peerPort: {port}\n")
        };
        text += &format!(
            "---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: {name}
  namespace: metallb-system
spec:
  myASN: {NODE_ASN}
  peerASN: {ROUTER_ASN}
  peerAddress: {address}
{more}"
        );
    }
    text
}
