//! Flows whose pod is here while the table leads their packets elsewhere: which
//! agent is told about them, and what is made of what others tell.
//!
//! The node that has a flow tells the node that gets its packets (*moved*), and
//! takes it back when the flow is over (*withdrawn*). When all that a change of
//! a frontend's endpoints has displaced is said, it says so (*told*, with the
//! hash of the set). A node believes its own table about flows that it does not
//! know only when every other node with endpoints has told for the very same
//! set, compared by equality; until then the frontend is *awaiting*, for
//! [`UNSETTLED`] at most. A node whose agent is dead and whose pods do not
//! serve is not waited for. Who misses a word asks for it, so it does not matter
//! which of two agents saw a change first, or began later.
//!
//! A session with another process of a peer begins anew on both sides:
//! everything that moved is said again and ends with *complete*; what the peer
//! had said to an earlier process and did not say again is dropped then, and
//! not before.
//!
//! Two nodes may hold one tuple, when a client vanished and its port was used
//! again: they tell each other how long ago the client was heard, and the
//! older entry goes.
//!
//! Not told: handshakes. An embryo does not say whose it is, only that it fits;
//! one that is displaced between its SYN-ACK and the ACK is opened again by its
//! client, or is found as soon as it is established.
//!
//! [`Moved`] is told of tables, flows, sessions and messages, and asked what to
//! say, what the maps should hold and which frontends wait; [`Talk`] joins it
//! with a session to each peer. Neither does any IO.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::time::Duration;

use lb_common::flow::{FlowKey, ToldKey};
use lb_common::frontend::FrontendKey;

use crate::time::Timestamp;

mod awaiting;
mod heard;
mod message;
mod peer;
mod said;
mod tables;
mod talk;
#[cfg(test)]
mod tests;

pub use awaiting::Awaiting;
pub use tables::{Set, Sets, Tables};
pub use talk::{Act, State, Talk};

use heard::Claim;
use peer::{Found, Peer};

/// Questions of a peer that are kept until the flows were looked through once.
const QUESTIONS_MAX: usize = 65_536;
/// How long after a change others are waited for at most.
pub const UNSETTLED: Duration = Duration::from_secs(60);
/// How long a peer may take to answer at first, before it counts as one that
/// does not speak at all.
pub const GRACE: Duration = Duration::from_secs(3);

/// Whether an agent is there, as gossip has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nothing is known of it.
    #[default]
    Unknown,
    There,
    /// It did not object to being called dead.
    Gone,
}

/// A flow that was found in the tables of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    pub flow: FlowKey,
    /// How long ago its client last sent something.
    pub idle_ms: u32,
    /// The other node that its packets come to; none: they come here.
    pub elsewhere: Option<u16>,
}

/// What is to be done with the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `MOVED` says that the flow lives there.
    Hold { flow: FlowKey, node: u16 },
    /// It says so no more.
    Release { flow: FlowKey },
    /// A peer has this flow, whose client it last heard so long ago. If it
    /// lives here too and was heard longer ago, it goes; else call
    /// [`Moved::kept`].
    Compare {
        peer: u16,
        flow: FlowKey,
        idle_ms: u32,
    },
}

/// What was said and heard since the start, and what could not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flows that were said to have moved.
    pub moved_said: u64,
    pub moved_heard: u64,
    pub told_said: u64,
    pub told_heard: u64,
    /// Flows that were found to be held twice.
    pub disputed: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Flows for which there was no room in `MOVED`.
    pub no_room: u64,
}

#[derive(Debug)]
pub struct Moved {
    peers: BTreeMap<u16, Peer>,
    sets: Sets,
    /// What peers say is theirs: what `MOVED` should hold.
    claims: BTreeMap<FlowKey, Claim>,
    claims_max: usize,
    /// What the last look through the flows found; none: there was none yet.
    found: Option<Found>,
    outputs: VecDeque<Output>,
    counts: Counts,
}

impl Moved {
    /// `held`: what `MOVED` holds, from an agent that ran before; `claims_max`:
    /// how much it has room for.
    #[must_use]
    pub fn new(held: impl IntoIterator<Item = (FlowKey, u16)>, claims_max: usize) -> Self {
        let claims = held
            .into_iter()
            .map(|(flow, node)| (flow, Claim { node, session: 0 }));
        Self {
            peers: BTreeMap::new(),
            sets: Sets::new(),
            claims: claims.collect(),
            claims_max,
            found: None,
            outputs: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The other nodes, all of them.
    pub fn set_peers(&mut self, peers: &BTreeMap<u16, Presence>, now: Timestamp) {
        let gone: BTreeSet<u16> = self
            .peers
            .keys()
            .copied()
            .chain(self.claims.values().map(|claim| claim.node))
            .filter(|node| !peers.contains_key(node))
            .collect();
        if !gone.is_empty() {
            self.peers.retain(|node, _| !gone.contains(node));
            self.release(|_, claim| gone.contains(&claim.node));
        }
        for (node, presence) in peers {
            let peer = self.peers.entry(*node).or_insert_with(|| Peer::new(now));
            peer.presence = *presence;
        }
    }

    /// The tables that the maps hold by now.
    pub fn set_tables(&mut self, sets: &Sets, now: Timestamp) {
        let before = core::mem::replace(&mut self.sets, sets.clone());
        let mut left: BTreeMap<FrontendKey, BTreeSet<u16>> = BTreeMap::new();
        for (key, old) in &before {
            let new = self.sets.get(key);
            if new.is_some_and(|new| Arc::ptr_eq(new, old)) {
                continue;
            }
            let stays = |node: &u16| new.is_some_and(|new| new.nodes.contains(node));
            let nodes: BTreeSet<u16> = old.nodes.iter().copied().filter(|n| !stays(n)).collect();
            if !nodes.is_empty() {
                left.insert(*key, nodes);
            }
        }
        if !left.is_empty() {
            // Pods that have gone had these flows.
            self.release(|flow, claim| {
                let nodes = left.get(&frontend_of(flow));
                nodes.is_some_and(|nodes| nodes.contains(&claim.node))
            });
        }
        let known = &self.sets;
        for peer in self.peers.values_mut() {
            peer.told.retain(|key, _| known.contains_key(key));
            peer.asked.retain(|key, _| known.contains_key(key));
        }
        self.ask_all(now);
    }

    /// Another process of a peer can be talked to.
    pub fn up(&mut self, node: u16, now: Timestamp) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.begin();
        if let Some(found) = &self.found {
            peer.plan(node, found);
        }
        self.ask_all(now);
    }

    /// A peer no longer answers, or does again.
    pub fn set_silent(&mut self, node: u16, silent: bool) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.silent = silent;
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What `TOLD` should hold: only of frontends that wait, since of others
    /// nobody asks.
    #[must_use]
    pub fn told(&self, now: Timestamp) -> BTreeMap<(u32, u16), u64> {
        let mut told = BTreeMap::new();
        for (key, set) in self.recent(now) {
            for node in &set.nodes {
                // Until it has said all that moved, its old word is not enough.
                if self.is_complete(*node) && self.has_told(*node, key, set.hash) {
                    told.insert((set.id, *node), set.hash);
                }
            }
        }
        told
    }

    /// Flows that others have and that come here.
    #[must_use]
    pub fn held(&self) -> usize {
        self.claims.len()
    }

    /// Flows that are here and come elsewhere.
    #[must_use]
    pub fn displaced(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.wanted.len())
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn recent(&self, now: Timestamp) -> impl Iterator<Item = (&FrontendKey, &Arc<Set>)> {
        let sets = self.sets.iter();
        sets.filter(move |(_, set)| awaiting::is_recent(set.changed_s, now))
    }

    fn has_told(&self, node: u16, key: &FrontendKey, hash: u64) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| peer.told.get(key) == Some(&hash))
    }

    fn release(&mut self, which: impl Fn(&FlowKey, &Claim) -> bool) {
        let outputs = &mut self.outputs;
        self.claims.retain(|flow, claim| {
            let goes = which(flow, claim);
            if goes {
                outputs.push_back(Output::Release { flow: *flow });
            }
            !goes
        });
    }
}

/// The key of an entry of `TOLD`, as the maps have it.
#[must_use]
pub fn told_key((frontend, node): (u32, u16)) -> ToldKey {
    ToldKey {
        frontend,
        node: node.into(),
    }
}

fn frontend_of(flow: &FlowKey) -> FrontendKey {
    let protocol = u8::try_from(flow.protocol).unwrap_or(0);
    FrontendKey::new(flow.vip, flow.vip_port, protocol)
}
