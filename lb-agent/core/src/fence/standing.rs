//! What a node may do, from who acknowledged what, and from other signs where
//! that does not decide it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use super::{Fence, Peer};
use crate::model::NodeName;
use crate::time::Timestamp;

/// Signs other than what agents say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// One of the uplinks has carrier.
    pub carrier: bool,
    pub gateway: Gateway,
    pub arbiter: Arbiter,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            carrier: true,
            gateway: Gateway::None,
            arbiter: Arbiter::Unknown,
        }
    }
}

/// The router of the default route, if it is on an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// There is no default route by an uplink.
    None,
    /// It answered a question, by ARP or neighbour discovery, that was asked at
    /// that moment.
    Answers {
        asked: Timestamp,
    },
    Silent,
}

/// The Lease in the API server, which one agent holds at a time.
#[derive(Clone, Debug, Copy, PartialEq, Eq)]
pub enum Arbiter {
    /// There is no API server, it cannot be reached, or nobody renews it.
    Unknown,
    /// This node has just renewed it, or one that it hears: until then.
    Ours { until: Timestamp },
    /// A node that is not heard has, so it lives: until then.
    Theirs { until: Timestamp },
}

/// What a node has to find out, as agents alone do not say enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Agents that are not heard.
    pub unheard: BTreeSet<NodeName>,
    /// A majority has not acknowledged this node for long: what else there is to
    /// know is about to decide.
    pub decides: bool,
}

/// What a node may do, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Until when it may answer for its VIPs; none, or past: it may not.
    pub until: Option<Timestamp>,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no other agent.
    Sole,
    /// A majority acknowledges it.
    Majority,
    /// Half of the agents are left, and have the Lease.
    Arbitrated,
    /// The others are gone, as far as can be told.
    Alone,
    /// It may not answer.
    Lapsed(Lapse),
}

/// Why a node may not answer for its VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lapse {
    /// It is not known yet who is there.
    Starting,
    NoCarrier,
    /// Agents are heard, but do not acknowledge: they do not hear this one, or
    /// have its VIPs and give them back.
    NotAcknowledged,
    /// It is not heard for long enough that others are gone.
    Listening,
    /// Others announce its VIPs, and no majority is with it.
    Opposed,
    /// The Lease is held by a node that is not heard.
    LeaseElsewhere,
    /// Its gateway does not answer: it is this node that is cut off.
    GatewaySilent,
    /// Less than half of the agents are left, and there is no gateway to tell
    /// whether they are gone.
    Minority,
}

impl Standing {
    /// As it stands in output and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sole => "Sole",
            Self::Majority => "Majority",
            Self::Arbitrated => "Arbitrated",
            Self::Alone => "Alone",
            Self::Lapsed(lapse) => lapse.name(),
        }
    }
}

impl Lapse {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::NoCarrier => "NoCarrier",
            Self::NotAcknowledged => "NotAcknowledged",
            Self::Listening => "Listening",
            Self::Opposed => "Opposed",
            Self::LeaseElsewhere => "LeaseElsewhere",
            Self::GatewaySilent => "GatewaySilent",
            Self::Minority => "Minority",
        }
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "the agent has just started and does not know yet who is there",
            Self::NoCarrier => "no uplink has carrier",
            Self::NotAcknowledged => "agents of other nodes do not acknowledge it",
            Self::Listening => "it waits whether others are heard",
            Self::Opposed => "other nodes announce its VIPs, and it has no majority of agents",
            Self::LeaseElsewhere => {
                "only half of the agents or less are heard, and one that is not renews the Lease"
            }
            Self::GatewaySilent => {
                "only half of the agents or less are heard, and the gateway does not answer"
            }
            Self::Minority => {
                "less than half of the agents are heard, and there is no gateway to ask"
            }
        })
    }
}

impl Fence {
    /// Until when this node may answer. To be written to the kernel as it is.
    #[must_use]
    pub fn expiry(&self, now: Timestamp) -> Expiry {
        match self.stand(now) {
            Ok((standing, own)) => Expiry {
                until: Some(match standing {
                    Standing::Majority => self.claims_until(now).map_or(own, |c| own.min(c)),
                    _ => own,
                })
                .max(self.kept),
                standing,
            },
            Err(lapse) => Expiry {
                until: None,
                standing: Standing::Lapsed(lapse),
            },
        }
    }

    /// What is to be asked of others than agents, in time for it to be known
    /// when it decides.
    #[must_use]
    pub fn doubts(&self, now: Timestamp) -> Doubts {
        let silent = self.peers.iter().filter(|(_, peer)| peer.silent);
        let soon = now + self.timing.lease / 2;
        let backed = self.majority_until().is_some_and(|until| soon < until);
        Doubts {
            unheard: silent.map(|(node, _)| node.clone()).collect(),
            decides: self.open && !self.peers.is_empty() && !backed,
        }
    }

    /// All agents, and the least number that is more than half of them.
    pub(super) fn counts(&self) -> (usize, usize) {
        let all = self.peers.len() + 1;
        (all, all / 2 + 1)
    }

    fn stand(&self, now: Timestamp) -> Result<(Standing, Timestamp), Lapse> {
        let lease = self.timing.lease;
        // The kernel may have what a process before this one took over, and who
        // had that may be back.
        if !self.open || !self.mended {
            return Err(Lapse::Starting);
        }
        if !self.signals.carrier {
            return Err(Lapse::NoCarrier);
        }
        if self.peers.is_empty() {
            return Ok((Standing::Sole, now + self.timing.sole));
        }
        if let Some(until) = self.majority_until().filter(|until| now < *until) {
            return Ok((Standing::Majority, until));
        }
        if self.other_is_excused(now) {
            return Ok((Standing::Alone, now + lease));
        }
        let (all, majority) = self.counts();
        let heard = self.peers.values().filter(|peer| !peer.silent).count() + 1;
        let fresh = |peer: &Peer| peer.acknowledged.is_some_and(|sent| now < sent + lease);
        let mut heard_peers = self.peers.values().filter(|peer| !peer.silent);
        if heard >= majority || !heard_peers.all(fresh) {
            return Err(Lapse::NotAcknowledged);
        }
        if now < self.awake + self.timing.silence() {
            return Err(Lapse::Listening);
        }
        if now < self.yields_until {
            return Err(Lapse::Opposed);
        }
        let half = heard * 2 == all;
        match (self.signals.arbiter, self.signals.gateway) {
            (Arbiter::Theirs { until }, _) if now < until => Err(Lapse::LeaseElsewhere),
            (Arbiter::Ours { until }, _) if half && now < until => {
                Ok((Standing::Arbitrated, until.min(now + lease)))
            }
            (_, Gateway::Answers { asked }) if now < asked + lease => {
                Ok((Standing::Alone, asked + lease))
            }
            (_, Gateway::None) if half => Ok((Standing::Alone, now + lease)),
            (_, Gateway::None) => Err(Lapse::Minority),
            (_, Gateway::Silent | Gateway::Answers { .. }) => Err(Lapse::GatewaySilent),
        }
    }

    /// Of two nodes, the other one restarts as planned, or is late by less than
    /// it takes to call it gone.
    fn other_is_excused(&self, now: Timestamp) -> bool {
        let late = self.timing.silence();
        let mut others = self.peers.values();
        self.peers.len() == 1 && others.all(|other| now < other.excused + late)
    }

    /// L after the newest renewal that a majority acknowledged.
    fn majority_until(&self) -> Option<Timestamp> {
        let (_, majority) = self.counts();
        let peers = self.peers.values();
        let sent = nth_newest(peers.map(|peer| peer.acknowledged), majority - 1);
        sent.map(|sent| sent + self.timing.lease)
    }

    /// Until when enough others say that those are gone whose VIPs the kernel
    /// may have been told to answer for; none: it has none of others.
    fn claims_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.held.iter().map(|gone| {
            let said = self.said_gone(gone);
            let sent = nth_newest(said, self.support_needed() - 1);
            // With nobody's support: not at all.
            sent.map_or(now, |sent| sent + self.timing.lease)
        });
        until.min()
    }

    /// So many, this node counted, have to say that a node is gone.
    fn support_needed(&self) -> usize {
        let (all, majority) = self.counts();
        all - majority + 1
    }

    /// When each of the others last said so.
    fn said_gone<'a>(&'a self, gone: &'a NodeName) -> impl Iterator<Item = Option<Timestamp>> + 'a {
        let peers = self.peers.values();
        peers.map(move |peer| peer.said.filter(|_| peer.gone.contains(gone)))
    }

    /// Whose VIPs are free, from all that is known now.
    pub(super) fn free_now(&self, now: Timestamp) -> BTreeSet<NodeName> {
        let lease = self.timing.lease;
        let standing = self.stand(now).map(|(standing, _)| standing);
        let unanimous = matches!(standing, Ok(Standing::Alone | Standing::Arbitrated));
        let heard = self.peers.values().filter(|peer| !peer.silent).count();
        let needed = if unanimous {
            heard
        } else {
            self.support_needed() - 1
        };
        let silent = self.peers.iter().filter(|(_, peer)| peer.silent);
        let free = silent.filter(|(node, _)| {
            let said = self.said_gone(node).flatten();
            said.filter(|sent| now < *sent + lease).count() >= needed
        });
        free.map(|(node, _)| node.clone()).collect()
    }
}

/// The n-th newest, counted from 1. The 0th is needed by nobody: the newest
/// there can be.
fn nth_newest(moments: impl Iterator<Item = Option<Timestamp>>, n: usize) -> Option<Timestamp> {
    let Some(index) = n.checked_sub(1) else {
        return Some(Timestamp::MAX);
    };
    let mut moments: Vec<Timestamp> = moments.flatten().collect();
    moments.sort_unstable();
    moments.into_iter().rev().nth(index)
}
