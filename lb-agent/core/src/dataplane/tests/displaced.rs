//! Whose flows may be elsewhere, and until when that is reckoned with.

use super::{Agent, VIP, changes, check_whole, nodes, unsettled, web};
use crate::dataplane::ledger::Given;
use crate::dataplane::{Image, Maps, Sizes, Step};
use crate::model::sample::{self, DRAINING, READY, UNREADY, ip};
use crate::model::{Conditions, Inputs};
use alloc::vec::Vec;
use core::time::Duration;
use lb_common::addr::Addr;
use proptest::prelude::*;

/// The pods of `web()`, on node1 (this one), node2 and node3.
const PODS: [&str; 3] = ["10.1.1.2", "10.1.2.2", "10.1.3.2"];

fn displaced_s(agent: &Agent, pod: &str) -> u32 {
    let addr = Addr::from(ip(pod));
    let mut endpoints = agent.maps.endpoints.iter();
    let (_, value) = endpoints.find(|(key, _)| key.addr == addr).unwrap();
    value.displaced_s
}

/// How many seconds ago each pod of `web()` was displaced; none: never.
fn ages(agent: &Agent) -> [Option<u32>; 3] {
    PODS.map(|pod| match displaced_s(agent, pod) {
        0 => None,
        then => Some(agent.now.seconds() - then),
    })
}

fn web_with(pod: usize, conditions: Conditions) -> Inputs {
    web().edit_slices("web", |s| s[0].endpoints[pod].conditions = conditions)
}

fn web_without(pod: usize) -> Inputs {
    web().edit_slices("web", |s| {
        s[0].endpoints.remove(pod);
    })
}

fn running(inputs: &Inputs) -> Agent {
    let mut agent = Agent::new();
    agent.run(inputs);
    agent
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_pod_that_comes_displaces_those_it_takes_slots_from() {
    let mut agent = running(&web_without(2));
    assert_eq!(unsettled(&agent, VIP), (false, false));
    agent.run(&web());
    assert_eq!(ages(&agent), [Some(0), Some(0), None]);
    assert_eq!(agent.frontend(VIP).changed_s, agent.now.seconds());
    assert_eq!(unsettled(&agent, VIP), (true, true));
}

#[test]
fn a_drained_pod_is_displaced_and_settles_the_frontend_when_it_leaves() {
    // This node's pod, and another's.
    for pod in [0, 1] {
        let mut agent = running(&web());
        agent.run(&web_with(pod, DRAINING));
        let mut expected = [None; 3];
        expected[pod] = Some(0);
        assert_eq!(ages(&agent), expected);
        assert_eq!(unsettled(&agent, VIP), (true, true));
        agent.wait(MINUTE);
        agent.run(&web_without(pod));
        assert_eq!(agent.frontend(VIP).changed_s, 0);
        assert_eq!(unsettled(&agent, VIP), (false, false));
    }
}

#[test]
fn a_pod_that_vanishes_at_once_leaves_a_settled_frontend() {
    let mut agent = running(&web());
    agent.run(&web_without(1));
    assert_eq!(agent.frontend(VIP).changed_s, 0);
    assert_eq!(unsettled(&agent, VIP), (false, false));
}

#[test]
fn who_was_displaced_before_still_counts_when_another_leaves() {
    let mut agent = running(&web_without(2));
    agent.run(&web());
    let added = agent.now.seconds();
    agent.wait(MINUTE);
    agent.run(&web_with(2, DRAINING));
    assert_eq!(agent.frontend(VIP).changed_s, added + 60);
    agent.wait(MINUTE);
    agent.run(&web_without(2));
    assert_eq!(agent.frontend(VIP).changed_s, added);
    assert_eq!(unsettled(&agent, VIP), (true, true));
}

#[test]
fn a_readiness_flap_displaces_both_ways() {
    let mut agent = running(&web());
    agent.run(&web_with(1, UNREADY));
    assert_eq!(ages(&agent), [None, Some(0), None]);
    agent.wait(MINUTE);
    agent.run(&web());
    assert_eq!(ages(&agent), [Some(0), Some(60), Some(0)]);
    assert_eq!(agent.frontend(VIP).changed_s, agent.now.seconds());
}

#[test]
fn a_pod_that_was_away_comes_back_without_a_past() {
    let mut agent = running(&web());
    agent.run(&web_with(1, DRAINING));
    agent.run(&web_without(1));
    agent.run(&web());
    assert_eq!(ages(&agent), [Some(0), None, Some(0)]);
}

#[test]
fn slots_that_move_between_pods_of_one_node_displace_nothing() {
    // This node, and another.
    for (node, pod) in [("node1", "10.1.1.3"), ("node2", "10.1.2.3")] {
        let one = |pod| nodes().service("web", VIP).pod("web", pod, node, READY);
        let both = one(pod).pod("web", "10.1.9.9", node, READY);
        let mut agent = running(&one(pod));
        agent.run(&both);
        assert_eq!(displaced_s(&agent, pod), 0);
        agent.run(&both.edit_slices("web", |s| s[0].endpoints[0].conditions = DRAINING));
        assert_eq!(displaced_s(&agent, pod), 0);
        assert_eq!(unsettled(&agent, VIP), (false, false));
    }
}

#[test]
fn all_pods_of_a_node_are_displaced_together() {
    for (node, pod, other) in [
        ("node1", "10.1.1.2", "10.1.1.3"),
        ("node2", "10.1.2.2", "10.1.2.3"),
    ] {
        let with = |conditions| {
            let web = nodes().service("web", VIP);
            let web = web.pod("web", "10.1.3.2", "node3", READY);
            let web = web.pod("web", other, node, READY);
            web.pod("web", pod, node, conditions)
        };
        let mut agent = running(&with(READY));
        agent.run(&with(DRAINING));
        for pod in [pod, other] {
            assert_eq!(displaced_s(&agent, pod), agent.now.seconds());
        }
        assert_eq!(displaced_s(&agent, "10.1.3.2"), 0);
    }
}

#[test]
fn tables_of_different_sizes_are_compared_as_fractions() {
    let pods = |count: u8| {
        (0..count).fold(nodes().service("web", VIP), |web, n| {
            let node = ["node1", "node2"][usize::from(n % 2)];
            web.pod("web", &alloc::format!("10.1.1.{}", n + 1), node, READY)
        })
    };
    let mut agent = running(&pods(16));
    let small = agent.frontend(VIP).slots;
    agent.run(&pods(17));
    assert_eq!(agent.frontend(VIP).slots, small * 4);
    assert_eq!(unsettled(&agent, VIP), (true, true));
    assert_eq!(displaced_s(&agent, "10.1.1.17"), 0);
    // And where all are on one node, there is nowhere else to look.
    let one = |count: u8| {
        (0..count).fold(nodes().service("web", VIP), |web, n| {
            web.pod("web", &alloc::format!("10.1.1.{}", n + 1), "node2", READY)
        })
    };
    let mut agent = running(&one(16));
    agent.run(&one(17));
    agent.run(&one(16));
    assert_eq!(agent.frontend(VIP).slots, small);
    assert_eq!(unsettled(&agent, VIP), (false, false));
}

#[test]
fn a_node_that_gets_its_id_late_or_another_displaces_nothing() {
    let mut agent = Agent::with(Sizes {
        nodes: 2,
        ..Sizes::default()
    });
    agent.run(&web());
    assert_eq!(agent.problems.len(), 1);
    agent.ledger.sizes.nodes = 4;
    agent.run(&web());
    assert_eq!(agent.problems, []);
    assert_eq!(ages(&agent), [None; 3]);
    // Without its name it is not known again.
    let id = *agent.maps.node_names.keys().next_back().unwrap();
    agent.maps.node_names.remove(&id);
    agent.restart();
    agent.ledger.give_up(Given::Node(id), agent.now);
    agent.run(&web());
    assert!(!agent.maps.node_names.contains_key(&id));
    assert_eq!(ages(&agent), [None; 3]);
    assert_eq!(unsettled(&agent, VIP), (false, false));
}

#[test]
fn a_restart_keeps_who_was_displaced() {
    let drained = web_with(1, DRAINING);
    let mut agent = running(&web());
    agent.run(&drained);
    agent.wait(MINUTE);
    agent.restart();
    assert_eq!(agent.run(&drained), []);
    assert_eq!(ages(&agent), [None, Some(60), None]);
    agent.restart();
    agent.run(&web_without(1));
    assert_eq!(unsettled(&agent, VIP), (false, false));
}

#[test]
fn a_change_while_no_agent_ran_is_seen_by_the_next() {
    let mut agent = running(&web());
    agent.restart();
    agent.wait(MINUTE);
    agent.run(&web_with(1, DRAINING));
    assert_eq!(ages(&agent), [None, Some(0), None]);
}

#[test]
fn with_maps_that_were_lost_nobody_is_displaced() {
    let mut agent = running(&web());
    agent.run(&web_with(1, DRAINING));
    agent.maps = Maps::default();
    agent.restart();
    agent.run(&web_with(1, DRAINING));
    assert_eq!(ages(&agent), [None; 3]);
    assert_eq!(unsettled(&agent, VIP), (false, false));
}

#[test]
fn an_agent_that_dies_while_it_changes_a_table_forgets_nobody() {
    // With room for a second table, and without.
    for table_chunks in [1024, 4] {
        let sizes = Sizes {
            table_chunks,
            ..Sizes::default()
        };
        for cut in 0..16 {
            let mut agent = Agent::with(sizes);
            agent.run(&web());
            let (_, steps) = agent.plan(&web_with(1, DRAINING));
            steps[..cut.min(steps.len())]
                .iter()
                .for_each(|step| agent.maps.apply(step));
            agent.restart();
            agent.run(&web_with(1, DRAINING));
            assert_eq!(ages(&agent), [None, Some(0), None], "{cut} steps");
            assert_eq!(unsettled(&agent, VIP), (true, true), "{cut} steps");
        }
    }
}

#[test]
fn a_change_that_leaves_the_frontend_as_it_is_writes_nothing_of_it() {
    let mut agent = running(&web());
    agent.run(&web_with(1, DRAINING));
    agent.wait(MINUTE);
    let more = web_with(1, DRAINING).service("more", "203.0.113.81");
    let steps = agent.run(&more);
    let key = |step: &Step| match step {
        Step::PutEndpoint(..) => true,
        Step::PutFrontend(key, _) => key.vip == ip(VIP).into(),
        _ => false,
    };
    assert!(!steps.iter().any(key));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_frontend_has_changed_when_the_last_that_is_present_was_displaced(
        rounds in prop::collection::vec(changes(1..6), 1..6),
    ) {
        let mut agent = Agent::new();
        let mut inputs = nodes();
        for changes in &rounds {
            inputs = changes.iter().fold(inputs, sample::apply);
            agent.wait(MINUTE);
            let known: Vec<_> = agent.maps.endpoints.keys().copied().collect();
            agent.run(&inputs);
            check_whole(&agent.maps);
            for (key, value) in &agent.maps.endpoints {
                prop_assert!(value.displaced_s == 0 || known.contains(key));
            }
            for frontend in Image::read(&agent.maps).frontends.values() {
                let endpoints = frontend.body.endpoints.values();
                let last = endpoints.map(|endpoint| endpoint.displaced_s).max();
                prop_assert_eq!(frontend.value.changed_s, last.unwrap_or(0));
            }
        }
    }
}
