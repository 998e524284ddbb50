//! Who is told what.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::{Desired, Memo, desired};
use crate::config::declared::{BgpAdvertisementSpec, Declared, Object, PeerSpec, PoolSpec};
use crate::config::declared::{PoolsSpec, SelectorSpec};
use crate::config::{Configuration, Kind, Labels, Place};
use crate::model::sample::{self, DRAINING, READY, UNREADY, cluster, ip};
use crate::model::{Inputs, Origin, Service, TrafficPolicy};

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
    inputs.facts.origin = Origin::Cluster;
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

/// `address service reason` for each that nobody is told of.
fn untold(inputs: &Inputs) -> Vec<String> {
    let desired = desired(inputs, &mut Memo::default());
    let rows = desired.untold.iter();
    rows.map(|row| format!("{} {} {}", row.vip, row.service.name, row.why.name()))
        .collect()
}

#[test]
fn why_nobody_is_told_has_a_name() {
    type Change = fn(Inputs) -> Inputs;
    type Edit = fn(&mut Declared);
    let same: Change = |inputs| inputs;
    let as_is: Edit = |_| {};
    for (edit, change, expected) in [
        (as_is, same, None),
        (
            as_is,
            (|inputs| inputs.edit_node("node1", |node| node.excluded = true)) as Change,
            Some("NodeExcluded"),
        ),
        (
            as_is,
            |inputs| inputs.edit_node("node1", |node| node.network_unavailable = true),
            Some("NetworkUnavailable"),
        ),
        (
            as_is,
            |inputs| inputs.edit_service("web", |s| s.status.push(ip("203.0.113.1"))),
            Some("NoPool"),
        ),
        (
            |declared| declared.bgp_advertisements.clear(),
            same,
            Some("NoAdvertisement"),
        ),
        (
            |declared| {
                declared.bgp_advertisements[0].spec.node_selectors = vec![selector("rack=b")];
            },
            same,
            Some("NodeNotSelected"),
        ),
        (
            |declared| {
                declared.bgp_advertisements[0].spec.service_selectors = vec![selector("app=db")];
            },
            same,
            Some("ServiceNotSelected"),
        ),
        (
            as_is,
            |inputs| inputs.edit_slices("web", |slices| slices.clear()),
            Some("NoEndpoint"),
        ),
        (
            as_is,
            |inputs| {
                inputs
                    .edit_service("web", |s| s.traffic_policy = TrafficPolicy::Local)
                    .edit_slices("web", |slices| {
                        slices[0].endpoints.remove(0);
                    })
            },
            Some("NoLocalEndpoint"),
        ),
        (
            |declared| {
                let other = advertisement("other", |a| {
                    a.local_pref = 2;
                    a.service_selectors = vec![selector("app=web")];
                });
                declared.bgp_advertisements.push(other);
            },
            |inputs| inputs.edit_service("web", |s| s.labels = labels("app=web")),
            Some("LocalPrefsDiffer"),
        ),
        (
            |declared| {
                let mut far = peer("192.0.2.253");
                far.node_selectors = vec![selector("rack=b")];
                declared.peers.push(object(Kind::BgpPeer, "far", far));
                declared.bgp_advertisements[0].spec.peers = vec!["far".into()];
            },
            same,
            Some("NoPeerChosen"),
        ),
    ] {
        let mut declared = lab();
        edit(&mut declared);
        let rows = untold(&with(change(world()), &declared));
        let expected = expected.map(|why| format!("198.51.100.7 web {why}"));
        assert_eq!(rows.first(), expected.as_ref());
    }
    let mut nobody = lab();
    nobody.peers.clear();
    assert_eq!(untold(&with(world(), &nobody)), [""; 0]);
}

/// 100 Services, each with a pod here.
fn many() -> Inputs {
    let numbers = 0..100_u8;
    let inputs = cluster().node("node1", "192.0.2.1");
    numbers.fold(inputs, |inputs, number| {
        let name = format!("s{number}");
        let pod = format!("10.0.1.{number}");
        let inputs = inputs.service(&name, &format!("198.51.100.{number}"));
        inputs.pod(&name, &pod, "node1", READY)
    })
}

#[test]
fn peers_that_are_told_the_same_share_it_and_so_do_times() {
    let mut declared = lab();
    for (name, address) in [("two", "192.0.2.253"), ("three", "192.0.2.252")] {
        let peer = object(Kind::BgpPeer, name, peer(address));
        declared.peers.push(peer);
    }
    let ours = advertisement("ours", |a| {
        a.peers = vec!["three".into()];
        a.communities = vec!["64512:1".into()];
    });
    declared.bgp_advertisements.push(ours);
    let inputs = with(many(), &declared);
    let mut memo = Memo::default();
    let before = desired(&inputs, &mut memo);
    let prefixes = |of: &Desired, peer: &str| of.bgp[peer].prefixes.clone();
    assert_eq!(prefixes(&before, "one").len(), 100);
    assert!(prefixes(&before, "one").is_same(&prefixes(&before, "two")));
    assert!(!prefixes(&before, "one").is_same(&prefixes(&before, "three")));
    let routes: Vec<_> = before.bgp["three"].prefixes.values().collect();
    let first = &routes[0].route;
    assert!(
        routes
            .iter()
            .all(|prefix| Arc::ptr_eq(&prefix.route, first))
    );
    // An endpoint more changes nothing that routers are told.
    let more = inputs.clone().pod("s7", "10.0.1.200", "node1", READY);
    let after = desired(&more, &mut memo);
    for (name, peer) in &after.bgp {
        assert!(Arc::ptr_eq(peer, &before.bgp[name]), "{name}");
    }
    // One that goes changes what is about it.
    let fewer = more.edit_slices("s7", |slices| slices.clear());
    let after = desired(&fewer, &mut memo);
    let (before, after) = (prefixes(&before, "one"), prefixes(&after, "one"));
    assert_eq!(after.len(), 99);
    assert!(before.unshared(&after).count() < 70, "most is shared");
}

/// What may change that routers are told by, beside what [`sample`] has.
#[derive(Clone, Debug)]
enum Change {
    Any(sample::Change),
    Configuration(u8),
    Local(u8, bool),
    Label(u8, bool),
    NodeLabel(bool),
    /// Whether statuses say what is served.
    Kept(bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => sample::change().prop_map(Change::Any),
        1 => any::<u8>().prop_map(Change::Configuration),
        1 => any::<(u8, bool)>().prop_map(|(n, on)| Change::Local(n, on)),
        1 => any::<(u8, bool)>().prop_map(|(n, on)| Change::Label(n, on)),
        1 => any::<bool>().prop_map(Change::NodeLabel),
        1 => any::<bool>().prop_map(Change::Kept),
    ]
}

/// One of some that differ in everything that decides who is told what.
fn configuration(number: u8) -> Declared {
    let mut declared = lab();
    declared.pools[0].spec.addresses = vec!["203.0.113.0/24".into()];
    let two = object(Kind::BgpPeer, "two", peer("192.0.2.253"));
    declared.peers.push(two);
    if number & 1 != 0 {
        declared.peers[0].spec.node_selectors = vec![selector("rack=a")];
    }
    let mut more = advertisement("more", |a| a.communities = vec!["64512:1".into()]);
    if number & 2 != 0 {
        more.spec.peers = vec!["one".into()];
    }
    if number & 4 != 0 {
        more.spec.aggregation_length = Some(31);
    } else if number & 8 != 0 {
        more.spec.service_selectors = vec![selector("app=web")];
        more.spec.local_pref = u32::from(number & 16);
    }
    declared.bgp_advertisements.push(more);
    declared
}

fn apply(mut inputs: Inputs, change: &Change) -> Inputs {
    let name = |n: u8| format!("s{}", n % 4);
    let edit = |inputs: Inputs, n: u8, edit: &dyn Fn(&mut Service)| {
        if inputs.facts.services.contains_key(&sample::name(&name(n))) {
            return inputs.edit_service(&name(n), edit);
        }
        inputs
    };
    match change {
        Change::Any(change) => sample::apply(inputs, change),
        Change::Configuration(number) => {
            let origin = inputs.facts.origin;
            inputs = with(inputs, &configuration(*number));
            inputs.facts.origin = origin;
            inputs
        }
        Change::Local(n, on) => edit(inputs, *n, &|service| {
            service.traffic_policy = if *on {
                TrafficPolicy::Local
            } else {
                TrafficPolicy::Cluster
            };
        }),
        Change::Label(n, on) => edit(inputs, *n, &|service| {
            service.labels = labels(if *on { "app=web" } else { "app=db" });
        }),
        Change::NodeLabel(on) => {
            if let Some(node) = inputs.facts.nodes.get_mut(&inputs.this_node) {
                let rack = if *on { "rack=a" } else { "rack=b" };
                Arc::make_mut(node).labels = labels(rack);
            }
            inputs
        }
        Change::Kept(cluster) => {
            inputs.facts.origin = if *cluster {
                Origin::Cluster
            } else {
                Origin::Files
            };
            inputs
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_memo_does_not_show(changes in prop::collection::vec(change(), 1..40)) {
        let mut memo = Memo::default();
        let mut inputs = with(world(), &configuration(0));
        for change in &changes {
            inputs = apply(inputs, change);
            let kept = desired(&inputs, &mut memo);
            let fresh = desired(&inputs, &mut Memo::default());
            prop_assert_eq!(&kept.bgp, &fresh.bgp);
            prop_assert_eq!(&kept.untold, &fresh.untold);
            prop_assert_eq!(&kept.problems, &fresh.problems);
        }
    }
}
