//! Who is told what.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::super::{Memo, desired};
use crate::config::declared::{BgpAdvertisementSpec, Declared, Object, PeerSpec, PoolSpec};
use crate::config::declared::{PoolsSpec, SelectorSpec};
use crate::config::{Configuration, Kind, Labels, Place};
use crate::model::sample::{DRAINING, READY, UNREADY, cluster, ip};
use crate::model::{Inputs, TrafficPolicy};

fn object<T>(kind: Kind, name: &str, spec: T) -> Object<T> {
    Object {
        name: name.to_string(),
        labels: Labels::new(),
        place: Place::object(kind, name),
        spec,
    }
}

fn labels(label: &str) -> Labels {
    let (key, value) = label.split_once('=').unwrap();
    [(key.to_string(), value.to_string())].into()
}

fn selector(label: &str) -> SelectorSpec {
    SelectorSpec {
        match_labels: labels(label),
        ..SelectorSpec::default()
    }
}

fn peer(address: &str) -> PeerSpec {
    PeerSpec {
        my_asn: 64501,
        peer_asn: 64500,
        peer_address: address.to_string(),
        ..PeerSpec::default()
    }
}

fn lab() -> Declared {
    let pool = PoolSpec {
        addresses: vec!["198.51.100.0/24".into(), "2001:db8:1::/120".into()],
        ..PoolSpec::default()
    };
    Declared {
        pools: vec![object(Kind::IpAddressPool, "pool", pool)],
        peers: vec![object(Kind::BgpPeer, "one", peer("192.0.2.254"))],
        bgp_advertisements: vec![advertisement("all", |_| {})],
        ..Declared::default()
    }
}

fn advertisement(
    name: &str,
    edit: impl FnOnce(&mut BgpAdvertisementSpec),
) -> Object<BgpAdvertisementSpec> {
    let mut spec = BgpAdvertisementSpec {
        pools: PoolsSpec::default(),
        ..BgpAdvertisementSpec::default()
    };
    edit(&mut spec);
    object(Kind::BgpAdvertisement, name, spec)
}

fn with(mut inputs: Inputs, declared: &Declared) -> Inputs {
    let config = Configuration::of(declared, &[]).expect("a good one");
    inputs.facts.config.good = Some(Arc::new(config));
    inputs.facts.origin = crate::model::Origin::Cluster;
    inputs
}

/// Two nodes, and a Service with a pod on each.
fn world() -> Inputs {
    cluster()
        .node("node1", "192.0.2.1")
        .node("node2", "192.0.2.2")
        .service("web", "198.51.100.7")
        .pod("web", "10.0.1.1", "node1", READY)
        .pod("web", "10.0.2.1", "node2", READY)
}

/// `peer: prefix …` for each peer, and problems that are about this.
fn told(inputs: &Inputs) -> Vec<String> {
    let desired = desired(inputs, &mut Memo::default());
    let mut lines: Vec<String> = Vec::new();
    for (name, peer) in &desired.bgp {
        let mut line = format!("{name}:");
        for (net, prefix) in &peer.prefixes {
            line += &format!(" {net}");
            let route = &prefix.route;
            if let Some(local_pref) = route.local_pref {
                line += &format!(" local {local_pref}");
            }
            for (high, low) in &route.communities {
                line += &format!(" {high}:{low}");
            }
            for (a, b, c) in &route.large_communities {
                line += &format!(" {a}:{b}:{c}");
            }
        }
        if peer.leaving {
            line += " leaving";
        }
        lines.push(line);
    }
    let problems = desired.problems.iter().map(|problem| problem.name());
    let problems = problems.filter(|name| *name == "LocalPrefsDiffer");
    lines.extend(problems.map(String::from));
    lines
}

#[test]
fn a_service_is_told_while_an_endpoint_can_be_used() {
    let web = "one: 198.51.100.7/32";
    assert_eq!(told(&with(world(), &lab())), [web]);
    for (conditions, expected) in [(READY, web), (DRAINING, web), (UNREADY, "one:")] {
        let inputs = cluster()
            .node("node1", "192.0.2.1")
            .node("node2", "192.0.2.2")
            .service("web", "198.51.100.7")
            .pod("web", "10.0.2.1", "node2", conditions);
        assert_eq!(told(&with(inputs, &lab())), [expected], "{conditions:?}");
    }
}

#[test]
fn a_local_service_is_told_where_its_pods_are() {
    let local = |node| {
        cluster()
            .node("node1", "192.0.2.1")
            .node("node2", "192.0.2.2")
            .service("web", "198.51.100.7")
            .edit_service("web", |s| s.traffic_policy = TrafficPolicy::Local)
            .pod("web", "10.0.2.1", node, READY)
    };
    assert_eq!(
        told(&with(local("node1"), &lab())),
        ["one: 198.51.100.7/32"]
    );
    assert_eq!(told(&with(local("node2"), &lab())), ["one:"]);
}

#[test]
fn a_node_that_is_excluded_tells_nothing_and_says_that_it_leaves() {
    let excluded = world().edit_node("node1", |node| node.excluded = true);
    assert_eq!(told(&with(excluded, &lab())), ["one: leaving"]);
    let broken = world().edit_node("node1", |node| node.network_unavailable = true);
    assert_eq!(told(&with(broken, &lab())), ["one:"]);
    let unknown = cluster().service("web", "198.51.100.7");
    assert_eq!(told(&with(unknown, &lab())), [""; 0]);
}

#[test]
fn selectors_choose_nodes_services_pools_and_peers() {
    let labelled = || {
        let inputs = world().edit_node("node1", |node| node.labels = labels("rack=a"));
        inputs.edit_service("web", |service| service.labels = labels("app=web"))
    };
    let two = || object(Kind::BgpPeer, "two", peer("192.0.2.253"));
    let web = " 198.51.100.7/32";
    type Edit = fn(&mut BgpAdvertisementSpec);
    for (edit, one, other) in [
        ((|_| {}) as Edit, web, web),
        (|a| a.peers = vec!["two".into()], "", web),
        (|a| a.node_selectors = vec![selector("rack=b")], "", ""),
        (
            |a| a.node_selectors = vec![selector("rack=b"), selector("rack=a")],
            web,
            web,
        ),
        (|a| a.service_selectors = vec![selector("app=db")], "", ""),
        (
            |a| a.service_selectors = vec![selector("app=web")],
            web,
            web,
        ),
    ] {
        let mut declared = lab();
        declared.peers.push(two());
        declared.bgp_advertisements = vec![advertisement("all", edit)];
        let expected = [format!("one:{one}"), format!("two:{other}")];
        assert_eq!(told(&with(labelled(), &declared)), expected);
    }
    let mut declared = lab();
    declared.peers[0].spec.node_selectors = vec![selector("rack=b")];
    assert_eq!(told(&with(labelled(), &declared)), [""; 0]);
}

#[test]
fn aggregates_communities_and_preferences_are_put_together() {
    let inputs = || {
        world()
            .service("dns", "198.51.100.9,2001:db8:1::9")
            .pod("dns", "10.0.1.2", "node1", READY)
    };
    let mut declared = lab();
    declared.bgp_advertisements = vec![
        advertisement("a", |a| {
            a.aggregation_length = Some(28);
            a.communities = vec!["65535:65281".into(), "large:64512:1:2".into()];
            a.local_pref = 50;
        }),
        advertisement("b", |a| {
            a.aggregation_length = Some(28);
            a.aggregation_length_v6 = Some(124);
            a.communities = vec!["64512:1".into()];
            a.local_pref = 50;
        }),
        advertisement("c", |a| a.local_pref = 7),
    ];
    let all = "one: 198.51.100.0/28 local 50 64512:1 65535:65281 64512:1:2 198.51.100.7/32 local 7 \
               198.51.100.9/32 local 7 2001:db8:1::/124 local 50 64512:1 2001:db8:1::9/128";
    // The IPv6 prefixes of two of them are the same, and their preferences not.
    assert!(Configuration::of(&declared, &[]).is_err());
    declared.bgp_advertisements[0].spec.aggregation_length_v6 = Some(125);
    let all = all.replace(
        "2001:db8:1::/124 local 50 64512:1 2001:db8:1::9/128",
        "2001:db8:1::/124 local 50 64512:1 2001:db8:1::8/125 local 50 65535:65281 64512:1:2 \
         2001:db8:1::9/128 local 7",
    );
    assert_eq!(told(&with(inputs(), &declared)), [all]);
}

#[test]
fn preferences_that_meet_only_in_a_service_are_told() {
    let mut declared = lab();
    declared.bgp_advertisements = vec![
        advertisement("all", |a| a.local_pref = 1),
        advertisement("web", |a| {
            a.local_pref = 2;
            a.service_selectors = vec![selector("app=web")];
        }),
    ];
    assert_eq!(
        told(&with(world(), &declared)),
        ["one: 198.51.100.7/32 local 1"]
    );
    let web = world().edit_service("web", |service| service.labels = labels("app=web"));
    assert_eq!(told(&with(web, &declared)), ["one:", "LocalPrefsDiffer"]);
}

#[test]
fn sessions_are_as_the_peer_says() {
    let mut declared = lab();
    let spec = &mut declared.peers[0].spec;
    spec.hold_time = Some("30s".into());
    spec.connect_time = Some("5s".into());
    spec.local_asn = 64599;
    spec.dual_stack_address_family = true;
    spec.graceful_restart = true;
    let desired = desired(&with(world(), &declared), &mut Memo::default());
    let session = &desired.bgp["one"].session;
    assert_eq!((session.local_as, session.hold_s), (64599, 30));
    assert_eq!(session.keepalive_s, Some(10));
    assert_eq!(ip(&session.id.to_string()), ip("192.0.2.1"));
    assert_eq!(session.families.len(), 2);
    assert_eq!(session.graceful.map(|graceful| graceful.time_s), Some(120));
}

#[test]
fn only_prefixes_with_a_vip_that_is_ready_are_routes() {
    let desired = desired(&with(world(), &lab()), &mut Memo::default());
    let peer = &desired.bgp["one"];
    assert_eq!(peer.routes(|_| false).len(), 0);
    assert_eq!(peer.routes(|vip| vip == ip("198.51.100.7")).len(), 1);
}
