//! A router that learns by BGP where the VIPs are, FRR: it has one next hop a
//! node, and no connection is lost when agents restart, a node is drained, or
//! another node is lost.

mod bird;
mod drain;
mod fast;
mod gobgp;
mod killed;
mod lost;
mod many;
mod one_node;
mod password;
mod priority;
mod restart;
mod ttl;
mod unnumbered;

use std::time::Duration;

use lb_tests::lab::manifests::Protocol;
use lb_tests::lab::{Lab, Spec, Wire};
use lb_tests::load::Probes;

const LIMIT: Duration = Duration::from_secs(20);
/// To each VIP.
const CONNECTIONS: usize = 100;
/// Flows of UDP, to each VIP of such a service.
const PROBES: usize = 12;

fn spec(prefix: &str) -> Spec {
    let mut spec = Spec::for_test(prefix).expect("programs are built");
    spec.wire = Wire::Routed;
    spec.bgp = true;
    spec
}

/// Waits until the router and all nodes have each other by BFD.
fn wait_bfd(lab: &Lab) {
    let waited = lab.wait_watched();
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", logs(lab)));
}

/// Waits until the router's way to every VIP is by exactly these nodes.
fn wait_next_hops(lab: &Lab, nodes: &[u8]) {
    if let Err(error) = lab.wait_next_hops(nodes) {
        let summary = lab.frr().ask("show bgp summary");
        panic!("{error:#}\n{}\n{}", summary.unwrap_or_default(), logs(lab));
    }
}

fn logs(lab: &Lab) -> String {
    lab.nodes()
        .map(|node| {
            let routers = node.ask(&["bgp"]).unwrap_or_default();
            let log = std::fs::read_to_string(node.agent_log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(10).collect();
            format!("{}: {routers}\n{}\n", node.name(), lines.join("\n"))
        })
        .collect()
}

/// Probes every VIP of a service of UDP, from now on.
fn probe_udp(lab: &Lab) -> Probes {
    let targets = lab.targets().into_iter();
    let udp = targets.filter(|target| target.protocol == Protocol::Udp);
    let probed = udp.flat_map(|target| [target.address; PROBES]).collect();
    Probes::udp(&lab.client(), probed)
}
