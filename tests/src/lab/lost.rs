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

const TABLE: &str = "lost";

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

    fn middle(&self) -> Namespace {
        match self.spec.wire {
            Wire::SameLink => self.switch(),
            Wire::Routed => self.router(),
        }
    }
}
