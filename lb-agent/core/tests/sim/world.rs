//! The cluster in virtual time: nodes with their agents, pods, clients, the
//! network between them, and what is done to them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    rc::Rc,
};

use lb_common::{
    flow::{TCP, UDP},
    rules::Decision,
};

use crate::{
    agent::Agent,
    client::{Client, Outcome},
    embryos::Embryos,
    endpoints::{NodeId, PodId, Set, Tables, Tuple},
    node::{Node, Sight, Time},
    packet::{Answer, ConnId, Kind, Packet},
    pod::{FLOOD, Pod},
    report::Counts,
    rng::Rng,
    scenario::{Action, Plan},
};

const NODES: NodeId = 6;
pub(crate) const END_MS: Time = 300_000;
const TCP_CLIENTS: usize = 150;
const UDP_CLIENTS: usize = 50;
const SWEEP_MS: Time = 1_000;
const FLOOD_MS: Time = 20;
/// Packets of clients, and answers, that get lost on the way, of 1000.
const LOSS_PER_MILLE: u64 = 1;

mod control;

#[derive(Debug)]
enum Event {
    Client(usize),
    Apply(NodeId, Rc<Set>),
    /// Looks through its flows, every second.
    Sweep(NodeId),
    /// The same, after a change.
    Walk(NodeId),
    Datagram(NodeId, NodeId, Vec<u8>),
    Timer(NodeId),
    /// The planner of a node hears what its agent knows.
    Plan(NodeId),
    Ingress,
    Flood,
    Act(Action),
}

pub(crate) struct World {
    pub(crate) counts: Counts,
    name: String,
    now: Time,
    rng: Rng,
    plan: Plan,
    channel: bool,
    events: BTreeMap<u64, Event>,
    due: BinaryHeap<Reverse<(Time, u64)>>,
    events_made: u64,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    clients: Vec<Client>,
    tuples: Vec<Tuple>,
    conns_made: ConnId,
    tables: Tables,
    /// What the EndpointSlices say.
    truth: Rc<Set>,
    /// When each node hears of the last change.
    heard: Vec<Time>,
    dead: Vec<NodeId>,
    /// Nodes that have been there.
    known: BTreeSet<NodeId>,
    /// When each agent wants to be called, if that is arranged.
    timers: BTreeMap<NodeId, Time>,
    plans: BTreeSet<NodeId>,
    boots: u64,
    ingress: NodeId,
    /// Displaced when their node lost its maps: nothing is promised to them.
    forgotten: BTreeSet<ConnId>,
}

impl World {
    /// `name` says how to run it again.
    pub(crate) fn new(name: String, seed: u64, plan: Plan, channel: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut tables = Tables::new(rng.next());
        let empty = tables.set(Vec::new());
        let node = |id, rng: &mut Rng| Node {
            id,
            up: id <= plan.nodes,
            set: Rc::clone(&empty),
            changed: None,
            flows: BTreeMap::new(),
            moved: BTreeMap::new(),
            told: BTreeMap::new(),
            embryos: Embryos::new(plan.embryo_sets, rng.next()),
            agent: Agent::new(id <= plan.nodes),
        };
        let mut world = Self {
            counts: Counts::default(),
            name,
            now: 0,
            nodes: (1..=NODES).map(|id| node(id, &mut rng)).collect(),
            pods: Vec::new(),
            clients: Vec::new(),
            tuples: Vec::new(),
            conns_made: FLOOD,
            events: BTreeMap::new(),
            due: BinaryHeap::new(),
            events_made: 0,
            channel,
            tables,
            truth: empty,
            heard: (1..=NODES).map(|_| 0).collect(),
            dead: Vec::new(),
            known: (1..=plan.nodes).collect(),
            timers: BTreeMap::new(),
            plans: BTreeSet::new(),
            boots: 0,
            ingress: 1,
            forgotten: BTreeSet::new(),
            rng,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for index in 0..self.plan.pods {
            let node = 1 + index % self.plan.nodes;
            self.pods.push(Pod::new(index, node));
        }
        self.truth = self.slices();
        for node in &mut self.nodes {
            node.set = Rc::clone(&self.truth);
        }
        for index in 0..TCP_CLIENTS + UDP_CLIENTS {
            let protocol = if index < TCP_CLIENTS { TCP } else { UDP };
            let tuple = self.tuple(protocol);
            let client = self.client(tuple);
            self.clients.push(client);
            let at = self.rng.between(0, 20_000);
            self.at(at, Event::Client(index));
        }
        for node in 1..=NODES {
            let at = self.rng.between(0, SWEEP_MS);
            if self.channel && node <= self.plan.nodes {
                self.begin_agent(node);
            }
            if self.channel {
                self.at(at, Event::Sweep(node));
            }
        }
        self.at(0, Event::Ingress);
        if self.plan.flood {
            self.at(0, Event::Flood);
        }
        for (at, action) in std::mem::take(&mut self.plan.actions) {
            self.at(at, Event::Act(action));
        }
    }

    fn at(&mut self, at: Time, event: Event) {
        self.events_made += 1;
        self.events.insert(self.events_made, event);
        self.due.push(Reverse((at, self.events_made)));
    }

    pub(crate) fn run(mut self) -> Counts {
        while let Some(Reverse((at, number))) = self.due.pop() {
            if at > END_MS {
                break;
            }
            self.now = at;
            if let Some(event) = self.events.remove(&number) {
                self.handle(event);
            }
        }
        self.counts.runs = 1;
        self.counts
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Client(index) => self.call(index),
            Event::Apply(node, set) => {
                let now = self.now;
                let node = self.node(node);
                if node.up && node.agent.up {
                    node.apply(&set, now);
                    let node = node.id;
                    self.tables_changed(node);
                }
            }
            Event::Sweep(node) => self.sweep(node),
            Event::Walk(node) => self.walk(node),
            Event::Datagram(from, to, datagram) => self.datagram(from, to, &datagram),
            Event::Timer(node) => self.timer(node),
            Event::Plan(node) => self.plan(node),
            Event::Ingress => {
                self.move_ingress();
                let wait = self.rng.between(4_000, 20_000);
                self.at(self.now + wait, Event::Ingress);
            }
            Event::Flood => self.flood(),
            Event::Act(action) => self.act(action),
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id) - 1]
    }

    fn up(&self) -> Vec<NodeId> {
        let up = self.nodes.iter().filter(|node| node.up);
        up.map(|node| node.id).collect()
    }

    fn move_ingress(&mut self) {
        // Ownership of a VIP expires with the agent.
        let able = |node: &&Node| node.up && node.agent.up && node.id != self.ingress;
        let able = self.nodes.iter().filter(able).map(|node| node.id);
        let able: Vec<NodeId> = able.collect();
        self.ingress = self.rng.choose(&able).unwrap_or(self.ingress);
    }

    fn send(&mut self, mut packet: Packet) -> (Answer, bool) {
        self.counts.packets += 1;
        let mut answer = Answer::Nothing;
        if !self.rng.per_mille(LOSS_PER_MILLE) {
            answer = self.route(&mut packet);
        }
        if self.rng.per_mille(LOSS_PER_MILLE) {
            answer = Answer::Nothing;
        }
        self.counts.hand_overs += u64::from(packet.hand_overs);
        (answer, packet.stale)
    }

    fn route(&mut self, packet: &mut Packet) -> Answer {
        let mut at = self.ingress;
        loop {
            let sight = Sight {
                now: self.now,
                channel: self.channel,
            };
            let node = &mut self.nodes[usize::from(at) - 1];
            if !node.up {
                return Answer::Nothing;
            }
            match node.decide(packet, sight) {
                Decision::HandOver { node, marked } => {
                    packet.hand_overs += 1;
                    packet.marked |= marked;
                    at = node;
                    self.check_hand_overs(packet);
                }
                Decision::Deliver(found) => {
                    let pod = node.deliver(packet, found, self.now);
                    let Some(there) = self.pods.get_mut(usize::from(pod)) else {
                        return Answer::Nothing;
                    };
                    if !there.alive {
                        return Answer::Nothing;
                    }
                    assert_eq!(there.node, at, "a pod elsewhere: {}", self.name);
                    let answer = there.receive(packet, &mut self.rng);
                    node.answered(packet, pod, answer, self.now);
                    return answer;
                }
                Decision::Reject => return Answer::Rst,
                Decision::Unsettled => {
                    self.counts.unsettled += 1;
                    return Answer::Nothing;
                }
                Decision::Stranded => {
                    self.counts.stranded += 1;
                    return Answer::Nothing;
                }
            }
        }
    }

    fn check_hand_overs(&mut self, packet: &Packet) {
        let hand_overs = u64::from(packet.hand_overs);
        assert!(hand_overs <= 2, "{}: {packet:?}", self.name);
        self.counts.hand_overs_max = self.counts.hand_overs_max.max(hand_overs);
    }

    fn flood(&mut self) {
        for kind in [Kind::Syn, Kind::Ack] {
            let invented = u32::MAX - self.rng.word() % 0x4000_0000;
            let tuple = self.tables.tuple(invented, TCP, &mut self.rng);
            let ack = self.rng.word();
            self.route(&mut Packet::new(tuple, kind, FLOOD, ack));
        }
        self.at(self.now + FLOOD_MS, Event::Flood);
    }

    fn tuple(&mut self, protocol: u8) -> Tuple {
        let id = u32::try_from(self.tuples.len()).unwrap_or(0);
        let tuple = self.tables.tuple(id, protocol, &mut self.rng);
        self.tuples.push(tuple);
        tuple
    }

    fn client(&mut self, tuple: Tuple) -> Client {
        self.conns_made += 1;
        Client::new(tuple, self.conns_made, self.now, &mut self.rng)
    }

    fn lives(&self, pod: Option<PodId>) -> bool {
        pod.is_some_and(|pod| self.pods[usize::from(pod)].alive)
    }

    fn call(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.vanishes() {
            return self.start_over(index);
        }
        let before = client.pod;
        let packet = client.packet(self.now);
        let (answer, stale) = self.send(packet);
        if answer == Answer::ChallengeAck {
            let reset = self.clients[index].reset();
            self.send(reset);
        }
        let client = &mut self.clients[index];
        let (outcome, due) = client.hear(answer, self.now, &mut self.rng);
        let lives = self.lives(before);
        match outcome {
            Outcome::Nothing => {}
            Outcome::Opened if self.clients[index].is_tcp() => self.counts.opened += 1,
            Outcome::Opened => self.counts.udp_flows += 1,
            Outcome::Answered(waited) => self.counts.stall(waited),
            Outcome::Moved => self.counts.udp_moves += u64::from(lives),
            Outcome::Lost if lives => self.lose(index, stale),
            Outcome::GaveUp(waited) if lives => {
                self.counts.hung += 1;
                self.counts.stall(waited);
            }
            Outcome::GaveUp(_) => self.counts.silent += 1,
            Outcome::Lost | Outcome::Ended => {}
        }
        match outcome {
            Outcome::Lost | Outcome::GaveUp(_) | Outcome::Ended => self.start_over(index),
            _ => self.at(due, Event::Client(index)),
        }
    }

    fn lose(&mut self, index: usize, stale: bool) {
        let client = &self.clients[index];
        if self.forgotten.contains(&client.conn) {
            self.counts.forgotten += 1;
            return;
        }
        let counter = match (stale, client.settled) {
            (true, _) => &mut self.counts.stale,
            (false, false) => &mut self.counts.handshakes,
            (false, true) => &mut self.counts.lost,
        };
        *counter += 1;
    }

    /// The next connection, now and then from the same port at once.
    fn start_over(&mut self, index: usize) {
        let old = self.clients[index].tuple;
        let again = old.protocol == TCP && self.rng.per_mille(self.plan.reuse_per_mille);
        let tuple = if again { old } else { self.tuple(old.protocol) };
        self.clients[index] = self.client(tuple);
        let wait = self.rng.between(1, if again { 500 } else { 10_000 });
        self.at(self.now + wait, Event::Client(index));
    }
}
