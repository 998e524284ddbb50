//! One session, and the socket that it sends by.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use lb_core::bfd::{Config, Output, Session, State};
use lb_core::time::Timestamp;

use super::listeners::{At, Heard};
use super::{Ends, FAR_PORT, Found, NEAR_PORT, Want};
use crate::net::bfd_socket;
use crate::random;

#[derive(Debug)]
pub(super) struct Running {
    ends: Ends,
    want: Want,
    pub(super) session: Session,
    far: bool,
    /// None: to be tried again.
    socket: Option<UdpSocket>,
    /// Why the last packet was not sent.
    mute: Option<String>,
    /// Why none is heard.
    pub(super) deaf: Option<String>,
    /// The agent ends.
    leaving: bool,
}

impl Running {
    /// `free`: whether no other session has that discriminator.
    pub(super) fn new(ends: &Ends, want: Want, free: impl Fn(u32) -> bool, now: Timestamp) -> Self {
        let first = number(ends);
        let mut numbers = (0..).map(|more| first.wrapping_add(more));
        let fits = |number: &u32| *number != 0 && free(*number);
        let number = numbers.find(fits).unwrap_or(first);
        Self {
            session: Session::new(want.config, number, random::number(), now),
            far: is_far(ends, want),
            ends: ends.clone(),
            want,
            socket: None,
            mute: None,
            deaf: None,
            leaving: false,
        }
    }

    pub(super) fn change(&mut self, want: Want, now: Timestamp) {
        if want.config != self.want.config {
            self.session.configure(want.config, now);
        }
        self.want = want;
    }

    pub(super) fn hears_at(&self) -> At {
        At {
            ipv6: self.ends.remote.is_ipv6(),
            far: self.far,
            device: self.ends.device.clone(),
        }
    }

    /// RFC 5881 section 5: nobody who is not on the link can send a packet that
    /// arrives with the highest TTL. RFC 5883 leaves the limit to people.
    pub(super) fn accepts(&self, heard: &Heard) -> bool {
        let least = if self.far {
            self.want.least_ttl
        } else {
            bfd_socket::TTL
        };
        heard.far == self.far && heard.ttl.is_some_and(|ttl| ttl >= least)
    }

    /// Does what the session says; whether there is news.
    pub(super) fn work(&mut self) -> bool {
        let mut news = false;
        while let Some(output) = self.session.poll_output() {
            let remote = self.ends.remote;
            match output {
                Output::Send(bytes) => {
                    let sent = self.send(&bytes);
                    self.mute = sent.err().map(|error| self.explain(&error));
                    continue;
                }
                Output::Up => tracing::info!(%remote, "BFD session up"),
                Output::Down(why) => tracing::warn!(%remote, "BFD session down: {why}"),
                Output::AdminDown => {
                    tracing::info!(%remote, "BFD session ended by the peer's administrator");
                }
            }
            news = true;
        }
        news
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let port = if self.far { FAR_PORT } else { NEAR_PORT };
        let to = match self.ends.remote {
            IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, self.ends.scope).into(),
            v4 @ IpAddr::V4(_) => SocketAddr::new(v4, port),
        };
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => bfd_socket::sender(
                self.ends.remote,
                self.ends.source,
                self.ends.device.as_deref(),
                number(&self.ends),
            )?,
        };
        let sent = socket.send_to(bytes, to).map(drop);
        self.socket = Some(socket);
        sent
    }

    fn explain(&self, error: &io::Error) -> String {
        match (&self.ends.source, &self.ends.device, error.kind()) {
            (Some(source), _, io::ErrorKind::AddrNotAvailable) => {
                format!("sourceAddress {source} is no address of this node")
            }
            (_, Some(device), _) if self.socket.is_none() => {
                format!("cannot use the device {device} (vrf): {error}")
            }
            _ => format!("cannot send: {error}"),
        }
    }

    /// Once a second: addresses come and go.
    pub(super) fn look(&mut self) {
        if self.session.status().state != State::Up {
            self.far = is_far(&self.ends, self.want);
        }
    }

    pub(super) fn found(&self) -> Found {
        Found {
            status: self.session.status(),
            far: self.far,
            error: self.deaf.clone().or_else(|| self.mute.clone()),
        }
    }

    /// `keep`: how long the peer should have patience.
    pub(super) fn leave(&mut self, keep: Duration, now: Timestamp) {
        self.leaving = true;
        if self.want.outlives && self.session.status().state == State::Up {
            let multiplier = u32::from(self.want.config.multiplier).max(1);
            let config = Config {
                desired_tx: keep / multiplier,
                ..self.want.config
            };
            self.session.configure(config, now);
        } else {
            self.session.stop(now);
        }
    }

    /// The peer knows, or needs not to know.
    pub(super) fn has_left(&self) -> bool {
        self.session.is_agreed()
    }

    /// What was not answered, or cannot be.
    pub(super) fn say_again(&mut self, now: Timestamp) {
        if self.session.status().state == State::AdminDown {
            self.session.stop(now);
        } else if !self.session.is_agreed() {
            self.session.say_again(now);
        }
    }
}

fn is_far(ends: &Ends, want: Want) -> bool {
    want.far || !bfd_socket::is_near(ends.remote)
}

/// A number that these ends always have, so that the next agent can take up a
/// session (RFC 5880 would rather have one that nobody can guess; what is not
/// from the peer's address with its TTL is not heard anyway).
fn number(ends: &Ends) -> u32 {
    let mut hasher = DefaultHasher::new();
    ends.hash(&mut hasher);
    let [_, _, _, _, bytes @ ..] = hasher.finish().to_be_bytes();
    u32::from_be_bytes(bytes)
}
