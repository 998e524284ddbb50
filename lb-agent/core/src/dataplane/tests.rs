mod displaced;
mod load;
mod told;

use super::{Image, Ledger, Maps, QUARANTINE, Settle, Sizes, Step, diff, plan};
use crate::desired::{Memo, desired};
use crate::model::sample::{self, DRAINING, READY, cluster, ip};
use crate::model::{Delivery, Inputs, NodeName};
use crate::problem::Problem;
use crate::time::Timestamp;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use lb_common::addr::Addr;
use lb_common::backend::{self, BackendValue};
use lb_common::filter::{pod_bit, vip_bit};
use lb_common::frontend::{FrontendKey, FrontendValue, flags};
use lb_common::node::{kind, mac_bits, mac_bucket};
use lb_common::table::{Place, Slot};
use proptest::prelude::*;

/// An agent with maps of plain values.
struct Agent {
    memo: Memo,
    ledger: Ledger,
    current: Image,
    maps: Maps,
    now: Timestamp,
    problems: Vec<Problem>,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_secs(seconds))
}

impl Agent {
    fn new() -> Self {
        Self::with(Sizes::default())
    }

    fn with(sizes: Sizes) -> Self {
        Self {
            memo: Memo::default(),
            ledger: Ledger::new(sizes, Settle::default(), at(1000)),
            current: Image::default(),
            maps: Maps::default(),
            now: at(1000),
            problems: Vec::new(),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn plan(&mut self, inputs: &Inputs) -> (Image, Vec<Step>) {
        let desired = desired(inputs, &mut self.memo);
        let (target, problems) = plan(&desired, &self.current, &mut self.ledger, self.now);
        self.problems = problems;
        let steps = diff(&self.current, &target);
        (target, steps)
    }

    fn run(&mut self, inputs: &Inputs) -> Vec<Step> {
        let (target, steps) = self.plan(inputs);
        steps.iter().for_each(|step| self.maps.apply(step));
        self.current = target;
        steps
    }

    /// A new process, with the maps of the old one.
    fn restart(&mut self) {
        self.memo = Memo::default();
        self.ledger = Ledger::new(self.ledger.sizes, self.ledger.settle, self.now);
        self.current = Image::read(&self.maps);
    }

    fn frontend(&self, vip: &str) -> FrontendValue {
        self.maps.frontends[&FrontendKey::new(ip(vip).into(), 80, 6)]
    }
}

/// The table that a packet for this frontend meets.
fn table(maps: &Maps, value: &FrontendValue) -> Vec<Slot> {
    let chunks = value.chunk..value.chunk + value.slots / 256;
    let chunk = |chunk| maps.tables.get(&chunk).expect("the chunk is written");
    chunks.flat_map(|n| chunk(n).iter().copied()).collect()
}

/// Whatever one entry refers to is there.
#[track_caller]
fn check_whole(maps: &Maps) {
    let (mut ids, mut chunks) = (BTreeSet::new(), BTreeSet::new());
    for (key, value) in &maps.frontends {
        assert!(ids.insert(value.id), "an id of its own");
        for chunk in value.chunk..value.chunk + value.slots / 256 {
            assert!(chunks.insert(chunk), "a place of its own");
        }
        for slot in table(maps, value) {
            for target in [slot.now, slot.next] {
                match target.place() {
                    Place::Nowhere => {}
                    Place::Here(id) => assert!(maps.backends.contains_key(&id), "backend {id}"),
                    Place::Node(id) => assert!(maps.nodes.contains_key(&id), "node {id}"),
                }
            }
        }
        let (word, bit) = vip_bit(key.vip);
        assert_ne!(maps.vip_filter.words[word] & bit, 0, "{} passes", key.vip);
        assert!(maps.names.contains_key(&value.id), "its name");
    }
    for vip in maps.vips.keys() {
        let (word, bit) = vip_bit(*vip);
        assert_ne!(maps.vip_filter.words[word] & bit, 0, "{vip} passes");
    }
    for backend in maps.backends.values() {
        assert_ne!(backend.generation, 0);
        let (word, bit) = pod_bit(backend.addr, backend.port);
        assert_ne!(maps.pod_filter.words[word] & bit, 0, "{backend:?} passes");
    }
    for net in maps.node_nets.values() {
        let id = u16::try_from(net.node).unwrap();
        assert!(maps.nodes.contains_key(&id), "node {id}");
    }
}

const VIP: &str = "203.0.113.80";

fn nodes() -> Inputs {
    cluster()
        .node("node1", "192.0.2.11")
        .node("node2", "192.0.2.12")
        .node("node3", "192.0.2.13")
}

fn web() -> Inputs {
    nodes()
        .service("web", VIP)
        .pod("web", "10.1.1.2", "node1", READY)
        .pod("web", "10.1.2.2", "node2", READY)
        .pod("web", "10.1.3.2", "node3", READY)
}

#[test]
fn a_service_fills_the_maps() {
    let mut agent = Agent::new();
    agent.run(&web());
    let maps = &agent.maps;
    check_whole(maps);
    assert_eq!(agent.problems, []);
    assert_eq!((maps.backends.len(), maps.nodes.len()), (1, 2));
    assert_eq!((maps.endpoints.len(), maps.node_nets.len()), (3, 2));
    let value = agent.frontend(VIP);
    assert_eq!(value.slots, 1024);
    let slots: u32 = maps.endpoints.values().map(|endpoint| endpoint.slots).sum();
    assert_eq!(slots, 1024);
    let owned: Vec<_> = maps.vips.iter().collect();
    let ours = agent.current.vips[&Addr::from(ip(VIP))];
    assert_eq!(owned, [(&Addr::from(ip(VIP)), &ours)]);
    for node in maps.nodes.values() {
        assert_eq!(node.kind, kind::SAME_LINK);
        let bucket = maps.node_macs.buckets[mac_bucket(mac_bits(node.dst_mac))];
        assert!(bucket.ways.iter().any(|way| way.mac == node.dst_mac));
    }
}

#[test]
fn the_second_time_there_is_nothing_to_do() {
    let mut agent = Agent::new();
    agent.run(&web());
    assert_eq!(agent.run(&web()), []);
}

#[test]
fn after_a_restart_there_is_nothing_to_do() {
    let mut agent = Agent::new();
    agent.run(&web());
    agent.restart();
    agent.wait(Duration::from_secs(5));
    assert_eq!(agent.run(&web()), []);
}

#[test]
fn a_table_changes_in_another_place_and_then_at_once() {
    let mut agent = Agent::new();
    agent.run(&web());
    let before = agent.frontend(VIP);
    let steps = agent.run(&web().pod("web", "10.1.3.3", "node3", READY));
    let after = agent.frontend(VIP);
    assert_ne!(before.chunk, after.chunk);
    assert_eq!(before.id, after.id);
    let names: Vec<_> = steps.iter().map(name).collect();
    let endpoints = ["PutEndpoint"; 4];
    let (last, first) = (&names[names.len() - 2..], &names[..names.len() - 2]);
    assert_eq!(first, &endpoints[..first.len()]);
    assert_eq!(last, ["PutTable", "PutFrontend"]);
}

fn name(step: &Step) -> String {
    let text = format!("{step:?}");
    text.split('(').next().unwrap_or_default().into()
}

#[test]
fn a_place_is_not_used_again_for_ten_seconds() {
    let mut agent = Agent::new();
    let (one, other) = (web(), web().pod("web", "10.1.3.3", "node3", READY));
    agent.run(&one);
    let first = agent.frontend(VIP).chunk;
    agent.run(&other);
    agent.wait(QUARANTINE - Duration::from_millis(1));
    agent.run(&one);
    assert_ne!(agent.frontend(VIP).chunk, first);
    agent.wait(Duration::from_millis(1));
    agent.run(&other);
    assert_eq!(agent.frontend(VIP).chunk, first);
}

#[test]
fn an_id_is_not_used_again_for_ten_seconds_and_then_with_another_generation() {
    let with = |pod: &str| nodes().service("web", VIP).pod("web", pod, "node1", READY);
    let mut agent = Agent::new();
    agent.run(&with("10.1.1.2"));
    let (first, old) = agent.maps.backends.pop_first().unwrap();
    agent.run(&with("10.1.1.3"));
    assert!(!agent.maps.backends.contains_key(&first));
    agent.wait(QUARANTINE);
    agent.run(&with("10.1.1.4"));
    assert_ne!(agent.maps.backends[&first].generation, old.generation);
}

#[test]
fn a_backend_keeps_its_id_while_others_come_and_go() {
    let mut agent = Agent::new();
    agent.run(&web());
    let before = agent.maps.backends.clone();
    agent.run(&web().pod("web", "10.1.1.1", "node1", READY));
    agent.run(&web());
    assert_eq!(agent.maps.backends, before);
}

#[test]
fn a_pod_that_is_reached_in_two_ways_is_one_backend() {
    let mut inputs = web()
        .service("fast", "203.0.113.81")
        .edit_service("fast", |s| s.delivery = Delivery::Direct)
        .pod("fast", "10.1.1.2", "node1", READY);
    inputs.links.pods.insert(ip("10.1.1.2"), 7);
    let mut agent = Agent::new();
    agent.run(&inputs);
    assert_eq!(agent.maps.backends.len(), 1);
    assert_eq!(agent.frontend(VIP).flags & flags::DIRECT, 0);
    assert_ne!(agent.frontend("203.0.113.81").flags & flags::DIRECT, 0);
    agent.restart();
    assert_eq!(agent.run(&inputs), []);
}

/// Or its flows would be lost with the entry that they name.
#[test]
fn a_backend_that_is_reached_in_another_way_stays_the_same() {
    let mut agent = Agent::new();
    let stack = web();
    let mut direct = web().edit_service("web", |s| s.delivery = Delivery::Direct);
    direct.links.pods.insert(ip("10.1.1.2"), 7);
    agent.run(&stack);
    let (id, before) = agent.maps.backends.first_key_value().unwrap();
    let (id, before) = (*id, *before);
    let steps = agent.run(&direct);
    let names: Vec<_> = steps.iter().map(name).collect();
    assert_eq!(names, ["PutBackend", "PutFrontend"]);
    let after = BackendValue {
        ifindex: 7,
        flags: backend::flags::DIRECT,
        ..before
    };
    assert_eq!(agent.maps.backends[&id], after);
    agent.run(&stack);
    assert_eq!(agent.maps.backends[&id], before);
}

/// Whether the frontend's flows are offered to `next`: TCP, UDP.
fn unsettled(agent: &Agent, vip: &str) -> (bool, bool) {
    let flags = agent.frontend(vip).flags;
    (
        flags & flags::TCP_UNSETTLED != 0,
        flags & flags::UDP_UNSETTLED != 0,
    )
}

#[test]
fn a_frontend_that_is_seen_for_the_first_time_is_settled() {
    // Also in the first hour after the machine has started.
    let mut agent = Agent::new();
    agent.run(&web());
    assert_eq!(agent.frontend(VIP).changed_s, 0);
    assert_eq!(unsettled(&agent, VIP), (false, false));
    let other = "203.0.113.81";
    let two = web()
        .service("late", other)
        .pod("late", "10.1.1.3", "node1", READY);
    agent.run(&two);
    assert_eq!(unsettled(&agent, other), (false, false));
    assert_eq!(unsettled(&agent, VIP), (false, false));
    assert_eq!(agent.ledger.deadline(&agent.current), None);
}

#[test]
fn a_frontend_is_unsettled_for_a_while_after_a_change() {
    let mut agent = Agent::new();
    agent.run(&web());
    let drained = web().edit_slices("web", |s| s[0].endpoints[0].conditions = DRAINING);
    agent.run(&drained);
    assert_eq!(agent.frontend(VIP).changed_s, agent.now.seconds());
    assert_eq!(unsettled(&agent, VIP), (true, true));
    agent.restart();
    assert_eq!(agent.ledger.deadline(&agent.current), Some(at(1300)));
    agent.wait(Duration::from_secs(300));
    agent.run(&drained);
    assert_eq!(unsettled(&agent, VIP), (true, false));
    assert_eq!(agent.ledger.deadline(&agent.current), Some(at(4600)));
    agent.wait(Duration::from_secs(3600));
    agent.run(&drained);
    assert_eq!(agent.ledger.deadline(&agent.current), None);
    assert_eq!(unsettled(&agent, VIP), (false, false));
}

#[test]
fn a_node_that_is_reached_another_way_changes_no_table() {
    let mut agent = Agent::new();
    agent.run(&web());
    let mut inputs = web();
    inputs.links.next_hops.remove(&NodeName::new("node2"));
    let steps = agent.run(&inputs);
    let names: Vec<_> = steps.iter().map(name).collect();
    assert_eq!(names, ["PutNode"]);
}

#[test]
fn without_room_for_a_second_table_the_first_is_changed_in_place() {
    let mut agent = Agent::with(Sizes {
        table_chunks: 4,
        ..Sizes::default()
    });
    agent.run(&web());
    agent.run(&web().pod("web", "10.1.3.3", "node3", READY));
    let problems: Vec<_> = agent.problems.iter().map(|p| p.name()).collect();
    assert_eq!(problems, ["NoRoomForTable"]);
    check_whole(&agent.maps);
    let endpoints = agent.maps.endpoints.values();
    assert!(endpoints.clone().all(|endpoint| endpoint.slots > 0));
    assert_eq!(endpoints.count(), 4);
}

#[test]
fn what_finds_no_room_is_named_and_the_rest_goes_on() {
    let tight = |sizes| {
        let mut agent = Agent::with(sizes);
        agent.run(
            &web()
                .service("more", "203.0.113.81")
                .pod("more", "10.1.1.9", "node1", READY),
        );
        check_whole(&agent.maps);
        let problems: Vec<_> = agent.problems.iter().map(|p| p.name()).collect();
        (problems, agent.maps.frontends.len())
    };
    let sizes = Sizes::default;
    let one = Sizes {
        frontends: 1,
        ..sizes()
    };
    assert_eq!(tight(one), (vec!["TooManyFrontends"], 1));
    let one = Sizes {
        table_chunks: 4,
        ..sizes()
    };
    assert_eq!(tight(one), (vec!["NoRoomForTable"], 1));
    let one = Sizes {
        backends: 1,
        ..sizes()
    };
    assert_eq!(tight(one), (vec!["TooManyLocalBackends"], 2));
    let one = Sizes {
        nodes: 2,
        ..sizes()
    };
    assert_eq!(tight(one), (vec!["TooManyNodes"], 2));
}

#[test]
fn what_lacked_an_id_gets_one_when_there_is_one() {
    let mut agent = Agent::with(Sizes {
        backends: 1,
        ..Sizes::default()
    });
    let two = web().pod("web", "10.1.1.3", "node1", READY);
    agent.run(&two);
    assert_eq!(agent.problems.len(), 1);
    agent.ledger.sizes.backends = 2;
    agent.run(&two);
    assert_eq!(agent.problems, []);
    assert!(
        agent
            .maps
            .endpoints
            .values()
            .all(|endpoint| endpoint.target != 0)
    );
}

#[test]
fn entries_that_belong_to_nothing_are_removed() {
    let mut agent = Agent::new();
    agent.run(&web());
    let (key, value) = agent.maps.endpoints.first_key_value().unwrap();
    let stray = lb_common::traffic::EndpointKey {
        frontend: 77,
        ..*key
    };
    let (value, name) = (*value, agent.maps.names[&0]);
    agent.maps.endpoints.insert(stray, value);
    agent.maps.names.insert(78, name);
    agent.restart();
    let steps = agent.run(&web());
    assert_eq!(steps, [Step::RemoveEndpoint(stray), Step::RemoveName(78)]);
}

fn changes(length: core::ops::Range<usize>) -> impl Strategy<Value = Vec<sample::Change>> {
    prop::collection::vec(sample::change(), length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_steps_lead_from_any_image_to_any_other(
        before in changes(0..20), after in changes(0..20), seconds in 0..20_u64,
    ) {
        let mut agent = Agent::new();
        let inputs = before.iter().fold(nodes(), sample::apply);
        agent.run(&inputs);
        agent.wait(Duration::from_secs(seconds));
        let inputs = after.iter().fold(nodes(), sample::apply);
        agent.run(&inputs);
        prop_assert_eq!(Image::read(&agent.maps), agent.current);
    }

    #[test]
    fn every_prefix_of_a_plan_is_whole(before in changes(0..20), after in changes(1..10)) {
        let mut agent = Agent::new();
        let inputs = before.iter().fold(nodes(), sample::apply);
        agent.run(&inputs);
        let inputs = after.iter().fold(inputs, sample::apply);
        let old = agent.maps.clone();
        let (target, steps) = agent.plan(&inputs);
        check_whole(&agent.maps);
        for step in &steps {
            agent.maps.apply(step);
            check_whole(&agent.maps);
            // And each frontend is the old one or the new one, never both.
            for (key, value) in &agent.maps.frontends {
                let now = table(&agent.maps, value);
                let was = old.frontends.get(key).map(|value| table(&old, value));
                let will = target.frontends.get(key).map(|new| new.body.slots.iter().collect::<Vec<_>>());
                prop_assert!(Some(&now) == was.as_ref() || Some(&now) == will.as_ref());
            }
        }
    }

    #[test]
    fn an_agent_that_dies_at_any_step_goes_on_where_it_was(
        rounds in prop::collection::vec((changes(1..8), any::<prop::sample::Index>()), 1..6),
    ) {
        let mut agent = Agent::new();
        let mut inputs = nodes();
        for (changes, cut) in &rounds {
            inputs = changes.iter().fold(inputs, sample::apply);
            let (_, steps) = agent.plan(&inputs);
            for step in &steps[..cut.index(steps.len() + 1)] {
                agent.maps.apply(step);
            }
            agent.restart();
            agent.run(&inputs);
            check_whole(&agent.maps);
            prop_assert_eq!(Image::read(&agent.maps), agent.current.clone());
            prop_assert_eq!(agent.run(&inputs), vec![]);
        }
    }

    #[test]
    fn who_stays_keeps_its_ids(before in changes(0..20), after in changes(1..10)) {
        let mut agent = Agent::new();
        let inputs = before.iter().fold(nodes(), sample::apply);
        agent.run(&inputs);
        let old = agent.current.clone();
        let inputs = after.iter().fold(inputs, sample::apply);
        agent.run(&inputs);
        for (key, frontend) in &agent.current.frontends {
            if let Some(old) = old.frontends.get(key) {
                prop_assert_eq!(old.value.id, frontend.value.id);
            }
        }
        for (id, backend) in &agent.current.backends {
            let was = old.backends.iter().find(|(_, b)| (b.addr, b.port) == (backend.addr, backend.port));
            if let Some((was, value)) = was {
                prop_assert_eq!((was, value.generation), (id, backend.generation));
            }
        }
    }
}
