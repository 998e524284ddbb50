use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::{Absent, Candidacy, Contest, Electorate, LinkChoice, NotAnnounced, NotCandidate};
use crate::config::{Configuration, L2Advertisement, LabelSelector, Labels, Preference};
use crate::model::sample::{DRAINING, READY, UNREADY, cluster, ip, name};
use crate::model::{Inputs, Member, MemberState, Members, NodeName, Origin, TrafficPolicy};

/// Nodes of these names, each labelled `name=<its name>`, with one Service at
/// one address.
fn nodes(vip: &str, names: &[&str]) -> Inputs {
    let mut inputs = cluster().service("web", vip);
    for (number, name) in names.iter().enumerate() {
        let address = format!("192.0.2.{}", number + 1);
        inputs = inputs.node(name, &address).edit_node(name, |node| {
            node.labels = labels("name", name);
        });
    }
    inputs
}

fn labels(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_string(), value.to_string())])
}

fn selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: labels(key, value),
        match_expressions: vec![],
    }
}

/// For every pool, node, Service and link.
fn advertisement(name: &str) -> L2Advertisement {
    L2Advertisement {
        name: name.to_string(),
        pools: ["pool".to_string()].into(),
        node_selectors: vec![],
        interfaces: [].into(),
        service_selectors: vec![],
        preferences: vec![],
    }
}

fn advertised(inputs: Inputs, all: impl IntoIterator<Item = L2Advertisement>) -> Inputs {
    let mut inputs = inputs.pool("0.0.0.0/0");
    let mut config: Configuration = (**inputs.facts.config.good.as_ref().unwrap()).clone();
    config.l2_advertisements = all.into_iter().map(|a| (a.name.clone(), a)).collect();
    inputs.facts.config.good = Some(Arc::new(config));
    inputs.facts.origin = Origin::Cluster;
    inputs
}

fn candidacy(inputs: &Inputs) -> Candidacy {
    let service = &inputs.facts.services[&name("web")];
    let slices = inputs.facts.slices.get(&service.name);
    let contest = Contest {
        service,
        served: &service.status,
        slices: slices.map_or(&[], |slices| slices),
        this_node: &inputs.this_node,
    };
    Candidacy::of(contest, &Electorate::new(&inputs.facts))
}

fn order(inputs: &Inputs) -> Vec<String> {
    let order = candidacy(inputs).order;
    order.iter().map(ToString::to_string).collect()
}

const ABC: [&str; 3] = ["node-a", "node-b", "node-c"];

/// From MetalLB's `TestSortL2Candidates`, and computed by hand for others.
#[test]
fn the_order_is_the_one_of_metallb() {
    for (ip, names, expected) in [
        ("10.0.0.1", &ABC[..], ["node-b", "node-a", "node-c"]),
        ("10.0.0.2", &ABC, ["node-b", "node-c", "node-a"]),
        ("192.168.1.240", &ABC, ["node-a", "node-c", "node-b"]),
        ("192.168.1.241", &ABC, ["node-c", "node-a", "node-b"]),
        ("2001:db8::1", &ABC, ["node-b", "node-a", "node-c"]),
    ] {
        assert_eq!(order(&nodes(ip, names)), expected, "{ip}");
    }
    let two = nodes("10.20.30.1", &ABC[..2]);
    assert_eq!(order(&two), ["node-b", "node-a"]);
}

#[test]
fn preferred_nodes_go_first_and_then_the_order_is_the_same() {
    let names = ["edge-a", "edge-b", "worker-a", "worker-b"];
    let mut preferring = advertisement("l2");
    preferring.preferences = vec![Preference {
        weight: 100,
        selector: selector("name", "edge-a"),
    }];
    let inputs = advertised(nodes("10.20.30.1", &names), [preferring]);
    assert_eq!(order(&inputs), names);
}

#[test]
fn preferences_of_all_advertisements_are_added_up() {
    let prefer = |advertisement_name: &str, node: &str, weight| {
        let mut advertisement = advertisement(advertisement_name);
        advertisement.preferences = vec![Preference {
            weight,
            selector: selector("name", node),
        }];
        advertisement
    };
    let inputs = nodes("10.0.0.1", &ABC);
    let alone = advertised(inputs.clone(), [prefer("one", "node-a", 40)]);
    assert_eq!(order(&alone), ["node-a", "node-b", "node-c"]);
    let three = [
        prefer("one", "node-a", 40),
        prefer("two", "node-c", 30),
        prefer("three", "node-c", 30),
    ];
    let sum = advertised(inputs.clone(), three.clone());
    assert_eq!(order(&sum), ["node-c", "node-a", "node-b"]);
    // A preference counts for nodes that its own advertisement selects.
    let [one, mut two, three] = three;
    two.node_selectors = vec![selector("name", "node-b")];
    let less = advertised(inputs, [one, two, three]);
    assert_eq!(order(&less), ["node-a", "node-c", "node-b"]);
}

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    let mapped = nodes("::ffff:10.0.0.1", &ABC);
    assert_eq!(order(&mapped), order(&nodes("10.0.0.1", &ABC)));
}

#[test]
fn both_families_are_elected_by_the_first_address() {
    let first_v4 = nodes("192.168.1.240,2001:db8::1", &ABC);
    assert_eq!(order(&first_v4), ["node-a", "node-c", "node-b"]);
    let first_v6 = nodes("2001:db8::1,192.168.1.240", &ABC);
    assert_eq!(order(&first_v6), ["node-b", "node-a", "node-c"]);
}

#[test]
fn excluded_nodes_and_nodes_without_network_own_nothing() {
    let inputs = nodes("10.0.0.1", &ABC);
    let inputs = inputs.edit_node("node-b", |node| node.excluded = true);
    let inputs = inputs.edit_node("node-a", |node| node.network_unavailable = true);
    let outcome = candidacy(&inputs);
    assert_eq!(outcome.order, [NodeName::new("node-c")]);
    let why = |node| outcome.why_not(&NodeName::new(node), &Absent::default());
    assert_eq!(why("node-a"), Some(NotCandidate::NetworkUnavailable));
    assert_eq!(why("node-b"), Some(NotCandidate::Excluded));
    assert_eq!(why("node-c"), None);
    let none = inputs.edit_node("node-c", |node| node.excluded = true);
    assert_eq!(candidacy(&none).refused, Some(NotAnnounced::NoCandidate));
}

#[test]
fn one_advertisement_that_selects_a_node_is_enough() {
    let mut a = advertisement("a");
    a.node_selectors = vec![selector("name", "node-a"), selector("name", "nobody")];
    let mut c = advertisement("c");
    c.node_selectors = vec![selector("name", "node-c")];
    let inputs = advertised(nodes("10.0.0.1", &ABC), [a, c]);
    assert_eq!(order(&inputs), ["node-a", "node-c"]);
    let why = candidacy(&inputs).why_not(&NodeName::new("node-b"), &Absent::default());
    assert_eq!(why, Some(NotCandidate::NotSelected));
}

#[test]
fn advertisements_are_for_the_services_and_pools_that_they_select() {
    let mut for_app = advertisement("app");
    for_app.service_selectors = vec![selector("app", "web"), selector("app", "api")];
    let inputs = advertised(nodes("10.0.0.1", &ABC), [for_app]);
    let refused = |inputs: &Inputs| candidacy(inputs).refused;
    assert_eq!(refused(&inputs), Some(NotAnnounced::NoAdvertisement));
    let fits = inputs.edit_service("web", |s| s.labels = labels("app", "api"));
    assert_eq!(refused(&fits), None);
    // It could get another owner than the Service that it shares with.
    let shares = fits.edit_service("web", |s| s.request.sharing_key = Some("key".into()));
    assert_eq!(refused(&shares), Some(NotAnnounced::SharedAndSelected));
    let mut other_pool = advertisement("other");
    other_pool.pools = ["other".to_string()].into();
    let other = advertised(nodes("10.0.0.1", &ABC), [other_pool]);
    assert_eq!(refused(&other), Some(NotAnnounced::NoAdvertisement));
    let outside = advertised(nodes("2001:db8::1", &ABC), [advertisement("l2")]);
    assert_eq!(refused(&outside), Some(NotAnnounced::NoPool));
}

#[test]
fn a_cluster_without_advertisements_announces_nothing_and_a_folder_everything() {
    let mut inputs = advertised(nodes("10.0.0.1", &ABC), []);
    let refused = candidacy(&inputs).refused;
    assert_eq!(refused, Some(NotAnnounced::NoAdvertisement));
    inputs.facts.origin = Origin::Files;
    assert_eq!(candidacy(&inputs).order.len(), 3);
    // Until the configuration was read, nothing is taken away.
    inputs.facts.origin = Origin::Cluster;
    inputs.facts.config.good = None;
    assert_eq!(candidacy(&inputs).order.len(), 3);
}

#[test]
fn links_are_those_of_all_advertisements_that_select_this_node() {
    let on = |text: &str, node: &str, links: &[&str]| {
        let mut advertisement = advertisement(text);
        advertisement.node_selectors = vec![selector("name", node)];
        advertisement.interfaces = links.iter().map(ToString::to_string).collect();
        advertisement
    };
    let links = |all: &[L2Advertisement]| {
        let mut inputs = advertised(nodes("10.0.0.1", &ABC), all.to_vec());
        inputs.this_node = NodeName::new("node-a");
        candidacy(&inputs).links
    };
    let one = on("one", "node-a", &["eth0"]);
    let two = on("two", "node-a", &["eth1"]);
    let elsewhere = on("three", "node-b", &["eth2"]);
    let all = on("four", "node-a", &[]);
    let named = links(&[one.clone(), two, elsewhere]);
    let expected = ["eth0".to_string(), "eth1".to_string()].into();
    assert_eq!(named, LinkChoice::Named(expected));
    assert_eq!(links(&[one, all]), LinkChoice::All);
}

#[test]
fn a_local_service_is_owned_where_its_pods_are() {
    let local =
        |inputs: Inputs| inputs.edit_service("web", |s| s.traffic_policy = TrafficPolicy::Local);
    let inputs = local(nodes("10.0.0.1", &ABC));
    // Somebody has to say that there are none.
    assert_eq!(order(&inputs).len(), 3);
    let inputs = inputs.pod("web", "10.1.0.1", "node-c", READY);
    let inputs = inputs.pod("web", "10.1.0.2", "node-a", DRAINING);
    let inputs = inputs.pod("web", "10.1.0.3", "node-b", UNREADY);
    let inputs = inputs.pod("web", "10.1.0.4", "", READY);
    assert_eq!(order(&inputs), ["node-a", "node-c"]);
    let why = candidacy(&inputs).why_not(&NodeName::new("node-b"), &Absent::default());
    assert_eq!(why, Some(NotCandidate::NoLocalEndpoint));
}

fn member(state: MemberState) -> Member {
    Member {
        state,
        since: crate::time::Timestamp::default(),
        programmed: true,
        uplinks_up: true,
        returns_by: None,
        left: false,
    }
}

#[test]
fn who_is_not_there_does_not_own_and_says_why() {
    let inputs = nodes("10.0.0.1", &ABC);
    let outcome = candidacy(&inputs);
    let alive = member(MemberState::Alive);
    let unprogrammed = Member {
        programmed: false,
        ..alive.clone()
    };
    let unplugged = Member {
        uplinks_up: false,
        ..alive.clone()
    };
    let leaves = Member {
        left: true,
        ..member(MemberState::Leaving)
    };
    let restarts = Member {
        returns_by: Some(crate::time::Timestamp::default()),
        ..member(MemberState::Leaving)
    };
    for (member, expected) in [
        (Some(alive), None),
        (Some(member(MemberState::Suspect)), None),
        (Some(member(MemberState::Down)), Some(NotCandidate::Down)),
        (Some(leaves), Some(NotCandidate::Leaving)),
        (Some(restarts), None),
        // Late, and perhaps still answering: for the fence to judge.
        (Some(member(MemberState::Leaving)), None),
        (Some(unprogrammed), Some(NotCandidate::NotProgrammed)),
        (Some(unplugged), Some(NotCandidate::NoCarrier)),
        (None, Some(NotCandidate::NoAgent)),
    ] {
        let node = NodeName::new("node-b");
        let others = [&ABC[0], &ABC[2]].map(|name| NodeName::new(name));
        let others = others.map(|name| (name, self::member(MemberState::Alive)));
        let mut by_node = BTreeMap::from(others);
        by_node.extend(member.map(|member| (node.clone(), member)));
        let mut inputs = inputs.clone();
        inputs.members = Members {
            by_node,
            settled: true,
        };
        let absent = Absent::new(&inputs);
        assert_eq!(outcome.why_not(&node, &absent), expected);
        let first = outcome.present(&absent).next().unwrap();
        assert_eq!(*first == node, expected.is_none(), "{expected:?}");
    }
}

#[test]
fn with_a_fence_it_says_who_is_down() {
    let node = NodeName::new("node-b");
    let mut inputs = nodes("10.0.0.1", &ABC).silent(&["node-b"]);
    inputs.free = Some([].into());
    assert_eq!(Absent::new(&inputs).why(&node), None, "not free yet");
    let mut inputs = nodes("10.0.0.1", &ABC).silent(&[]);
    inputs.free = Some([node.clone()].into());
    assert_eq!(Absent::new(&inputs).why(&node), Some(NotCandidate::Down));
}

proptest! {
    #[test]
    fn only_the_owner_going_moves_a_vip(
        ip: [u8; 4],
        names in prop::collection::btree_set("[a-z]{1,8}", 2..12),
        gone in any::<prop::sample::Index>(),
    ) {
        let vip = core::net::IpAddr::from(ip).to_string();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let before = order(&nodes(&vip, &names));
        let gone = names[gone.index(names.len())];
        let left: Vec<&str> = names.iter().copied().filter(|name| *name != gone).collect();
        let after = order(&nodes(&vip, &left));
        let expected: Vec<_> = before.iter().filter(|name| *name != gone).cloned().collect();
        prop_assert_eq!(after, expected);
    }
}

/// By addresses of one pool, as they are given out.
#[test]
fn five_hundred_vips_are_spread_within_15_percent() {
    let inputs = nodes("", &ABC);
    let electorate = Electorate::new(&inputs.facts);
    let service = &inputs.facts.services[&name("web")];
    let mut owned: BTreeMap<NodeName, u32> = BTreeMap::new();
    for number in 0..500_u32 {
        let (third, fourth) = (100 + number / 250, number % 250);
        let served = [ip(&format!("198.51.{third}.{fourth}"))];
        let contest = Contest {
            service,
            served: &served,
            slices: &[],
            this_node: &inputs.this_node,
        };
        let owner = Candidacy::of(contest, &electorate).order.swap_remove(0);
        *owned.entry(owner).or_default() += 1;
    }
    for (node, count) in owned {
        let share = f64::from(count) / (500.0 / 3.0);
        assert!((0.85..=1.15).contains(&share), "{node} owns {count} of 500");
    }
}

#[test]
fn who_has_left_is_gone_although_the_fence_knows_nothing_of_it() {
    let mut inputs = nodes("10.0.0.1", &ABC);
    inputs.free = Some([].into());
    let node = NodeName::new("node-b");
    for (left, expected) in [(false, None), (true, Some(NotCandidate::Down))] {
        let mut members = Members::default();
        let down = Member {
            left,
            ..member(MemberState::Down)
        };
        members.by_node.insert(node.clone(), down);
        inputs.members = members;
        assert_eq!(Absent::new(&inputs).why(&node), expected);
    }
}
