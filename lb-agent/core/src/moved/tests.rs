//! Three agents that talk, in virtual time, and what they hold in the end.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::net::Ipv4Addr;

use lb_common::addr::Addr;
use proptest::prelude::*;

use super::*;

const WEB: FrontendKey = FrontendKey::new(Addr::from_v4_word(80), 443, 6);

fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(1_000_000 + ms))
}

fn flow(number: u8) -> FlowKey {
    FlowKey {
        client: Ipv4Addr::new(192, 0, 2, number).into(),
        vip: WEB.vip,
        client_port: 40000,
        vip_port: WEB.port,
        protocol: WEB.protocol.into(),
    }
}

/// The set of endpoints on all three nodes, as node `this` has it.
fn sets(this: u16, hash: u64, changed_s: u32) -> Sets {
    let nodes: BTreeSet<u16> = (1..=3).filter(|node| *node != this).collect();
    let set = Set {
        id: 7,
        hash,
        changed_s,
        serving: nodes.clone(),
        nodes,
        here: true,
    };
    [(WEB, Arc::new(set))].into()
}

/// An agent with its maps. Nodes have the same numbers everywhere.
struct Agent {
    this: u16,
    talk: Talk,
    /// Flows whose pods are here, and how long they were idle.
    flows: BTreeMap<FlowKey, u32>,
    moved: BTreeMap<FlowKey, u16>,
    sets: Sets,
}

/// The node that packets of a flow come to, for a set of this hash.
fn home(flow: &FlowKey, hash: u64) -> u16 {
    let number = u64::from(flow.client.bytes[15]);
    u16::try_from(1 + (number + hash) % 3).unwrap()
}

impl Agent {
    fn living(&self) -> Vec<Living> {
        let hash = self.sets[&WEB].hash;
        let flows = self.flows.iter();
        flows
            .map(|(flow, idle_ms)| Living {
                flow: *flow,
                idle_ms: *idle_ms,
                elsewhere: Some(home(flow, hash)).filter(|home| *home != self.this),
            })
            .collect()
    }
}

struct World {
    agents: BTreeMap<u16, Agent>,
    network: BTreeMap<(u64, u64), (u16, u16, Vec<u8>)>,
    sent: u64,
    now: u64,
    boots: u64,
    /// Whose datagrams get lost, both ways.
    cut_off: BTreeSet<u16>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            agents: BTreeMap::new(),
            network: BTreeMap::new(),
            sent: 0,
            now: 0,
            boots: 0,
            cut_off: BTreeSet::new(),
        };
        for this in 1..=3 {
            world.start(this, BTreeMap::new(), BTreeMap::new(), &sets(this, 1, 0));
        }
        world.run(2_000);
        world
    }

    fn start(
        &mut self,
        this: u16,
        flows: BTreeMap<FlowKey, u32>,
        moved: BTreeMap<FlowKey, u16>,
        sets: &Sets,
    ) {
        self.boots += 1;
        let talk = Talk::new(self.boots, moved.clone(), 1000);
        let agent = Agent {
            this,
            talk,
            flows,
            moved,
            sets: sets.clone(),
        };
        self.agents.insert(this, agent);
        let now = at(self.now);
        let agent = self.agents.get_mut(&this).unwrap();
        let others = (1..=3).filter(|node| *node != this);
        let others = others.map(|node| (node, Presence::Unknown)).collect();
        agent.talk.set_peers(&others, now);
        agent.talk.set_tables(sets, now);
        self.walk(this);
    }

    fn restart(&mut self, this: u16) {
        let agent = self.agents.remove(&this).unwrap();
        self.start(this, agent.flows, agent.moved, &agent.sets);
    }

    fn change(&mut self, this: u16, hash: u64) {
        let now = at(self.now);
        let agent = self.agents.get_mut(&this).unwrap();
        agent.sets = sets(this, hash, now.seconds());
        agent.talk.set_tables(&agent.sets, now);
        self.walk(this);
    }

    fn walk(&mut self, this: u16) {
        let now = at(self.now);
        let agent = self.agents.get_mut(&this).unwrap();
        agent.talk.walked(&agent.sets, agent.living(), now);
        self.drain(this);
    }

    fn drain(&mut self, this: u16) {
        let agent = self.agents.get_mut(&this).unwrap();
        while let Some(act) = agent.talk.poll_act() {
            match act {
                Act::Transmit { peer, datagram } => {
                    self.sent += 1;
                    let arrives = (self.now + 5, self.sent);
                    if !self.cut_off.contains(&this) && !self.cut_off.contains(&peer) {
                        self.network.insert(arrives, (this, peer, datagram));
                    }
                }
                Act::Map(Output::Hold { flow, node }) => {
                    agent.moved.insert(flow, node);
                }
                Act::Map(Output::Release { flow }) => {
                    assert!(agent.moved.remove(&flow).is_some());
                }
                Act::Map(Output::Compare {
                    peer,
                    flow,
                    idle_ms,
                }) => match agent.flows.get(&flow) {
                    Some(ours) if *ours > idle_ms => drop(agent.flows.remove(&flow)),
                    Some(ours) => agent.talk.kept(peer, flow, *ours, at(self.now)),
                    None => {}
                },
            }
        }
    }

    fn run(&mut self, for_ms: u64) {
        let until = self.now + for_ms;
        while self.now < until {
            self.now += 1;
            while let Some(entry) = self.network.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (from, to, datagram) = entry.remove();
                let agent = self.agents.get_mut(&to).unwrap();
                agent.talk.handle_datagram(from, &datagram, at(self.now));
                self.drain(to);
            }
            for this in 1..=3 {
                let agent = self.agents.get_mut(&this).unwrap();
                let now = at(self.now);
                if agent.talk.deadline(now).is_some_and(|moment| moment <= now) {
                    agent.talk.handle_timeout(now);
                }
                self.drain(this);
            }
        }
    }

    fn told(&self, this: u16) -> bool {
        let agent = &self.agents[&this];
        let now = at(self.now);
        let set = &agent.sets[&WEB];
        let awaiting = agent.talk.awaiting(now);
        assert!(awaiting.covers(&WEB), "{awaiting:?}");
        !awaiting.awaits(&WEB, set.hash, set.changed_s, now)
    }

    /// Every flow's packets, wherever they come in, find it.
    fn check_moved(&self) {
        let mut expected: BTreeMap<u16, BTreeMap<FlowKey, u16>> = BTreeMap::new();
        for (node, agent) in &self.agents {
            for flow in agent.flows.keys() {
                let home = home(flow, agent.sets[&WEB].hash);
                if home != *node {
                    expected.entry(home).or_default().insert(*flow, *node);
                }
            }
        }
        for (node, agent) in &self.agents {
            let moved = expected.remove(node).unwrap_or_default();
            assert_eq!(agent.moved, moved, "node {node}");
        }
    }
}

fn with_flows() -> World {
    let mut world = World::new();
    for number in 0..30 {
        let flow = flow(number);
        let agent = world.agents.get_mut(&home(&flow, 1)).unwrap();
        agent.flows.insert(flow, 10);
    }
    world
}

#[test]
fn after_a_change_every_node_knows_what_moved_to_it() {
    let mut world = with_flows();
    for node in 1..=3 {
        assert!(world.told(node));
        world.change(node, 2);
        assert!(!world.told(node), "not until the others have said so");
    }
    world.run(100);
    world.check_moved();
    assert!((1..=3).all(|node| world.told(node)));
}

#[test]
fn who_is_behind_is_waited_for() {
    let mut world = with_flows();
    world.change(1, 2);
    world.change(2, 2);
    world.run(5_000);
    assert!(!world.told(1) && !world.told(2));
    let now = at(world.now);
    let told = world.agents[&1].talk.told(now);
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [((7, 2), 2)]);
    world.change(3, 2);
    world.run(100);
    assert!((1..=3).all(|node| world.told(node)));
    assert!(world.agents[&1].talk.told(now).len() == 2);
    world.check_moved();
}

#[test]
fn waiting_ends_after_a_minute() {
    let mut world = with_flows();
    world.change(1, 2);
    world.run(58_000);
    assert!(!world.told(1));
    world.run(3_000);
    assert!(world.told(1));
}

#[test]
fn a_flow_that_ends_is_withdrawn() {
    let mut world = with_flows();
    for node in 1..=3 {
        world.change(node, 2);
    }
    world.run(100);
    for agent in world.agents.values_mut() {
        agent.flows.clear();
    }
    for node in 1..=3 {
        world.walk(node);
    }
    world.run(100);
    assert!(world.agents.values().all(|agent| agent.moved.is_empty()));
}

#[test]
fn who_was_away_during_a_change_asks() {
    let mut world = with_flows();
    world.cut_off.insert(3);
    world.change(1, 2);
    world.change(2, 2);
    world.run(70_000);
    // The others waited for as long as they may; it begins with what they have.
    world.cut_off.clear();
    world.restart(3);
    world.change(3, 2);
    assert!(!world.told(3));
    world.run(2_500);
    assert!(world.told(3));
    world.check_moved();
}

#[test]
fn a_restart_drops_nothing_before_all_is_said_again() {
    let mut world = with_flows();
    for node in 1..=3 {
        world.change(node, 2);
    }
    world.run(100);
    let before = world.agents[&1].moved.clone();
    world.restart(1);
    assert_eq!(world.agents[&1].moved, before);
    // Meanwhile a flow of another node has ended.
    let ended = *before.keys().next().unwrap();
    world
        .agents
        .get_mut(&before[&ended])
        .unwrap()
        .flows
        .remove(&ended);
    for node in 2..=3 {
        world.walk(node);
    }
    world.run(1_000);
    world.check_moved();
    assert!(!world.agents[&1].moved.contains_key(&ended));
}

#[test]
fn of_two_entries_of_one_tuple_the_later_stays() {
    for (here, there) in [(10, 90_000), (90_000, 10)] {
        let mut world = with_flows();
        // By the new set its packets come to node 1, which has an entry of its
        // own.
        let flow = flow(1);
        assert_eq!((home(&flow, 1), home(&flow, 2)), (3, 1));
        for (node, idle_ms) in [(1, here), (3, there)] {
            let flows = &mut world.agents.get_mut(&node).unwrap().flows;
            flows.insert(flow, idle_ms);
        }
        for node in 1..=3 {
            world.change(node, 2);
        }
        for _ in 0..3 {
            world.run(100);
            for node in 1..=3 {
                world.walk(node);
            }
        }
        let holders = world.agents.values();
        let holders: Vec<u16> = holders
            .filter(|agent| agent.flows.contains_key(&flow))
            .map(|agent| agent.this)
            .collect();
        assert_eq!(holders, [if here < there { 1 } else { 3 }]);
    }
}

#[test]
fn an_agent_without_a_channel_is_not_waited_for() {
    let mut world = with_flows();
    world.cut_off.insert(3);
    let now = at(world.now);
    let agent = world.agents.get_mut(&1).unwrap();
    // As if node 3 had never been heard.
    agent.talk.set_peers(&[(2, Presence::Unknown)].into(), now);
    let peers = [(2, Presence::Unknown), (3, Presence::Unknown)];
    agent.talk.set_peers(&peers.into(), now);
    world.run(3_100);
    let agent = &world.agents[&1];
    let awaiting = agent.talk.awaiting(at(world.now));
    assert!(awaiting.on && !awaiting.covers(&WEB));
    // Called dead, it is no reason to settle by time.
    let agent = world.agents.get_mut(&1).unwrap();
    let peers = [(2, Presence::There), (3, Presence::Gone)];
    agent.talk.set_peers(&peers.into(), at(world.now));
    world.change(1, 2);
    world.change(2, 2);
    world.run(100);
    // Only its agent may be dead, and flows of its pods go on.
    assert!(!world.told(1));
    let agent = world.agents.get_mut(&1).unwrap();
    let mut set = (*agent.sets[&WEB]).clone();
    set.serving.remove(&3);
    agent.sets = [(WEB, Arc::new(set))].into();
    agent.talk.set_tables(&agent.sets, at(world.now));
    assert!(world.told(1));
}

#[test]
fn what_a_node_that_leaves_had_is_released() {
    let mut world = with_flows();
    for node in 1..=3 {
        world.change(node, 2);
    }
    world.run(100);
    let agent = world.agents.get_mut(&1).unwrap();
    assert!(agent.moved.values().any(|node| *node == 3));
    // Its pods leave the set.
    let mut set = (*agent.sets[&WEB]).clone();
    set.nodes.remove(&3);
    set.serving.remove(&3);
    agent.sets = [(WEB, Arc::new(set))].into();
    agent.talk.set_tables(&agent.sets, at(world.now));
    world.drain(1);
    assert!(world.agents[&1].moved.values().all(|node| *node != 3));
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut moved = Moved::new([], 3);
    moved.set_peers(&[(2, Presence::There)].into(), at(0));
    moved.up(2, at(0));
    for number in 0..5 {
        let message = message::Message::Moved {
            flow: flow(number),
            idle_ms: 0,
        };
        moved.hear(2, &message.encode());
    }
    moved.hear(2, &[99]);
    assert_eq!((moved.held(), moved.counts().no_room), (3, 2));
    assert_eq!(moved.counts().malformed, 1);
}

/// What happens to an agent.
#[derive(Clone, Debug)]
enum Event {
    Change(u64),
    Restart,
    Walk,
    Begin(u8),
    End(u8),
    CutOff,
    Heal,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..6_u64).prop_map(Event::Change),
        1 => Just(Event::Restart),
        2 => Just(Event::Walk),
        3 => any::<u8>().prop_map(Event::Begin),
        2 => any::<u8>().prop_map(Event::End),
        1 => Just(Event::CutOff),
        1 => Just(Event::Heal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happened_they_agree_in_the_end(
        events in prop::collection::vec((1..=3_u16, event(), 0..800_u64), 1..40),
    ) {
        let mut world = with_flows();
        for (node, event, then) in events {
            match event {
                Event::Change(hash) => world.change(node, hash),
                Event::Restart => world.restart(node),
                Event::Walk => world.walk(node),
                Event::Begin(number) => {
                    let flow = flow(number);
                    // A tuple lives once.
                    if world.agents.values().all(|agent| !agent.flows.contains_key(&flow)) {
                        world.agents.get_mut(&node).unwrap().flows.insert(flow, 5);
                    }
                }
                Event::End(number) => {
                    for agent in world.agents.values_mut() {
                        agent.flows.remove(&flow(number));
                    }
                }
                Event::CutOff => drop(world.cut_off.insert(node)),
                Event::Heal => world.cut_off.clear(),
            }
            world.run(then);
        }
        world.cut_off.clear();
        for node in 1..=3 {
            world.change(node, 9);
        }
        world.run(3_000);
        for node in 1..=3 {
            world.walk(node);
        }
        world.run(3_000);
        world.check_moved();
        prop_assert!((1..=3).all(|node| world.told(node)));
    }
}
