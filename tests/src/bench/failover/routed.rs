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
use serde::Serialize;

use super::corten::Corten;
use super::metallb::MetalLb;
use super::system::System;
use super::trial::{connections, is_silent, wait_connections};
use super::{Fault, PREFIX, Parts};
use crate::frr::{Frr, host_prefix};
use crate::interrupt;
use crate::lab::address;
use crate::lab::bgp::{ECMP, NODES_ASN, peer, pool, router_config};
use crate::lab::{Lab, Spec, Wire};
use crate::load::{Flow, Load};
use crate::wait;

/// Pods that are started anew take their time to find each other.
const LIMIT: Duration = Duration::from_secs(150);
/// Both systems' hold time is 3 s.
const NOTICED: Duration = Duration::from_secs(6);
const LOST: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    Corten,
    /// With kube-proxy (nftables), in a cluster, its own speaker of BGP.
    #[serde(rename = "metallb")]
    MetalLb,
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

    fn up(self, parts: &Parts) -> Result<Box<dyn System>> {
        let mut spec = Spec::new(PREFIX, parts.programs.join("corten-echo"));
        let [first, last] = [0, 9].map(|number| address::vip(Wire::SameLink, number));
        let v4 = format!("{}-{}", first.v4, last.v4);
        let router = format!(
            "  peerAddress: {}\n  holdTime: 3s\n",
            address::client().address.v4
        );
        Ok(match self {
            Self::Corten => {
                spec.agent = Some(parts.programs.join("lb-agent"));
                let lab = Lab::up(spec)?;
                // Neither of which MetalLB's own speaker can.
                let pool = pool(&[v4, format!("{}-{}", first.v6, last.v6)]);
                let router = router + "  enableGracefulRestart: true\n";
                lab.write_file("router.yaml", &(pool + &peer("router", &router)))?;
                Box::new(Corten::of(lab))
            }
            Self::MetalLb => {
                let objects = pool(&[v4]) + &peer("router", &router);
                Box::new(MetalLb::of(spec, &parts.archives, &objects, "SingleStack")?)
            }
        })
    }
}

/// Measures both, each fault once; `progress` hears of every one.
pub fn run(parts: &Parts, mut progress: impl FnMut(&str)) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for candidate in [Candidate::Corten, Candidate::MetalLb] {
        progress(&format!("bringing up: {}", candidate.name()));
        let mut system = candidate.up(parts)?;
        start_router(system.lab())?;
        for &fault in candidate.faults() {
            interrupt::check()?;
            let name = format!("{}: {}", candidate.name(), fault.name());
            progress(&name);
            lines.push(trial(candidate, &mut *system, fault).context(name)?);
        }
    }
    Ok(lines)
}

/// The router sends to all nodes, and has a session with each.
fn wait_whole(lab: &Lab) -> Result<()> {
    let (frr, vip) = (router(lab), vip());
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

fn trial(candidate: Candidate, system: &mut dyn System, fault: Fault) -> Result<Line> {
    wait_whole(system.lab())?;
    let client = system.lab().client();
    let load = Load::start(&client, connections(&[vip()]))?;
    let left = |flow: &Flow| !fault.takes(LOST, &flow.pod);
    let broken = |flows: Vec<Flow>| {
        let flows = flows.into_iter().filter(left);
        flows.filter_map(|flow| flow.broken).collect::<Vec<_>>()
    };

    fault.happen(system, LOST)?;
    wait::pass(NOTICED);
    wait_connections(&load, left)?;
    let by_fault = broken(load.look()?).len();
    fault.mend(system, LOST)?;
    wait_whole(system.lab())?;
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
    lab.client().sysctl(ECMP)?;
    let sessions = lab.spec().node_numbers().map(|node| {
        let node = address::node(Wire::SameLink, node).address.v4;
        format!(" neighbor {node} remote-as {NODES_ASN}\n neighbor {node} timers connect 1\n")
    });
    let sessions = sessions.collect::<String>();
    let own = address::client().address.v4;
    router(lab).start(&router_config(own, "", &sessions, ""))
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
