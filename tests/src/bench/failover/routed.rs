//! The same where a router learns by BGP where the VIP is, and spreads packets
//! over all nodes: connections that are reset as it spreads them anew, when a
//! node's agent is killed or the node is lost, and when it comes back.
//!
//! Three nodes with one pod each and the client on one link. The router, FRR, is
//! on the client's machine: whom it hears is where the client's packets go, by
//! addresses and ports. What happens to pods of the lost node is left out.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::metallb::{self, SPEAKER};
use super::trial::{connections, is_silent, wait_connections};
use super::{PREFIX, Parts};
use crate::frr::{Frr, host_prefix};
use crate::interrupt;
use crate::kubernetes::Cluster;
use crate::lab::address::{self, Pair};
use crate::lab::{Lab, Loss, Spec, Wire};
use crate::load::{Flow, Load};
use crate::wait;

/// Pods that are started anew take their time to find each other.
const LIMIT: Duration = Duration::from_secs(150);
/// Both systems' hold time is 3 s.
const NOTICED: Duration = Duration::from_secs(6);
const LOST: u8 = 2;
const ROUTER_ASN: u32 = 64512;
const NODES_ASN: u32 = 64513;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    Corten,
    /// With kube-proxy (nftables), in a cluster, its own speaker of BGP.
    #[serde(rename = "metallb")]
    MetalLb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Kill,
    Silence,
}

/// One fault and its end.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub system: Candidate,
    pub fault: Fault,
    /// Open ones whose pod was not lost.
    pub connections: usize,
    /// By the fault, and by its end.
    pub broken: usize,
    pub broken_by_return: usize,
    /// Of those, how many got no answer any more, without a word.
    pub silent: usize,
}

enum System {
    Corten(Box<Lab>),
    MetalLb(Box<Cluster>),
}

impl Candidate {
    fn name(self) -> &'static str {
        match self {
            Self::Corten => "Corten",
            Self::MetalLb => "MetalLB, kube-proxy",
        }
    }

    /// A silent node's connections are not told apart yet in a cluster.
    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Corten => &[Fault::Kill, Fault::Silence],
            Self::MetalLb => &[Fault::Kill],
        }
    }

    fn up(self, parts: &Parts) -> Result<System> {
        let mut spec = Spec::new(PREFIX, parts.programs.join("corten-echo"));
        match self {
            Self::Corten => {
                spec.agent = Some(parts.programs.join("lb-agent"));
                let lab = Lab::up(spec)?;
                start_router(&lab)?;
                let [first, last] = vips();
                let range = format!("    - {}-{}\n", first.v6, last.v6);
                // Neither of which MetalLB's own speaker can.
                let text = objects(&range, "  enableGracefulRestart: true\n");
                lab.write_file("router.yaml", &text)?;
                Ok(System::Corten(Box::new(lab)))
            }
            Self::MetalLb => {
                let cluster = metallb::install(spec, &parts.archives, &objects("", ""))?;
                start_router(cluster.lab())?;
                metallb::serve(&cluster, "SingleStack")?;
                Ok(System::MetalLb(Box::new(cluster)))
            }
        }
    }
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of its agent",
            Self::Silence => "silent loss",
        }
    }
}

impl System {
    fn lab(&self) -> &Lab {
        match self {
            Self::Corten(lab) => lab,
            Self::MetalLb(cluster) => cluster.lab(),
        }
    }

    /// The names of the pods of the node that is lost.
    fn lost_pods(&self) -> Result<Vec<String>> {
        let lost = format!("node{LOST}");
        match self {
            Self::Corten(lab) => {
                let places = lab.spec().pod_places();
                let there = places.filter(|place| place.node == LOST);
                Ok(there.map(|place| place.name()).collect())
            }
            Self::MetalLb(cluster) => {
                let pods = cluster.kubectl().json(&["get", "pods"])?;
                let pods = pods["items"].as_array().context("a list has items")?;
                let there = pods.iter().filter(|pod| pod["spec"]["nodeName"] == *lost);
                let names = there.filter_map(|pod| pod["metadata"]["name"].as_str());
                Ok(names.map(str::to_owned).collect())
            }
        }
    }

    fn happen(&self, fault: Fault) -> Result<()> {
        match (fault, self) {
            (Fault::Silence, _) => self.lab().lose(LOST, Loss::Silent),
            (Fault::Kill, Self::Corten(lab)) => lab.node(LOST).kill_agent(),
            (Fault::Kill, Self::MetalLb(cluster)) => {
                // Nobody starts it again meanwhile.
                cluster.node(LOST).kill("kubelet")?;
                let killed = cluster.node(LOST).signal_pod(SPEAKER, Signal::SIGKILL);
                killed.map(drop)
            }
        }
    }

    fn mend(&self, fault: Fault) -> Result<()> {
        match (fault, self) {
            (Fault::Silence, _) => self.lab().find(LOST, Loss::Silent),
            (Fault::Kill, Self::Corten(lab)) => {
                lab.node(LOST).start_agent()?;
                lab.node(LOST).wait_ready()
            }
            (Fault::Kill, Self::MetalLb(cluster)) => cluster.node(LOST).start_kubelet(),
        }
    }

    /// The router sends to all nodes, and has a session with each.
    fn wait_whole(&self) -> Result<()> {
        let (lab, vip) = (self.lab(), vip());
        let frr = router(lab);
        wait::until_ok(LIMIT, "the router has all sessions and next hops", || {
            let hops = frr.next_hops(&host_prefix(vip))?;
            ensure!(hops.len() == usize::from(lab.spec().nodes), "{hops:?}");
            let summary = frr.json("show bgp ipv4 unicast summary")?;
            let peers = summary["peers"].as_object().context("peers")?;
            let up = peers.values().all(|peer| peer["state"] == "Established");
            ensure!(up, "{summary}");
            Ok(())
        })
    }
}

/// Measures both, each fault once; `progress` hears of every one.
pub fn run(parts: &Parts, mut progress: impl FnMut(&str)) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for candidate in [Candidate::Corten, Candidate::MetalLb] {
        progress(&format!("bringing up: {}", candidate.name()));
        let system = candidate.up(parts)?;
        for &fault in candidate.faults() {
            interrupt::check()?;
            let name = format!("{}: {}", candidate.name(), fault.name());
            progress(&name);
            lines.push(trial(candidate, &system, fault).context(name)?);
        }
    }
    Ok(lines)
}

fn trial(candidate: Candidate, system: &System, fault: Fault) -> Result<Line> {
    system.wait_whole()?;
    let client = system.lab().client();
    let load = Load::start(&client, connections(&[vip()]))?;
    let gone = system.lost_pods()?;
    let left = |flow: &Flow| fault == Fault::Kill || !gone.contains(&flow.pod);
    let broken = |flows: Vec<Flow>| {
        let flows = flows.into_iter().filter(left);
        flows.filter_map(|flow| flow.broken).collect::<Vec<_>>()
    };

    system.happen(fault)?;
    wait::pass(NOTICED);
    wait_connections(&load, left)?;
    let by_fault = broken(load.look()?).len();
    system.mend(fault)?;
    system.wait_whole()?;
    wait_connections(&load, left)?;
    let flows = load.finish()?;
    let all = flows.iter().filter(|flow| left(flow)).count();
    let broken = broken(flows);
    Ok(Line {
        system: candidate,
        fault,
        connections: all,
        broken: by_fault,
        broken_by_return: broken.len() - by_fault,
        silent: broken.iter().filter(|why| is_silent(why)).count(),
    })
}

fn vip() -> IpAddr {
    address::vip(Wire::SameLink, 0).v4.into()
}

fn router(lab: &Lab) -> Frr {
    Frr::new(lab.client(), lab.folder().join("frr"))
}

fn start_router(lab: &Lab) -> Result<()> {
    let hash = ("net/ipv4/fib_multipath_hash_policy", "1");
    lab.client().sysctl(&[hash])?;
    let nodes = lab.spec().node_numbers();
    let sessions = nodes.map(|node| {
        let node = address::node(Wire::SameLink, node).address.v4;
        format!(" neighbor {node} remote-as {NODES_ASN}\n neighbor {node} timers connect 1\n")
    });
    router(lab).start(&format!(
        "no zebra nexthop kernel enable
frr defaults traditional
router bgp {ROUTER_ASN}
 bgp router-id {own}
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
{sessions} address-family ipv4 unicast
  maximum-paths 16
 exit-address-family
",
        own = address::client().address.v4,
        sessions = sessions.collect::<String>(),
    ))
}

/// The first and the last one.
fn vips() -> [Pair; 2] {
    [0, 9].map(|number| address::vip(Wire::SameLink, number))
}

/// `ranges`: more of the pool. `more`: of the peer's spec.
fn objects(ranges: &str, more: &str) -> String {
    let [first, last] = vips();
    format!(
        "apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: default
  namespace: metallb-system
spec:
  addresses:
    - {first}-{last}
{ranges}---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata:
  name: default
  namespace: metallb-system
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: router
  namespace: metallb-system
spec:
  myASN: {NODES_ASN}
  peerASN: {ROUTER_ASN}
  peerAddress: {router}
  holdTime: 3s
{more}",
        first = first.v4,
        last = last.v4,
        router = address::client().address.v4,
    )
}

/// For people.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:<19} {:<21} {:>11} {:>14} {:>13} {:>6}\n",
        "", "", "connections", "lost by it", "by its return", "silent"
    );
    for line in lines {
        text += &format!(
            "{:<19} {:<21} {:>11} {:>14} {:>13} {:>6}\n",
            line.system.name(),
            line.fault.name(),
            line.connections,
            line.broken,
            line.broken_by_return,
            line.silent
        );
    }
    text + "connections: open ones whose pod was not lost with the node; silent: of the lost \
            ones, those without a word\n"
}
