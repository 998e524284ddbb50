//! One link: when this node advertises itself and asks others to, and which
//! of them is the neighbour.
//!
//! Call, drain [`Session::poll_output`], sleep until [`Session::deadline`] or a
//! message.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::time::Duration;

use super::wire::{Flaw, Message};
use crate::jitter::Jitter;
use crate::time::Timestamp;

/// The first ones come sooner (RFC 4861 section 10: MAX_INITIAL_RTR_ADVERTISEMENTS,
/// and less than MAX_INITIAL_RTR_ADVERT_INTERVAL apart): the peer calls nobody
/// before it has heard one.
const FIRST_ADVERTISEMENTS: u8 = 3;
const FIRST_EVERY: Duration = Duration::from_secs(2);
/// Afterwards, as routers with such peers do.
const ADVERTISE_EVERY: Duration = Duration::from_secs(10);
/// MAX_RA_DELAY_TIME: many may answer one question.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// MIN_DELAY_BETWEEN_RAS.
const APART: Duration = Duration::from_secs(3);
/// Until somebody is heard: RTR_SOLICITATION_INTERVAL, and after three of them
/// less often, so that it goes on where a link comes up before its router.
const SOLICIT_EVERY: Duration = Duration::from_secs(4);
const SOLICITATIONS: u8 = 3;
const SOLICIT_SELDOM: Duration = Duration::from_secs(30);
/// A neighbour without a session of BGP that was silent for so long may give
/// way to another one: three advertisements that did not come.
const SILENT: Duration = Duration::from_secs(30);
/// So many are remembered; who else there is makes no difference.
const HEARD_MAX: usize = 16;

/// Which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    AllNodes,
    AllRouters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send(To, Vec<u8>),
    /// The neighbour is another one than before.
    Found(Ipv6Addr),
}

#[derive(Debug)]
pub struct Session {
    neighbour: Option<Ipv6Addr>,
    /// All who advertised themselves, and when last.
    heard: BTreeMap<Ipv6Addr, Timestamp>,
    advertise_at: Option<Timestamp>,
    advertised_at: Option<Timestamp>,
    solicit_at: Option<Timestamp>,
    first_advertisements: u8,
    solicitations: u8,
    jitter: Jitter,
    outputs: VecDeque<Output>,
}

impl Session {
    /// Of a link that is not up.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            neighbour: None,
            heard: BTreeMap::new(),
            advertise_at: None,
            advertised_at: None,
            solicit_at: None,
            first_advertisements: 0,
            solicitations: 0,
            jitter: Jitter::new(seed),
            outputs: VecDeque::new(),
        }
    }

    #[must_use]
    pub const fn neighbour(&self) -> Option<Ipv6Addr> {
        self.neighbour
    }

    /// Those besides the neighbour: where a link has two ends, nobody.
    pub fn others(&self) -> impl Iterator<Item = Ipv6Addr> {
        let all = self.heard.keys().copied();
        all.filter(|address| Some(*address) != self.neighbour)
    }

    /// The link is up, perhaps with another machine at its other end.
    pub fn handle_up(&mut self, now: Timestamp) {
        self.first_advertisements = FIRST_ADVERTISEMENTS;
        self.advertise_at = Some(now);
        self.solicitations = SOLICITATIONS;
        self.solicit_at = Some(now);
    }

    /// `in_use`: there is a session of BGP, which finds out by itself whether
    /// its peer is gone.
    pub fn handle_down(&mut self, in_use: bool) {
        (self.advertise_at, self.solicit_at) = (None, None);
        self.heard.clear();
        if !in_use {
            self.neighbour = None;
        }
    }

    /// Of a link that is up. `from` and `hop_limit`: of the IPv6 header;
    /// `in_use`: as above, and then the neighbour stays.
    ///
    /// # Errors
    /// What is wrong with the message, which changes nothing then.
    pub fn handle_message(
        &mut self,
        bytes: &[u8],
        (from, hop_limit): (Ipv6Addr, u8),
        in_use: bool,
        now: Timestamp,
    ) -> Result<(), Flaw> {
        match Message::decode(bytes, from, hop_limit)? {
            Message::Solicitation => self.answer(now),
            // Whether it is a default router for hosts is not asked here.
            Message::Advertisement { .. } => self.hear(from, in_use, now),
        }
        Ok(())
    }

    fn hear(&mut self, from: Ipv6Addr, in_use: bool, now: Timestamp) {
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&from) {
            self.heard.retain(|_, at| now.since(*at) < SILENT);
            if self.heard.len() >= HEARD_MAX {
                return;
            }
        }
        self.heard.insert(from, now);
        self.solicit_at = None;
        let stays = self.neighbour.is_some_and(|neighbour| {
            let last = self.heard.get(&neighbour);
            in_use || neighbour == from || last.is_some_and(|last| now.since(*last) < SILENT)
        });
        if !stays {
            self.neighbour = Some(from);
            self.outputs.push_back(Output::Found(from));
        }
    }

    /// Section 6.2.6: all are told, a little later, and not too often.
    fn answer(&mut self, now: Timestamp) {
        let Some(planned) = self.advertise_at else {
            return;
        };
        let soon = now + self.jitter.percent(ANSWER_WITHIN, 0, 100);
        let soonest = self
            .advertised_at
            .map_or(soon, |last| (last + APART).max(soon));
        self.advertise_at = Some(planned.min(soonest));
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.solicit_at.is_some_and(|at| at <= now) {
            self.send(To::AllRouters, Message::Solicitation);
            self.solicitations = self.solicitations.saturating_sub(1);
            let every = if self.solicitations == 0 {
                SOLICIT_SELDOM
            } else {
                SOLICIT_EVERY
            };
            self.solicit_at = Some(now + self.jitter.percent(every, 75, 100));
        }
        if self.advertise_at.is_some_and(|at| at <= now) {
            self.send(To::AllNodes, Message::Advertisement { lifetime_s: 0 });
            self.advertised_at = Some(now);
            self.first_advertisements = self.first_advertisements.saturating_sub(1);
            let every = if self.first_advertisements == 0 {
                ADVERTISE_EVERY
            } else {
                FIRST_EVERY
            };
            self.advertise_at = Some(now + self.jitter.percent(every, 75, 100));
        }
    }

    fn send(&mut self, to: To, message: Message) {
        self.outputs.push_back(Output::Send(to, message.encode()));
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.advertise_at.into_iter().chain(self.solicit_at).min()
    }

    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
