//! A peer: connections to it from both sides, of which one stays; the routes
//! that it is told; what becomes of them when either side goes.
//!
//! Call, drain [`Peer::poll_output`], sleep until [`Peer::deadline`] or input.
//! Routes of the peer are not kept, so there is nothing to do as the receiving
//! side of a graceful restart (RFC 4724).

mod status;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::config::{Config, Endpoints};
use super::connection::{Agreed, Connection, Counters, End, Event};
use super::rib::{self, RibOut, Routes, Session};
use super::wire::{Family, Kind, Notification, RefreshKind, RouteRefresh, Update};
use crate::jitter::Jitter;
use crate::time::Timestamp;

pub use status::{LastError, State, Status};

/// After the first failure; doubled until the longest.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(32);
/// For BFD to come up before a peer is called. Some peers take a session that
/// opens before BFD is up for one that fails at once. One that speaks no BFD is
/// called then all the same, as the other implementations do.
const BFD_AWAITED: Duration = Duration::from_secs(3);
/// For BFD to come up again after it went down.
const BFD_MISSED: Duration = Duration::from_secs(30);

/// Who made the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// This node.
    Active,
    /// The peer.
    Passive,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Active, Self::Passive];

    const fn other(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be answered by [`Peer::handle_connected`] or
    /// [`Peer::handle_connect_failed`].
    Connect,
    Send(Side, Vec<u8>),
    /// After what was to be sent.
    Close(Side),
    Up,
    Down(String),
}

/// What BFD knows of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nobody watches, or somebody at the peer ended that.
    #[default]
    Unwatched,
    /// It has not come up yet.
    Awaited,
    Up,
    /// It was up. That means nothing where the peer had ended it before.
    Down,
}

/// How a peer is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is told why, and forgets the routes.
    Shutdown(String),
    /// It is configured no more.
    Deconfigured,
    /// It is configured differently.
    Changed,
    /// Without a word: it keeps the routes, if it agreed to that.
    Restart,
}

#[derive(Debug)]
pub struct Peer {
    config: Config,
    links: [Option<Link>; 2],
    established: Option<Side>,
    /// A connection is being made.
    dialing: bool,
    retry_at: Option<Timestamp>,
    backoff: Duration,
    wanted: Routes,
    rib: RibOut,
    draining: Option<Draining>,
    reach: Reach,
    /// Not called before, as BFD is not up.
    call_at: Option<Timestamp>,
    stopped: bool,
    jitter: Jitter,
    outputs: VecDeque<Output>,
    counters: Counters,
    since: Timestamp,
    flaps: u64,
    last_error: Option<LastError>,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    endpoints: Endpoints,
}

/// Routes that go: told with GRACEFUL_SHUTDOWN until then.
#[derive(Debug)]
struct Draining {
    routes: Routes,
    /// None: they are gone.
    until: Option<Timestamp>,
}

impl Peer {
    /// Connects at once.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Timestamp) -> Self {
        Self {
            config,
            links: [None, None],
            established: None,
            dialing: false,
            retry_at: Some(now),
            backoff: RETRY,
            wanted: Routes::new(),
            rib: RibOut::default(),
            draining: None,
            reach: Reach::Unwatched,
            call_at: None,
            stopped: false,
            jitter: Jitter::new(seed),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            since: now,
            flaps: 0,
            last_error: None,
        }
    }

    /// The routes that the peer should have. `leaving`: this node is to be left
    /// alone, so those that it has no more are told as going first.
    pub fn advertise(&mut self, routes: Routes, leaving: bool, now: Timestamp) {
        if !leaving {
            self.draining = None;
        } else if self.draining.is_none() {
            self.draining = Some(Draining {
                routes: rib::leaving(&self.wanted, &routes),
                until: Some(now + self.config.drain),
            });
        }
        self.wanted = routes;
        self.tell();
    }

    /// Whether a connection that the peer makes now is of use. If not, it is
    /// answered with [`Peer::collision`].
    #[must_use]
    pub fn may_accept(&self) -> bool {
        // RFC 4724 section 4.2: a peer that restarts gracefully comes anew
        // before the old connection is known to be dead.
        let restarts = |agreed: &Agreed| agreed.graceful.is_some();
        !self.stopped && self.agreed().is_none_or(restarts)
    }

    /// What to answer to a connection that is not accepted.
    #[must_use]
    pub fn collision() -> Vec<u8> {
        Notification::new(Kind::COLLISION).encode()
    }

    /// A connection that the same side made before is gone with this one.
    pub fn handle_connected(&mut self, side: Side, endpoints: Endpoints, now: Timestamp) {
        if side == Side::Active {
            self.dialing = false;
            if self.stopped || self.established.is_some() {
                self.outputs.push_back(Output::Close(side));
                return;
            }
        }
        if let Some(established) = self.established.filter(|other| *other != side) {
            self.drop_link(established, now);
        }
        // The one that the peer made before is closed with it.
        self.ended(side, &End::Dropped, now);
        let connection = Connection::new(self.config.clone(), self.jitter.number(), now);
        *self.slot(side) = Some(Link {
            connection,
            endpoints,
        });
        self.drain_link(side, now);
    }

    /// `reason`: in words.
    pub fn handle_connect_failed(&mut self, reason: &str, now: Timestamp) {
        self.dialing = false;
        self.fail(format!("cannot connect: {reason}"), now);
    }

    pub fn handle_bytes(&mut self, side: Side, bytes: &[u8], now: Timestamp) {
        if let Some(link) = self.slot(side) {
            link.connection.handle_bytes(bytes, now);
        }
        self.drain_link(side, now);
    }

    pub fn handle_closed(&mut self, side: Side, now: Timestamp) {
        if let Some(link) = self.slot(side) {
            link.connection.handle_closed();
        }
        self.drain_link(side, now);
    }

    /// What BFD found. A peer that it lost is not called before it is found
    /// again (RFC 5882 section 4.3), or may have ceased to speak BFD.
    pub fn handle_bfd(&mut self, reach: Reach, now: Timestamp) {
        let before = core::mem::replace(&mut self.reach, reach);
        if before == reach {
            return;
        }
        match reach {
            Reach::Awaited => self.call_at = Some(now + BFD_AWAITED),
            Reach::Unwatched | Reach::Up => {
                self.call_at = None;
                self.backoff = RETRY;
                if self.idle() {
                    self.retry_at = Some(now);
                }
            }
            // The peer's administrator had ended the session, and begins anew.
            Reach::Down if before == Reach::Unwatched => {}
            Reach::Down => {
                self.call_at = Some(now + BFD_MISSED);
                self.end_all(&Notification::new(Kind::BFD_DOWN), now);
            }
        }
        self.handle_timeout(now);
    }

    /// Where the peer is has become known, or another place.
    pub fn call_now(&mut self, now: Timestamp) {
        self.backoff = RETRY;
        if self.idle() {
            self.retry_at = Some(now);
        }
        self.handle_timeout(now);
    }

    #[must_use]
    pub const fn is_established(&self) -> bool {
        self.established.is_some()
    }

    pub fn stop(&mut self, stop: &Stop, now: Timestamp) {
        self.stopped = true;
        self.retry_at = None;
        let notification = match stop {
            Stop::Shutdown(text) => Notification::communicating(Kind::SHUTDOWN, text),
            Stop::Deconfigured => Notification::new(Kind::DECONFIGURED),
            Stop::Changed => Notification::new(Kind::CONFIGURATION_CHANGE),
            Stop::Restart => {
                for side in Side::BOTH {
                    self.drop_link(side, now);
                }
                return;
            }
        };
        self.end_all(&notification, now);
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        for side in Side::BOTH {
            if let Some(link) = self.slot(side) {
                link.connection.handle_timeout(now);
            }
            self.drain_link(side, now);
        }
        let draining = self.draining.as_mut();
        let over = draining.and_then(|draining| draining.until.take_if(|until| *until <= now));
        if over.is_some() {
            self.tell();
        }
        if self.idle() && self.may_call_at().is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.dialing = true;
            self.since = now;
            self.outputs.push_back(Output::Connect);
        }
    }

    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let links = self.links.iter().flatten();
        let timers = links.filter_map(|link| link.connection.deadline());
        let retry = self.may_call_at().filter(|_| self.idle());
        let drained = self.draining.as_ref().and_then(|draining| draining.until);
        timers.chain(retry).chain(drained).min()
    }

    /// Nothing is under way, and something may be.
    fn idle(&self) -> bool {
        let quiet = self.links.iter().all(Option::is_none);
        quiet && !self.dialing && !self.stopped
    }

    fn may_call_at(&self) -> Option<Timestamp> {
        let retry_at = self.retry_at?;
        Some(self.call_at.map_or(retry_at, |at| at.max(retry_at)))
    }

    const fn slot(&mut self, side: Side) -> &mut Option<Link> {
        let [active, passive] = &mut self.links;
        match side {
            Side::Active => active,
            Side::Passive => passive,
        }
    }

    const fn link(&self, side: Side) -> Option<&Link> {
        let [active, passive] = &self.links;
        match side {
            Side::Active => active.as_ref(),
            Side::Passive => passive.as_ref(),
        }
    }

    fn agreed(&self) -> Option<&Agreed> {
        self.link(self.established?)?.connection.agreed()
    }

    /// Does what a connection says, in order.
    fn drain_link(&mut self, side: Side, now: Timestamp) {
        while let Some(link) = self.slot(side) {
            let Some(event) = link.connection.poll() else {
                let counters = core::mem::take(&mut link.connection.counters);
                self.counters.add(&counters);
                return;
            };
            match event {
                Event::Send(bytes) => self.outputs.push_back(Output::Send(side, bytes)),
                Event::Confirmed => self.resolve_collision(side, now),
                Event::Established => self.establish(side, now),
                Event::Refresh(refresh) => self.refresh(refresh),
                Event::Ended(end) => {
                    self.outputs.push_back(Output::Close(side));
                    self.ended(side, &end, now);
                }
            }
        }
    }

    /// RFC 4271 section 6.8: of two connections, the one that the side with the
    /// higher identifier made stays.
    fn resolve_collision(&mut self, side: Side, now: Timestamp) {
        let other = side.other();
        let collides = self.established == Some(other)
            || self
                .link(other)
                .is_some_and(|l| l.connection.is_confirmed());
        let agreed = self.link(side).and_then(|l| l.connection.agreed());
        let Some(agreed) = agreed.filter(|_| collides) else {
            return;
        };
        // RFC 6286: of equal ones, the AS decides.
        let mine = (self.config.id, self.config.local_as);
        let stays = if self.established == Some(other) {
            other
        } else if mine > (agreed.remote_id, agreed.remote_as) {
            Side::Active
        } else {
            Side::Passive
        };
        let goes = stays.other();
        if let Some(link) = self.slot(goes) {
            link.connection.end(Notification::new(Kind::COLLISION));
        }
        // The one that this is about is being drained already.
        if goes != side {
            self.drain_link(goes, now);
        }
    }

    fn establish(&mut self, side: Side, now: Timestamp) {
        self.established = Some(side);
        self.since = now;
        self.backoff = RETRY;
        self.retry_at = None;
        self.last_error = None;
        // The other side has seen our OPEN, so this is said once.
        if let Some(graceful) = &mut self.config.graceful {
            graceful.restarted = false;
        }
        let other = side.other();
        if let Some(link) = self.slot(other) {
            link.connection.end(Notification::new(Kind::COLLISION));
        }
        self.drain_link(other, now);
        self.outputs.push_back(Output::Up);
        self.rib = RibOut::default();
        self.tell_now();
        for family in self.families() {
            self.send(&Update::end_of_rib(family));
        }
    }

    fn families(&self) -> Vec<Family> {
        let agreed = self.agreed();
        agreed.map_or_else(Vec::new, |agreed| agreed.context.families.clone())
    }

    /// The peer wants to hear everything of a family again.
    fn refresh(&mut self, RouteRefresh { family, kind }: RouteRefresh) {
        if kind != RefreshKind::Request || !self.families().contains(&family) {
            return;
        }
        let enhanced = self.agreed().is_some_and(|agreed| agreed.enhanced_refresh);
        let mark = |peer: &mut Self, kind| {
            let side = peer.established.filter(|_| enhanced);
            if let Some(link) = side.and_then(|side| peer.slot(side).as_mut()) {
                link.connection.send_refresh(RouteRefresh { family, kind });
            }
        };
        mark(self, RefreshKind::Begin);
        self.rib.forget(family);
        self.tell_now();
        mark(self, RefreshKind::End);
    }

    /// Tells what has changed.
    fn tell(&mut self) {
        self.tell_now();
        if let Some(side) = self.established {
            self.flush(side);
        }
    }

    fn tell_now(&mut self) {
        let going = self.draining.as_ref();
        let going = going.filter(|draining| draining.until.is_some());
        let routes = match going {
            Some(draining) => {
                let mut all = draining.routes.clone();
                for (prefix, route) in &self.wanted {
                    all.insert(*prefix, route.clone());
                }
                all
            }
            None => self.wanted.clone(),
        };
        let mut rib = core::mem::take(&mut self.rib);
        let session = self.session();
        let updates = session.map(|session| rib.update(&routes, &session));
        self.rib = rib;
        for update in updates.into_iter().flatten() {
            self.send(&update);
        }
    }

    fn session(&self) -> Option<Session<'_>> {
        let link = self.link(self.established?)?;
        Some(Session {
            local_as: self.config.local_as,
            agreed: link.connection.agreed()?,
            endpoints: &link.endpoints,
        })
    }

    fn send(&mut self, update: &Update) {
        let Some(side) = self.established else {
            return;
        };
        if let Some(link) = self.slot(side) {
            let as4 = link.connection.agreed().is_some_and(|a| a.context.as4);
            link.connection.send_update(update.encode(as4));
        }
    }

    /// What an established connection has to send, and nothing else.
    fn flush(&mut self, side: Side) {
        // Only messages wait there: whatever else there was is drained by then.
        while let Some(Event::Send(bytes)) =
            self.slot(side).as_mut().and_then(|l| l.connection.poll())
        {
            self.outputs.push_back(Output::Send(side, bytes));
        }
        if let Some(link) = self.slot(side) {
            let counters = core::mem::take(&mut link.connection.counters);
            self.counters.add(&counters);
        }
    }

    fn end_all(&mut self, notification: &Notification, now: Timestamp) {
        for side in Side::BOTH {
            if let Some(link) = self.slot(side) {
                link.connection.end(notification.clone());
            }
            self.drain_link(side, now);
        }
    }

    fn drop_link(&mut self, side: Side, now: Timestamp) {
        if self.link(side).is_some() {
            self.outputs.push_back(Output::Close(side));
            self.ended(side, &End::Dropped, now);
        }
    }

    fn ended(&mut self, side: Side, end: &End, now: Timestamp) {
        let Some(link) = self.slot(side).take() else {
            return;
        };
        self.counters.add(&link.connection.counters);
        let was_up = self.established.take_if(|up| *up == side).is_some();
        if was_up {
            self.flaps += 1;
            self.rib = RibOut::default();
            self.outputs.push_back(Output::Down(end.to_string()));
        }
        // The other connection goes on, and a collision is no failure.
        if was_up || self.link(side.other()).is_none() {
            self.fail(end.to_string(), now);
        }
    }

    fn fail(&mut self, text: String, now: Timestamp) {
        self.since = now;
        self.last_error = Some(LastError { at: now, text });
        if self.stopped {
            return;
        }
        let after = match self.config.connect_retry {
            Some(fixed) => fixed,
            None => {
                let after = self.backoff;
                self.backoff = (self.backoff * 2).min(RETRY_LONGEST);
                after
            }
        };
        // RFC 4271 section 10.
        self.retry_at = Some(now + self.jitter.percent(after, 75, 100));
    }
}
