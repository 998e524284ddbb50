//! What a lab is to look like.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::address;

/// Everything needed to build a lab, or to find one that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Begins the name of everything the lab makes, so that labs can be up
    /// beside each other.
    pub prefix: String,
    pub nodes: u8,
    /// In all; spread over the nodes in turn.
    pub pods: u16,
    pub wire: Wire,
    pub offload: Offload,
    /// Of all links, in bytes.
    pub mtu: u16,
    /// The `lb-agent` program; without one the nodes run no agent.
    pub agent: Option<PathBuf>,
    /// Added to the agent's command line.
    pub agent_arguments: Vec<String>,
    /// The `corten-echo` program.
    pub echo: PathBuf,
    /// A folder of the user's instead of the lab's own manifests.
    pub manifests: Option<PathBuf>,
    /// A Kubernetes cluster on the nodes, with kube-proxy of this kind; see
    /// [`crate::kubernetes::Cluster`].
    #[serde(default)]
    pub kubernetes: Option<KubeProxy>,
    /// Each agent watches a folder of its own, so that one may know of a change
    /// before another; see [`super::Lab::write_for`].
    #[serde(default)]
    pub apart: bool,
    /// The router runs FRR, and learns by BGP where the VIPs are.
    #[serde(default)]
    pub bgp: bool,
    /// And watches the nodes by BFD, as they watch it: a packet every 100 ms,
    /// of which three are missed.
    #[serde(default)]
    pub bfd: bool,
    /// Router and nodes know each other by their link alone, not by address.
    #[serde(default)]
    pub unnumbered: bool,
    /// The hold time of the sessions of BGP, in seconds.
    #[serde(default)]
    pub bgp_hold_s: Option<u16>,
}

/// What kube-proxy writes its rules with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KubeProxy {
    Iptables,
    Nftables,
}

impl KubeProxy {
    /// As `--proxy-mode` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// How nodes and client are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    /// One layer 2 segment with the VIPs in its subnet.
    SameLink,
    /// Every node in a subnet of its own behind a router, which has a route
    /// for each VIP.
    Routed,
}

/// Whether the nodes' and pods' interfaces leave checksums to the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offload {
    On,
    Off,
}

impl Spec {
    /// The default lab: three nodes on one link with one pod each.
    #[must_use]
    pub fn new(prefix: impl Into<String>, echo: PathBuf) -> Self {
        Self {
            prefix: prefix.into(),
            nodes: 3,
            pods: 3,
            wire: Wire::SameLink,
            offload: Offload::On,
            mtu: 1500,
            agent: None,
            agent_arguments: Vec::new(),
            echo,
            manifests: None,
            kubernetes: None,
            apart: false,
            bgp: false,
            bfd: false,
            unnumbered: false,
            bgp_hold_s: None,
        }
    }

    /// The default lab out of the programs built beside this one.
    pub fn for_test(prefix: &str) -> Result<Self> {
        let mut spec = Self::new(prefix, crate::program("corten-echo")?);
        spec.agent = Some(crate::program("lb-agent")?);
        Ok(spec)
    }

    /// For [`crate::kubernetes::Cluster`], whose pods come from images.
    pub fn for_cluster(prefix: &str) -> Result<Self> {
        Ok(Self::new(prefix, crate::program("corten-echo")?))
    }

    /// What cannot be built is said before anything is made.
    pub fn check(&self) -> Result<()> {
        check_prefix(&self.prefix)?;
        let most = address::NODES_MAX;
        ensure!(
            (1..=most).contains(&self.nodes),
            "a lab has 1 to {most} nodes"
        );
        let most = u16::from(self.nodes) * address::PODS_PER_NODE_MAX;
        ensure!(
            self.pods <= most,
            "{} nodes have room for {most} pods",
            self.nodes
        );
        for program in self.agent.iter().chain([&self.echo]) {
            ensure!(program.is_file(), "no program at {}", program.display());
        }
        // IPv6 asks for no less (RFC 8200 §5); a veth can no more.
        ensure!(
            self.mtu >= 1280,
            "links carry 1280 bytes or more, not {}",
            self.mtu
        );
        if self.kubernetes.is_some() {
            ensure!(
                self.wire == Wire::SameLink,
                "the nodes of a cluster in the lab share a link"
            );
            ensure!(
                self.pods == 0 && self.agent.is_none() && self.manifests.is_none(),
                "a cluster has pods and agents of its own"
            );
        }
        ensure!(!self.bfd || self.bgp, "BFD watches sessions of BGP");
        ensure!(
            !self.unnumbered || self.bgp,
            "sessions of BGP are numbered or not"
        );
        ensure!(
            !self.bgp || self.wire == Wire::Routed,
            "BGP needs a router between the client and the nodes"
        );
        if let Some(folder) = &self.manifests {
            ensure!(folder.is_dir(), "no folder at {}", folder.display());
        }
        Ok(())
    }

    /// The pods of this lab, in the order they are handed to the nodes.
    pub fn pod_places(&self) -> impl Iterator<Item = Place> {
        let nodes = u16::from(self.nodes);
        (0..self.pods).map(move |index| Place {
            node: u8::try_from(index % nodes + 1).expect("below the number of nodes"),
            pod: index / nodes + 1,
        })
    }

    pub fn node_numbers(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.nodes
    }
}

/// A pod's place: both numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub node: u8,
    pub pod: u16,
}

impl Place {
    #[must_use]
    pub fn name(self) -> String {
        format!("node{}-pod{}", self.node, self.pod)
    }
}

/// A prefix is also a folder's name and part of a namespace's.
pub fn check_prefix(prefix: &str) -> Result<()> {
    ensure!(
        !prefix.is_empty()
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
        "a lab's prefix is lower case letters and digits, not {prefix:?}"
    );
    Ok(())
}
