//! When to announce what, and by which link.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use super::lane::{Lane, Place};
use super::wire;
use crate::model::Mac;
use crate::time::Timestamp;

/// Announcements of VIPs that are new here, one link each, in a [`TICK`].
pub const BATCH: usize = 64;
pub const TICK: Duration = Duration::from_millis(10);
/// All others, in an [`AGAIN_TICK`].
pub const AGAIN_BATCH: usize = 64;
pub const AGAIN_TICK: Duration = Duration::from_millis(100);
/// So many places are told others in each [`Wanted::sample`].
pub const SAMPLE: usize = 32;
const EVERY: Duration = Duration::from_millis(1100);
const TIMES: u32 = 5;
/// A VIP that somebody else claims is not defended more often (RFC 5227 §1.1,
/// DEFEND_INTERVAL).
pub const DEFEND_EVERY: Duration = Duration::from_secs(10);

/// What is to be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The VIPs that this node owns, and the links of each, by number.
    pub vips: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// The MACs of the links that there are and that carry anything.
    pub links: BTreeMap<u32, Mac>,
    /// VIPs that somebody else has said to have, a short time ago.
    pub contested: BTreeSet<IpAddr>,
    /// How often all of it is announced again, as far as that goes; none: not.
    pub refresh: Option<Duration>,
    /// How often [`SAMPLE`] of it, in turn, so that others who own the same
    /// without knowing notice; none: there can be no such.
    pub sample: Option<Duration>,
}

impl Wanted {
    fn places(&self) -> impl Iterator<Item = (Place, Mac)> + '_ {
        self.vips.iter().flat_map(|(vip, links)| {
            let there = links.iter().filter_map(|link| {
                let mac = self.links.get(link)?;
                Some((*link, *mac))
            });
            there.map(|(link, mac)| ((link, *vip), mac))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A frame, to be sent by this link.
    Send { link: u32, frame: Vec<u8> },
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    mac: Mac,
    left: u32,
    /// None: not again.
    next: Option<Timestamp>,
}

impl Plan {
    const fn is_new(&self) -> bool {
        self.left == TIMES
    }
}

/// Where one stands in telling all places in turn.
#[derive(Clone, Copy, Debug)]
struct Round {
    every: Duration,
    next: Timestamp,
    last: Option<Place>,
}

/// Announces the VIPs of one node.
#[derive(Debug)]
pub struct Announcer {
    refresh: Option<Duration>,
    links: BTreeSet<u32>,
    plans: BTreeMap<Place, Plan>,
    /// Those that were never announced, which hosts send elsewhere.
    new: Lane,
    /// All others that are to be announced again.
    again: Lane,
    round: Option<Round>,
    /// When each contested VIP may be defended again.
    defended: BTreeMap<IpAddr, Timestamp>,
    contested: BTreeSet<IpAddr>,
    out: VecDeque<Output>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self::new()
    }
}

impl Announcer {
    #[must_use]
    pub fn new() -> Self {
        Self {
            refresh: None,
            links: BTreeSet::new(),
            plans: BTreeMap::new(),
            new: Lane::new(BATCH, TICK),
            again: Lane::new(AGAIN_BATCH, AGAIN_TICK),
            round: None,
            defended: BTreeMap::new(),
            contested: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// All that is to be announced from now on. What is new, or has another
    /// MAC, or a link that was gone, begins at once.
    pub fn configure(&mut self, wanted: &Wanted, now: Timestamp) {
        self.links = wanted.links.keys().copied().collect();
        let places: BTreeMap<Place, Mac> = wanted.places().collect();
        let (new, again) = (&mut self.new, &mut self.again);
        self.plans.retain(|place, plan| {
            let stays = places.get(place) == Some(&plan.mac);
            if let Some(next) = plan.next.filter(|_| !stays) {
                let lane = if plan.is_new() {
                    &mut *new
                } else {
                    &mut *again
                };
                lane.remove(next, *place);
            }
            stays
        });
        for (place, mac) in places {
            self.plans.entry(place).or_insert_with(|| {
                new.add(now, place);
                Plan {
                    mac,
                    left: TIMES,
                    next: Some(now),
                }
            });
        }
        if self.refresh != wanted.refresh {
            self.refresh = wanted.refresh;
            self.reschedule(now);
        }
        if self.round.map(|round| round.every) != wanted.sample {
            self.round = wanted.sample.map(|every| Round {
                every,
                next: now + every,
                last: None,
            });
        }
        self.contested.clone_from(&wanted.contested);
        let contested = &self.contested;
        self.defended
            .retain(|vip, next| contested.contains(vip) || now < *next);
        for vip in contested {
            self.defended.entry(*vip).or_insert(now);
        }
        self.handle_timeout(now);
    }

    /// For those that were announced often enough.
    fn reschedule(&mut self, now: Timestamp) {
        for (place, plan) in self.plans.iter_mut().filter(|(_, plan)| plan.left == 0) {
            if let Some(next) = plan.next.take() {
                self.again.remove(next, *place);
            }
            if let Some(refresh) = self.refresh {
                plan.next = Some(now + refresh);
                self.again.add(now + refresh, *place);
            }
        }
    }

    /// Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.defend(now);
        for place in self.new.take(now) {
            self.announce(place, now);
        }
        for place in self.again.take(now) {
            self.announce(place, now);
        }
        self.go_round(now);
    }

    /// Puts VIPs that are contested before all others that are not new.
    fn defend(&mut self, now: Timestamp) {
        const FIRST: Timestamp = Timestamp::since_boot(Duration::ZERO);
        for (vip, next) in &mut self.defended {
            if now < *next || !self.contested.contains(vip) {
                continue;
            }
            *next = now + DEFEND_EVERY;
            for link in &self.links {
                let place = (*link, *vip);
                let Some(plan) = self.plans.get_mut(&place).filter(|plan| !plan.is_new()) else {
                    continue;
                };
                if let Some(next) = plan.next.replace(FIRST) {
                    self.again.remove(next, place);
                }
                self.again.add(FIRST, place);
            }
        }
    }

    /// Tells the next few of all.
    fn go_round(&mut self, now: Timestamp) {
        let Some(round) = self.round.filter(|round| now >= round.next) else {
            return;
        };
        let after = round.last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.plans.range((after, Bound::Unbounded));
        let told = rest.chain(&self.plans).take(SAMPLE.min(self.plans.len()));
        let told: Vec<(Place, Mac)> = told.map(|(place, plan)| (*place, plan.mac)).collect();
        self.round = Some(Round {
            next: now + round.every,
            last: told.last().map(|(place, _)| *place),
            ..round
        });
        for (place, mac) in told {
            self.send(place, mac);
        }
    }

    fn announce(&mut self, place: Place, now: Timestamp) {
        let Some(plan) = self.plans.get_mut(&place) else {
            return;
        };
        plan.left = plan.left.saturating_sub(1);
        let again = if plan.left > 0 {
            Some(EVERY)
        } else {
            self.refresh
        };
        plan.next = again.map(|again| now + again);
        if let Some(next) = plan.next {
            self.again.add(next, place);
        }
        let mac = plan.mac;
        self.send(place, mac);
    }

    fn send(&mut self, (link, vip): Place, mac: Mac) {
        let frames = wire::announcements(vip, mac);
        let sends = frames.into_iter().map(|frame| Output::Send { link, frame });
        self.out.extend(sends);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; none: there is nothing to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let round = self.round.filter(|_| !self.plans.is_empty());
        let contested = self.defended.iter();
        let contested = contested.filter(|(vip, _)| self.contested.contains(*vip));
        let contested = contested.map(|(_, next)| *next).min();
        let round = round.map(|round| round.next);
        let all = [self.new.deadline(), self.again.deadline(), round, contested];
        all.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
