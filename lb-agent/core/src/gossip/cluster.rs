//! All agents together, as this one sees them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::peer::{Peer, Row};
use super::wire::{Beat, Echo, NODES_MAX};
use super::{Config, Output, Received, Status, Timing};
use crate::jitter::Jitter;
use crate::model::{Member, MemberState, Members, NodeName};
use crate::seal::{NodeId, Standing};
use crate::time::Timestamp;

/// An echo that is older proves nothing about now.
const ECHO_MAX: Duration = Duration::from_secs(1);
/// Boots that are not confirmed are not answered more often.
const GREET_EVERY: Duration = Duration::from_millis(5);
/// Others that are asked at once about one that has fallen silent; all are
/// asked in the next beat.
const ASKED_AT_ONCE: usize = 3;

#[derive(Debug)]
pub struct Cluster {
    config: Config,
    id: NodeId,
    /// For as many peers as there are.
    timing: Timing,
    jitter: Jitter,
    peers: BTreeMap<NodeId, Peer>,
    own: Member,
    /// Since when this node says that it leaves.
    leaving: Option<Timestamp>,
    released: bool,
    /// Nodes that are leaving, and of whose VIPs this one has taken its share.
    acted: BTreeSet<NodeId>,
    /// Since when it knows whom to talk to.
    configured: Option<Timestamp>,
    settled: bool,
    outputs: VecDeque<Output>,
    changed: bool,
}

impl Cluster {
    /// `seed`: for the moments of beats, so that agents do not beat in step.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Timestamp) -> Self {
        Self {
            id: NodeId::of(&config.node),
            timing: config.timing,
            config,
            jitter: Jitter::new(seed),
            peers: BTreeMap::new(),
            own: Member {
                state: MemberState::Alive,
                since: now,
                programmed: false,
                uplinks_up: false,
                returns_by: None,
                left: false,
            },
            leaving: None,
            released: false,
            acted: BTreeSet::new(),
            configured: None,
            settled: false,
            outputs: VecDeque::new(),
            changed: false,
        }
    }

    /// All other nodes, with their addresses, the best first.
    pub fn configure(&mut self, nodes: &BTreeMap<NodeName, Vec<IpAddr>>, now: Timestamp) {
        self.begin();
        self.configured.get_or_insert(now);
        let mut before = core::mem::take(&mut self.peers);
        let others = nodes.iter().filter(|(name, _)| **name != self.config.node);
        for (name, addresses) in others {
            let id = NodeId::of(name);
            let peer = before.remove(&id).unwrap_or_else(|| {
                let mut peer = Peer::new(name.clone(), Vec::new(), now);
                // Once: who lost its Node object is forgotten with it.
                if self.config.remembered.remove(name) {
                    peer.remember(now);
                }
                peer.next_beat = now + self.jitter.percent(self.timing.period, 0, 100);
                peer
            });
            let addresses = addresses.clone();
            self.peers.insert(id, Peer { addresses, ..peer });
        }
        self.timing = self.config.timing.among(self.peers.len());
        self.changed = true;
        self.finish(now);
    }

    /// What this node says of itself from now on; at once, if it is news.
    pub fn set_status(&mut self, status: Status, now: Timestamp) {
        self.begin();
        let before = (self.own.programmed, self.own.uplinks_up);
        if before != (status.programmed, status.uplinks_up) {
            (self.own.programmed, self.own.uplinks_up) = (status.programmed, status.uplinks_up);
            self.changed = true;
            self.beat_all(now);
        }
        self.finish(now);
    }

    /// Tells all that this node leaves, and when it will be back, if it will.
    /// [`Output::Released`] follows when they have acted, or know that they need
    /// not. Who said that it comes back may still say that it does not.
    pub fn leave(&mut self, returns_in: Option<Duration>, now: Timestamp) {
        self.begin();
        let for_good = self.own.returns_by.is_some() && returns_in.is_none();
        if self.leaving.is_none() || for_good {
            self.leaving = Some(now);
            self.released = false;
            self.own.state = MemberState::Leaving;
            self.own.since = now;
            self.own.returns_by = returns_in.map(|time| now + time);
            self.own.left = returns_in.is_none();
            self.changed = true;
            self.beat_all(now);
        }
        self.finish(now);
    }

    /// These leave, and what this node takes over from them is in force here.
    pub fn acted(&mut self, leaving: &BTreeSet<NodeName>, now: Timestamp) {
        self.begin();
        let acted: BTreeSet<_> = leaving.iter().map(NodeId::of).collect();
        let new: Vec<_> = acted.difference(&self.acted).copied().collect();
        self.acted = acted;
        for id in new {
            self.beat(id, None, now);
        }
        self.finish(now);
    }

    pub fn handle_beat(&mut self, received: Received, now: Timestamp) {
        self.begin();
        self.take(received, now);
        self.finish(now);
    }

    fn take(&mut self, received: Received, now: Timestamp) {
        let Received {
            sender,
            boot,
            counter,
            standing,
            from,
            beat,
        } = received;
        let own_boot = self.config.boot;
        let echo = beat.echo.filter(|echo| echo.boot == own_boot);
        let fresh = echo.is_some_and(|echo| {
            let sent = Timestamp::from_micros(echo.sent_us);
            sent <= now && now.since(sent) <= ECHO_MAX
        });
        let Some(peer) = self.peers.get_mut(&sender) else {
            return;
        };
        if standing == Standing::New && !fresh {
            // What it says may be a repetition: so it is only asked.
            let again = peer.greeted.is_none_or(|at| now.since(at) >= GREET_EVERY);
            if again {
                peer.greeted = Some(now);
                let echo = Echo {
                    boot,
                    sent_us: beat.sent_us,
                    held_us: 0,
                };
                self.beat(sender, Some((echo, from)), now);
            }
            return;
        }
        if standing == Standing::New {
            let confirm = Output::Confirm {
                sender,
                boot,
                counter,
            };
            self.outputs.push_back(confirm);
        }
        let overtaken = peer
            .direct()
            .is_some_and(|last| last.boot == boot && last.sent_us >= beat.sent_us);
        if !overtaken {
            self.changed |= peer.heard(boot, &beat, now);
            peer.at = Some(from);
        }
        if let Some(echo) = echo {
            self.acked(sender, echo, now);
        }
        for (id, age_ms) in &beat.heard {
            let at = now.before(Duration::from_millis((*age_ms).into()));
            if let Some(peer) = self.peers.get_mut(id) {
                let news = peer.heard_through_others(at, self.settled);
                self.changed |= news && peer.judge(self.timing, now);
            }
        }
        let Some(peer) = self.peers.get_mut(&sender) else {
            return;
        };
        let asks = beat.asks.iter().copied().filter(|id| *id != self.id);
        peer.asked.extend(asks.take(NODES_MAX));
        if beat.answer {
            self.beat(sender, None, now);
        }
    }

    /// The sender had this beat of ours.
    fn acked(&mut self, sender: NodeId, echo: Echo, now: Timestamp) {
        let Some(peer) = self.peers.get_mut(&sender) else {
            return;
        };
        let direct = peer.known.as_mut().and_then(|known| known.direct.as_mut());
        let Some(direct) = direct else {
            return;
        };
        let sent_at = Timestamp::from_micros(echo.sent_us);
        if direct.acked.is_some_and(|before| before >= sent_at) {
            return;
        }
        direct.acked = Some(sent_at);
        let held = Duration::from_micros(echo.held_us.into());
        direct.round_trip = Some(now.since(sent_at).saturating_sub(held));
    }

    /// Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.begin();
        let ids: Vec<NodeId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            let due = now >= peer.next_beat;
            let before = peer.state();
            self.changed |= peer.judge(self.timing, now);
            let silent =
                before == Some(MemberState::Alive) && peer.state() == Some(MemberState::Suspect);
            if due || silent {
                self.beat(id, None, now);
            }
            if silent {
                self.ask_others(id, now);
            }
        }
        self.finish(now);
    }

    /// Next in drain.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due; none: not without input.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let peers = self.peers.values();
        let beats = peers.clone().map(|peer| peer.next_beat);
        let judged = peers.filter_map(|peer| peer.judged_at(self.timing));
        beats.chain(judged).chain(self.settled_at()).min()
    }

    /// How often and how patiently it talks now.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// All that are configured, this node not among them.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.peers.values().map(Peer::row)
    }

    #[must_use]
    pub fn members(&self) -> Members {
        let mut members = Members {
            settled: self.settled,
            ..Members::default()
        };
        for peer in self.peers.values() {
            if let Some(known) = &peer.known {
                let (name, member) = (peer.name.clone(), known.member.clone());
                members.by_node.insert(name, member);
            }
        }
        let own = (self.config.node.clone(), self.own.clone());
        members.by_node.extend([own]);
        members
    }

    fn begin(&self) {
        debug_assert!(self.outputs.is_empty(), "outputs are drained first");
    }

    /// What every input may lead to.
    fn finish(&mut self, now: Timestamp) {
        let late = self.settled_at().is_some_and(|at| now >= at);
        if !self.settled
            && self.configured.is_some()
            && (late || self.peers.values().all(Peer::was_heard))
        {
            self.settled = true;
            self.changed = true;
        }
        if core::mem::take(&mut self.changed) {
            self.outputs.push_back(Output::Members(self.members()));
        }
        if let Some(since) = self.leaving
            && !self.released
            && self.all_released(since)
        {
            self.released = true;
            self.outputs.push_back(Output::Released);
        }
    }

    /// One that is silent all the time is not there.
    fn settled_at(&self) -> Option<Timestamp> {
        let configured = self.configured.filter(|_| !self.settled)?;
        Some(configured + self.timing.patience * 2)
    }

    /// How many others have heard that this node leaves.
    #[must_use]
    pub fn told(&self) -> usize {
        let Some(since) = self.leaving else {
            return 0;
        };
        let peers = self.peers.values().filter_map(Peer::direct);
        let told = peers.filter(|direct| direct.acked.is_some_and(|acked| acked >= since));
        told.count()
    }

    fn all_released(&self, since: Timestamp) -> bool {
        let returns = self.own.returns_by.is_some();
        let mut there = self.peers.values().filter(|peer| peer.is_there());
        there.all(|peer| {
            let direct = peer.direct();
            direct.is_some_and(|direct| {
                let told = direct.acked.is_some_and(|acked| acked >= since);
                told && (returns || direct.acted)
            })
        })
    }

    fn beat_all(&mut self, now: Timestamp) {
        let there = self.peers.iter().filter(|(_, peer)| peer.is_there());
        let ids: Vec<NodeId> = there.map(|(id, _)| *id).collect();
        for id in ids {
            self.beat(id, None, now);
        }
    }

    /// Asks some others at once whether they have heard of it.
    fn ask_others(&mut self, silent: NodeId, now: Timestamp) {
        let there = |(id, peer): &(&NodeId, &Peer)| **id != silent && peer.is_there();
        let others: Vec<NodeId> = self.peers.iter().filter(there).map(|(id, _)| *id).collect();
        let count = u64::try_from(others.len()).unwrap_or(0);
        let skip = self.jitter.number().checked_rem(count).unwrap_or(0);
        let skip = usize::try_from(skip).unwrap_or(0);
        for id in others
            .iter()
            .cycle()
            .skip(skip)
            .take(others.len().min(ASKED_AT_ONCE))
        {
            self.beat_with(*id, None, true, now);
        }
    }

    fn beat(&mut self, id: NodeId, greeting: Option<(Echo, IpAddr)>, now: Timestamp) {
        self.beat_with(id, greeting, false, now);
    }

    /// Says all that there is to say to one node. `greeting`: to a boot that is
    /// not confirmed, which is to answer.
    fn beat_with(
        &mut self,
        id: NodeId,
        greeting: Option<(Echo, IpAddr)>,
        answer: bool,
        now: Timestamp,
    ) {
        let asks = self.asks(id, now);
        let heard = self.heard(id, now);
        let timing = self.timing;
        let leaving = self.leaving;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let direct = peer.direct();
        let told = direct.and_then(|direct| direct.acked);
        let unheard = leaving.is_some_and(|since| told.is_none_or(|at| at < since));
        let silent = peer.is_silent(timing, now);
        let echo = direct.map(|direct| Echo {
            boot: direct.boot,
            sent_us: direct.sent_us,
            held_us: u32::try_from(now.since(direct.at).as_micros()).unwrap_or(u32::MAX),
        });
        let left = self.own.returns_by.map(|by| by.since(now).as_millis());
        let beat = Beat {
            answer: answer || silent || unheard || greeting.is_some(),
            programmed: self.own.programmed,
            uplinks_up: self.own.uplinks_up,
            leaving: leaving.is_some(),
            acted: self.acted.contains(&id),
            sent_us: now.micros(),
            patience_ms: u16::try_from(timing.patience.as_millis()).unwrap_or(u16::MAX),
            echo: greeting.map(|(echo, _)| echo).or(echo),
            returns_in_ms: left.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            asks,
            heard,
        };
        let address = greeting.map(|(_, from)| from).or_else(|| peer.address());
        if silent && greeting.is_none() {
            peer.try_again(now);
        }
        let pause = peer.pause(timing, now);
        peer.next_beat = now + self.jitter.percent(pause, 90, 110);
        let Some(address) = address else {
            return;
        };
        peer.beats_sent += 1;
        self.outputs.push_back(Output::Send {
            to: id,
            address,
            payload: beat.encode(),
        });
    }

    /// Nodes that this one has not heard of, to be asked of another.
    fn asks(&mut self, of: NodeId, now: Timestamp) -> Vec<NodeId> {
        let (timing, settled) = (self.timing, self.settled);
        let missing = |(id, peer): &(&NodeId, &Peer)| {
            let wanted = peer.known.is_some() || !settled;
            **id != of && wanted && peer.is_silent(timing, now)
        };
        let missing: Vec<NodeId> = self
            .peers
            .iter()
            .filter(missing)
            .map(|(id, _)| *id)
            .collect();
        let more = u64::try_from(missing.len().saturating_sub(NODES_MAX)).unwrap_or(0);
        if more == 0 {
            return missing;
        }
        let skip = self.jitter.number().checked_rem(more + 1).unwrap_or(0);
        let skip = usize::try_from(skip).unwrap_or(0);
        missing.into_iter().skip(skip).take(NODES_MAX).collect()
    }

    /// The answers to what another has asked.
    fn heard(&mut self, by: NodeId, now: Timestamp) -> Vec<(NodeId, u16)> {
        let asked = self
            .peers
            .get_mut(&by)
            .map(|peer| core::mem::take(&mut peer.asked));
        let answer = |id: NodeId| {
            let peer = self.peers.get(&id)?;
            let direct = peer.direct()?;
            // Who has just started is to count with one that will be back.
            let age = if peer.is_excused(now) {
                Duration::ZERO
            } else {
                now.since(direct.at)
            };
            let age = Some(age).filter(|age| *age < self.timing.patience)?;
            Some((id, u16::try_from(age.as_millis()).ok()?))
        };
        asked
            .into_iter()
            .flatten()
            .filter_map(answer)
            .take(NODES_MAX)
            .collect()
    }
}
