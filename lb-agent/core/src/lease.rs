//! Who may write: one agent at a time, by a Lease (coordination.k8s.io/v1).
//!
//! A machine without IO: the driver tells it what the Lease says and what
//! became of its writes, and asks what to do next. As in client-go, no clock is
//! compared with another machine's: a Lease counts from the moment at which
//! *we* saw it change last, and every write names the version that it
//! replaces, so that of two only one succeeds.
//!
//! The holder believes in itself for shorter ([`Timing::trust`]) than others
//! do ([`Timing::duration`]). In between it does nothing but try to renew; what
//! it began before is over by then.

use alloc::string::String;
use core::time::Duration;

use crate::time::Timestamp;

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others take the Lease when they have not seen it change for this long.
    pub duration: Duration,
    /// The holder believes in itself for this long after it began to write its
    /// last renewal.
    pub trust: Duration,
    /// How often it renews, and others look.
    pub period: Duration,
    /// After something has gone wrong.
    pub retry: Duration,
}

impl Timing {
    /// In the proportions that Kubernetes' own controllers use: 15 s, 10 s and
    /// 2 s; a renewal every third of the time.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self {
            duration,
            trust: duration * 2 / 3,
            period: duration / 3,
            retry: duration * 2 / 15,
        }
    }
}

/// What the Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`: another one with every write.
    pub version: String,
    /// None or empty: nobody.
    pub holder: Option<String>,
    /// `leaseTransitions`: how often it has gone to somebody else.
    pub transitions: i32,
}

/// A write to be tried, on the condition that it replaces what we saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The version that it replaces; none: there is no Lease yet.
    pub replaces: Option<String>,
    /// Empty: it is given up.
    pub holder: String,
    pub transitions: i32,
    /// Whether it was somebody else's, or nobody's.
    pub acquires: bool,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Lease says so now, in this version.
    Written(String),
    /// Somebody else was faster.
    Conflict,
    /// Not known, or refused.
    Failed,
}

#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
    /// We hold it, as far as we may believe, until then.
    until: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Seen {
    record: Option<Record>,
    /// When we saw this version first.
    since: Timestamp,
}

impl Election {
    /// `identity` is of this process alone: it is nobody's after it.
    #[must_use]
    pub fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.into(),
            timing,
            seen: None,
            until: None,
        }
    }

    /// Until when we are the holder; none: we are not.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| now < *until)
    }

    /// The Lease says this; none: there is no Lease.
    pub fn saw(&mut self, record: Option<Record>, now: Timestamp) {
        let version = |record: &Option<Record>| record.as_ref().map(|r| r.version.clone());
        let mine = record.as_ref().and_then(|r| r.holder.as_deref()) == Some(&self.identity);
        if !mine {
            self.until = None;
        }
        let same = self
            .seen
            .as_ref()
            .is_some_and(|seen| version(&seen.record) == version(&record));
        if !same {
            self.seen = Some(Seen { record, since: now });
        }
    }

    /// What to write now, if anything.
    #[must_use]
    pub fn attempt(&self, now: Timestamp) -> Option<Write> {
        let seen = self.seen.as_ref()?;
        let Some(record) = &seen.record else {
            return Some(Write {
                replaces: None,
                holder: self.identity.clone(),
                transitions: 0,
                acquires: true,
            });
        };
        let holder = record.holder.as_deref().unwrap_or_default();
        let mine = holder == self.identity;
        let lapsed = now >= seen.since + self.timing.duration;
        (mine || holder.is_empty() || lapsed).then(|| Write {
            replaces: Some(record.version.clone()),
            holder: self.identity.clone(),
            transitions: record.transitions.saturating_add(i32::from(!mine)),
            acquires: !mine,
        })
    }

    /// What to write when we end, so that nobody has to wait.
    #[must_use]
    pub fn release(&self) -> Option<Write> {
        let record = self.seen.as_ref()?.record.as_ref()?;
        (record.holder.as_deref() == Some(&self.identity)).then(|| Write {
            replaces: Some(record.version.clone()),
            holder: String::new(),
            transitions: record.transitions,
            acquires: false,
        })
    }

    /// A write that was begun at `began` has ended.
    pub fn wrote(&mut self, write: &Write, outcome: Outcome, began: Timestamp, now: Timestamp) {
        match outcome {
            Outcome::Written(version) => {
                let record = Record {
                    version,
                    holder: Some(write.holder.clone()),
                    transitions: write.transitions,
                };
                self.seen = Some(Seen {
                    record: Some(record),
                    since: now,
                });
                self.until = (write.holder == self.identity).then(|| began + self.timing.trust);
            }
            // What is there now is yet to be seen.
            Outcome::Conflict => self.until = None,
            // It may have been written. Then it says so when we look again;
            // until then what we believed before holds, and no longer.
            Outcome::Failed => {}
        }
    }

    /// How long to wait before looking, or renewing, again.
    #[must_use]
    pub fn pause(&self, failed: bool, now: Timestamp) -> Duration {
        if failed {
            return self.timing.retry;
        }
        // Not later than it lapses.
        let lapses = self
            .seen
            .as_ref()
            .map(|seen| seen.since + self.timing.duration);
        let left = lapses.map_or(self.timing.retry, |lapses| lapses.since(now));
        if left.is_zero() {
            return self.timing.retry;
        }
        self.timing.period.min(left)
    }
}
