//! A session with one peer (RFC 5880 section 6.8).
//!
//! Call, drain [`Session::poll_output`], sleep until [`Session::deadline`] or a
//! packet.

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use core::time::Duration;

use super::wire::{Diagnostic, LEN, Packet, State};
use crate::jitter::Jitter;
use crate::time::Timestamp;

/// A session that is not up is not to be a load (section 6.8.3).
const SLOW: Duration = Duration::from_secs(1);
/// For the peer's next packet, by which the session before this one is known.
const LISTEN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often this side wants to send.
    pub desired_tx: Duration,
    /// And how often it can take packets.
    pub required_rx: Duration,
    /// So many missing packets are a failure.
    pub multiplier: u8,
    /// The other side speaks first.
    pub passive: bool,
    /// What this session is about goes on without whoever computes it: the
    /// session of the one before is taken up, if the peer still has it.
    pub resumes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send([u8; LEN]),
    Up,
    /// The peer is not there any more, and why.
    Down(Diagnostic),
    /// Somebody at the peer wants no session, which says nothing about it.
    AdminDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    pub since: Timestamp,
    pub diagnostic: Diagnostic,
    /// As the peer said last; down, if it says nothing.
    pub remote_state: State,
    pub remote_diagnostic: Diagnostic,
    /// As they are now.
    pub transmit: Duration,
    pub detection: Duration,
    pub sent: u64,
    pub received: u64,
    pub ups: u64,
    pub downs: u64,
}

#[derive(Debug)]
pub struct Session {
    config: Config,
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    remote: Option<Remote>,
    /// A poll is under way, until its end is heard.
    polling: bool,
    /// What the peer goes by until then: it may not know other intervals yet
    /// (section 6.8.3).
    known: Intervals,
    /// The session that the peer has may be taken up.
    listening: bool,
    send_at: Option<Timestamp>,
    detect_at: Option<Timestamp>,
    jitter: Jitter,
    outputs: VecDeque<Output>,
    status: Status,
}

#[derive(Clone, Copy, Debug)]
struct Intervals {
    desired_tx: Duration,
    required_rx: Duration,
}

impl Intervals {
    const fn of(config: &Config) -> Self {
        Self {
            desired_tx: config.desired_tx,
            required_rx: config.required_rx,
        }
    }
}

/// What the last packet said.
#[derive(Clone, Copy, Debug)]
struct Remote {
    discriminator: u32,
    state: State,
    desired_tx: Duration,
    required_rx: Duration,
    multiplier: u8,
    demand: bool,
}

impl Session {
    /// `discriminator`: not 0, and of no other session here.
    #[must_use]
    pub fn new(config: Config, discriminator: u32, seed: u64, now: Timestamp) -> Self {
        let status = Status {
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::None,
            remote_state: State::Down,
            remote_diagnostic: Diagnostic::None,
            transmit: SLOW,
            detection: Duration::ZERO,
            sent: 0,
            received: 0,
            ups: 0,
            downs: 0,
        };
        Self {
            config,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::None,
            remote: None,
            polling: false,
            known: Intervals::of(&config),
            listening: config.resumes,
            send_at: (!config.passive).then_some(if config.resumes { now + LISTEN } else { now }),
            detect_at: None,
            jitter: Jitter::new(seed),
            outputs: VecDeque::new(),
            status,
        }
    }

    #[must_use]
    pub const fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// Goes on with other intervals, which the peer is told by a poll.
    pub fn configure(&mut self, config: Config, now: Timestamp) {
        self.config = config;
        if self.state != State::Up {
            self.known = Intervals::of(&config);
            return;
        }
        // What is slower holds for this side once the peer knows it.
        self.known = Intervals {
            desired_tx: self.known.desired_tx.min(config.desired_tx),
            required_rx: self.known.required_rx.max(config.required_rx),
        };
        self.polling = true;
        if self.may_send() {
            self.send_soon(now);
        }
    }

    /// The packet again, where no answer came.
    pub fn say_again(&mut self, now: Timestamp) {
        if self.may_send() {
            self.send_soon(now);
        }
    }

    /// The peer knows the intervals that hold.
    #[must_use]
    pub const fn is_agreed(&self) -> bool {
        !self.polling
    }

    /// One that is for this session, as its discriminator or its addresses say.
    pub fn handle_packet(&mut self, packet: &Packet, now: Timestamp) {
        let mine = packet.your_discriminator;
        if self.state == State::AdminDown || (mine != 0 && mine != self.discriminator) {
            return;
        }
        self.status.received += 1;
        self.status.remote_state = packet.state;
        self.status.remote_diagnostic = packet.diagnostic;
        let first = self.remote.is_none();
        self.remote = Some(Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            desired_tx: packet.desired_tx,
            required_rx: packet.required_rx,
            multiplier: packet.multiplier,
            demand: packet.demand,
        });
        if packet.r#final && self.polling {
            self.polling = false;
            self.known = Intervals::of(&self.config);
        }
        let listening = core::mem::replace(&mut self.listening, false);
        if listening && mine != 0 && packet.state == State::Up {
            self.change(State::Up, Diagnostic::None, now);
        } else {
            self.react(packet.state, now);
        }
        let detection = self.detection();
        self.detect_at = Some(now + detection);
        self.status.detection = detection;
        self.status.transmit = self.interval();
        if packet.poll {
            // At once, whatever the timers say (section 6.8.7).
            self.send(true);
        } else if first && self.send_at.is_none() {
            self.send_soon(now);
        }
        if self.may_send() {
            // A shorter interval holds from now on.
            let latest = now + self.interval();
            self.send_at = Some(self.send_at.map_or(latest, |at| at.min(latest)));
        } else {
            self.send_at = None;
        }
    }

    /// Section 6.8.6, the state machine.
    fn react(&mut self, remote: State, now: Timestamp) {
        let next = match (self.state, remote) {
            (State::Init | State::Up, State::AdminDown) => {
                self.outputs.push_back(Output::AdminDown);
                self.change(State::Down, Diagnostic::NeighborSignaledDown, now);
                return;
            }
            (State::Down, State::Down) => State::Init,
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => State::Up,
            (State::Up, State::Down) => {
                self.change(State::Down, Diagnostic::NeighborSignaledDown, now);
                return;
            }
            _ => return,
        };
        self.change(next, Diagnostic::None, now);
    }

    fn change(&mut self, state: State, diagnostic: Diagnostic, now: Timestamp) {
        let before = core::mem::replace(&mut self.state, state);
        let administrative = self.outputs.back() == Some(&Output::AdminDown);
        self.diagnostic = diagnostic;
        self.status.state = state;
        self.status.since = now;
        self.status.diagnostic = diagnostic;
        match (before, state) {
            (_, State::Up) => {
                self.status.ups += 1;
                // The interval becomes another one (section 6.8.3).
                self.polling = true;
                self.known = Intervals::of(&self.config);
                self.outputs.push_back(Output::Up);
            }
            (State::Up, _) => {
                self.status.downs += 1;
                self.polling = false;
                if !administrative {
                    self.outputs.push_back(Output::Down(diagnostic));
                }
            }
            _ => self.polling = false,
        }
        // What has changed is told without delay.
        if self.may_send() {
            self.send_soon(now);
        }
    }

    /// Ends it, and tells the peer that this means nothing.
    pub fn stop(&mut self, now: Timestamp) {
        self.state = State::AdminDown;
        self.diagnostic = Diagnostic::AdministrativelyDown;
        self.status.state = State::AdminDown;
        self.status.since = now;
        self.polling = false;
        self.send(false);
        (self.send_at, self.detect_at) = (None, None);
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.detect_at.is_some_and(|at| at <= now) {
            self.detect_at = None;
            // Section 6.8.1: it may come back as another one.
            self.remote = None;
            self.status.remote_state = State::Down;
            if matches!(self.state, State::Init | State::Up) {
                self.change(State::Down, Diagnostic::DetectionTimeExpired, now);
            }
            if self.config.passive {
                self.send_at = None;
            }
        }
        if self.send_at.is_some_and(|at| at <= now) {
            self.listening = false;
            self.send_soon(now);
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.send_at.into_iter().chain(self.detect_at).min()
    }

    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    fn desired_tx(&self) -> Duration {
        if self.state == State::Up {
            self.config.desired_tx
        } else {
            self.config.desired_tx.max(SLOW)
        }
    }

    /// As the peer knows it.
    fn known_tx(&self) -> Duration {
        if self.state == State::Up {
            self.known.desired_tx
        } else {
            self.desired_tx()
        }
    }

    /// Between two packets, before chance is taken off.
    fn interval(&self) -> Duration {
        let asked = self
            .remote
            .map_or(Duration::ZERO, |remote| remote.required_rx);
        self.known_tx().max(asked)
    }

    /// Section 6.8.4: by the peer's multiplier.
    fn detection(&self) -> Duration {
        self.remote.map_or(Duration::ZERO, |remote| {
            let agreed = self.known.required_rx.max(remote.desired_tx);
            agreed * u32::from(remote.multiplier)
        })
    }

    /// Section 6.8.7.
    fn may_send(&self) -> bool {
        match self.remote {
            None => !self.config.passive,
            Some(remote) => {
                let demands = remote.demand && remote.state == State::Up && self.state == State::Up;
                !remote.required_rx.is_zero() && (!demands || self.polling)
            }
        }
    }

    /// Now, and then every interval.
    fn send_soon(&mut self, now: Timestamp) {
        self.send(false);
        // With one packet the peer has no other to wait for (section 6.8.7).
        let most = if self.config.multiplier == 1 { 90 } else { 100 };
        let after = self.jitter.percent(self.interval(), 75, most);
        self.send_at = Some(now + after);
    }

    fn send(&mut self, is_final: bool) {
        self.status.sent += 1;
        let packet = Packet {
            state: self.state,
            diagnostic: self.diagnostic,
            poll: self.polling && !is_final,
            r#final: is_final,
            // The agent computes it: it does not outlive the agent.
            control_plane_independent: false,
            demand: false,
            multiplier: self.config.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.map_or(0, |remote| remote.discriminator),
            desired_tx: self.desired_tx(),
            required_rx: self.config.required_rx,
            required_echo_rx: Duration::ZERO,
        };
        self.outputs.push_back(Output::Send(packet.encode()));
    }
}
