use super::{Desired, Frontend, Memo, Reach, desired};
use crate::config::{BgpAdvertisement, Configuration};
use crate::model::sample::{self, DRAINING, READY, UNREADY, cluster, ip, name, slice};
use crate::model::{Delivery, Endpoint, Inputs, NodeName, Origin, Protocol, ServicePort};
use crate::owner::NotCandidate;
use crate::problem::Problem;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;

const VIP: &str = "203.0.113.80";
const VIP6: &str = "2001:db8:f::80";

fn fresh(inputs: &Inputs) -> Desired {
    desired(inputs, &mut Memo::default())
}

fn three_nodes() -> Inputs {
    cluster()
        .node("node1", "192.0.2.11")
        .node("node2", "192.0.2.12")
        .node("node3", "192.0.2.13")
}

/// A service with a pod on each of three nodes.
fn web() -> Inputs {
    three_nodes()
        .service("web", VIP)
        .pod("web", "10.1.1.2", "node1", READY)
        .pod("web", "10.1.2.2", "node2", READY)
        .pod("web", "10.1.3.2", "node3", READY)
}

fn only(desired: &Desired) -> &Frontend {
    assert_eq!(desired.frontends.len(), 1, "one frontend");
    desired.frontends.values().next().unwrap()
}

/// The backends that the table sends new flows to.
fn takers(frontend: &Frontend) -> Vec<String> {
    let slots = frontend.table.slots();
    let mut takers: Vec<_> = slots.filter_map(|slot| slot.now()).collect();
    takers.sort_unstable();
    takers.dedup();
    let backends = takers.iter().map(|index| &frontend.backends[*index]);
    backends
        .map(|b| format!("{}:{}", b.address, b.port))
        .collect()
}

#[track_caller]
fn check_problems(inputs: &Inputs, expected: &[&str]) {
    let problems = fresh(inputs).problems;
    let names: Vec<_> = problems.iter().map(|problem| problem.name()).collect();
    assert_eq!(names, expected, "{problems:#?}");
}

#[test]
fn a_service_becomes_a_frontend_with_its_pods_as_backends() {
    let desired = fresh(&web());
    let frontend = only(&desired);
    assert_eq!(frontend.address.to_string(), "203.0.113.80:80/tcp");
    let takers = takers(frontend);
    assert_eq!(takers, ["10.1.1.2:8080", "10.1.2.2:8080", "10.1.3.2:8080"]);
    let here: Vec<_> = frontend.backends.iter().map(|b| b.here).collect();
    assert_eq!(here, [true, false, false]);
    assert_eq!(desired.local.len(), 1);
    assert_eq!(desired.peers.len(), 2);
    assert_eq!(desired.problems, []);
}

#[test]
fn a_service_is_served_at_the_address_that_it_gets_from_a_pool() {
    let inputs = web().pool("203.0.113.8/32");
    let inputs = inputs.edit_service("web", |s| s.status.clear());
    let desired = fresh(&inputs);
    assert_eq!(only(&desired).address.to_string(), "203.0.113.8:80/tcp");
    assert!(desired.vips[&ip("203.0.113.8")].owner.is_some());
    assert_eq!(desired.problems, []);
    let full = inputs.service("zzz", "");
    check_problems(&full, &["NotAllocated"]);
}

#[test]
fn in_a_cluster_a_service_is_served_at_the_address_that_is_written() {
    let mut inputs = web().pool("203.0.113.8/32");
    inputs.facts.origin = Origin::Cluster;
    let inputs = inputs.edit_service("web", |s| {
        s.status.clear();
        s.request.cluster_ips = [ip("10.96.0.1")].into();
    });
    let desired = fresh(&inputs);
    assert_eq!(desired.frontends.len(), 0);
    let names: Vec<_> = desired.problems.iter().map(Problem::name).collect();
    assert_eq!(names, ["NoVip"], "it is about to be written");
    let given = &desired.assignment.allocations[&name("web")].addresses;
    assert_eq!(given, &[ip("203.0.113.8")]);
    let written = inputs.edit_service("web", |s| s.status.clone_from(given));
    assert_eq!(only(&fresh(&written)).address.vip, ip("203.0.113.8"));
    // Where it says something else, that is served until it is written anew.
    let other = written.edit_service("web", |s| s.status = [ip(VIP)].into());
    let desired = fresh(&other);
    assert_eq!(only(&desired).address.vip, ip(VIP));
    let given = &desired.assignment.allocations[&name("web")].addresses;
    assert_eq!(given, &[ip("203.0.113.8")]);
}

#[test]
fn the_next_in_line_takes_over_from_a_node_that_is_silent() {
    let mut memo = Memo::default();
    let before = desired(&web(), &mut memo).vips[&ip(VIP)].clone();
    let (owner, next) = (before.owner.clone().unwrap(), before.next.clone().unwrap());
    let silent = web().silent(&[owner.as_str()]);
    let after = desired(&silent, &mut memo);
    let vip = &after.vips[&ip(VIP)];
    assert_eq!(vip.owner, Some(next.clone()));
    assert_eq!(vip.ours, next.as_str() == "node1");
    let why = vip.candidacy.why_not(&owner, &after.absent);
    assert_eq!(why, Some(NotCandidate::Down));
    assert_eq!(after.problems, []);
    let alone = web().silent(&["node1", "node2", "node3"]);
    let names: Vec<_> = desired(&alone, &mut memo).problems;
    assert_eq!(
        names.iter().map(Problem::name).collect::<Vec<_>>(),
        ["NoOwner"]
    );
}

#[test]
fn a_vip_that_nobody_announces_is_told_unless_routers_know_it() {
    let mut inputs = web().pool("203.0.113.0/24");
    inputs.facts.origin = Origin::Cluster;
    let mut inputs =
        inputs.edit_service("web", |s| s.request.cluster_ips = [ip("10.96.0.1")].into());
    check_problems(&inputs, &["NotAnnounced"]);
    let desired = fresh(&inputs);
    assert_eq!(desired.vips[&ip(VIP)].owner, None);
    assert_eq!(desired.frontends.len(), 1, "what comes is forwarded");
    let mut config = Configuration::clone(inputs.facts.config.good.as_ref().unwrap());
    let advertisement = BgpAdvertisement {
        name: "bgp".to_string(),
        pools: ["pool".to_string()].into(),
        aggregation_length: 32,
        aggregation_length_v6: 128,
        local_pref: 0,
        communities: [].into(),
        peers: [].into(),
        node_selectors: [].into(),
        service_selectors: [].into(),
    };
    config.bgp_advertisements = [("bgp".to_string(), advertisement)].into();
    inputs.facts.config.good = Some(Arc::new(config));
    check_problems(&inputs, &[]);
}

#[test]
fn exactly_one_node_owns_a_vip() {
    let mut owners = Vec::new();
    for node in ["node1", "node2", "node3"] {
        let mut inputs = web();
        inputs.this_node = NodeName::new(node);
        let vip = &fresh(&inputs).vips[&ip(VIP)];
        if vip.ours {
            owners.push(NodeName::new(node));
        }
        assert!(vip.owner.is_some());
    }
    assert_eq!(owners.len(), 1);
}

#[test]
fn both_families_of_a_service_have_one_owner() {
    let both = format!("{VIP},{VIP6}");
    let desired = fresh(&three_nodes().service("web", &both));
    assert_eq!(desired.vips[&ip(VIP)], desired.vips[&ip(VIP6)]);
}

#[test]
fn a_vip_without_backends_is_owned_and_answers_that_nobody_is_there() {
    let inputs = three_nodes().service("web", VIP);
    let desired = fresh(&inputs);
    assert!(desired.vips[&ip(VIP)].owner.is_some());
    assert!(takers(only(&desired)).is_empty());
    check_problems(&inputs, &["NoSlices"]);
}

#[test]
fn a_frontend_has_the_backends_of_its_own_family() {
    let both = format!("{VIP},{VIP6}");
    let inputs = web()
        .edit_service("web", |s| s.status = both.split(',').map(ip).collect())
        .pod("web", "2001:db8:1::2", "node1", READY);
    let desired = fresh(&inputs);
    let takers: Vec<_> = desired.frontends.values().map(|f| takers(f)).collect();
    assert_eq!(takers[0].len(), 3);
    assert_eq!(takers[1], ["2001:db8:1::2:8080"]);
}

#[test]
fn a_draining_backend_takes_nothing_new_but_stays_next() {
    let inputs = three_nodes()
        .service("web", VIP)
        .pod("web", "10.1.1.2", "node1", READY)
        .pod("web", "10.1.2.2", "node2", DRAINING);
    let desired = fresh(&inputs);
    let frontend = only(&desired);
    assert_eq!(takers(frontend), ["10.1.1.2:8080"]);
    assert!(frontend.table.slots().all(|slot| slot.next() == Some(1)));
}

#[test]
fn draining_backends_take_over_when_nobody_is_ready() {
    let inputs = three_nodes()
        .service("web", VIP)
        .pod("web", "10.1.1.2", "node1", UNREADY)
        .pod("web", "10.1.2.2", "node2", DRAINING);
    let desired = fresh(&inputs);
    assert_eq!(takers(only(&desired)), ["10.1.2.2:8080"]);
    assert_eq!(desired.problems, []);
}

#[test]
fn a_pod_in_two_slices_counts_once_and_in_its_best_condition() {
    let inputs = three_nodes()
        .service("web", VIP)
        .pod("web", "10.1.1.2", "node1", UNREADY)
        .edit_slices("web", |slices| {
            let endpoint = Endpoint {
                address: ip("10.1.1.2"),
                node: Some(NodeName::new("node1")),
                conditions: READY,
            };
            slices.push(slice("web", [endpoint].into()));
        });
    let desired = fresh(&inputs);
    assert_eq!(only(&desired).backends.len(), 1);
    assert_eq!(takers(only(&desired)), ["10.1.1.2:8080"]);
}

#[test]
fn what_agents_must_agree_on_is_equal_on_all_nodes() {
    let mut other = web();
    other.this_node = NodeName::new("node3");
    let (one, other) = (fresh(&web()), fresh(&other));
    let (one, other) = (only(&one), only(&other));
    assert_eq!(one.seed, other.seed);
    assert_eq!(one.table, other.table);
    assert_eq!(one.backends_hash, other.backends_hash);
}

#[test]
fn a_change_of_the_set_changes_its_hash() {
    let of = |inputs: &Inputs| only(&fresh(inputs)).backends_hash;
    let base = of(&web());
    assert_ne!(base, of(&web().pod("web", "10.1.3.3", "node3", READY)));
    let drained = web().edit_slices("web", |s| s[0].endpoints[0].conditions = DRAINING);
    assert_ne!(base, of(&drained));
    let moved = web().edit_slices("web", |s| {
        s[0].endpoints[0].node = Some(NodeName::new("node2"));
    });
    assert_ne!(base, of(&moved));
}

#[test]
fn of_two_services_that_want_one_frontend_the_first_by_name_has_it() {
    let inputs = web()
        .service("also-web", VIP)
        .pod("also-web", "10.1.1.9", "node1", READY);
    let desired = fresh(&inputs);
    assert_eq!(only(&desired).service, name("also-web"));
    check_problems(&inputs, &["FrontendTaken"]);
    let sentence = desired.problems[0].to_string();
    assert!(sentence.contains("default/also-web has"), "{sentence}");
}

#[test]
fn of_two_services_that_want_one_frontend_the_older_has_it() {
    let inputs = web()
        .service("also-web", VIP)
        .edit_service("web", |s| s.created_s = Some(5))
        .edit_service("also-web", |s| s.created_s = Some(6));
    assert_eq!(only(&fresh(&inputs)).service, name("web"));
}

#[test]
fn two_services_may_share_a_vip_on_different_ports() {
    let inputs = web()
        .service("dns", VIP)
        .edit_service("dns", |s| s.ports[0].port = 53)
        .pod("dns", "10.1.1.9", "node1", READY);
    let desired = fresh(&inputs);
    assert_eq!((desired.frontends.len(), desired.vips.len()), (2, 1));
    assert_eq!(desired.problems, []);
}

#[test]
fn a_local_backend_is_reached_directly_if_one_service_says_so() {
    let inputs = web()
        .service("fast", "203.0.113.81")
        .edit_service("fast", |s| s.delivery = Delivery::Direct)
        .pod("fast", "10.1.1.2", "node1", READY);
    let mut with_link = inputs.clone();
    with_link.links.pods.insert(ip("10.1.1.2"), 7);
    let desired = fresh(&with_link);
    let local: Vec<_> = desired.local.values().collect();
    let (direct, link) = (true, Some(7));
    assert_eq!(local, [&Reach { direct, link }]);
    check_problems(&with_link, &[]);
    check_problems(&inputs, &["PodLinkUnknown"]);
}

#[test]
fn every_mistake_has_its_name() {
    let tcp = |port: u16, name: &str, protocol| ServicePort {
        name: name.to_string(),
        port,
        protocol,
    };
    check_problems(&web().edit_service("web", |s| s.status.clear()), &["NoVip"]);
    for (vip, expected) in [
        ("127.0.0.1", "VipImpossible"),
        ("224.0.0.5", "VipImpossible"),
        ("0.0.0.0", "VipImpossible"),
        ("255.255.255.255", "VipImpossible"),
        ("fe80::1", "VipImpossible"),
        ("192.0.2.12", "VipIsNodeAddress"),
        ("::ffff:192.0.2.12", "VipIsNodeAddress"),
    ] {
        let inputs = web().edit_service("web", |s| s.status = [ip(vip)].into());
        check_problems(&inputs, &[expected]);
        assert!(fresh(&inputs).frontends.is_empty(), "{vip}");
    }
    let sctp = web().edit_service("web", |s| s.ports.push(tcp(81, "", Protocol::Sctp)));
    check_problems(&sctp, &["ProtocolNotSupported"]);
    let misnamed = web().edit_service("web", |s| s.ports[0] = tcp(80, "web", Protocol::Tcp));
    check_problems(&misnamed, &["PortNotInSlices", "NoReadyBackend"]);
    let other_protocol = web().edit_service("web", |s| s.ports[0].protocol = Protocol::Udp);
    check_problems(&other_protocol, &["PortNotInSlices", "NoReadyBackend"]);
    let no_pods = web().edit_slices("web", |slices| {
        slices.truncate(1);
        slices[0].ports.clear();
        slices[0].endpoints.clear();
    });
    check_problems(&no_pods, &["NoReadyBackend"]);
    let homeless = web().pod("web", "10.9.9.9", "", READY);
    check_problems(&homeless, &["BackendWithoutNode"]);
    let elsewhere = web().pod("web", "10.9.9.9", "node9", READY);
    check_problems(&elsewhere, &["BackendWithoutAgent"]);
    let loopback = web().pod("web", "127.0.0.1", "node1", READY);
    check_problems(&loopback, &["BackendImpossible"]);
    let unready = web().edit_slices("web", |slices| {
        slices[0]
            .endpoints
            .iter_mut()
            .for_each(|e| e.conditions = UNREADY);
    });
    check_problems(&unready, &["NoReadyBackend"]);
    let excluded = ["node1", "node2", "node3"]
        .into_iter()
        .fold(web(), |inputs, name| {
            inputs.edit_node(name, |n| n.excluded = true)
        });
    check_problems(&excluded, &["NoOwner"]);
    let mut unreachable = web();
    unreachable.links.next_hops.pop_last();
    check_problems(&unreachable, &["NoNextHop"]);
    let mut lost = web();
    lost.facts.nodes.remove(&lost.this_node);
    check_problems(&lost, &["BackendWithoutAgent", "ThisNodeUnknown"]);
}

#[test]
fn endpoints_without_an_agent_do_not_take_slots_from_others() {
    let desired = fresh(&web().pod("web", "10.9.9.9", "node9", READY));
    assert_eq!(only(&desired).backends.len(), 3);
}

#[test]
fn nothing_is_computed_again_that_has_not_changed() {
    let mut memo = Memo::default();
    let two = |web: Inputs| {
        web.service("dns", "203.0.113.81")
            .pod("dns", "10.1.1.9", "node1", READY)
    };
    let more = || two(web().pod("web", "10.1.3.3", "node3", READY));
    let before = desired(&two(web()), &mut memo);
    let after = desired(&more(), &mut memo);
    let pairs: Vec<_> = before
        .frontends
        .values()
        .zip(after.frontends.values())
        .collect();
    assert!(!Arc::ptr_eq(pairs[0].0, pairs[0].1), "web has changed");
    assert!(Arc::ptr_eq(pairs[1].0, pairs[1].1), "dns has not");
    // A node's address matters to all services, but to no table.
    let renumbered = more().node("node2", "192.0.2.99");
    let again = desired(&renumbered, &mut memo);
    for (after, again) in after.frontends.values().zip(again.frontends.values()) {
        assert!(Arc::ptr_eq(&after.table, &again.table));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_memo_does_not_show(changes in prop::collection::vec(sample::change(), 1..25)) {
        let mut memo = Memo::default();
        let mut inputs = three_nodes();
        for change in &changes {
            inputs = sample::apply(inputs, change);
            prop_assert_eq!(desired(&inputs, &mut memo), fresh(&inputs));
        }
    }
}
