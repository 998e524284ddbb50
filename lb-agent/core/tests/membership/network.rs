//! Agents on a virtual network: loss, delay, partitions, agents that do not
//! run, and virtual time. The same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_core::gossip::{Beat, Cluster, Config, Output, Received, Status, Timing};
use lb_core::model::{MemberState, Members, NodeName};
use lb_core::seal::{NodeId, Standing};
use lb_core::time::Timestamp;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_per_mille: u64,
    pub(crate) delay_us: (u64, u64),
}

pub(crate) const CALM: Weather = Weather {
    loss_per_mille: 0,
    delay_us: (50, 400),
};

#[derive(Clone, Debug)]
struct Datagram {
    from: usize,
    boot: u64,
    counter: u64,
    payload: Vec<u8>,
}

/// One machine.
#[derive(Debug)]
struct Node {
    name: NodeName,
    agent: Option<Cluster>,
    boot: u64,
    counter: u64,
    /// The boot of each other one that it has confirmed.
    confirmed: BTreeMap<usize, u64>,
    retired: BTreeSet<u64>,
    /// Its agent does not run until then, and finds what came when it does.
    paused: Timestamp,
    inbox: VecDeque<Datagram>,
    /// When it is to be woken next; earlier plans are void.
    wakes: Option<Timestamp>,
    members: Members,
    released: bool,
    /// Of its own beats, what each other one has acknowledged.
    acked: BTreeMap<usize, Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(usize),
    Arrive(usize, usize),
}

pub(crate) struct Network {
    pub(crate) now: Timestamp,
    pub(crate) weather: Weather,
    pub(crate) timing: Timing,
    pub(crate) rng: Rng,
    nodes: Vec<Node>,
    /// Pairs that do not reach each other, the first the sender.
    cut: BTreeSet<(usize, usize)>,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    in_flight: BTreeMap<usize, Datagram>,
    serial: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// When who changed its mind about whom.
    pub(crate) said: Vec<(Timestamp, usize, usize, MemberState)>,
}

fn name(node: usize) -> NodeName {
    NodeName::new(&format!("node{node}"))
}

fn address(node: usize) -> IpAddr {
    let last = u8::try_from(node).expect("small clusters");
    Ipv4Addr::new(192, 0, 2, last).into()
}

impl Network {
    pub(crate) fn new(nodes: usize, timing: Timing, seed: u64) -> Self {
        let mut network = Self {
            now: Timestamp::default() + Duration::from_secs(1000),
            weather: CALM,
            timing,
            rng: Rng(seed),
            nodes: Vec::new(),
            cut: BTreeSet::new(),
            events: BinaryHeap::new(),
            in_flight: BTreeMap::new(),
            serial: 0,
            sent: 0,
            sent_bytes: 0,
            said: Vec::new(),
        };
        for number in 0..nodes {
            network.nodes.push(Node {
                name: name(number),
                agent: None,
                boot: 0,
                counter: 0,
                confirmed: BTreeMap::new(),
                retired: BTreeSet::new(),
                paused: Timestamp::default(),
                inbox: VecDeque::new(),
                wakes: None,
                members: Members::default(),
                released: false,
                acked: BTreeMap::new(),
            });
        }
        for number in 0..nodes {
            network.start(number);
        }
        network
    }

    /// All started and have found each other.
    pub(crate) fn settled(nodes: usize, timing: Timing, seed: u64) -> Self {
        let mut network = Self::new(nodes, timing, seed);
        network.run(ms(1500));
        for node in 0..nodes {
            for other in 0..nodes {
                assert_eq!(
                    network.state(node, other),
                    Some(MemberState::Alive),
                    "seed {seed}"
                );
            }
        }
        network.said.clear();
        network
    }

    /// The agent of a node starts, with nothing in mind.
    pub(crate) fn start(&mut self, node: usize) {
        let boot = self.rng.next();
        let seed = self.rng.next();
        let all = 0..self.nodes.len();
        let peers = all.map(|n| (name(n), vec![address(n)])).collect();
        let config = Config {
            node: name(node),
            boot,
            timing: self.timing,
            remembered: BTreeSet::new(),
        };
        let now = self.now;
        let it = &mut self.nodes[node];
        it.boot = boot;
        it.counter = 0;
        it.confirmed.clear();
        it.retired.clear();
        it.inbox.clear();
        it.acked.clear();
        it.members = Members::default();
        it.released = false;
        let mut agent = Cluster::new(config, seed, now);
        agent.configure(&peers, now);
        it.agent = Some(agent);
        self.drain(node);
        self.with(node, |agent, now| {
            let status = Status {
                programmed: true,
                uplinks_up: true,
            };
            agent.set_status(status, now);
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].agent = None;
        self.nodes[node].inbox.clear();
    }

    pub(crate) fn with(&mut self, node: usize, act: impl FnOnce(&mut Cluster, Timestamp)) {
        let now = self.now;
        if let Some(agent) = &mut self.nodes[node].agent {
            act(agent, now);
        }
        self.drain(node);
    }

    /// It does not run for so long: it is stopped, or others have its CPU.
    pub(crate) fn pause(&mut self, node: usize, time: Duration) {
        let until = self.now + time;
        self.nodes[node].paused = until;
        self.wake_at(node, until);
    }

    fn wake_at(&mut self, node: usize, moment: Timestamp) {
        if self.nodes[node].wakes != Some(moment) {
            self.nodes[node].wakes = Some(moment);
            self.at(moment, Event::Wake(node));
        }
    }

    /// Nothing gets from these to those, and back.
    pub(crate) fn part(&mut self, these: &[usize], those: &[usize]) {
        for a in these {
            for b in those {
                self.cut.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn state(&self, node: usize, of: usize) -> Option<MemberState> {
        let member = self.nodes[node].members.by_node.get(&name(of));
        member.map(|member| member.state)
    }

    pub(crate) fn members(&self, node: usize) -> &Members {
        &self.nodes[node].members
    }

    pub(crate) fn counts(&self, node: usize, of: usize) -> bool {
        self.nodes[node].members.counts(&name(of))
    }

    pub(crate) fn has_left(&self, node: usize, of: usize) -> bool {
        let member = self.nodes[node].members.by_node.get(&name(of));
        member.is_some_and(|member| member.left)
    }

    pub(crate) fn released(&self, node: usize) -> bool {
        self.nodes[node].released
    }

    /// When the last of the others came to see it so.
    pub(crate) fn seen_by_all(&self, of: usize, state: MemberState) -> Option<Timestamp> {
        let others = (0..self.nodes.len()).filter(|n| *n != of && self.nodes[*n].agent.is_some());
        let times = others.map(|node| {
            let of_it =
                |said: &&(Timestamp, usize, usize, MemberState)| said.1 == node && said.2 == of;
            let last = self.said.iter().rev().find(of_it)?;
            (last.3 == state).then_some(last.0)
        });
        times.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _, _))) = self.events.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else {
                break;
            };
            self.now = at;
            match event {
                Event::Wake(node) => {
                    if self.nodes[node]
                        .wakes
                        .take_if(|wakes| *wakes == at)
                        .is_some()
                    {
                        self.wake(node);
                    }
                }
                Event::Arrive(node, serial) => {
                    if let Some(datagram) = self.in_flight.remove(&serial)
                        && self.nodes[node].agent.is_some()
                    {
                        self.nodes[node].inbox.push_back(datagram);
                        self.wake(node);
                    }
                }
            }
        }
        self.now = end;
    }

    fn at(&mut self, moment: Timestamp, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((moment, self.serial, event)));
    }

    /// The agent runs: what came, then what is due.
    fn wake(&mut self, node: usize) {
        let now = self.now;
        if self.nodes[node].agent.is_none() || now < self.nodes[node].paused {
            return;
        }
        while let Some(datagram) = self.nodes[node].inbox.pop_front() {
            if let Some(received) = self.open(node, &datagram) {
                self.note_echo(node, datagram.from, &received);
                let agent = self.nodes[node].agent.as_mut().expect("it runs");
                agent.handle_beat(received, now);
                self.drain(node);
            }
        }
        let agent = self.nodes[node].agent.as_mut().expect("it runs");
        if agent.deadline().is_some_and(|deadline| deadline <= now) {
            agent.handle_timeout(now);
        }
        self.drain(node);
    }

    /// The sender had this node's beat of that moment.
    fn note_echo(&mut self, node: usize, from: usize, received: &Received) {
        let it = &mut self.nodes[node];
        let known = received.standing == Standing::Confirmed;
        let echo = received
            .beat
            .echo
            .filter(|echo| known && echo.boot == it.boot);
        if let Some(echo) = echo {
            let sent_at = Timestamp::from_micros(echo.sent_us);
            assert!(sent_at <= self.now);
            let acked = it.acked.entry(from).or_default();
            *acked = sent_at.max(*acked);
        }
    }

    /// As `lb_core::seal` would, without its ciphers.
    fn open(&self, node: usize, datagram: &Datagram) -> Option<Received> {
        let it = &self.nodes[node];
        if it.retired.contains(&datagram.boot) {
            return None;
        }
        let known = it.confirmed.get(&datagram.from) == Some(&datagram.boot);
        Some(Received {
            sender: NodeId::of(&name(datagram.from)),
            boot: datagram.boot,
            counter: datagram.counter,
            standing: if known {
                Standing::Confirmed
            } else {
                Standing::New
            },
            from: address(datagram.from),
            beat: Beat::decode(&datagram.payload).expect("what agents send is well formed"),
        })
    }

    fn number(&self, id: NodeId) -> usize {
        let known = |node: &Node| NodeId::of(&node.name) == id;
        self.nodes.iter().position(known).expect("a node")
    }

    fn drain(&mut self, node: usize) {
        loop {
            let Some(agent) = &mut self.nodes[node].agent else {
                return;
            };
            let Some(output) = agent.poll_output() else {
                break;
            };
            match output {
                Output::Send { to, payload, .. } => {
                    let to = self.number(to);
                    self.send(node, to, payload);
                }
                Output::Confirm { sender, boot, .. } => {
                    let from = self.number(sender);
                    let it = &mut self.nodes[node];
                    if let Some(before) = it.confirmed.insert(from, boot) {
                        it.retired.insert(before);
                    }
                }
                Output::Members(members) => self.changed(node, members),
                Output::Released => self.nodes[node].released = true,
            }
        }
        let agent = self.nodes[node].agent.as_ref();
        if let Some(deadline) = agent.and_then(Cluster::deadline) {
            let moment = deadline.max(self.now).max(self.nodes[node].paused);
            self.wake_at(node, moment);
        }
    }

    fn changed(&mut self, node: usize, members: Members) {
        for other in 0..self.nodes.len() {
            let Some(member) = members.by_node.get(&name(other)) else {
                continue;
            };
            if self.state(node, other) == Some(member.state) {
                continue;
            }
            self.said.push((self.now, node, other, member.state));
            // What fencing rests on: nobody is given up before the proof that
            // it was heard has run out.
            if member.state == MemberState::Down
                && let Some(acked) = self.nodes[other].acked.get(&node)
            {
                let patience = self.timing.among(self.nodes.len() - 1).patience;
                assert!(self.now >= *acked + patience, "taken over too early");
            }
        }
        self.nodes[node].members = members;
    }

    fn send(&mut self, from: usize, to: usize, payload: Vec<u8>) {
        let length = payload.len() + lb_core::seal::OVERHEAD + 28;
        self.sent += 1;
        self.sent_bytes += u64::try_from(length).expect("small");
        let it = &mut self.nodes[from];
        it.counter += 1;
        let datagram = Datagram {
            from,
            boot: it.boot,
            counter: it.counter,
            payload,
        };
        let lost = self.rng.between(1, 1000) <= self.weather.loss_per_mille;
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let (low, high) = self.weather.delay_us;
        let arrives = self.now + Duration::from_micros(self.rng.between(low, high));
        let serial = usize::try_from(self.serial).expect("short runs") + 1;
        self.in_flight.insert(serial, datagram);
        self.at(arrives, Event::Arrive(to, serial));
    }
}
