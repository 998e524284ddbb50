//! What is said of the talk between agents: `status`, metrics.

use std::collections::BTreeMap;

use lb_core::channel::Refused;
use lb_core::moved::{Awaiting, Counts};
use lb_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Channel;

/// How the talk goes, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub peers: Vec<PeerReport>,
    /// Flows that live elsewhere and come here.
    pub held: usize,
    /// Flows that live here and come elsewhere.
    pub displaced: usize,
    /// Frontends that changed lately and wait for others to tell.
    pub awaiting: usize,
    pub moved_said: u64,
    pub moved_heard: u64,
    pub told_said: u64,
    pub told_heard: u64,
    pub disputed: u64,
    /// Flows for which there was no room in MOVED.
    pub no_room: u64,
    /// Datagrams and messages of no use, by reason.
    pub refused: BTreeMap<String, u64>,
    /// How long the last look through all flows took.
    pub walk_ms: u64,
}

/// One agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    pub node: String,
    pub state: PeerState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// Nothing was heard of its channel.
    #[default]
    Unheard,
    /// It has not said yet all that moved.
    Beginning,
    Speaks,
    /// It does not acknowledge.
    Silent,
}

impl PeerState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Beginning => "beginning",
            Self::Speaks => "speaks",
            Self::Silent => "silent",
        }
    }
}

impl Channel {
    pub(super) fn report(&self, awaiting: &Awaiting, now: Timestamp) -> Report {
        let peers = self.talk.states().filter_map(|state| {
            let node = self.names.get(&state.node)?.to_string();
            let state = match (state.up, state.complete) {
                (false, _) => PeerState::Unheard,
                (true, _) if state.silent => PeerState::Silent,
                (true, false) => PeerState::Beginning,
                (true, true) => PeerState::Speaks,
            };
            Some(PeerReport { node, state })
        });
        let sets = self.tables.sets().iter();
        let waits = sets.filter(|(key, set)| {
            awaiting.covers(key) && awaiting.awaits(key, set.hash, set.changed_s, now)
        });
        let counts: Counts = self.talk.counts();
        let refused = Refused::ALL.iter().zip(self.talk.refused());
        let refused = refused.map(|(refused, count)| (refused.name().to_owned(), count));
        let messages = ("message".to_owned(), counts.malformed);
        Report {
            peers: peers.collect(),
            held: self.talk.moved().held(),
            displaced: self.talk.moved().displaced(),
            awaiting: waits.count(),
            moved_said: counts.moved_said,
            moved_heard: counts.moved_heard,
            told_said: counts.told_said,
            told_heard: counts.told_heard,
            disputed: counts.disputed,
            no_room: counts.no_room,
            refused: refused.chain([messages]).collect(),
            walk_ms: u64::try_from(self.walk_took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
