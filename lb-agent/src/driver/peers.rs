//! The one socket to other agents, and membership over it.
//!
//! ```text
//! reconcile ──other nodes, leaving nodes acted on──┐              ┌──members──> reconcile, …
//! netlink, report ──status─────────────────────────┼──> Cluster ──┼──report───> members.json, metrics
//! SIGTERM ──leave──────────────────────────────────┘      ▲       └──released─> the end
//!                                                         │ beats
//! channel, fence <──payloads── Seal <──────────────── UDP socket <──> other agents
//! ```
//!
//! A thread of its own with a runtime of its own: reconciling takes longer than
//! others have patience. Channels to it hold whole values, or payloads; those
//! that do not fit are lost, as on any network, and counted. Nothing is lost
//! when a branch of its loop is cancelled: each only receives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lb_core::gossip::{Beat, Cluster, Config, Output, Received, Timing};
use lb_core::model::{MemberState, Members, NodeName};
use lb_core::seal::{Keys, Kind, NodeId, Opened, Seal, Standing};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};

use crate::net::{NetFacts, Question};
use crate::secret::Known;
use crate::{clock, random, report};

pub mod report_file;
pub mod roll_file;
mod status;

pub use report_file::{PeerRow, PeersReport};

/// Not MetalLB's 7946, so that both may run on one machine.
pub const DEFAULT_PORT: u16 = 6950;
/// Between two attempts at a port that is taken.
const RETRY: Duration = Duration::from_secs(2);
/// Longer than any of ours, so that those that are too long are seen as such.
const LONGEST: usize = 2048;
/// Datagrams that are taken before it is looked whether something is due.
const AT_ONCE: usize = 64;
/// People look at it.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What an agent says to another one: its node, and the content.
pub type Payload = (NodeName, Vec<u8>);

#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeName,
    pub port: u16,
    pub timing: Timing,
    /// The kernel's tables were filled when this agent started.
    pub found_tables: bool,
    /// Nodes whose agents the process before this one knew.
    pub remembered: BTreeSet<NodeName>,
}

/// Where the thread hears from.
#[derive(Debug)]
pub struct Hears {
    /// The other nodes with their addresses.
    pub nodes: watch::Receiver<Question>,
    pub secret: watch::Receiver<Known>,
    pub net: watch::Receiver<NetFacts>,
    pub report: watch::Receiver<Arc<report::Report>>,
    /// Nodes that are leaving, and whose VIPs were taken over.
    pub acted: watch::Receiver<BTreeSet<NodeName>>,
    /// This node leaves, and comes back within that time, if it does.
    pub leave: watch::Receiver<Option<Leave>>,
    pub channel: mpsc::Receiver<Payload>,
    pub fence: mpsc::Receiver<Payload>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    pub returns_in: Option<Duration>,
}

/// Whom it tells.
#[derive(Debug)]
pub struct Tells {
    pub members: watch::Sender<Members>,
    pub channel: mpsc::Sender<Payload>,
    pub fence: mpsc::Sender<Payload>,
    pub report: watch::Sender<Arc<PeersReport>>,
    /// All others have taken over what this node leaves, or know that it comes
    /// back; how many know.
    pub released: watch::Sender<Option<usize>>,
}

/// Why nobody talks with others any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has ended")]
pub struct Ended(&'static str);

/// Runs in a thread of its own; what is returned ends with it.
pub fn start(
    settings: Settings,
    hears: Hears,
    tells: Tells,
) -> io::Result<oneshot::Receiver<Ended>> {
    let (ended, end) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        let Err(why) = runtime.block_on(run(settings, hears, tells));
        // Whoever waited may be gone too.
        let _told = ended.send(why);
    };
    thread::Builder::new().name("peers".to_owned()).spawn(run)?;
    Ok(end)
}

fn keys(known: &Known) -> Option<Keys> {
    let secrets = known.secrets.as_ref();
    secrets.map(|secrets| Keys::of(&secrets.messages))
}

async fn run(
    settings: Settings,
    mut hears: Hears,
    tells: Tells,
) -> Result<std::convert::Infallible, Ended> {
    const SECRET: Ended = Ended("who reads the cluster's secret");
    let known = hears.secret.wait_for(|known| known.secrets.is_some()).await;
    let now_known = known.map_err(|_closed| SECRET)?.clone();
    let keys_now = keys(&now_known).ok_or(SECRET)?;
    let socket = bind(settings.port).await;
    let mut peers = Peers::new(&settings, keys_now, socket, tells);
    peers.take_nodes(&hears.nodes.borrow_and_update().clone());
    let mut buffer = vec![0; LONGEST];
    let mut reports = tokio::time::interval(REPORT_EVERY);
    loop {
        peers.take_status(&hears);
        peers.handle_timeout();
        let left = peers.time_left();
        tokio::select! {
            biased;
            readable = peers.socket.readable() => if readable.is_ok() {
                peers.receive(&mut buffer);
            },
            changed = hears.leave.changed() => {
                changed.map_err(|_closed| Ended("who is asked to end"))?;
                if let Some(leave) = *hears.leave.borrow_and_update() {
                    peers.leave(leave);
                }
            }
            changed = hears.acted.changed() => {
                changed.map_err(|_closed| Ended("the reconciler"))?;
                let acted = hears.acted.borrow_and_update().clone();
                peers.cluster.acted(&acted, clock::now());
                peers.drain();
            }
            changed = hears.nodes.changed() => {
                changed.map_err(|_closed| Ended("the reconciler"))?;
                peers.take_nodes(&hears.nodes.borrow_and_update().clone());
            }
            changed = hears.net.changed() => changed.map_err(|_closed| Ended("netlink"))?,
            changed = hears.report.changed() => {
                changed.map_err(|_closed| Ended("the reconciler"))?;
            }
            changed = hears.secret.changed() => {
                changed.map_err(|_closed| SECRET)?;
                if let Some(keys) = keys(&hears.secret.borrow_and_update()) {
                    peers.seal.set_keys(keys);
                }
            }
            Some(payload) = hears.fence.recv() => peers.pass_on(Kind::Fence, &payload),
            Some(payload) = hears.channel.recv() => peers.pass_on(Kind::Channel, &payload),
            _ = reports.tick() => peers.report(),
            () = tokio::time::sleep(left) => {}
        }
    }
}

async fn bind(port: u16) -> UdpSocket {
    let mut said = false;
    loop {
        match bind_once(port).await {
            Ok(socket) => return socket,
            Err(error) if !said => {
                said = true;
                tracing::error!(
                    port,
                    %error,
                    "cannot listen for other agents, who take this node for dead: what else is \
                     there? --peer-port names another port, the same on all nodes"
                );
            }
            Err(_again) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// For both families, or for IPv4 where there is no IPv6.
async fn bind_once(port: u16) -> io::Result<UdpSocket> {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

struct Peers {
    node: NodeName,
    port: u16,
    found_tables: bool,
    seal: Seal,
    cluster: Cluster,
    socket: UdpSocket,
    tells: Tells,
    names: BTreeMap<NodeId, NodeName>,
    /// Where each node spoke from last, else the first address that it has.
    addresses: BTreeMap<NodeId, IpAddr>,
    released: bool,
    dropped: BTreeMap<&'static str, u64>,
}

impl Peers {
    fn new(settings: &Settings, keys: Keys, socket: UdpSocket, tells: Tells) -> Self {
        let node = settings.node.clone();
        let boot = random::number();
        let config = Config {
            node: node.clone(),
            boot,
            timing: settings.timing,
            remembered: settings.remembered.clone(),
        };
        Self {
            port: settings.port,
            found_tables: settings.found_tables,
            seal: Seal::new(keys, &node, boot),
            cluster: Cluster::new(config, random::number(), clock::now()),
            node,
            socket,
            tells,
            names: BTreeMap::new(),
            addresses: BTreeMap::new(),
            released: false,
            dropped: BTreeMap::new(),
        }
    }

    /// Nothing is known before the first question: no other nodes would mean
    /// that there are none.
    fn take_nodes(&mut self, question: &Question) {
        if question.own.is_empty() && question.nodes.is_empty() {
            return;
        }
        let names = question.nodes.keys();
        self.names = names.map(|name| (NodeId::of(name), name.clone())).collect();
        let known: BTreeSet<NodeId> = self.names.keys().copied().collect();
        self.seal.set_peers(&known);
        self.addresses.retain(|id, _| known.contains(id));
        for (name, addresses) in &question.nodes {
            if let Some(first) = addresses.first() {
                self.addresses.entry(NodeId::of(name)).or_insert(*first);
            }
        }
        self.cluster.configure(&question.nodes, clock::now());
        self.drain();
    }

    fn take_status(&mut self, hears: &Hears) {
        let status = status::of(
            &hears.report.borrow(),
            &hears.net.borrow(),
            self.found_tables,
        );
        self.cluster.set_status(status, clock::now());
        self.drain();
    }

    fn leave(&mut self, leave: Leave) {
        self.released = false;
        self.tells.released.send_replace(None);
        self.cluster.leave(leave.returns_in, clock::now());
        self.drain();
    }

    fn handle_timeout(&mut self) {
        if self.time_left().is_zero() {
            self.cluster.handle_timeout(clock::now());
            self.drain();
        }
    }

    fn time_left(&self) -> Duration {
        let deadline = self.cluster.deadline();
        deadline.map_or(REPORT_EVERY, |deadline| deadline.since(clock::now()))
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..AT_ONCE {
            let Ok((length, from)) = self.socket.try_recv_from(buffer) else {
                return;
            };
            let datagram = buffer.get(..length).unwrap_or_default();
            match self.seal.open(datagram) {
                Ok(opened) => self.take(opened, from.ip().to_canonical()),
                Err(error) => self.drop_it(error.name(), from, &error),
            }
        }
    }

    fn take(&mut self, opened: Opened, from: IpAddr) {
        let Some(name) = self.names.get(&opened.sender).cloned() else {
            return;
        };
        let sender = SocketAddr::new(from, self.port);
        let full = match opened.kind {
            Kind::Gossip => match Beat::decode(&opened.payload) {
                Ok(beat) => {
                    let received = Received {
                        sender: opened.sender,
                        boot: opened.boot,
                        counter: opened.counter,
                        standing: opened.standing,
                        from,
                        beat,
                    };
                    if opened.standing == Standing::Confirmed {
                        self.addresses.insert(opened.sender, from);
                    }
                    self.cluster.handle_beat(received, clock::now());
                    self.drain();
                    return;
                }
                Err(error) => return self.drop_it("malformed", sender, &error),
            },
            _ if opened.standing == Standing::New => {
                // Its first beats have not been answered yet.
                *self.dropped.entry("unconfirmed").or_default() += 1;
                return;
            }
            Kind::Channel => self.tells.channel.try_send((name, opened.payload)).is_err(),
            Kind::Fence => self.tells.fence.try_send((name, opened.payload)).is_err(),
        };
        if full {
            *self.dropped.entry("full").or_default() += 1;
        }
    }

    /// Counts it; the first one of its kind is worth a line.
    fn drop_it(
        &mut self,
        reason: &'static str,
        from: SocketAddr,
        error: &(dyn std::error::Error + 'static),
    ) {
        let count = self.dropped.entry(reason).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(%from, error, "a datagram is dropped; more of its kind are counted");
        } else {
            tracing::trace!(%from, error, "a datagram is dropped");
        }
    }

    /// For another part of the agent.
    fn pass_on(&mut self, kind: Kind, (to, payload): &Payload) {
        let id = NodeId::of(to);
        if let Some(address) = self.addresses.get(&id) {
            self.send(kind, id, *address, payload);
        }
    }

    fn send(&mut self, kind: Kind, to: NodeId, address: IpAddr, payload: &[u8]) {
        let address = match (address, self.socket.local_addr()) {
            // A socket of both families reaches IPv4 by mapped addresses.
            (IpAddr::V4(v4), Ok(SocketAddr::V6(_))) => IpAddr::V6(v4.to_ipv6_mapped()),
            (address, _) => address,
        };
        match self.seal.seal(kind, to, payload) {
            Ok(datagram) => {
                let sent = self
                    .socket
                    .try_send_to(&datagram, SocketAddr::new(address, self.port));
                if sent.is_err() {
                    // No route, no carrier: the receiver will notice.
                    *self.dropped.entry("unsent").or_default() += 1;
                }
            }
            Err(error) => tracing::warn!(%to, %error, "what was to be said is not sealed"),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Send {
                    to,
                    address,
                    payload,
                } => self.send(Kind::Gossip, to, address, &payload),
                Output::Confirm {
                    sender,
                    boot,
                    counter,
                } => {
                    self.seal.confirm(sender, boot, counter);
                }
                Output::Members(members) => self.tell(members),
                Output::Released => {
                    self.released = true;
                    self.tell(self.cluster.members());
                    let told = self.cluster.told();
                    self.tells.released.send_replace(Some(told));
                }
            }
        }
    }

    /// This node counts itself in until others have taken over: it answers as
    /// long as nobody else does.
    fn tell(&mut self, mut members: Members) {
        let mut others = members
            .by_node
            .iter()
            .filter(|(node, _)| **node != self.node);
        let released = self.released && others.any(|(_, member)| member.counts());
        if let Some(own) = members.by_node.get_mut(&self.node)
            && own.state == MemberState::Leaving
            && !released
        {
            own.state = MemberState::Alive;
        }
        status::say(&self.tells.members.borrow(), &members, &self.node);
        self.tells.members.send_replace(members);
        self.report();
    }

    fn report(&self) {
        let now = clock::now();
        let report = PeersReport {
            node: self.node.to_string(),
            port: self.port,
            period_ms: report_file::millis(self.cluster.timing().period),
            patience_ms: report_file::millis(self.cluster.timing().patience),
            settled: self.tells.members.borrow().settled,
            peers: self
                .cluster
                .rows()
                .map(|row| PeerRow::of(&row, now))
                .collect(),
            dropped: self
                .dropped
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
        };
        self.tells.report.send_replace(Arc::new(report));
    }
}
