//! What is due, and no more of it at a time than is good for the link.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::time::Timestamp;

/// A VIP on a link.
pub(super) type Place = (u32, IpAddr);

/// Places that are to be announced, the one that is due first before others.
#[derive(Debug)]
pub(super) struct Lane {
    due: BTreeSet<(Timestamp, Place)>,
    /// At most so many...
    batch: usize,
    /// ...in such a time.
    tick: Duration,
    /// Not before this moment.
    paced: Timestamp,
}

impl Lane {
    pub(super) const fn new(batch: usize, tick: Duration) -> Self {
        Self {
            due: BTreeSet::new(),
            batch,
            tick,
            paced: Timestamp::since_boot(Duration::ZERO),
        }
    }

    pub(super) fn add(&mut self, at: Timestamp, place: Place) {
        self.due.insert((at, place));
    }

    pub(super) fn remove(&mut self, at: Timestamp, place: Place) {
        self.due.remove(&(at, place));
    }

    /// Takes out what may be announced now.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Place> {
        let mut taken = Vec::new();
        if now < self.paced {
            return taken;
        }
        while taken.len() < self.batch
            && self.due.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, place)) = self.due.pop_first()
        {
            taken.push(place);
        }
        if !taken.is_empty() {
            self.paced = now + self.tick;
        }
        taken
    }

    /// When to call [`Self::take`]; none: there is nothing in it.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let (at, _) = self.due.first()?;
        Some((*at).max(self.paced))
    }
}
