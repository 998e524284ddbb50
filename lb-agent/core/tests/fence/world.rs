//! The machines, the wire between them, and what is held against a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::fence::{Standing, Timing as FenceTiming};
use lb_core::gossip::{Roll, Timing};
use lb_core::time::Timestamp;

use crate::agent::{Agent, Datagram, Elected, Reaches};
use crate::api::Api;

pub(crate) const STEP_MS: u64 = 5;
/// Two owners without a majority, on one piece of the wire: until one hears
/// the other, or the other's announcement, or sees it renew the Lease.
const TOGETHER_MS: u64 = 1600;
/// As `driver::claims` looks for what was heard, and `l2::announcer` objects.
const LOOK_EVERY_MS: u64 = 200;
const DEFEND_MS: u64 = 10_000;
pub(crate) const START_MS: u64 = 1000;

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(ms))
}

/// xorshift64*, so that a seed is a run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A machine.
struct Node {
    /// None: no process runs; what it told the kernel still holds.
    agent: Option<Agent>,
    /// Another process comes then.
    down_until: u64,
    /// The whole machine stands still until then.
    paused_until: u64,
    /// It said that it goes for good: until its next process, others may have
    /// its VIPs.
    leaves: bool,
    /// From a change until the kernel has it.
    lag_ms: u64,
    elected: Elected,
    /// Its tables were filled once.
    programmed: bool,
    /// Written down by the last process that ran.
    roll: Roll,
    pending: Option<(u64, Elected)>,
    /// By VIP: until when it answers, and how it stood when that was written.
    kernel: BTreeMap<usize, (Timestamp, Standing)>,
    /// Announces all when it begins to answer, for VIPs that come to it, to
    /// object to others, and in rounds.
    answers: bool,
    next_round_ms: Option<u64>,
    objects_from_ms: u64,
    /// It has heard another one's announcement, which it has yet to find.
    heard: bool,
}

pub(crate) struct World {
    random: Random,
    timing: (Timing, FenceTiming),
    pub(crate) now_ms: u64,
    nodes: Vec<Node>,
    /// The part of the cluster that each node is in, and where the router and
    /// the API server are; none: there is none.
    part: Vec<u64>,
    gateway: Option<u64>,
    api_part: Option<u64>,
    api: Api,
    /// Only datagrams of agents are cut, and announcements are heard everywhere.
    wire_whole: bool,
    pub(crate) loss_percent: u64,
    delay_ms: u64,
    flying: BTreeMap<(u64, u64), (usize, Datagram)>,
    flown: u64,
    together: BTreeMap<usize, u64>,
    /// Agents are asked to end, for good or to come back, and start at any time.
    /// Where a part of the cluster does not hear that, it counts otherwise than
    /// the other part; who starts counts those that it hears.
    endings: bool,
    /// What happened, for people.
    log: Vec<String>,
    /// The longest that two owners were seen on one piece of the wire.
    pub(crate) longest_ms: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = 2 + random.below(8);
        let timing = if random.chance(70) {
            (Timing::NORMAL, FenceTiming::NORMAL)
        } else {
            (Timing::FAST, FenceTiming::FAST)
        };
        let mut world = Self {
            timing,
            now_ms: START_MS,
            nodes: Vec::new(),
            part: vec![0; usize::try_from(nodes).expect("few")],
            gateway: random.chance(60).then_some(0),
            api_part: random.chance(50).then_some(0),
            api: Api::default(),
            wire_whole: random.chance(25),
            loss_percent: random.below(4) * 5,
            delay_ms: 1 + random.below(20),
            flying: BTreeMap::new(),
            flown: 0,
            together: BTreeMap::new(),
            endings: seed.is_multiple_of(2),
            log: Vec::new(),
            longest_ms: 0,
            random,
        };
        for _ in 0..nodes {
            world.nodes.push(Node {
                agent: None,
                down_until: START_MS,
                paused_until: 0,
                leaves: false,
                lag_ms: 5,
                elected: Elected::default(),
                programmed: false,
                roll: Roll::default(),
                pending: None,
                kernel: BTreeMap::new(),
                answers: false,
                next_round_ms: None,
                objects_from_ms: 0,
                heard: false,
            });
        }
        world
    }

    fn whole(&mut self) {
        self.gateway = self.gateway.map(|_| 0);
        self.api_part = self.api_part.map(|_| 0);
        self.part.fill(0);
    }

    pub(crate) fn trouble(&mut self) {
        let number = usize::try_from(self.random.below(self.nodes.len() as u64)).expect("few");
        let for_ms = 50 + self.random.below(2500);
        let (now_ms, lag_ms) = (self.now_ms, 5 + self.random.below(300));
        let kind = self.random.below(if self.endings { 8 } else { 6 });
        self.log
            .push(format!("{now_ms}: node{number}, {kind}, {for_ms} ms"));
        let node = &mut self.nodes[number];
        match kind {
            0 | 1 => {
                let parts = 2 + self.random.below(2);
                for part in &mut self.part {
                    *part = self.random.below(parts);
                }
                self.gateway = self.gateway.map(|_| self.random.below(parts));
                self.api_part = self.api_part.map(|_| self.random.below(parts));
                self.log.push(format!(
                    "{now_ms}: parts {:?}, gateway {:?}, API server {:?}, announcements everywhere: {}",
                    self.part, self.gateway, self.api_part, self.wire_whole
                ));
            }
            2 => self.whole(),
            3 => node.paused_until = now_ms + for_ms,
            4 => {
                node.agent = None;
                node.down_until = now_ms + for_ms;
            }
            5 => node.lag_ms = lag_ms,
            kind => {
                if let Some(agent) = node.agent.as_mut().filter(|agent| agent.ending.is_none()) {
                    let returns = (kind == 7).then_some(now_ms + for_ms);
                    node.down_until = now_ms + for_ms;
                    agent.terminate(returns, now_ms);
                }
            }
        }
    }

    /// All is well from now on.
    pub(crate) fn heal(&mut self) {
        self.whole();
        (self.loss_percent, self.delay_ms) = (0, 5);
        for node in &mut self.nodes {
            node.lag_ms = node.lag_ms.min(20);
            node.paused_until = node.paused_until.min(self.now_ms);
            node.down_until = node.down_until.min(self.now_ms);
            // Who is ending has a moment for it: it is not asked any more.
            if node.agent.as_ref().is_some_and(|a| a.ending.is_some()) {
                node.agent = None;
            }
        }
    }

    fn awake(&self, number: usize) -> bool {
        self.now_ms >= self.nodes[number].paused_until
    }

    pub(crate) fn step(&mut self) {
        self.now_ms += STEP_MS;
        let later = self.flying.split_off(&(self.now_ms + 1, 0));
        for ((at_ms, serial), (to, datagram)) in core::mem::replace(&mut self.flying, later) {
            if self.part[datagram.from] != self.part[to] {
                continue;
            }
            if !self.awake(to) {
                // It finds it when it runs again.
                let key = (self.nodes[to].paused_until.max(at_ms + 1), serial);
                self.flying.insert(key, (to, datagram));
            } else if let Some(agent) = &mut self.nodes[to].agent {
                agent.receive(datagram, self.now_ms);
            }
        }
        for number in 0..self.nodes.len() {
            if self.awake(number) {
                self.run_node(number);
            }
        }
    }

    fn run_node(&mut self, number: usize) {
        let (all, now) = (self.nodes.len(), at(self.now_ms));
        let parted = self.part.iter().any(|part| *part != self.part[number]);
        let node = &mut self.nodes[number];
        let starts = self.now_ms >= node.down_until && (self.endings || !parted);
        if node.agent.is_none() && starts {
            self.log
                .push(format!("{}: node{number} starts", self.now_ms));
            let mut agent = Agent::start(
                (number, all),
                self.timing,
                self.gateway.is_some(),
                &node.roll,
                &mut self.random,
                self.now_ms,
            );
            if node.programmed {
                // It finds the tables filled.
                agent.set_programmed(self.now_ms);
            }
            (node.agent, node.leaves, node.pending) = (Some(agent), false, None);
            (node.answers, node.heard, node.next_round_ms) = (false, false, None);
        }
        let part = self.part[number];
        let Some(agent) = &mut node.agent else {
            return;
        };
        let gateway = self
            .gateway
            .is_some_and(|there| self.wire_whole || there == part);
        let api = self.api_part.is_some_and(|there| there == part);
        let reaches = Reaches {
            gateway,
            api: api.then_some(&mut self.api),
            loss_percent: self.loss_percent,
            delay_ms: self.delay_ms,
        };
        let looks = (self.now_ms + 40 * number as u64).is_multiple_of(LOOK_EVERY_MS);
        let found = looks && core::mem::take(&mut node.heard);
        if found {
            agent.fence.opposed(now);
        }
        agent.run(reaches, &mut self.random, self.now_ms);
        node.roll = agent.roll(&node.roll, self.now_ms);
        if node.pending.is_none()
            && let Some(elected) = agent.elect()
        {
            node.pending = Some((self.now_ms + node.lag_ms, elected));
        }
        let due = node.pending.take_if(|(due, _)| *due <= self.now_ms);
        let mut announces = false;
        if let Some((_, elected)) = due {
            let had: BTreeSet<usize> = node.kernel.keys().copied().collect();
            node.kernel.retain(|vip, _| elected.owned.contains(vip));
            for vip in &elected.owned {
                let nothing = (Timestamp::default(), Standing::Sole);
                node.kernel.entry(*vip).or_insert(nothing);
            }
            if elected.owned != had {
                let owned = &elected.owned;
                self.log
                    .push(format!("{}: node{number} has {owned:?}", self.now_ms));
            }
            announces = !elected.owned.is_subset(&had);
            node.elected = elected;
            agent.applied(&node.elected, self.now_ms);
            agent.set_programmed(self.now_ms);
            node.programmed = true;
        }
        // Before it has ended, so that the kernel has what it kept.
        let ends = agent.has_ended(&node.elected.owned, self.now_ms);
        node.leaves = agent.leaves();
        let expiry = agent.fence.expiry(now);
        for entry in node.kernel.values_mut() {
            *entry = (expiry.until.unwrap_or_default(), expiry.standing);
        }
        let answers = expiry.until.is_some_and(|until| until > now);
        announces |= answers && !core::mem::replace(&mut node.answers, answers);
        if found && self.now_ms >= node.objects_from_ms {
            node.objects_from_ms = self.now_ms + DEFEND_MS;
            announces = true;
        }
        let every = agent.fence.announce_every();
        let next =
            every.map(|every| self.now_ms + u64::try_from(every.as_millis()).expect("short"));
        match (node.next_round_ms, next) {
            (Some(due), Some(_)) if self.now_ms < due => {}
            (before, next) => {
                announces |= before.is_some() && next.is_some();
                node.next_round_ms = next;
            }
        }
        let outbox = core::mem::take(&mut agent.outbox);
        if ends {
            self.log.push(format!("{}: node{number} ends", self.now_ms));
            node.agent = None;
            node.down_until = node.down_until.max(self.now_ms + 50);
        }
        for (to, datagram) in outbox {
            self.send(to, datagram);
        }
        if announces && answers {
            self.announce(number);
        }
    }

    fn send(&mut self, to: usize, datagram: Datagram) {
        if self.random.chance(self.loss_percent) {
            return;
        }
        // Some take far longer than others.
        let more = if self.random.chance(2) { 400 } else { 0 };
        let delay = self.random.below(self.delay_ms + 1) + self.random.below(more + 1);
        self.flown += 1;
        let more = if self.loss_percent == 0 { 0 } else { delay };
        let key = (self.now_ms + more.max(1), self.flown);
        self.flying.insert(key, (to, datagram));
    }

    /// Heard by whoever would own the same.
    fn announce(&mut self, number: usize) {
        let vips: Vec<usize> = self.nodes[number].kernel.keys().copied().collect();
        for other in 0..self.nodes.len() {
            let hears = self.wire_whole || self.part[other] == self.part[number];
            if other == number || !hears || !self.awake(other) {
                continue;
            }
            let node = &mut self.nodes[other];
            node.heard |= vips.iter().any(|vip| node.kernel.contains_key(vip));
        }
    }

    /// Who answers for a VIP now, and whether with a majority. Who hands over
    /// does so until others have it, and is not counted with them.
    pub(crate) fn owners(&self, vip: usize) -> Vec<(usize, bool)> {
        let now = at(self.now_ms);
        let nodes = self.nodes.iter().enumerate();
        let awake = nodes.filter(|(_, node)| self.now_ms >= node.paused_until && !node.leaves);
        let answering = awake.filter_map(|(number, node)| {
            let (until, standing) = node.kernel.get(&vip)?;
            (*until > now).then_some((number, *standing == Standing::Majority))
        });
        answering.collect()
    }

    pub(crate) fn check(&mut self) -> Result<(), String> {
        for vip in 0..self.nodes.len() {
            let owners = self.owners(vip);
            let majorities = owners.iter().filter(|(_, majority)| *majority).count();
            if majorities > 1 && !self.endings {
                return Err(format!(
                    "{owners:?} answer for VIP {vip} at {}: {:#?}",
                    self.now_ms,
                    self.last_events(12)
                ));
            }
            let parts: BTreeSet<u64> = owners.iter().map(|(node, _)| self.part[*node]).collect();
            let wires = if self.wire_whole { 1 } else { parts.len() };
            let together = self.together.entry(vip).or_default();
            *together = if owners.len() > wires {
                *together + STEP_MS
            } else {
                0
            };
            self.longest_ms = self.longest_ms.max(*together);
            if *together > TOGETHER_MS {
                let together = *together;
                return Err(format!(
                    "{owners:?} answer for VIP {vip} for {together} ms, at {}: {:#?}",
                    self.now_ms,
                    self.last_events(40)
                ));
            }
        }
        Ok(())
    }

    fn last_events(&self, count: usize) -> &[String] {
        &self.log[self.log.len().saturating_sub(count)..]
    }

    /// Each VIP has one owner.
    pub(crate) fn check_healed(&self) -> Result<(), String> {
        for vip in 0..self.nodes.len() {
            let owners = self.owners(vip);
            if owners.len() != 1 {
                let agents = self.nodes.iter().map(|node| node.agent.as_ref());
                let stands =
                    agents.map(|agent| agent.map(|a| a.fence.expiry(at(self.now_ms)).standing));
                let stands: Vec<_> = stands.collect();
                return Err(format!(
                    "{owners:?} answer for VIP {vip} in the end: {stands:?}"
                ));
            }
        }
        Ok(())
    }
}
