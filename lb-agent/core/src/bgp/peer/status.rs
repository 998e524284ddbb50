//! How a peer is, for people and metrics.

use alloc::string::String;
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use super::super::connection::Counters;
use super::super::rib::RibOut;
use super::{Peer, Reach, Side};
use crate::time::Timestamp;

/// RFC 4271 section 8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Idle,
    Connect,
    /// Waits until it may connect again.
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub at: Timestamp,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    pub since: Timestamp,
    /// Of this session, or of why there is none.
    pub last_error: Option<LastError>,
    pub remote: Option<(u32, Ipv4Addr)>,
    pub hold: Option<Duration>,
    pub counters: Counters,
    /// Sessions that were lost.
    pub flaps: u64,
    /// What the peer has been told in this session.
    pub rib: RibOut,
    /// Those that wait for a session.
    pub pending: usize,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their names in the RFC.
        write!(f, "{self:?}")
    }
}

impl Peer {
    #[must_use]
    pub fn state(&self) -> State {
        if self.established.is_some() {
            return State::Established;
        }
        let mut links = Side::BOTH.into_iter().filter_map(|side| self.link(side));
        let confirmed = links.clone().any(|link| link.connection.is_confirmed());
        if confirmed {
            State::OpenConfirm
        } else if links.next().is_some() {
            State::OpenSent
        } else if self.dialing {
            State::Connect
        } else if self.stopped || self.reach == Reach::Down {
            State::Idle
        } else {
            State::Active
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let agreed = self.agreed();
        Status {
            state: self.state(),
            since: self.since,
            last_error: self.last_error.clone(),
            remote: agreed.map(|agreed| (agreed.remote_as, agreed.remote_id)),
            hold: agreed.map(|agreed| agreed.hold),
            counters: self.counters,
            flaps: self.flaps,
            pending: if agreed.is_some() {
                0
            } else {
                self.wanted.len()
            },
            rib: self.rib.clone(),
        }
    }
}
