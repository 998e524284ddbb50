//! Which frontends wait for others to tell.

use alloc::collections::{BTreeMap, BTreeSet};

use lb_common::frontend::FrontendKey;

use super::peer::Peer;
use super::{GRACE, Moved, Presence, UNSETTLED};
use crate::time::Timestamp;

/// What the planner must know of the talk between agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaiting {
    /// Others speak, or may. Where nobody does, a frontend settles by time.
    pub on: bool,
    /// Frontends with endpoints on a node whose agent does not speak: they
    /// settle by time too.
    pub by_time: BTreeSet<FrontendKey>,
    /// Frontends that changed lately, and the set for which all have told.
    pub told: BTreeMap<FrontendKey, u64>,
}

impl Awaiting {
    /// Before anything is known of others: they may speak.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            on: true,
            ..Self::default()
        }
    }

    /// Whether a frontend is settled by what others tell.
    #[must_use]
    pub fn covers(&self, frontend: &FrontendKey) -> bool {
        self.on && !self.by_time.contains(frontend)
    }

    /// Whether the others are waited for, after a change at that time.
    #[must_use]
    pub fn awaits(
        &self,
        frontend: &FrontendKey,
        hash: u64,
        changed_s: u32,
        now: Timestamp,
    ) -> bool {
        is_recent(changed_s, now) && self.told.get(frontend) != Some(&hash)
    }
}

/// Whether a change at that time may still be waited for.
pub(super) fn is_recent(changed_s: u32, now: Timestamp) -> bool {
    let age_s = now.seconds().saturating_sub(changed_s);
    changed_s != 0 && u64::from(age_s) < UNSETTLED.as_secs()
}

/// What can be expected of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    ToTell,
    /// Its agent is dead or does not answer. The node may be dead too, and then
    /// its pods soon do not serve any more; or it goes on with the flows that
    /// it has, which the agent will tell of when it is back.
    Nothing,
    /// It is there and has no channel.
    Without,
}

impl Peer {
    fn expected(&self, now: Timestamp) -> Expected {
        if self.presence == Presence::Gone {
            return Expected::Nothing;
        }
        if self.silent && self.presence == Presence::Unknown {
            return Expected::Nothing;
        }
        if self.is_up() || now.since(self.since) < GRACE {
            return Expected::ToTell;
        }
        Expected::Without
    }
}

impl Moved {
    /// Which frontends wait, and which may not.
    #[must_use]
    pub fn awaiting(&self, now: Timestamp) -> Awaiting {
        let expected: BTreeMap<u16, Expected> = self
            .peers
            .iter()
            .map(|(node, peer)| (*node, peer.expected(now)))
            .collect();
        let of = |node: &u16| expected.get(node).copied().unwrap_or(Expected::Without);
        let mut awaiting = Awaiting {
            on: self
                .peers
                .values()
                .any(|peer| peer.spoke || peer.expected(now) == Expected::ToTell),
            ..Awaiting::default()
        };
        if !awaiting.on {
            return awaiting;
        }
        if expected.values().any(|one| *one == Expected::Without) {
            let without = |node: &u16| of(node) == Expected::Without;
            let by_time = self.sets.iter();
            let by_time = by_time.filter(|(_, set)| set.nodes.iter().any(without));
            awaiting.by_time = by_time.map(|(key, _)| *key).collect();
        }
        for (key, set) in self.recent(now) {
            let done = |node: &u16| match of(node) {
                // Until it has said all that moved, its old word is not enough.
                Expected::ToTell => self.is_complete(*node) && self.has_told(*node, key, set.hash),
                Expected::Nothing => !set.serving.contains(node),
                Expected::Without => true,
            };
            if set.nodes.iter().all(done) {
                awaiting.told.insert(*key, set.hash);
            }
        }
        awaiting
    }

    /// When [`Self::awaiting`] may change by itself.
    #[must_use]
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let unheard = self.peers.values().filter(|peer| !peer.is_up());
        let ends = unheard.map(|peer| peer.since + GRACE);
        ends.filter(|end| *end > now).min()
    }

    pub(super) fn is_complete(&self, node: u16) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.complete)
    }
}
