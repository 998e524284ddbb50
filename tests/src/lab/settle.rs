//! Waiting until the agents have done what the manifests say, as their own
//! tables and the client's neighbours show it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::manifests::{Endpoint, Family};
use super::{Lab, Node, UPLINK, address};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// An endpoint of a service: its name, the pod's address, and whether it is
/// ready, serving, terminating.
type Known = (String, IpAddr, [bool; 3]);

impl Lab {
    /// Waits until every agent that runs has the endpoints of the manifests.
    pub fn wait_applied(&self) -> Result<()> {
        let mut running = self.nodes().filter(|node| node.agent_pid().is_some());
        running.try_for_each(|node| self.wait_applied_at(node.number()))
    }

    /// Waits until one node's agent has them.
    pub fn wait_applied_at(&self, node: u8) -> Result<()> {
        let (node, wanted) = (self.node(node), self.wanted());
        let what = format!("{} has the endpoints of the manifests", node.name());
        wait::until_ok(LIMIT, &what, || {
            let known = known(node)?;
            ensure!(known == wanted, "it has {known:?} and not {wanted:?}");
            Ok(())
        })
    }

    fn wanted(&self) -> BTreeSet<Known> {
        let mut wanted = BTreeSet::new();
        for service in &self.manifests.services {
            for (place, endpoint) in &self.manifests.endpoints {
                let conditions = match endpoint {
                    Endpoint::Ready => [true, true, false],
                    Endpoint::Draining => [false, true, true],
                    Endpoint::NotReady => [false, false, false],
                    Endpoint::Gone => continue,
                };
                for family in [Family::Ipv4, Family::Ipv6] {
                    let pod = family.of(address::pod(*place));
                    wanted.insert((service.name.clone(), pod, conditions));
                }
            }
        }
        wanted
    }

    /// Waits until one node alone owns the VIP, and it is one that is meant.
    pub fn wait_owner(&self, vip: IpAddr, meant: impl Fn(u8) -> bool) -> Result<Node<'_>> {
        wait::until_ok(LIMIT, &format!("one node owns {vip}"), || {
            let mut owners = Vec::new();
            for node in self.nodes().filter(|node| node.agent_pid().is_some()) {
                if node.owns(vip)? {
                    owners.push(node);
                }
            }
            let numbers: Vec<u8> = owners.iter().map(|node| node.number()).collect();
            match owners[..] {
                [owner] if meant(owner.number()) => Ok(owner),
                _ => anyhow::bail!("the owners are {numbers:?}"),
            }
        })
    }

    /// Every agent hears every other one.
    pub fn are_all_there(&self) -> Result<()> {
        let others = usize::from(self.spec.nodes) - 1;
        for node in self.nodes() {
            let members = node.ask(&["members"])?;
            let peers = members["peers"].as_array().context("it lists peers")?;
            let alive = peers.iter().filter(|peer| peer["state"] == "alive").count();
            ensure!(alive == others, "{} sees {members}", node.name());
        }
        Ok(())
    }

    /// What all nodes did with packets, for a failure's message.
    #[must_use]
    pub fn counters(&self) -> String {
        self.nodes().map(Node::counters).collect()
    }

    /// Makes the client ask anew who has a VIP.
    pub fn forget_neighbour(&self, vip: IpAddr) -> Result<()> {
        // It need not know one.
        self.client()
            .ip(&format!("neigh replace {vip} dev {UPLINK} nud failed"))
    }

    /// Waits until the client sends to a node what it sends to a VIP.
    pub fn wait_client_sends_to(&self, vip: IpAddr, node: u8) -> Result<()> {
        let mac = self.node(node).mac()?;
        let what = format!("the client sends to node{node} what is for {vip}");
        wait::until_ok(LIMIT, &what, || {
            let known = self.neighbour(vip)?;
            ensure!(known.as_ref() == Some(&mac), "it has {known:?}, not {mac}");
            Ok(())
        })
    }

    /// The MAC address that the client has for an address on its link.
    pub fn neighbour(&self, address: IpAddr) -> Result<Option<String>> {
        let listing = self
            .client()
            .run("ip", &["-json", "neigh", "show", &address.to_string()])?;
        let listing: Value = serde_json::from_str(&listing).context("`ip -json` prints JSON")?;
        Ok(listing[0]["lladdr"].as_str().map(str::to_owned))
    }
}

impl Node<'_> {
    /// Whether this node's tables say that it answers for a VIP.
    pub fn owns(self, vip: IpAddr) -> Result<bool> {
        Ok(self.owned()?.contains(&vip))
    }

    /// The MAC address of its uplink.
    pub fn mac(self) -> Result<String> {
        let listing = self
            .namespace()
            .run("ip", &["-json", "link", "show", "dev", UPLINK])?;
        let listing: Value = serde_json::from_str(&listing).context("`ip -json` prints JSON")?;
        let mac = listing[0]["address"].as_str();
        mac.map(str::to_owned)
            .context("an uplink has a MAC address")
    }

    /// The same as it is in frames.
    pub fn mac_bytes(self) -> Result<[u8; 6]> {
        let text = self.mac()?;
        let bytes: Result<Vec<u8>, _> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect();
        let bytes = bytes?;
        let mac = bytes.first_chunk().filter(|_| bytes.len() == 6);
        mac.copied()
            .with_context(|| format!("{text} is no MAC address"))
    }

    /// The VIPs that this node's tables say it answers for.
    pub fn owned(self) -> Result<BTreeSet<IpAddr>> {
        let status = self.ask(&["status"])?;
        let vips = status["vips"].as_array().context("status has VIPs")?;
        vips.iter()
            .filter(|row| row["state"] == "ours")
            .map(|row| {
                let address = row["address"].as_str().unwrap_or_default();
                address.parse().context("a VIP is an address")
            })
            .collect()
    }

    /// Why packets went where they did, for a failure's message: every reason
    /// that any packet met.
    #[must_use]
    pub fn counters(self) -> String {
        let mut counters = self.ask(&["counters"]).unwrap_or_default()["counters"].take();
        if let Some(counters) = counters.as_object_mut() {
            counters.retain(|_, count| count != 0);
        }
        format!("{}: {counters}\n", self.name())
    }

    /// How many packets met a reason so far.
    pub fn counter(self, reason: &str) -> Result<u64> {
        let answer = self.ask(&["counters"])?;
        answer["counters"][reason]
            .as_u64()
            .with_context(|| format!("no counter {reason}"))
    }
}

fn known(node: Node<'_>) -> Result<BTreeSet<Known>> {
    let rows = node.ask(&["backends"])?;
    let rows = rows.as_array().context("backends are a list")?;
    rows.iter()
        .map(|row| {
            let is = |name: &str| row[name].as_bool().unwrap_or_default();
            let address = row["address"].as_str().unwrap_or_default();
            Ok((
                row["service"].as_str().unwrap_or_default().to_owned(),
                address.parse().context("a backend has an address")?,
                [is("ready"), is("serving"), is("terminating")],
            ))
        })
        .collect()
}
