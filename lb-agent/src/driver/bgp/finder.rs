//! Finds the peer at the other end of a link: `lb_core::router_discovery` at
//! its socket. A part of a speaker's task, which knows whether there is a
//! session, and the driver's what is found.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use lb_core::router_discovery::{Output, Session};
use lb_core::time::Timestamp;

use crate::net::bfd_socket::Datagram;
use crate::net::discovery_socket::{self, DiscoverySocket, Link};
use crate::{clock, random};

/// Links come and go, and what failed is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An advertisement with all options that anybody sends.
const READ_MOST: usize = 1500;

/// Who was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) address: Ipv6Addr,
    /// The link's number: the address holds there only.
    pub(super) link: u32,
    interface: String,
}

impl Neighbour {
    pub(super) fn at(&self, port: u16) -> SocketAddr {
        SocketAddrV6::new(self.address, port, 0, self.link).into()
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%{}", self.address, self.interface)
    }
}

#[derive(Debug)]
pub(super) struct Finder {
    interface: String,
    session: Session,
    /// As it was seen last.
    link: Option<Link>,
    /// None: to be tried again.
    socket: Option<DiscoverySocket>,
    look_at: Timestamp,
    /// Why nobody can be found.
    error: Option<String>,
}

impl Finder {
    pub(super) fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            session: Session::new(random::number()),
            link: None,
            socket: None,
            look_at: clock::now(),
            error: None,
        }
    }

    /// Why nobody has been found.
    pub(super) fn why_not(&self) -> Option<String> {
        let silence = || {
            let interface = &self.interface;
            format!(
                "no router has advertised itself by {interface}: is BGP over this link \
                 (unnumbered) configured at its other end?"
            )
        };
        let error = self.error.clone();
        error.or_else(|| self.session.neighbour().is_none().then(silence))
    }

    /// Works until somebody is found. `in_use`: there is a session of BGP with
    /// the one who was.
    ///
    /// Every wait is for a message or a time: nothing is lost when this is
    /// dropped.
    pub(super) async fn find(&mut self, in_use: bool) -> Neighbour {
        let mut buffer = [0; READ_MOST];
        loop {
            self.look(in_use);
            self.session.handle_timeout(clock::now());
            if let Some(found) = self.drain() {
                return found;
            }
            let next = self.session.deadline().unwrap_or(Timestamp::MAX);
            let left = next.min(self.look_at).since(clock::now());
            tokio::select! {
                received = receive(self.socket.as_ref(), &mut buffer) => {
                    self.received(received, &buffer, in_use);
                }
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Does what the session says.
    fn drain(&mut self) -> Option<Neighbour> {
        let mut found = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(to, bytes) => {
                    let sent = self.socket.as_ref().map(|socket| socket.send(to, &bytes));
                    if let Some(Err(error)) = sent {
                        let advice = "has it an IPv6 link-local address?";
                        self.fail(format!(
                            "cannot advertise by {}: {error}; {advice}",
                            self.interface
                        ));
                    }
                }
                Output::Found(address) => {
                    let others: Vec<String> =
                        self.session.others().map(|a| a.to_string()).collect();
                    let interface = self.interface.clone();
                    tracing::info!(interface, %address, ?others, "a router advertised itself");
                    found = self.link.map(|link| Neighbour {
                        address,
                        link: link.number,
                        interface,
                    });
                }
            }
        }
        found
    }

    /// Once a second: whether the link is there and runs.
    fn look(&mut self, in_use: bool) {
        let now = clock::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let before = self.link;
        self.link = discovery_socket::link(&self.interface);
        let number = |link: Option<Link>| link.map(|link| link.number);
        // What was connected by another link of that name is gone with it.
        let same = before.is_none() || number(before) == number(self.link);
        match self.link {
            Some(link) if link.runs && same && self.socket.is_some() => {}
            Some(link) if link.runs => {
                self.session.handle_down(in_use && same);
                self.open(link, now);
            }
            link => {
                self.session.handle_down(in_use && same);
                let interface = &self.interface;
                self.fail(match link {
                    Some(_) => format!("the link {interface} is down"),
                    None => format!("this node has no link {interface}"),
                });
            }
        }
    }

    fn open(&mut self, link: Link, now: Timestamp) {
        match DiscoverySocket::open(&self.interface, link.number) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.error = None;
                self.session.handle_up(now);
            }
            Err(error) => self.fail(format!("cannot listen by {}: {error}", self.interface)),
        }
    }

    fn fail(&mut self, error: String) {
        if self.error.as_ref() != Some(&error) {
            tracing::warn!("{error}");
        }
        self.socket = None;
        self.error = Some(error);
    }

    fn received(&mut self, received: io::Result<Datagram>, buffer: &[u8], in_use: bool) {
        let datagram = match received {
            Ok(datagram) => datagram,
            Err(error) => {
                return self.fail(format!("cannot listen by {}: {error}", self.interface));
            }
        };
        let bytes = buffer.get(..datagram.length).unwrap_or_default();
        let (IpAddr::V6(from), Some(hops)) = (datagram.from.ip(), datagram.ttl) else {
            return;
        };
        let heard = self
            .session
            .handle_message(bytes, (from, hops), in_use, clock::now());
        if let Err(flaw) = heard {
            let interface = &self.interface;
            tracing::debug!(interface, %from, ?flaw, "an advertisement that counts for nothing");
        }
    }
}

async fn receive(socket: Option<&DiscoverySocket>, buffer: &mut [u8]) -> io::Result<Datagram> {
    match socket {
        Some(socket) => socket.receive(buffer).await,
        None => std::future::pending().await,
    }
}
