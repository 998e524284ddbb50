//! One other agent: what was heard of it, and when to talk to it next.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::Timing;
use super::wire::Beat;
use crate::model::{Member, MemberState, NodeName};
use crate::seal::NodeId;
use crate::time::Timestamp;

/// So often a node is asked before it is given up, however long it was silent:
/// it may have been this agent that did not run.
const TRIES_MIN: u32 = 3;
/// How often one that is down, or was never there, is tried.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_ABSENT: Duration = Duration::from_secs(1);
/// One that was never there is tried more often for as long.
const ABSENT_AFTER: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: NodeName,
    pub(super) addresses: Vec<IpAddr>,
    /// Where it spoke from last.
    pub(super) at: Option<IpAddr>,
    pub(super) since: Timestamp,
    pub(super) next_beat: Timestamp,
    /// Beats that asked it for an answer since it gave the last one.
    pub(super) tries: u32,
    /// When there were [`TRIES_MIN`] of them.
    pub(super) tried: Option<Timestamp>,
    /// When a boot that is not confirmed was answered.
    pub(super) greeted: Option<Timestamp>,
    /// Nodes that it asked for.
    pub(super) asked: BTreeSet<NodeId>,
    pub(super) known: Option<Known>,
    pub(super) beats_sent: u64,
    pub(super) beats_received: u64,
}

/// Of one that was heard of.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// None: only others have heard it.
    pub(super) direct: Option<Direct>,
    /// The last sign of life, from itself or through others.
    pub(super) evidence: Timestamp,
    pub(super) member: Member,
}

/// What it said itself.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    pub(super) boot: u64,
    pub(super) sent_us: u64,
    pub(super) at: Timestamp,
    /// When the last of our beats that it had was sent.
    pub(super) acked: Option<Timestamp>,
    pub(super) patience: Duration,
    pub(super) acted: bool,
    pub(super) round_trip: Option<Duration>,
}

/// A peer as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub node: NodeName,
    pub address: Option<IpAddr>,
    /// None: never heard of.
    pub member: Option<Member>,
    /// By this node itself.
    pub heard: Option<Timestamp>,
    pub round_trip: Option<Duration>,
    pub beats_sent: u64,
    pub beats_received: u64,
}

impl Known {
    /// It was there then, and nothing else is known of it.
    fn of(evidence: Timestamp) -> Self {
        Self {
            direct: None,
            evidence,
            member: Member {
                state: MemberState::Alive,
                since: evidence,
                programmed: true,
                uplinks_up: true,
                returns_by: None,
                left: false,
            },
        }
    }
}

impl Peer {
    pub(super) fn new(name: NodeName, addresses: Vec<IpAddr>, now: Timestamp) -> Self {
        Self {
            name,
            addresses,
            at: None,
            since: now,
            next_beat: now,
            tries: 0,
            tried: None,
            greeted: None,
            asked: BTreeSet::new(),
            known: None,
            beats_sent: 0,
            beats_received: 0,
        }
    }

    pub(super) fn state(&self) -> Option<MemberState> {
        self.known.as_ref().map(|known| known.member.state)
    }

    pub(super) fn direct(&self) -> Option<&Direct> {
        self.known.as_ref()?.direct.as_ref()
    }

    /// Whether it would act on what this node says.
    pub(super) fn is_there(&self) -> bool {
        matches!(
            self.state(),
            Some(MemberState::Alive | MemberState::Suspect)
        )
    }

    /// Whether it said that it comes back, and is not late yet.
    pub(super) fn is_excused(&self, now: Timestamp) -> bool {
        let known = self.known.as_ref();
        let by = known.and_then(|known| known.member.returns_by);
        by.is_some_and(|by| now < by)
    }

    /// Whether this node itself has not heard it for too long.
    pub(super) fn is_silent(&self, timing: Timing, now: Timestamp) -> bool {
        self.direct()
            .is_none_or(|direct| now.since(direct.at) >= timing.suspicion())
    }

    /// Where to send the next beat: where it spoke from, and while it does not
    /// answer there, all its addresses in turn.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let first = self.at.filter(|_| self.tries < 2);
        first.or_else(|| {
            let tries = usize::try_from(self.tries).unwrap_or(0);
            let turn = tries.checked_rem(self.addresses.len())?;
            self.addresses.get(turn).copied()
        })
    }

    /// It is asked for an answer.
    pub(super) fn try_again(&mut self, now: Timestamp) {
        self.tries = self.tries.saturating_add(1);
        if self.tries == TRIES_MIN {
            self.tried = Some(now);
        }
    }

    /// From one beat to the next, if nothing happens.
    pub(super) fn pause(&self, timing: Timing, now: Timestamp) -> Duration {
        match self.state() {
            Some(MemberState::Alive | MemberState::Leaving) => timing.period,
            Some(MemberState::Suspect) => timing.period / 2,
            Some(MemberState::Down) => RETRY.max(timing.period),
            None if now.since(self.since) < ABSENT_AFTER => timing.period,
            None => RETRY_ABSENT.max(timing.period),
        }
    }

    /// How long its silence is borne: as long as it is told that it will be.
    fn patience(&self, timing: Timing) -> Duration {
        let theirs = self.direct().map(|direct| direct.patience);
        timing.patience.max(theirs.unwrap_or_default())
    }

    /// Sets its state by what is known now; true if that changed.
    pub(super) fn judge(&mut self, timing: Timing, now: Timestamp) -> bool {
        let next = self.verdict(timing, now);
        let Some(known) = &mut self.known else {
            return false;
        };
        let member = &mut known.member;
        let mut changed = false;
        if member.returns_by.is_some_and(|by| now >= by) {
            member.returns_by = None;
            changed = true;
        }
        if let Some(next) = next.filter(|next| *next != member.state) {
            member.state = next;
            member.since = now;
            // Others have heard its next run.
            member.left &= next != MemberState::Alive;
            changed = true;
        }
        changed
    }

    fn verdict(&self, timing: Timing, now: Timestamp) -> Option<MemberState> {
        let known = self.known.as_ref()?;
        let silence = now.since(known.evidence);
        let given_up = self.given_up_at(timing).is_some_and(|at| now >= at);
        Some(match known.member.state {
            state @ (MemberState::Leaving | MemberState::Suspect) if !given_up => {
                let silent = silence >= timing.suspicion();
                if silent || state == MemberState::Leaving {
                    state
                } else {
                    MemberState::Alive
                }
            }
            MemberState::Leaving if now < known.member.returns_by.unwrap_or(now) => {
                MemberState::Leaving
            }
            MemberState::Suspect | MemberState::Leaving => MemberState::Down,
            MemberState::Alive if silence >= timing.suspicion() => MemberState::Suspect,
            MemberState::Down if silence >= timing.patience => MemberState::Down,
            MemberState::Alive | MemberState::Down => MemberState::Alive,
        })
    }

    /// When it is down unless it is heard of before; none: not before it was
    /// asked more often.
    fn given_up_at(&self, timing: Timing) -> Option<Timestamp> {
        let known = self.known.as_ref()?;
        let answered_by = self.tried? + timing.period / 4;
        let silent = known.evidence + self.patience(timing);
        Some(silent.max(answered_by))
    }

    /// When its state may change without input.
    pub(super) fn judged_at(&self, timing: Timing) -> Option<Timestamp> {
        let known = self.known.as_ref()?;
        let by = known.member.returns_by;
        match known.member.state {
            MemberState::Alive => Some(known.evidence + timing.suspicion()),
            MemberState::Suspect => self.given_up_at(timing),
            MemberState::Leaving => by.or_else(|| self.given_up_at(timing)),
            MemberState::Down => by,
        }
    }

    /// Somebody else has heard it. True if that is news.
    pub(super) fn heard_through_others(&mut self, at: Timestamp, settled: bool) -> bool {
        match &mut self.known {
            Some(known) => {
                let news = at > known.evidence;
                known.evidence = known.evidence.max(at);
                news
            }
            // While this agent starts, it has not had the time to hear for
            // itself: better to count with one too many than to take over.
            None if !settled => {
                self.known = Some(Known::of(at));
                true
            }
            None => false,
        }
    }

    /// The process before this one knew it. Whatever it was then, it may have
    /// VIPs until the fence says otherwise.
    pub(super) fn remember(&mut self, now: Timestamp) {
        self.known = Some(Known::of(now));
    }

    /// By this process, itself or through others.
    pub(super) fn was_heard(&self) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| known.direct.is_some() || known.evidence > self.since)
    }

    /// It spoke. True if others have to know.
    pub(super) fn heard(&mut self, boot: u64, beat: &Beat, now: Timestamp) -> bool {
        self.beats_received += 1;
        self.tries = 0;
        self.tried = None;
        let before = self.known.take();
        let last = before.as_ref().and_then(|known| known.direct.clone());
        let last = last.filter(|direct| direct.boot == boot);
        let returns_by = before.as_ref().and_then(|known| known.member.returns_by);
        let state = if beat.leaving {
            MemberState::Leaving
        } else {
            MemberState::Alive
        };
        let mut member = Member {
            state,
            since: now,
            programmed: beat.programmed,
            uplinks_up: beat.uplinks_up,
            // One that has come back is waited for until it is whole.
            returns_by: returns_by.filter(|by| *by > now && !beat.programmed),
            left: beat.leaving && beat.returns_in_ms.is_none(),
        };
        if beat.leaving {
            let time = beat
                .returns_in_ms
                .map(|ms| Duration::from_millis(ms.into()));
            // By the first beat that said so: those that follow say the same.
            member.returns_by = time.map(|time| returns_by.unwrap_or(now + time));
        }
        let mut changed = true;
        if let Some(before) = &before {
            if before.member.state == state {
                member.since = before.member.since;
            }
            changed = before.member != member;
        }
        self.known = Some(Known {
            direct: Some(Direct {
                boot,
                sent_us: beat.sent_us,
                at: now,
                acked: last.as_ref().and_then(|direct| direct.acked),
                patience: Duration::from_millis(beat.patience_ms.into()),
                acted: beat.acted,
                round_trip: last.and_then(|direct| direct.round_trip),
            }),
            evidence: now,
            member,
        });
        changed
    }

    pub(super) fn row(&self) -> Row {
        let direct = self.direct();
        Row {
            node: self.name.clone(),
            address: self.at.or_else(|| self.addresses.first().copied()),
            member: self.known.as_ref().map(|known| known.member.clone()),
            heard: direct.map(|direct| direct.at),
            round_trip: direct.and_then(|direct| direct.round_trip),
            beats_sent: self.beats_sent,
            beats_received: self.beats_received,
        }
    }
}
