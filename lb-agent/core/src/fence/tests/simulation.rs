//! Clusters of 2 to 9 agents in virtual time, with loss, delay, partitions,
//! restarts, pauses and slow agents, around the real fence.
//!
//! What is held against every run, at every moment:
//! - no two nodes with a majority answer for one VIP, ever;
//! - no two nodes on one piece of the wire do for longer than [`TOGETHER_MS`];
//! - once all is well again, each VIP has exactly one owner within
//!   [`HEALED_MS`], which stays the only one.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::{Arbiter, Fence, Gateway, Output, Renewal, Signals, Standing, Timing};
use super::at;
use crate::model::NodeName;
use crate::time::Timestamp;

const STEP_MS: u64 = 5;
/// Two owners without a majority, on one piece of the wire: until one hears
/// the other, or the other's announcement.
const TOGETHER_MS: u64 = 1600;
const HEALED_MS: u64 = 2500;
const RUN_MS: u64 = 9000;
const TROUBLE_MS: core::ops::Range<u64> = 1500..6500;
const LEASE_MS: u64 = 1000;

/// xorshift64*, so that a seed is a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Node {
    name: NodeName,
    fence: Fence,
    /// No agent runs until then; what it told the kernel still holds.
    down_until: u64,
    /// Another process comes then.
    restarts: bool,
    /// The whole machine stands still until then.
    paused_until: u64,
    /// From a change until the kernel has it.
    lag_ms: u64,
    /// Who was free in the election that the kernel has, and that it is to get.
    elected: BTreeSet<NodeName>,
    pending: Option<(u64, BTreeSet<NodeName>)>,
    /// By VIP: until when it answers, and how it stood when that was written.
    kernel: BTreeMap<usize, (Timestamp, Standing)>,
    announced_ms: u64,
}

struct World {
    random: Random,
    timing: Timing,
    now_ms: u64,
    nodes: Vec<Node>,
    /// The part of the cluster that each node is in, and where the router and
    /// the API server are; none: there is none.
    part: Vec<u64>,
    gateway: Option<u64>,
    api: Option<u64>,
    /// Only datagrams are cut, and announcements are heard everywhere.
    wire_whole: bool,
    lease: Option<(usize, u64)>,
    loss_percent: u64,
    delay_ms: u64,
    flying: BTreeMap<(u64, u64), (usize, usize, Renewal)>,
    flown: u64,
    together: BTreeMap<usize, u64>,
    boots: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let nodes = 2 + random.below(8);
        let parts = |random: &mut Random| random.below(3);
        let gateway = random.chance(60).then(|| parts(&mut random));
        let api = random.chance(50).then(|| parts(&mut random));
        let mut world = Self {
            timing: if random.chance(70) {
                Timing::NORMAL
            } else {
                Timing::FAST
            },
            now_ms: 1000,
            nodes: Vec::new(),
            part: (0..nodes).map(|_| 0).collect(),
            gateway,
            api,
            wire_whole: random.chance(25),
            lease: None,
            loss_percent: random.below(4) * 5,
            delay_ms: 1 + random.below(20),
            flying: BTreeMap::new(),
            flown: 0,
            together: BTreeMap::new(),
            boots: 0,
            random,
        };
        for number in 0..nodes {
            let name = NodeName::new(&format!("node{number}"));
            let fence = world.new_fence(name.clone(), nodes);
            world.nodes.push(Node {
                name,
                fence,
                down_until: 0,
                restarts: false,
                paused_until: 0,
                lag_ms: 5,
                elected: BTreeSet::new(),
                pending: Some((1000, BTreeSet::new())),
                kernel: BTreeMap::new(),
                announced_ms: 0,
            });
        }
        world.whole();
        world
    }

    fn new_fence(&mut self, name: NodeName, nodes: u64) -> Fence {
        self.boots += 1;
        let now = at(self.now_ms);
        let mut fence = Fence::new(name, self.boots, self.timing, now);
        let all = (0..nodes).map(|n| (NodeName::new(&format!("node{n}")), None));
        fence.peers(&all.collect(), now);
        fence
    }

    fn whole(&mut self) {
        let (gateway, api) = (self.gateway.map(|_| 0), self.api.map(|_| 0));
        (self.gateway, self.api) = (gateway, api);
        self.part.fill(0);
    }

    fn trouble(&mut self) {
        let at = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap();
        let for_ms = 50 + self.random.below(2500);
        match self.random.below(6) {
            0 | 1 => {
                let parts = 2 + self.random.below(2);
                for part in &mut self.part {
                    *part = self.random.below(parts);
                }
                self.gateway = self.gateway.map(|_| self.random.below(parts));
                self.api = self.api.map(|_| self.random.below(parts));
            }
            2 => self.whole(),
            3 => self.nodes[at].paused_until = self.now_ms + for_ms,
            4 => {
                self.nodes[at].down_until = self.now_ms + for_ms;
                self.nodes[at].restarts = true;
            }
            _ => self.nodes[at].lag_ms = 5 + self.random.below(300),
        }
    }

    fn restart(&mut self, number: usize) {
        let nodes = self.nodes.len() as u64;
        let fence = self.new_fence(self.nodes[number].name.clone(), nodes);
        let node = &mut self.nodes[number];
        (node.fence, node.restarts) = (fence, false);
        // What it does first is to compute anew.
        node.pending = Some((self.now_ms, BTreeSet::new()));
    }

    fn runs(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        self.now_ms >= node.down_until && self.now_ms >= node.paused_until
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        let due = (self.now_ms + 1, 0);
        let later = self.flying.split_off(&due);
        let arrived = core::mem::replace(&mut self.flying, later);
        for (_, (from, to, renewal)) in arrived {
            let there = self.runs(to) && !self.nodes[to].restarts;
            if self.part[from] == self.part[to] && there {
                let from = self.nodes[from].name.clone();
                let fence = &mut self.nodes[to].fence;
                fence.handle_renewal(&from, &renewal, at(self.now_ms));
            }
        }
        for node in 0..self.nodes.len() {
            if self.runs(node) {
                if self.nodes[node].restarts {
                    self.restart(node);
                }
                self.run_node(node);
            }
        }
    }

    fn run_node(&mut self, number: usize) {
        let now = at(self.now_ms);
        let signals = self.signals(number);
        let node = &mut self.nodes[number];
        if self.now_ms.is_multiple_of(50) {
            node.fence.signals(signals, now);
        }
        node.fence.handle_timeout(now);
        if node.pending.is_none() && *node.fence.free() != node.elected {
            let free = node.fence.take();
            node.pending = Some((self.now_ms + node.lag_ms, free));
        }
        if let Some((_, free)) = node.pending.take_if(|(due, _)| *due <= self.now_ms) {
            node.elected = free;
            self.elect(number);
        }
        let node = &mut self.nodes[number];
        let expiry = node.fence.expiry(now);
        for entry in node.kernel.values_mut() {
            let until = expiry.until.unwrap_or_default();
            *entry = (until, expiry.standing);
        }
        while let Some(Output::Send(to, renewal)) = self.nodes[number].fence.poll_output() {
            if !self.random.chance(self.loss_percent) {
                // Some take far longer than others.
                let more = if self.random.chance(2) { 400 } else { 0 };
                let delay = self.random.below(self.delay_ms + 1) + self.random.below(more + 1);
                self.flown += 1;
                let to = self.nodes.iter().position(|node| node.name == to).unwrap();
                let at = (self.now_ms + delay, self.flown);
                self.flying.insert(at, (number, to, renewal));
            }
        }
        let node = &self.nodes[number];
        let announced = at(node.announced_ms);
        let due = now >= announced + self.timing.refresh;
        if due
            && node.fence.announce_every().is_some()
            && expiry.until.is_some_and(|until| until > now)
        {
            self.announce(number);
        }
    }

    fn elect(&mut self, number: usize) {
        let (all, now) = (self.nodes.len(), at(self.now_ms));
        let owner = |free: &BTreeSet<NodeName>, vip: usize| {
            let mut order = (0..all).map(|turn| (vip + turn) % all);
            order.find(|node| !free.contains(&self.nodes[*node].name))
        };
        let elected = &self.nodes[number].elected;
        let ours = (0..all).filter(|vip| owner(elected, *vip) == Some(number));
        let ours: BTreeSet<usize> = ours.collect();
        let node = &mut self.nodes[number];
        let free = node.elected.clone();
        let more = ours.iter().any(|vip| !node.kernel.contains_key(vip));
        node.kernel.retain(|vip, _| ours.contains(vip));
        for vip in ours {
            let nothing = (Timestamp::default(), Standing::Sole);
            node.kernel.entry(vip).or_insert(nothing);
        }
        node.fence.applied(&free, now);
        if more
            && node
                .fence
                .expiry(now)
                .until
                .is_some_and(|until| until > now)
        {
            self.announce(number);
        }
    }

    /// Heard by whoever would own the same.
    fn announce(&mut self, number: usize) {
        self.nodes[number].announced_ms = self.now_ms;
        let vips: Vec<usize> = self.nodes[number].kernel.keys().copied().collect();
        for other in 0..self.nodes.len() {
            let hears = self.wire_whole || self.part[other] == self.part[number];
            if other == number || !hears || !self.runs(other) {
                continue;
            }
            let node = &mut self.nodes[other];
            if vips.iter().any(|vip| node.kernel.contains_key(vip)) {
                node.fence.opposed(at(self.now_ms));
            }
        }
    }

    fn signals(&mut self, number: usize) -> Signals {
        let part = self.part[number];
        let reaches = |there: Option<u64>| there.is_some_and(|there| there == part);
        let gateway = match self.gateway {
            None => Gateway::None,
            Some(_) if self.wire_whole => Gateway::Answers,
            Some(_) if reaches(self.gateway) => Gateway::Answers,
            Some(_) => Gateway::Silent,
        };
        let arbiter = if reaches(self.api) {
            let free = self.lease.is_none_or(|(_, until)| until <= self.now_ms);
            if free || self.lease.is_some_and(|(holder, _)| holder == number) {
                self.lease = Some((number, self.now_ms + LEASE_MS));
            }
            let (holder, until) = self.lease.expect("taken if it was free");
            if holder == number || self.part[holder] == part {
                Arbiter::Ours { until: at(until) }
            } else {
                Arbiter::Theirs
            }
        } else {
            Arbiter::Unknown
        };
        Signals {
            carrier: true,
            gateway,
            arbiter,
        }
    }

    /// Who answers for a VIP now, and whether with a majority.
    fn owners(&self, vip: usize) -> Vec<(usize, bool)> {
        let now = at(self.now_ms);
        let nodes = self.nodes.iter().enumerate();
        let awake = nodes.filter(|(_, node)| self.now_ms >= node.paused_until);
        let answering = awake.filter_map(|(number, node)| {
            let (until, standing) = node.kernel.get(&vip)?;
            (*until > now).then_some((number, *standing == Standing::Majority))
        });
        answering.collect()
    }

    fn check(&mut self) -> Result<(), String> {
        for vip in 0..self.nodes.len() {
            let owners = self.owners(vip);
            let majorities = owners.iter().filter(|(_, majority)| *majority).count();
            if majorities > 1 {
                return Err(format!(
                    "{owners:?} answer for VIP {vip} at {}",
                    self.now_ms
                ));
            }
            let parts: Vec<u64> = owners.iter().map(|(node, _)| self.part[*node]).collect();
            let distinct: BTreeSet<u64> = parts.iter().copied().collect();
            let one_wire = if self.wire_whole { 1 } else { distinct.len() };
            let together = self.together.entry(vip).or_default();
            *together = if owners.len() > one_wire {
                *together + STEP_MS
            } else {
                0
            };
            if *together > TOGETHER_MS {
                return Err(format!(
                    "{owners:?} answer for VIP {vip} for {together} ms, at {}",
                    self.now_ms
                ));
            }
        }
        Ok(())
    }
}

/// One run; the error says when and who.
fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    while world.now_ms < RUN_MS + 1000 {
        let ms = world.now_ms - 1000;
        if TROUBLE_MS.contains(&ms) && world.random.chance(1) && world.random.chance(60) {
            world.trouble();
        }
        if ms == TROUBLE_MS.end {
            world.whole();
            (world.loss_percent, world.delay_ms) = (0, 5);
            for node in &mut world.nodes {
                node.lag_ms = node.lag_ms.min(20);
                node.paused_until = node.paused_until.min(world.now_ms);
                node.down_until = node.down_until.min(world.now_ms);
            }
        }
        world.step();
        world.check()?;
        if ms >= TROUBLE_MS.end + HEALED_MS - STEP_MS {
            for vip in 0..world.nodes.len() {
                let owners = world.owners(vip);
                if owners.len() != 1 {
                    let now = at(world.now_ms);
                    let stands = world.nodes.iter().map(|n| n.fence.expiry(now).standing);
                    let stands: Vec<Standing> = stands.collect();
                    return Err(format!(
                        "{owners:?} answer for VIP {vip} in the end: {stands:?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// `FENCE_SEEDS=10000 cargo test --release -p lb-core fence::tests::simulation`
#[test]
fn there_are_never_two_owners_and_always_one_again() {
    let seeds = option_env_or("FENCE_SEEDS", 40);
    let failed = (1..=seeds).filter_map(|seed| Some((seed, run(seed).err()?)));
    let failed: Vec<_> = failed.collect();
    let first: Vec<_> = failed.iter().take(5).collect();
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds: {first:#?}",
        failed.len()
    );
}

fn option_env_or(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}
