//! The fence at work: renewals to other agents, and the moment in the kernel
//! until which this node answers for its VIPs.
//!
//! In: who is there ([`Members`], none where there is no gossip), other agents'
//! renewals, the links' state, what gateways answer ([`gateway`]), what the Lease
//! says, which election the kernel holds. Out: renewals, `FENCE`, whose VIPs are
//! free ([`Findings`]), and what is in doubt ([`Doubts`]).
//!
//! It has a thread of its own, as reconciling may take longer than the lease.
//! Ending it at any moment leaves what the kernel was told, which lapses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;
use std::time::Duration;

pub use lb_core::fence::Timing;
use lb_core::fence::{Arbiter, Doubts, Fence, Gateway, Lapse, Output, Renewal, Signals, Standing};
use lb_core::model::{Members, NodeName};
use lb_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::dataplane::fence::FenceMap;
use crate::driver::gateway;
use crate::net::NetFacts;
use crate::{clock, random};

/// To or from an agent: its node, and what is said.
pub type Datagram = (NodeName, Vec<u8>);

/// What the fence finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Nodes whose VIPs may be taken over.
    pub free: BTreeSet<NodeName>,
    pub standing: Standing,
    /// How often others are to hear of this node's VIPs, while not all agents
    /// are heard.
    pub announce_every: Option<Duration>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            free: BTreeSet::new(),
            standing: Standing::Lapsed(Lapse::Starting),
            announce_every: None,
        }
    }
}

/// The way to other agents.
#[derive(Debug)]
pub struct Peers {
    pub members: watch::Receiver<Members>,
    pub received: mpsc::Receiver<Datagram>,
    pub sent: mpsc::Sender<Datagram>,
}

#[derive(Debug)]
pub struct Hears {
    /// Links and gateways.
    pub net: watch::Receiver<NetFacts>,
    /// What the Lease in the API server says.
    pub arbiter: watch::Receiver<Arbiter>,
    /// None: this agent is the only one, as far as it can know.
    pub peers: Option<Peers>,
    /// The nodes that were free in the election that the kernel holds; none
    /// before the first.
    pub elected: watch::Receiver<Option<BTreeSet<NodeName>>>,
    /// Another node has announced a VIP of ours.
    pub opposed: mpsc::Receiver<()>,
    pub keep: mpsc::Receiver<Keep>,
}

/// This agent ends and comes back.
#[derive(Debug)]
pub struct Keep {
    pub until: Timestamp,
    /// So many other agents know.
    pub told: usize,
    /// Whether the kernel answers as long; it does when this is said.
    pub kept: oneshot::Sender<bool>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeName,
    pub timing: Timing,
}

/// Runs in a thread of its own until one of those it hears from ends; what is
/// returned ends with it.
pub fn start(
    settings: Settings,
    map: FenceMap,
    hears: Hears,
    findings: watch::Sender<Findings>,
    doubts: watch::Sender<Doubts>,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("fence".to_owned())
        .spawn(move || {
            let (gateway_out, gateway) = watch::channel(Gateway::None);
            let (net, doubted) = (hears.net.clone(), doubts.subscribe());
            let asks = gateway::run(settings.timing, net, doubted, gateway_out);
            let driver = Driver::new(settings, map, Tells { findings, doubts });
            runtime.block_on(async {
                tokio::select! {
                    () = driver.run(hears, gateway) => {}
                    () = asks => {}
                }
            });
            // Whoever waited may be gone too.
            let _told = ended.send(());
        })?;
    Ok(end)
}

struct Tells {
    findings: watch::Sender<Findings>,
    doubts: watch::Sender<Doubts>,
}

struct Driver {
    fence: Fence,
    map: FenceMap,
    tells: Tells,
    said: Option<Standing>,
    failed: bool,
}

impl Driver {
    fn new(settings: Settings, map: FenceMap, tells: Tells) -> Self {
        let Settings { node, timing } = settings;
        Self {
            fence: Fence::new(node, random::number(), timing, clock::now()),
            map,
            tells,
            said: None,
            failed: false,
        }
    }

    async fn run(mut self, mut hears: Hears, mut gateway: watch::Receiver<Gateway>) {
        let mut peers = hears.peers.take();
        if peers.is_none() {
            self.fence.peers(&BTreeMap::new(), clock::now());
        }
        loop {
            self.drain(peers.as_ref());
            let left = self.fence.deadline().since(clock::now());
            let going_on = tokio::select! {
                biased;
                () = tokio::time::sleep(left) => {
                    self.fence.handle_timeout(clock::now());
                    true
                }
                received = next(&mut peers) => match received {
                    Some(Heard::Renewal((from, bytes))) => {
                        self.receive(&from, &bytes);
                        true
                    }
                    Some(Heard::Members(members)) => {
                        self.take_members(&members);
                        true
                    }
                    None => false,
                },
                changed = signs(&mut hears.net, &mut gateway, &mut hears.arbiter) => {
                    let signals = Signals {
                        carrier: hears.net.borrow_and_update().has_carrier(),
                        gateway: *gateway.borrow_and_update(),
                        arbiter: *hears.arbiter.borrow_and_update(),
                    };
                    self.fence.signals(signals, clock::now());
                    changed
                }
                changed = hears.elected.changed() => {
                    let elected = hears.elected.borrow_and_update().clone();
                    if let Some(elected) = elected {
                        self.fence.applied(&elected, clock::now());
                    }
                    changed.is_ok()
                }
                opposed = hears.opposed.recv() => {
                    self.fence.opposed(clock::now());
                    opposed.is_some()
                }
                Some(keep) = hears.keep.recv() => {
                    let kept = self.fence.keep(keep.until, keep.told, clock::now());
                    self.drain(peers.as_ref());
                    // Who asked may have given up.
                    let _told = keep.kept.send(kept && !self.failed);
                    true
                }
            };
            if !going_on {
                return;
            }
        }
    }

    fn take_members(&mut self, members: &Members) {
        if !members.settled {
            return;
        }
        let there = members
            .by_node
            .iter()
            .filter(|(_, member)| !member.left)
            .map(|(node, member)| (node.clone(), member.returns_by));
        self.fence.peers(&there.collect(), clock::now());
    }

    fn receive(&mut self, from: &NodeName, bytes: &[u8]) {
        match Renewal::decode(bytes) {
            Ok(renewal) => self.fence.handle_renewal(from, &renewal, clock::now()),
            Err(error) => tracing::debug!(%from, %error, "not used"),
        }
    }

    /// Sends, tells the kernel, and tells the reconciler.
    fn drain(&mut self, peers: Option<&Peers>) {
        while let Some(Output::Send(to, renewal)) = self.fence.poll_output() {
            if let Some(peers) = peers {
                // Full: lost, as it may be on the wire.
                let _full = peers.sent.try_send((to, renewal.encode()));
            }
        }
        let doubts = self.fence.doubts(clock::now());
        self.tells.doubts.send_if_modified(|last| {
            let changed = *last != doubts;
            *last = doubts;
            changed
        });
        let expiry = self.fence.expiry(clock::now());
        // What an earlier process was granted lapses by itself.
        if expiry.standing != Standing::Lapsed(Lapse::Starting) {
            self.write(expiry.until);
        }
        self.say(expiry.standing);
        let announce_every = self.fence.announce_every();
        let last = self.tells.findings.borrow();
        let same = last.free == *self.fence.free()
            && last.standing == expiry.standing
            && last.announce_every == announce_every;
        drop(last);
        if !same {
            let free = self.fence.take();
            self.tells.findings.send_replace(Findings {
                free,
                standing: expiry.standing,
                announce_every,
            });
        }
    }

    fn write(&mut self, until: Option<Timestamp>) {
        match self.map.set(until) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "VIPs are not renewed: this node stops answering");
            }
            Err(_again) => {}
        }
    }

    fn say(&mut self, standing: Standing) {
        if self.said == Some(standing) {
            return;
        }
        self.said = Some(standing);
        match standing {
            Standing::Lapsed(lapse) if lapse != Lapse::Starting => {
                tracing::warn!(reason = lapse.name(), "not answering for VIPs: {lapse}");
            }
            _ => tracing::info!(standing = standing.name(), "answering for VIPs"),
        }
    }
}

/// Waits until links, gateways or the Lease say something else. False: nobody
/// tells about links any more.
async fn signs(
    net: &mut watch::Receiver<NetFacts>,
    gateway: &mut watch::Receiver<Gateway>,
    arbiter: &mut watch::Receiver<Arbiter>,
) -> bool {
    let arbiter = async {
        if arbiter.changed().await.is_err() {
            // There is no API server.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        changed = net.changed() => changed.is_ok(),
        changed = gateway.changed() => changed.is_ok(),
        () = arbiter => true,
    }
}

enum Heard {
    Renewal(Datagram),
    Members(Members),
}

/// What comes next from other agents; none: nothing will any more.
async fn next(peers: &mut Option<Peers>) -> Option<Heard> {
    let Some(peers) = peers else {
        return std::future::pending().await;
    };
    tokio::select! {
        received = peers.received.recv() => received.map(Heard::Renewal),
        changed = peers.members.changed() => {
            changed.ok()?;
            Some(Heard::Members(peers.members.borrow_and_update().clone()))
        }
    }
}
