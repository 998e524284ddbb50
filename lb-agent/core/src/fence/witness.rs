//! What the Lease in the API server says about who lives, while agents do not
//! hear each other.
//!
//! The Lease ([`crate::lease`]) goes to another agent 15 s after its holder was
//! seen last, which is too late for VIPs. But each write of it proves that its
//! writer lives and reaches the API server, and one agent at a time holds it.
//! So while some agent is not heard, the holder renews it every [`RENEW`], and
//! those to whom it matters look every [`LOOK`]: of two parts of a cluster, the
//! one with the holder goes on, and the other one knows within a second. If
//! nobody renews it, it says nothing, and nobody waits for it.
//!
//! A version that is new was written after the last look *began*, so it proves
//! something about the time since agents were last heard only if that look came
//! after that as well.

use alloc::string::String;
use core::time::Duration;

use super::standing::{Arbiter, Doubts};
use crate::lease::Record;
use crate::model::NodeName;
use crate::time::Timestamp;

/// How often the holder renews while some agent is not heard.
const RENEW: Duration = Duration::from_millis(700);
/// How often others look while that matters.
const LOOK: Duration = Duration::from_millis(350);
/// For so long a renewal is good for the holder's part of the cluster, from when
/// it was begun at the latest...
const OURS: Duration = Duration::from_secs(2);
/// ...and for the other part, from when it was seen: longer, so that of the two
/// one ends before the other begins.
const THEIRS: Duration = Duration::from_millis(2500);

#[derive(Clone, Debug)]
pub struct Witness {
    this: NodeName,
    doubts: Doubts,
    /// Since when the last of those that are not heard is not.
    since: Timestamp,
    /// The version that was seen last, and when that look began.
    last: Option<(String, Timestamp)>,
    finding: Arbiter,
}

impl Witness {
    #[must_use]
    pub fn new(this: NodeName) -> Self {
        Self {
            this,
            doubts: Doubts::default(),
            since: Timestamp::default(),
            last: None,
            finding: Arbiter::Unknown,
        }
    }

    /// What the fence is in doubt about. True: it is worth looking at once.
    pub fn doubt(&mut self, doubts: Doubts, now: Timestamp) -> bool {
        let more = !doubts.unheard.is_subset(&self.doubts.unheard);
        let begins = more || doubts.decides && !self.doubts.decides;
        if more || doubts.unheard.is_empty() {
            // What was found out before was about others.
            self.since = now;
            self.finding = Arbiter::Unknown;
        }
        self.doubts = doubts;
        begins && !self.doubts.unheard.is_empty()
    }

    /// The Lease says this; the question began at that moment.
    pub fn read(&mut self, record: Option<&Record>, began: Timestamp, now: Timestamp) {
        let Some(record) = record else {
            self.last = None;
            return;
        };
        let before = self.last.replace((record.version.clone(), began));
        let news = before.filter(|(version, began)| {
            // A look that began before cannot tell.
            *version != record.version && *began >= self.since
        });
        let holder = record.holder.as_deref().and_then(node_of);
        let (Some((_, after)), Some(holder)) = (news, holder) else {
            return;
        };
        if holder == self.this || self.doubts.unheard.is_empty() {
            return;
        }
        self.finding = if self.doubts.unheard.contains(&holder) {
            Arbiter::Theirs {
                until: now + THEIRS,
            }
        } else {
            Arbiter::Ours {
                until: after + OURS,
            }
        };
    }

    /// This agent has written the Lease, which it holds; that began then.
    pub fn renewed(&mut self, version: &str, began: Timestamp) {
        self.last = Some((version.into(), began));
        if began >= self.since && !self.doubts.unheard.is_empty() {
            self.finding = Arbiter::Ours {
                until: began + OURS,
            };
        }
    }

    /// How long to wait before looking or renewing again; none: as usual.
    #[must_use]
    pub fn pause(&self, holds: bool) -> Option<Duration> {
        match &self.doubts {
            doubts if doubts.unheard.is_empty() => None,
            _ if holds => Some(RENEW),
            doubts => doubts.decides.then_some(LOOK),
        }
    }

    #[must_use]
    pub const fn finding(&self) -> Arbiter {
        self.finding
    }
}

/// The holder of who writes: [`identity`].
fn node_of(identity: &str) -> Option<NodeName> {
    let (node, _) = identity.rsplit_once('_')?;
    Some(NodeName::new(node))
}

/// What an agent holds the Lease as: of this process alone, whatever ran on the
/// node before.
#[must_use]
pub fn identity(node: &NodeName, boot: u64) -> String {
    alloc::format!("{node}_{boot:016x}")
}

#[cfg(test)]
mod tests;
