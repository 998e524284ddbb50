//! What is said on one TCP connection: OPEN, KEEPALIVE, and then routes (RFC
//! 4271 section 8, from OpenSent on). Connecting is not here.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use super::config::Config;
use super::wire::{
    self, Capability, Context, Family, GracefulRestart, Kind, Message, Notification, Open,
    Received, RouteRefresh,
};
use crate::jitter::Jitter;
use crate::time::Timestamp;

/// For an OPEN to come (RFC 4271 section 8.2.2: "a large value").
const LARGE_HOLD: Duration = Duration::from_secs(240);

#[derive(Debug)]
pub struct Connection {
    config: Config,
    phase: Phase,
    /// What has come in of a message that is not whole yet.
    received: Vec<u8>,
    hold: Option<Timestamp>,
    keepalive: Option<Timestamp>,
    jitter: Jitter,
    events: VecDeque<Event>,
    pub(super) counters: Counters,
}

#[derive(Debug)]
enum Phase {
    OpenSent,
    OpenConfirm(Agreed),
    Established(Agreed),
    Ended,
}

/// What both OPENs together mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub context: Context,
    pub remote_as: u32,
    pub remote_id: Ipv4Addr,
    /// Zero: there is none.
    pub hold: Duration,
    pub keepalive: Duration,
    /// The peer may ask for all routes again, and how.
    pub refresh: bool,
    pub enhanced_refresh: bool,
    /// IPv4 routes may have IPv6 next hops.
    pub extended_next_hop: bool,
    /// As the peer said it.
    pub graceful: Option<GracefulRestart>,
}

/// In the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Send(Vec<u8>),
    /// The peer's OPEN was good; a KEEPALIVE is awaited.
    Confirmed,
    Established,
    Refresh(RouteRefresh),
    /// Nothing comes after it: to be closed.
    Ended(End),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// This side ended it, and said why.
    Sent(Notification),
    /// The peer did.
    Received(Notification),
    /// TCP did, from the other side.
    Closed,
    /// This side did without a word.
    Dropped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "sent {notification}"),
            Self::Received(notification) => write!(f, "received {notification}"),
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::Dropped => {
                f.write_str("ended without a word, for a restart or a newer connection")
            }
        }
    }
}

/// Messages and prefixes, since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub opens: Both,
    pub updates: Both,
    pub notifications: Both,
    pub keepalives: Both,
    pub refreshes: Both,
    /// Told to us, and taken back.
    pub prefixes_received: u64,
    pub prefixes_withdrawn: u64,
    /// UPDATEs with something wrong (RFC 7606).
    pub treated_as_withdraw: u64,
    pub attributes_discarded: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both {
    pub sent: u64,
    pub received: u64,
}

impl Both {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
    }
}

impl Counters {
    pub(super) fn add(&mut self, other: &Self) {
        self.opens.add(other.opens);
        self.updates.add(other.updates);
        self.notifications.add(other.notifications);
        self.keepalives.add(other.keepalives);
        self.refreshes.add(other.refreshes);
        self.prefixes_received += other.prefixes_received;
        self.prefixes_withdrawn += other.prefixes_withdrawn;
        self.treated_as_withdraw += other.treated_as_withdraw;
        self.attributes_discarded += other.attributes_discarded;
    }

    /// All messages.
    #[must_use]
    pub fn total(&self) -> Both {
        let mut total = Both::default();
        let all = [
            self.opens,
            self.updates,
            self.notifications,
            self.keepalives,
            self.refreshes,
        ];
        all.into_iter().for_each(|both| total.add(both));
        total
    }
}

impl Connection {
    /// One that has just been made, from either side.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Timestamp) -> Self {
        let open = config.open().encode();
        let mut connection = Self {
            config,
            phase: Phase::OpenSent,
            received: Vec::new(),
            hold: Some(now + LARGE_HOLD),
            keepalive: None,
            jitter: Jitter::new(seed),
            events: VecDeque::new(),
            counters: Counters::default(),
        };
        connection.counters.opens.sent += 1;
        connection.events.push_back(Event::Send(open));
        connection
    }

    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        matches!(self.phase, Phase::OpenConfirm(_))
    }

    #[must_use]
    pub const fn agreed(&self) -> Option<&Agreed> {
        match &self.phase {
            Phase::OpenConfirm(agreed) | Phase::Established(agreed) => Some(agreed),
            Phase::OpenSent | Phase::Ended => None,
        }
    }

    pub fn handle_bytes(&mut self, bytes: &[u8], now: Timestamp) {
        self.received.extend_from_slice(bytes);
        let mut received = core::mem::take(&mut self.received);
        let mut used = 0;
        while !matches!(self.phase, Phase::Ended) {
            let context = self.agreed().map(|agreed| &agreed.context);
            let context = context.cloned().unwrap_or_default();
            let rest = received.get(used..).unwrap_or_default();
            match wire::frame(rest, &context) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    used += message.len();
                    match Message::decode(&message, &context) {
                        Ok(message) => self.handle_message(message, now),
                        Err(answer) => self.end(answer),
                    }
                }
                Err(answer) => self.end(answer),
            }
        }
        received.drain(..used);
        self.received = received;
    }

    pub fn handle_closed(&mut self) {
        self.over(End::Closed);
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.hold.is_some_and(|hold| hold <= now) {
            return self.end(Notification::new(Kind::HOLD_TIMER));
        }
        if self.keepalive.is_some_and(|keepalive| keepalive <= now) {
            self.send_keepalive(now);
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.hold.into_iter().chain(self.keepalive).min()
    }

    #[must_use]
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends it, and says why.
    pub fn end(&mut self, notification: Notification) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.counters.notifications.sent += 1;
        self.events.push_back(Event::Send(notification.encode()));
        self.over(End::Sent(notification));
    }

    pub(super) fn send_update(&mut self, bytes: Vec<u8>) {
        self.counters.updates.sent += 1;
        self.events.push_back(Event::Send(bytes));
    }

    pub(super) fn send_refresh(&mut self, refresh: RouteRefresh) {
        self.counters.refreshes.sent += 1;
        self.events.push_back(Event::Send(refresh.encode()));
    }

    fn over(&mut self, end: End) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.phase = Phase::Ended;
        self.hold = None;
        self.keepalive = None;
        self.events.push_back(Event::Ended(end));
    }

    fn handle_message(&mut self, message: Message, now: Timestamp) {
        if let Message::Notification(notification) = message {
            self.counters.notifications.received += 1;
            return self.over(End::Received(notification));
        }
        match (&self.phase, message) {
            (Phase::OpenSent, Message::Open(open)) => self.handle_open(&open, now),
            (Phase::OpenConfirm(agreed), Message::Keepalive) => {
                self.counters.keepalives.received += 1;
                self.phase = Phase::Established(agreed.clone());
                self.restart_hold(now);
                self.events.push_back(Event::Established);
            }
            (Phase::Established(_), Message::Keepalive) => {
                self.counters.keepalives.received += 1;
                self.restart_hold(now);
            }
            (Phase::Established(_), Message::Update(update)) => {
                self.restart_hold(now);
                self.count(&update);
            }
            (Phase::Established(_), Message::RouteRefresh(refresh)) => {
                self.counters.refreshes.received += 1;
                self.restart_hold(now);
                self.events.push_back(Event::Refresh(refresh));
            }
            // RFC 6608: what was not expected, by state, with its type.
            (Phase::OpenSent, other) => self.unexpected(Kind::FSM_OPEN_SENT, &other),
            (Phase::OpenConfirm(_), other) => self.unexpected(Kind::FSM_OPEN_CONFIRM, &other),
            (Phase::Established(_), other) => self.unexpected(Kind::FSM_ESTABLISHED, &other),
            (Phase::Ended, _) => {}
        }
    }

    fn unexpected(&mut self, kind: Kind, message: &Message) {
        self.end(Notification::with(kind, &[message.number()]));
    }

    fn handle_open(&mut self, open: &Open, now: Timestamp) {
        self.counters.opens.received += 1;
        match Agreed::of(&self.config, open) {
            Ok(agreed) => {
                self.phase = Phase::OpenConfirm(agreed);
                self.restart_hold(now);
                self.send_keepalive(now);
                self.events.push_back(Event::Confirmed);
            }
            Err(answer) => self.end(answer),
        }
    }

    fn count(&mut self, received: &Received) {
        self.counters.updates.received += 1;
        let (announced, withdrawn) = received.update.counts();
        let counters = &mut self.counters;
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        match received.flaw.map(|flaw| flaw.treatment) {
            Some(wire::Treatment::Withdraw) => {
                counters.treated_as_withdraw += 1;
                counters.prefixes_withdrawn += number(announced);
            }
            Some(wire::Treatment::Discard) => {
                counters.attributes_discarded += 1;
                counters.prefixes_received += number(announced);
            }
            None => counters.prefixes_received += number(announced),
        }
        counters.prefixes_withdrawn += number(withdrawn);
    }

    fn restart_hold(&mut self, now: Timestamp) {
        let hold = self.agreed().map(|agreed| agreed.hold);
        self.hold = hold.filter(|hold| !hold.is_zero()).map(|hold| now + hold);
    }

    fn send_keepalive(&mut self, now: Timestamp) {
        self.counters.keepalives.sent += 1;
        self.events.push_back(Event::Send(wire::keepalive()));
        let every = self.agreed().map_or(Duration::ZERO, |a| a.keepalive);
        // RFC 4271 section 10: 75 to 100 percent.
        let every = self.jitter.percent(every, 75, 100);
        self.keepalive = (!every.is_zero()).then(|| now + every);
    }
}

impl Agreed {
    /// RFC 4271 section 6.2, and each capability's own RFC.
    fn of(config: &Config, open: &Open) -> Result<Self, Notification> {
        let remote_as = open.asn();
        if !config.remote_as.fits(config.local_as, remote_as) {
            return Err(Notification::new(Kind::BAD_PEER_AS));
        }
        let internal = remote_as == config.local_as;
        // RFC 6286: unique within an AS.
        if internal && open.id == config.id {
            return Err(Notification::new(Kind::BAD_IDENTIFIER));
        }
        let families = families(config, open);
        if families.is_empty() {
            let wanted = config.families.iter().copied();
            return Err(Notification::lacking(wanted));
        }
        let hold_s = config.hold_s.min(open.hold_s);
        let third = Duration::from_secs(hold_s.into()) / 3;
        let asked = config.keepalive_s.filter(|seconds| *seconds > 0);
        let asked = asked.map_or(third, |seconds| Duration::from_secs(seconds.into()));
        let has = |capability: &Capability| open.capabilities.contains(capability);
        let next_hop = (Family::IPV4, Family::IPV6.afi);
        let extended_next_hop = open.capabilities.iter().any(
            |capability| matches!(capability, Capability::ExtendedNextHop(all) if all.contains(&next_hop)),
        );
        let graceful = open.capabilities.iter().find_map(|c| match c {
            Capability::GracefulRestart(restart) => Some(restart.clone()),
            _ => None,
        });
        let as4 = |capability: &Capability| matches!(capability, Capability::As4(_));
        Ok(Self {
            context: Context {
                as4: open.capabilities.iter().any(as4),
                internal,
                families,
                extended: has(&Capability::ExtendedMessage),
            },
            remote_as,
            remote_id: open.id,
            hold: Duration::from_secs(hold_s.into()),
            keepalive: asked.min(third),
            refresh: has(&Capability::RouteRefresh),
            enhanced_refresh: has(&Capability::EnhancedRouteRefresh),
            extended_next_hop,
            graceful,
        })
    }
}

/// Those of both. Who speaks of none means IPv4 (RFC 4760).
fn families(config: &Config, open: &Open) -> Vec<Family> {
    let capabilities = open.capabilities.iter();
    let mut said: Vec<Family> = capabilities
        .filter_map(|capability| match capability {
            Capability::MultiProtocol(family) => Some(*family),
            _ => None,
        })
        .collect();
    if said.is_empty() {
        said.push(Family::IPV4);
    }
    let mine = config.families.iter().copied();
    mine.filter(|family| said.contains(family)).collect()
}
