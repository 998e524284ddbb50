//! GoBGP as the router.

use lb_tests::frr::host_prefix;
use lb_tests::require;
use lb_tests::routers::Gobgp;
use serde_json::Value;

use super::one_node::{NODE_ASN, OneNode, PeerObject, ROUTER_ASN, wait_said};

fn neighbor(address: &str, asn: u32, families: &[&str]) -> String {
    let families: String = families
        .iter()
        .map(|family| {
            format!(
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \
                 \"{family}-unicast\"\n"
            )
        })
        .collect();
    format!(
        "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}\n\
         [neighbors.timers.config]\nhold-time = 9\nkeepalive-interval = 3\nconnect-retry = 5\n\
         {families}"
    )
}

fn config(neighbors: &str) -> String {
    format!("[global.config]\nas = {ROUTER_ASN}\nrouter-id = \"192.0.2.254\"\n{neighbors}")
}

/// eBGP over IPv4 and over IPv6, from both sides, with communities.
#[test]
fn gobgp_has_what_is_configured() {
    if !require::root("net") {
        return;
    }
    let net = OneNode::up("bgpgo", &["--bgp-listen-port", "179"]);
    let (node, router) = net.ends();
    let four = neighbor(&node.v4.to_string(), NODE_ASN, &["ipv4"]);
    let six = neighbor(&node.v6.to_string(), NODE_ASN, &["ipv6"]);
    let folder = net.lab.folder().join("gobgp");
    let gobgp = Gobgp::start(net.lab.router(), &folder, &config(&(four + &six)));
    let gobgp = gobgp.expect("GoBGP runs");
    let (mine, its) = (
        format!("myASN: {NODE_ASN}"),
        format!("peerASN: {ROUTER_ASN}"),
    );
    let peers = [
        PeerObject::new("four", router.v4, &[&mine, &its]),
        PeerObject::new("six", router.v6, &[&mine, &its]),
    ];
    net.configure(&peers, &["communities: [\"64512:7\", \"large:64512:1:2\"]"]);
    for name in ["four", "six"] {
        net.wait_established(name);
    }
    for vip in net.lab.vips() {
        let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
        let command = format!("global rib -a {family} {}", host_prefix(vip));
        let ask = || Ok(gobgp.ask(&command)?.to_string());
        let told = wait_said(&command, ask, |text| text.contains("nexthop"));
        let attributes: Value = serde_json::from_str(&told).expect("JSON");
        let text = attributes.to_string();
        // 64512 * 65536 + 7, and the node's AS.
        for expected in ["4227858439", &NODE_ASN.to_string()] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(
            text.contains("LocalData1") || text.contains("64512:1:2"),
            "{text}"
        );
    }
    // The peer that is gone has nothing of it any more.
    net.configure(&peers[1..], &[]);
    let command = format!("neighbor {}", node.v4);
    let ask = || Ok(gobgp.ask(&command)?.to_string());
    wait_said("GoBGP was told", ask, |text| {
        !text.contains("\"session_state\":6")
    });
    net.lab.down().expect("the lab goes");
}

/// Of the same AS, with an ASN of four bytes.
#[test]
fn gobgp_of_the_same_as_hears_preferences() {
    if !require::root("net") {
        return;
    }
    const ASN: u32 = 4_200_000_001;
    let net = OneNode::up("bgpgoibgp", &[]);
    let (node, router) = net.ends();
    let four = neighbor(&node.v4.to_string(), ASN, &["ipv4", "ipv6"]);
    let text = config(&four).replace(&format!("as = {ROUTER_ASN}\n"), &format!("as = {ASN}\n"));
    let folder = net.lab.folder().join("gobgp");
    let gobgp = Gobgp::start(net.lab.router(), &folder, &text).expect("GoBGP runs");
    let mine = format!("myASN: {ASN}");
    let more = [
        &mine as &str,
        "dynamicASN: internal",
        "dualStackAddressFamily: true",
    ];
    let peer = PeerObject::new("four", router.v4, &more);
    net.configure(&[peer], &["localPref: 150"]);
    net.wait_established("four");
    for vip in net.lab.vips() {
        let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
        let command = format!("global rib -a {family} {}", host_prefix(vip));
        let ask = || Ok(gobgp.ask(&command)?.to_string());
        wait_said(&command, ask, |text| text.contains("150"));
    }
    net.lab.down().expect("the lab goes");
}
