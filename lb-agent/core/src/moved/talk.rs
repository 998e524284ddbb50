//! [`Moved`] over one [`Session`] to each peer.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use lb_common::flow::FlowKey;

use super::{Awaiting, Counts, Living, Moved, Output, Presence, Sets};
use crate::channel::{Output as Heard, Refused, Session};
use crate::time::Timestamp;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// To be sealed and sent.
    Transmit { peer: u16, datagram: Vec<u8> },
    /// With the maps.
    Map(Output),
}

/// One peer's session, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub node: u16,
    /// Another process answered.
    pub up: bool,
    /// It has said all that moved.
    pub complete: bool,
    pub silent: bool,
}

/// The talk of this agent with all others.
///
/// Call anything, drain [`Talk::poll_act`], then sleep until
/// [`Talk::deadline`] or the next input.
#[derive(Debug)]
pub struct Talk {
    boot: u64,
    moved: Moved,
    sessions: BTreeMap<u16, Session>,
    refused: [u64; Refused::ALL.len()],
    acts: VecDeque<Act>,
}

impl Talk {
    /// `boot`: a random number of this process; `held`: what `MOVED` holds;
    /// `held_max`: how much it has room for.
    #[must_use]
    pub fn new(boot: u64, held: impl IntoIterator<Item = (FlowKey, u16)>, held_max: usize) -> Self {
        Self {
            boot,
            moved: Moved::new(held, held_max),
            sessions: BTreeMap::new(),
            refused: [0; Refused::ALL.len()],
            acts: VecDeque::new(),
        }
    }

    /// The other nodes, all of them.
    pub fn set_peers(&mut self, peers: &BTreeMap<u16, Presence>, now: Timestamp) {
        self.sessions.retain(|node, _| peers.contains_key(node));
        for node in peers.keys() {
            let boot = self.boot;
            let session = || Session::new(boot, now);
            self.sessions.entry(*node).or_insert_with(session);
        }
        self.moved.set_peers(peers, now);
        self.settle(now);
    }

    /// The tables that the maps hold by now.
    pub fn set_tables(&mut self, sets: &Sets, now: Timestamp) {
        self.moved.set_tables(sets, now);
        self.settle(now);
    }

    /// See [`Moved::walked`].
    pub fn walked(&mut self, sets: &Sets, flows: impl IntoIterator<Item = Living>, now: Timestamp) {
        self.moved.walked(sets, flows);
        self.settle(now);
    }

    /// See [`Moved::kept`].
    pub fn kept(&mut self, peer: u16, flow: FlowKey, idle_ms: u32, now: Timestamp) {
        self.moved.kept(peer, flow, idle_ms);
        self.settle(now);
    }

    /// What was sealed by a peer; dropped and counted if it is of no use.
    pub fn handle_datagram(&mut self, node: u16, datagram: &[u8], now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&node) else {
            return;
        };
        if let Err(refused) = session.handle_datagram(datagram, now) {
            let index = Refused::ALL.iter().position(|one| *one == refused);
            let counter = index.and_then(|index| self.refused.get_mut(index));
            *counter.expect("all are counted") += 1;
        }
        self.settle(now);
    }

    /// Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for session in self.sessions.values_mut() {
            session.handle_timeout(now);
        }
        self.settle(now);
    }

    pub fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let sessions = self.sessions.values().filter_map(Session::deadline);
        sessions.chain(self.moved.deadline(now)).min()
    }

    #[must_use]
    pub fn awaiting(&self, now: Timestamp) -> Awaiting {
        self.moved.awaiting(now)
    }

    /// What `TOLD` should hold, by frontend and node.
    #[must_use]
    pub fn told(&self, now: Timestamp) -> BTreeMap<(u32, u16), u64> {
        self.moved.told(now)
    }

    /// See [`Moved::watched`].
    #[must_use]
    pub fn watched(&self) -> BTreeSet<FlowKey> {
        self.moved.watched()
    }

    #[must_use]
    pub fn moved(&self) -> &Moved {
        &self.moved
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.moved.counts()
    }

    /// Datagrams that were of no use, by [`Refused::ALL`].
    #[must_use]
    pub fn refused(&self) -> [u64; Refused::ALL.len()] {
        self.refused
    }

    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        let peers = self.moved.peers.iter();
        peers.map(|(node, peer)| State {
            node: *node,
            up: peer.is_up(),
            complete: peer.complete,
            silent: peer.silent,
        })
    }

    /// Moves what is to be said to the sessions, and what they heard to where it
    /// belongs, until nothing is left.
    fn settle(&mut self, now: Timestamp) {
        let mut begun = Vec::new();
        for (&node, session) in &mut self.sessions {
            loop {
                let Some(output) = session.poll_output() else {
                    if !speak(&mut self.moved, node, session, now) {
                        break;
                    }
                    continue;
                };
                match output {
                    Heard::Transmit(datagram) => {
                        let peer = node;
                        self.acts.push_back(Act::Transmit { peer, datagram });
                    }
                    Heard::Up => {
                        self.moved.up(node, now);
                        begun.push(node);
                    }
                    Heard::Received(message) => self.moved.hear(node, &message),
                    Heard::Silent => self.moved.set_silent(node, true),
                    Heard::Answers => self.moved.set_silent(node, false),
                }
            }
        }
        while let Some(output) = self.moved.poll_output() {
            self.acts.push_back(Act::Map(output));
        }
        // One that began may have made others have something to say.
        if !begun.is_empty() {
            self.settle(now);
        }
    }
}

/// Gives a session what is to be said to its peer, as far as it has room.
fn speak(moved: &mut Moved, node: u16, session: &mut Session, now: Timestamp) -> bool {
    if !session.is_up() || !moved.has_to_say(node) {
        return false;
    }
    let messages = moved.say(node, session.room());
    for message in &messages {
        let queued = session.queue(message);
        debug_assert!(queued, "there was room");
    }
    session.flush(now);
    !messages.is_empty()
}
