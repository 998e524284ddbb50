//! One router: its machine, and up to two connections with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lb_core::bgp::Peer;
use lb_core::bgp::peer::{Output, Reach, Side, Stop};
use lb_core::bgp::rib::{RibOut, Routes};
use lb_core::config::{self, PeerEnd};
use lb_core::desired::BgpPeer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::super::bfd::{AllFound, Ends, Found};
use super::finder::{Finder, Neighbour};
use crate::errors::one_line;
use crate::net::bgp_socket::{self, Dial};
use crate::report::routers::Router;
use crate::{clock, random};

/// For a connection to be made (RFC 4271 leaves it to TCP, which takes minutes).
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// For last words to be taken.
const LINGER: Duration = Duration::from_secs(1);
const READ_MOST: usize = 16 * 1024;

/// How a session is.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) router: Router,
    pub(super) rib: RibOut,
}

/// What a session is told from above, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) routes: Routes,
    pub(super) leaving: bool,
    /// The session of BFD that tells whether the peer is there.
    pub(super) bfd: Option<Ends>,
    /// Of a link: who is to be called.
    pub(super) neighbour: Option<Neighbour>,
}

/// What a session tells the driver.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    pub(super) status: mpsc::Sender<Said>,
    /// Of a peer's link, by the peer's name.
    pub(super) found: mpsc::Sender<(String, Neighbour)>,
}

pub(super) struct Speaker {
    peer: config::Peer,
    /// What the peer does not send with that much does not count.
    least_ttl: Option<u8>,
    machine: Peer,
    /// By side.
    sockets: [Option<Socket>; 2],
    dialing: Option<JoinHandle<Result<TcpStream, String>>>,
    outbox: Outbox,
    found: watch::Receiver<AllFound>,
    bfd: Option<Ends>,
    /// Of a link.
    finder: Option<Finder>,
    neighbour: Option<Neighbour>,
    /// How often BFD has lost the peer, as far as was acted on.
    losses: u64,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
}

const fn slot(side: Side) -> usize {
    match side {
        Side::Active => 0,
        Side::Passive => 1,
    }
}

impl Speaker {
    pub(super) fn new(
        peer: &BgpPeer,
        least_ttl: Option<u8>,
        found: watch::Receiver<AllFound>,
        outbox: Outbox,
    ) -> Self {
        let finder = match &peer.peer.end {
            PeerEnd::Address(_) => None,
            PeerEnd::Interface(interface) => Some(Finder::new(interface)),
        };
        Self {
            machine: Peer::new(peer.session.clone(), random::number(), clock::now()),
            peer: peer.peer.clone(),
            least_ttl,
            sockets: [None, None],
            dialing: None,
            outbox,
            found,
            bfd: None,
            finder,
            neighbour: None,
            losses: 0,
        }
    }

    pub(super) async fn run(
        mut self,
        mut orders: watch::Receiver<Orders>,
        mut incoming: mpsc::Receiver<TcpStream>,
        mut stopped: oneshot::Receiver<Stop>,
    ) {
        self.advertise(&mut orders);
        self.machine.handle_timeout(clock::now());
        loop {
            self.drain();
            // Nobody listens any more once the agent ends.
            let _said = self.outbox.status.send(self.said()).await;
            let timer = clock::wait_until(self.machine.deadline());
            let [active, passive] = &self.sockets;
            let in_use = self.machine.is_established();
            tokio::select! {
                biased;
                stop = &mut stopped => {
                    let stop = stop.unwrap_or(Stop::Restart);
                    self.machine.stop(&stop, clock::now());
                    break;
                }
                ready = ready(active.as_ref()) => self.work(Side::Active, ready),
                ready = ready(passive.as_ref()) => self.work(Side::Passive, ready),
                Ok(()) = self.found.changed() => self.watched(),
                // Whoever ends this says how, and that is heard first.
                Ok(()) = orders.changed() => self.advertise(&mut orders),
                dialed = dialed(self.dialing.as_mut()) => self.dialed(dialed),
                Some(stream) = incoming.recv() => self.accepted(stream),
                neighbour = find(self.finder.as_mut(), in_use) => self.find(neighbour).await,
                () = timer => self.machine.handle_timeout(clock::now()),
            }
        }
        self.drain();
        for socket in self.sockets.into_iter().flatten() {
            socket.end().await;
        }
        if let Some(dialing) = self.dialing {
            dialing.abort();
        }
    }

    fn advertise(&mut self, orders: &mut watch::Receiver<Orders>) {
        let Orders {
            routes,
            leaving,
            bfd,
            neighbour,
        } = orders.borrow_and_update().clone();
        self.machine.advertise(routes, leaving, clock::now());
        if self.bfd != bfd {
            self.bfd = bfd;
            self.losses = 0;
            self.watched();
        }
        if self.neighbour != neighbour {
            self.neighbour = neighbour;
            self.machine.call_now(clock::now());
        }
    }

    /// Who is new is called once the driver has had BFD watch it.
    async fn find(&mut self, neighbour: Neighbour) {
        if self.neighbour.as_ref() == Some(&neighbour) {
            self.machine.call_now(clock::now());
        } else {
            let found = (self.peer.name.clone(), neighbour);
            // Nobody listens any more once the agent ends.
            let _said = self.outbox.found.send(found).await;
        }
    }

    /// Does what follows from what BFD found.
    fn watched(&mut self) {
        let all = self.found.borrow_and_update().clone();
        let now = clock::now();
        let Some(ends) = &self.bfd else {
            self.machine.handle_bfd(Reach::Unwatched, now);
            return;
        };
        let found = all.get(ends);
        let losses = found.map_or(0, |found| found.status.downs);
        // It may be up again already.
        if losses > self.losses {
            self.machine.handle_bfd(Reach::Down, now);
        }
        self.losses = losses;
        let reach = found.map_or(Reach::Awaited, Found::reach);
        self.machine.handle_bfd(reach, now);
    }

    /// Does what the machine says.
    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Connect => self.dial(),
                Output::Send(side, bytes) => {
                    if let Some(socket) = &mut self.sockets[slot(side)] {
                        socket.unsent.extend_from_slice(&bytes);
                        socket.write();
                    }
                }
                Output::Close(side) => {
                    if let Some(socket) = self.sockets[slot(side)].take() {
                        tokio::spawn(socket.end());
                    }
                }
                Output::Up => tracing::info!(peer = self.peer.name, "BGP session established"),
                Output::Down(reason) => {
                    tracing::warn!(peer = self.peer.name, "BGP session lost: {reason}");
                }
            }
        }
    }

    fn dial(&mut self) {
        let remote = match self.remote() {
            Ok(remote) => remote,
            Err(reason) => {
                self.machine.handle_connect_failed(&reason, clock::now());
                return;
            }
        };
        let to = Dial {
            remote,
            source: self.peer.source_address,
            device: self.peer.vrf.clone(),
            password: self.peer.password.clone(),
            least_ttl: self.least_ttl,
        };
        self.dialing = Some(tokio::spawn(async move {
            match tokio::time::timeout(DIAL_LIMIT, bgp_socket::dial(&to)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(one_line(&error)),
                Err(_late) if to.password.is_some() => Err(
                    "no answer: the peer may have another password, or none, or be away".to_owned(),
                ),
                Err(_late) if to.least_ttl.is_some() => {
                    Err("no answer: the peer may be away, or not send with TTL 255 \
                     (--bgp-ttl-security)"
                        .to_owned())
                }
                Err(_late) => Err("no answer".to_owned()),
            }
        }));
    }

    /// Where the peer is, or why nobody knows.
    fn remote(&self) -> Result<SocketAddr, String> {
        if let PeerEnd::Address(address) = &self.peer.end {
            return Ok(SocketAddr::new(*address, self.peer.port));
        }
        if let Some(reason) = self.finder.as_ref().and_then(Finder::why_not) {
            return Err(reason);
        }
        let neighbour = self.neighbour.as_ref();
        let remote = neighbour.map(|neighbour| neighbour.at(self.peer.port));
        remote.ok_or_else(|| "nobody has been found yet".to_owned())
    }

    fn dialed(&mut self, dialed: Result<TcpStream, String>) {
        self.dialing = None;
        match dialed {
            Ok(stream) => self.connected(Side::Active, stream),
            Err(reason) => self.machine.handle_connect_failed(&reason, clock::now()),
        }
    }

    fn accepted(&mut self, stream: TcpStream) {
        if let (Some(_), Ok(remote)) = (self.least_ttl, stream.peer_addr())
            && let Err(error) = bgp_socket::require_ttl(&stream, remote.ip(), self.least_ttl)
        {
            tracing::warn!(peer = self.peer.name, %error, "its TTL cannot be checked: closed");
            return;
        }
        if self.machine.may_accept() {
            self.connected(Side::Passive, stream);
        } else {
            let unsent = Peer::collision();
            tokio::spawn(Socket { stream, unsent }.end());
        }
    }

    fn connected(&mut self, side: Side, stream: TcpStream) {
        let now = clock::now();
        match bgp_socket::endpoints(&stream) {
            Ok(endpoints) => {
                let unsent = Vec::new();
                self.sockets[slot(side)] = Some(Socket { stream, unsent });
                self.machine.handle_connected(side, endpoints, now);
            }
            // It was gone as soon as it was there.
            Err(error) if side == Side::Active => {
                self.machine.handle_connect_failed(&error.to_string(), now);
            }
            Err(_gone) => {}
        }
    }

    /// Writes and reads what can be.
    fn work(&mut self, side: Side, ready: io::Result<Ready>) {
        // Nobody keeps it: most peers say little, and seldom.
        let mut buffer = [0; READ_MOST];
        let Some(socket) = &mut self.sockets[slot(side)] else {
            return;
        };
        let read = match ready {
            Ok(ready) => {
                if ready.is_writable() {
                    socket.write();
                }
                socket.stream.try_read(&mut buffer)
            }
            Err(error) => Err(error),
        };
        let now = clock::now();
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(length @ 1..) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                self.machine.handle_bytes(side, bytes, now);
            }
            Ok(0) | Err(_) => {
                self.sockets[slot(side)] = None;
                self.machine.handle_closed(side, now);
            }
        }
    }

    fn said(&self) -> Said {
        let status = self.machine.status();
        let mut router = Router::new(&self.peer, &status);
        if let Some(neighbour) = &self.neighbour {
            router.address = neighbour.to_string();
        }
        Said {
            router,
            rib: status.rib,
        }
    }
}

async fn find(finder: Option<&mut Finder>, in_use: bool) -> Neighbour {
    match finder {
        Some(finder) => finder.find(in_use).await,
        None => std::future::pending().await,
    }
}

async fn ready(socket: Option<&Socket>) -> io::Result<Ready> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let interest = if socket.unsent.is_empty() {
        Interest::READABLE
    } else {
        Interest::READABLE | Interest::WRITABLE
    };
    socket.stream.ready(interest).await
}

async fn dialed(
    dialing: Option<&mut JoinHandle<Result<TcpStream, String>>>,
) -> Result<TcpStream, String> {
    match dialing {
        Some(dialing) => dialing.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

impl Socket {
    /// As much as the kernel takes now. A connection that is broken shows when
    /// it is read.
    fn write(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(_not_now) => return,
            }
        }
        // A first table is much longer than what comes after it.
        self.unsent = Vec::new();
    }

    /// Waits a little until the last words are taken: a connection that is
    /// closed with something unread would take them back.
    async fn end(mut self) {
        let last = async {
            self.stream.write_all(&self.unsent).await?;
            self.stream.shutdown().await?;
            let mut rest = [0; 1024];
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // Too late, or broken already: either way it is over.
        let _over = tokio::time::timeout(LINGER, last).await;
    }
}
