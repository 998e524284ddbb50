//! Router and nodes that know each other by their link alone: FRR's `neighbor
//! LINK interface remote-as`, and a `BGPPeer` with an `interface`.

use anyhow::ensure;
use lb_tests::frr::host_prefix;
use lb_tests::lab::{Lab, Loss, Node};
use lb_tests::load::{Load, Target, spread};
use lb_tests::{require, wait};
use serde_json::Value;

use super::restart::assert_clean;
use super::{CONNECTIONS, LIMIT, logs, spec, wait_bfd, wait_next_hops};

/// A peer on a link that no node has.
const NOWHERE: &str = "apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: nowhere
  namespace: metallb-system
spec:
  myASN: 64513
  dynamicASN: external
  interface: eth9
";

#[test]
fn a_router_without_an_address_is_found_and_finds_the_nodes() {
    if !require::root("net") {
        return;
    }
    let mut spec = spec("bgpunnum");
    (spec.bfd, spec.unnumbered) = (true, true);
    // FRR connects, too.
    spec.agent_arguments = ["--bgp-listen-port", "179"].map(str::to_owned).into();
    let lab = Lab::up(spec).expect("the lab comes up");
    wait_next_hops(&lab, &[1, 2, 3]);
    wait_bfd(&lab);
    let frr = lab.frr();
    for vip in lab.vips() {
        // RFC 8950: an IPv4 address, by a node's link-local one.
        let hops = frr.next_hops(&host_prefix(vip)).expect("FRR answers");
        assert!(hops.iter().all(|hop| hop.starts_with("fe80:")), "{hops:?}");
    }
    println!("{}", frr.ask("show ip route bgp").expect("FRR answers"));
    for vip in lab.vips().into_iter().take(2) {
        let spread = spread(&lab.client(), Target::tcp((vip, 80)), 150).expect("flows");
        assert_eq!((spread.lost, spread.masked), (0, 0), "{vip}: {spread:?}");
        assert_eq!(spread.by_pod.len(), 3, "{vip}: {spread:?}");
    }
    for node in lab.nodes() {
        let row = wait_row(&lab, node, "router", |row| {
            row["established"] == true && row["bfd"]["up"] == true
        });
        let address = row["address"].as_str().unwrap_or_default();
        assert!(
            address.starts_with("fe80:") && address.ends_with("%eth0"),
            "{row}"
        );
        // Both families, as one session has them.
        assert_eq!(row["told"], lab.vips().len(), "{row}");
    }
    // Nobody takes a node for a way to anywhere.
    let default = lab.router().run("ip", &["-6", "route", "show", "default"]);
    assert_eq!(default.expect("ip runs"), "");

    let load = Load::open(&lab, CONNECTIONS, 0).expect("flows open");
    // The next agent finds the router anew, and goes on with its sessions.
    lab.node(2).stop_agent().expect("stopped");
    lab.node(2).start_agent().expect("started");
    lab.node(2).wait_ready().expect("ready");
    wait_row(&lab, lab.node(2), "router", |row| {
        row["established"] == true
    });
    wait_next_hops(&lab, &[1, 2, 3]);
    assert_clean(&load, "a restart");
    drop(load.finish());

    // A link that was down, and then up.
    lab.lose(3, Loss::LinkDown).expect("lost");
    wait_next_hops(&lab, &[1, 2]);
    wait_row(&lab, lab.node(3), "router", |row| {
        row["established"] == false
    });
    lab.find(3, Loss::LinkDown).expect("found");
    wait_next_hops(&lab, &[1, 2, 3]);

    // And one that is not there.
    lab.write_file("nowhere.yaml", NOWHERE).expect("written");
    wait_row(&lab, lab.node(1), "nowhere", |row| {
        row["last_error"]["text"] == "cannot connect: this node has no link eth9"
    });
    lab.down().expect("the lab goes");
}

/// Waits until what a node says of a peer is as wanted.
fn wait_row(lab: &Lab, node: Node<'_>, peer: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let waited = wait::until_ok(
        LIMIT,
        &format!("{}: {peer} is as wanted", node.name()),
        || {
            let row = node.ask(&["bgp", peer])?["routers"][0].clone();
            ensure!(fits(&row), "{row}");
            Ok(row)
        },
    );
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", logs(lab)))
}
