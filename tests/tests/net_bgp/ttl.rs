//! TTL security (RFC 5082): the agent's `--bgp-ttl-security`, FRR's
//! `ttl-security`, and a peer behind a router.

use lb_tests::frr::Frr;
use lb_tests::lab::address::client;
use lb_tests::require;
use serde_json::Value;

use super::one_node::{NODE_ASN, OneNode, PeerObject, ROUTER_ASN};

/// FRR with sessions of these, and more lines.
fn config(id: &str, neighbors: &[(&str, &str)]) -> String {
    let mut text = format!(
        "frr defaults traditional\nrouter bgp {ROUTER_ASN}\n bgp router-id {id}\n \
         no bgp ebgp-requires-policy\n"
    );
    for (neighbor, more) in neighbors {
        text += &format!(
            " neighbor {neighbor} remote-as {NODE_ASN}\n neighbor {neighbor} timers connect 1\n \
             neighbor {neighbor} {more}\n"
        );
    }
    for (neighbor, _) in neighbors.iter().filter(|(name, _)| name.contains(':')) {
        text += &format!(
            " no neighbor {neighbor} activate\n address-family ipv6 unicast\n  \
             neighbor {neighbor} activate\n exit-address-family\n"
        );
    }
    text
}

fn is_refused(row: &Value) -> bool {
    let text = row["last_error"]["text"].as_str().unwrap_or_default();
    row["established"] == false && text.contains("(--bgp-ttl-security)")
}

#[test]
fn where_the_ttl_is_checked_a_router_has_to_send_255_and_to_be_near() {
    if !require::root("net") {
        return;
    }
    let net = OneNode::up("bgpttl", &["--bgp-ttl-security"]);
    let (node, router) = net.ends();
    let (node4, node6) = (node.v4.to_string(), node.v6.to_string());
    let near = net.lab.frr();
    // Checks it too, and sends 255; the other one sends 1, as most routers do.
    let neighbors = [(&node4[..], "ttl-security hops 1"), (&node6, "timers 3 9")];
    near.start(&config("192.0.2.254", &neighbors))
        .expect("FRR runs");
    // Sends 255, of which the router on the way leaves 254.
    let far = Frr::new(net.lab.client(), net.lab.folder().join("frr-far"));
    let neighbors = [(&node4[..], "ebgp-multihop 255")];
    far.start(&config("192.0.2.200", &neighbors))
        .expect("FRR runs");
    let (mine, its) = (
        format!("myASN: {NODE_ASN}"),
        format!("peerASN: {ROUTER_ASN}"),
    );
    let asns = [&mine as &str, &its];
    let further = [&asns[..], &["ebgpMultiHop: true"]].concat();
    let peers = |far: &[&str]| {
        [
            PeerObject::new("four", router.v4, &asns),
            PeerObject::new("six", router.v6, &asns),
            PeerObject::new("far", client().address.v4, far),
        ]
    };
    net.configure(&peers(&asns), &[]);
    net.wait_established("four");
    net.wait_row("far", "refused for its TTL", is_refused);
    // FRR answers a call with 255, and sends 1 from then on: long since.
    let all = net.lab.node(1).routers().expect("the agent answers");
    let six = all.iter().find(|row| row["name"] == "six").expect("a row");
    let heard = &six["messages"]["total"]["received"];
    assert!(six["established"] == false && *heard == 0, "{six}");

    // It was that alone.
    let neighbor = format!("neighbor {node6} ttl-security hops 1");
    let as_number = format!("router bgp {ROUTER_ASN}");
    near.commands(&["configure terminal", &as_number, &neighbor])
        .expect("configured");
    // Which would wait for the old connection's end for minutes.
    net.lab.node(1).stop_agent().expect("stopped");
    net.lab.node(1).start_agent().expect("started");
    net.wait_established("six");
    net.configure(&peers(&further), &[]);
    net.wait_established("far");
    net.wait_established("four");
    net.lab.down().expect("the lab goes");
}
