//! Nodes that are lost without anybody saying so, and come back.

use anyhow::Result;

use super::topology::route_pods;
use super::{Lab, Wire};
use crate::command::feed;
use crate::netns::Namespace;

/// How a node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its link has no carrier: whoever is at the other end sees that.
    LinkDown,
    /// Nothing goes in or out, and nobody sees why.
    Silent,
}

/// What does not come through from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No frame, while both see everybody else.
    Everything,
    /// What agents say to each other.
    Agents,
}

const TABLE: &str = "lost";
/// Of agents, where `--peer-port` says nothing else.
const PEER_PORT: u16 = 6950;

impl Lab {
    /// Takes a node off the network, in the switch or router.
    pub fn lose(&self, node: u8, loss: Loss) -> Result<()> {
        let (middle, port) = (self.middle(), format!("node{node}"));
        match loss {
            Loss::LinkDown => {
                let keep = format!("net/ipv6/conf/{port}/keep_addr_on_down");
                middle.sysctl(&[(&keep, "1")])?;
                middle.ip(&format!("link set {port} down"))
            }
            Loss::Silent => {
                let rules = format!(
                    "table netdev {TABLE}{node} {{
                        chain in {{
                            type filter hook ingress device {port} priority 0; policy drop;
                        }}
                        chain out {{
                            type filter hook egress device {port} priority 0; policy drop;
                        }}
                    }}
                    "
                );
                feed(middle.command("nft").args(["-f", "-"]), &rules)
            }
        }
    }

    /// Brings it back.
    pub fn find(&self, node: u8, loss: Loss) -> Result<()> {
        let (middle, port) = (self.middle(), format!("node{node}"));
        match loss {
            Loss::LinkDown => {
                middle.ip(&format!("link set {port} up"))?;
                match self.spec.wire {
                    Wire::SameLink => Ok(()),
                    // The CNI's, which the kernel forgot with the link.
                    Wire::Routed => route_pods(&middle, node, self.node(node).address()),
                }
            }
            Loss::Silent => {
                let table = format!("{TABLE}{node}");
                let arguments = ["delete", "table", "netdev", &table];
                middle.run("nft", &arguments).map(drop)
            }
        }
    }

    /// Cuts the way from one node to another, not the way back; of nodes on one
    /// link.
    pub fn cut(&self, from: u8, to: u8, cut: Cut) -> Result<()> {
        let sender = self.node(from).mac()?;
        let only = match cut {
            Cut::Everything => String::new(),
            Cut::Agents => format!("udp dport {PEER_PORT}"),
        };
        let rules = format!(
            "table netdev {name} {{
                chain out {{
                    type filter hook egress device node{to} priority 0; policy accept;
                    ether saddr {sender} {only} drop
                }}
            }}
            ",
            name = cut_table(from, to),
        );
        feed(self.middle().command("nft").args(["-f", "-"]), &rules)
    }

    /// Undoes [`Self::cut`].
    pub fn uncut(&self, from: u8, to: u8) -> Result<()> {
        let arguments = ["delete", "table", "netdev", &cut_table(from, to)];
        self.middle().run("nft", &arguments).map(drop)
    }

    pub(crate) fn middle(&self) -> Namespace {
        match self.spec.wire {
            Wire::SameLink => self.switch(),
            Wire::Routed => self.router(),
        }
    }
}

fn cut_table(from: u8, to: u8) -> String {
    format!("cut{from}to{to}")
}
