//! Sessions with routers: one task for each ([`speaker`]), and one for the
//! socket that takes connections which routers make ([`listener`]).
//!
//! ```text
//! reconcile ──Wanted (watch)──> run ──routes (watch)──> speaker ──TCP── router
//!                             ▲ │ │ ▲                    │   ▲
//!          listener ──stream──┘ │ │ └─status, found (mpsc)┘   │
//!                               │ └──Wanted──> super::bfd ──Found (watch)
//!                               └──Told (watch, file)──> CLI, metrics, publish
//! ```
//!
//! Channels to a speaker hold whole values, so none can be full for long: of
//! connections one waits, and one that comes meanwhile is closed, as the peer
//! would have it. Every arm of the loops is a receive or a wait for readiness,
//! which lose nothing when they are dropped.

mod finder;
mod listener;
mod speaker;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::bgp::peer::Stop;
use lb_core::bgp::rib::Routes;
use lb_core::config::{Password, Peer, PeerEnd};
use lb_core::desired::{BgpPeer, Untold};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::bfd::{self, Want};
use crate::clock;
use crate::report::routers::{BfdRow, Router, Routers};
use crate::report::routes::{OfPeer, ToldOf};
use finder::Neighbour;
use listener::{Accepted, Listener};
use speaker::{Orders, Outbox, Said, Speaker};

/// The statuses are written at most this often.
const SAY_EVERY: Duration = Duration::from_millis(200);
/// For what is under way when the agent ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where connections of routers are taken; none: nowhere.
    pub listen: Option<u16>,
    /// The data plane was there before this agent: what routers knew of this
    /// node holds.
    pub preserved: bool,
    /// Routers next to this node send with TTL 255, and others do not count.
    pub ttl_security: bool,
    pub run_folder: PathBuf,
}

impl Settings {
    /// RFC 5082: what came by no router still has all of it.
    fn least_ttl(&self, peer: &Peer) -> Option<u8> {
        (self.ttl_security && !peer.ebgp_multi_hop).then_some(u8::MAX)
    }
}

/// None: not known yet, and nobody is called before it is.
pub type Wanted = Option<Arc<Sessions>>;

/// The sessions that there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// By the peers' names.
    pub by_peer: BTreeMap<String, Session>,
    /// The addresses that nobody is to be told of, for people.
    pub untold: Arc<Vec<Untold>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub peer: Arc<BgpPeer>,
    /// Those of its prefixes that this node serves already.
    pub routes: Routes,
}

/// Asks all sessions to end; whoever waits for the driver sees when they have.
pub type Quit = oneshot::Receiver<()>;

struct Running {
    /// What its sessions and its socket are made of.
    peer: Arc<BgpPeer>,
    orders: watch::Sender<Orders>,
    accepted: mpsc::Sender<TcpStream>,
    stop: Option<oneshot::Sender<Stop>>,
    /// Who is at the other end of its link, as far as somebody was found.
    neighbour: Option<Neighbour>,
    /// An agent before this one may have had it.
    resumes: bool,
}

struct Driver {
    settings: Settings,
    running: BTreeMap<String, Running>,
    speakers: JoinSet<()>,
    /// Dropped by no speaker: closed never.
    outbox: Outbox,
    told: watch::Sender<Arc<Routers>>,
    said: BTreeMap<String, Said>,
    untold: Arc<Vec<Untold>>,
    /// What the file of routes is made of; none: it is to be written.
    told_of: Option<ToldOf>,
    listener: Option<Listener>,
    bfd: bfd::Handle,
    /// The sessions that were wanted when the agent started are those that it
    /// may have had before.
    first: bool,
}

/// Runs until it is told to quit, and until all have been told farewell.
pub async fn run(
    settings: Settings,
    mut wanted: watch::Receiver<Wanted>,
    told: watch::Sender<Arc<Routers>>,
    bfd: bfd::Handle,
    mut quit: Quit,
) {
    // A speaker that cannot say how it is waits.
    let (status, mut statuses) = mpsc::channel(64);
    let (found, mut neighbours) = mpsc::channel(64);
    let mut driver = Driver {
        listener: settings.listen.map(Listener::new),
        settings,
        running: BTreeMap::new(),
        speakers: JoinSet::new(),
        outbox: Outbox { status, found },
        told,
        said: BTreeMap::new(),
        untold: Arc::default(),
        told_of: None,
        bfd,
        first: true,
    };
    let mut found = driver.bfd.found.clone();
    let mut ticks = clock::ticks(SAY_EVERY);
    let mut news = true;
    loop {
        tokio::select! {
            biased;
            // Also where nobody is left to say it.
            _ = &mut quit => break,
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
                let now = wanted.borrow_and_update().clone();
                if let Some(now) = now {
                    driver.want(&now);
                    news = true;
                }
            }
            Some(status) = statuses.recv() => {
                driver.hear(status);
                news = true;
            }
            Some((name, neighbour)) = neighbours.recv() => driver.find(&name, neighbour),
            Ok(()) = found.changed() => {
                found.mark_unchanged();
                news = true;
            }
            accepted = accept(driver.listener.as_mut()) => driver.pass_on(accepted),
            _ = ticks.tick(), if news => {
                news = false;
                driver.say();
            }
            Some(_) = driver.speakers.join_next() => {}
        }
    }
    // Nobody asks how they are any more.
    drop((statuses, neighbours));
    driver.farewell().await;
}

async fn accept(listener: Option<&mut Listener>) -> Accepted {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

impl Driver {
    fn want(&mut self, Sessions { by_peer, untold }: &Sessions) {
        self.untold.clone_from(untold);
        let wanted = by_peer;
        let gone = |name: &String| !wanted.contains_key(name);
        let gone: Vec<String> = self.running.keys().filter(|n| gone(n)).cloned().collect();
        for name in gone {
            self.end(&name, Stop::Deconfigured);
            self.said.remove(&name);
        }
        for (name, session) in wanted {
            let known = self.running.get(name);
            let neighbour = known.and_then(|running| running.neighbour.clone());
            let orders = orders(session, neighbour);
            let same = |running: &Running| {
                running.peer.peer == session.peer.peer
                    && running.peer.session == session.peer.session
            };
            match self.running.get_mut(name) {
                Some(running) if same(running) => {
                    running.peer = session.peer.clone();
                    running.orders.send_if_modified(|last| {
                        let changed = *last != orders;
                        *last = orders;
                        changed
                    });
                }
                Some(_) => {
                    self.end(name, Stop::Changed);
                    self.start(session);
                }
                None => self.start(session),
            }
        }
        self.first = false;
        self.prepare();
    }

    /// The neighbour of a peer's link is another one.
    fn find(&mut self, name: &str, neighbour: Neighbour) {
        let Some(running) = self.running.get_mut(name) else {
            return;
        };
        running.neighbour = Some(neighbour.clone());
        let bfd = running.bfd();
        running.orders.send_modify(|orders| {
            orders.bfd = bfd;
            orders.neighbour = Some(neighbour);
        });
        self.prepare();
    }

    /// Has all sockets that these sessions need.
    fn prepare(&mut self) {
        self.watch();
        let running = self.running.values();
        let passwords = running.filter_map(|running| {
            let (remote, _) = running.remote()?;
            Some((remote, running.peer.peer.password.clone()?))
        });
        let passwords: BTreeMap<IpAddr, Password> = passwords.collect();
        if let Some(listener) = &mut self.listener {
            // Nobody else is to be heard at all.
            let near = |running: &Running| {
                let peer = &running.peer.peer;
                self.settings.least_ttl(peer).is_some()
            };
            let all = !self.running.is_empty() && self.running.values().all(near);
            listener.expect(passwords, all);
        }
    }

    /// Has BFD watch those that it should. Of two peers at one address the
    /// first one says how.
    fn watch(&mut self) {
        let mut wanted = bfd::Wanted::new();
        for running in self.running.values() {
            let peer = &running.peer;
            let Some((ends, profile)) = running.bfd().zip(peer.bfd.as_ref()) else {
                continue;
            };
            let resumes = running.resumes;
            let outlives = peer.session.graceful.is_some();
            let want = Want::of(profile, peer.peer.ebgp_multi_hop, outlives, resumes);
            wanted.entry(ends).or_insert(want);
        }
        self.bfd.wanted.send_if_modified(|last| {
            // Whether it resumes is of one that has just begun.
            for (ends, want) in &mut wanted {
                let before = last.get(ends);
                want.config.resumes = before.map_or(want.config.resumes, |b| b.config.resumes);
            }
            let changed = *last != wanted;
            *last = wanted;
            changed
        });
    }

    fn start(&mut self, session: &Session) {
        let orders = orders(session, None);
        let mut peer = (*session.peer).clone();
        if let Some(graceful) = &mut peer.session.graceful {
            graceful.restarted = self.first;
            graceful.preserved = self.settings.preserved || !self.first;
        }
        let (orders_out, orders_in) = watch::channel(orders);
        let (accepted, incoming) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let found = self.bfd.found.clone();
        let least_ttl = self.settings.least_ttl(&peer.peer);
        let speaker = Speaker::new(&peer, least_ttl, found, self.outbox.clone());
        self.speakers
            .spawn(speaker.run(orders_in, incoming, stopped));
        let running = Running {
            peer: session.peer.clone(),
            orders: orders_out,
            accepted,
            stop: Some(stop),
            neighbour: None,
            resumes: self.first && self.settings.preserved,
        };
        self.running.insert(session.peer.peer.name.clone(), running);
    }

    fn end(&mut self, name: &str, stop: Stop) {
        let Some(mut running) = self.running.remove(name) else {
            return;
        };
        if let Some(sender) = running.stop.take() {
            // One that has ended needs no telling.
            let _told = sender.send(stop);
        }
    }

    fn hear(&mut self, said: Said) {
        if self.running.contains_key(&said.router.name) {
            self.said.insert(said.router.name.clone(), said);
        }
    }

    /// Hands a connection to whoever expects it.
    fn pass_on(&mut self, accepted: Accepted) {
        let Accepted {
            stream,
            remote,
            scope,
        } = accepted;
        let mut running = self.running.values();
        // An address that holds on all links is expected by any.
        let expecting = running.find(|running| {
            let expected = running.remote();
            expected.is_some_and(|(at, by)| at == remote && (by == 0 || by == scope))
        });
        match expecting {
            // Full: one that is as new waits already.
            Some(running) => drop(running.accepted.try_send(stream)),
            None => tracing::debug!(%remote, "a connection of nobody who is configured"),
        }
    }

    /// For the CLI, metrics, and whoever writes to the cluster.
    fn say(&mut self) {
        let found = self.bfd.found.borrow().clone();
        let with_bfd = |(name, said): (&String, &Said)| {
            let running = self.running.get(name)?;
            let profile = running.peer.bfd.as_ref();
            let bfd = profile.map(|profile| {
                let found = running.bfd().and_then(|ends| found.get(&ends));
                BfdRow::new(profile, found)
            });
            Some(Router {
                bfd,
                ..said.router.clone()
            })
        };
        let routers = Arc::new(Routers {
            routers: self.said.iter().filter_map(with_bfd).collect(),
        });
        let folder = &self.settings.run_folder;
        if let Err(error) = routers.write(folder) {
            tracing::warn!(folder = %folder.display(), %error, "cannot write about routers");
        }
        self.told.send_replace(routers);
        self.say_routes();
    }

    fn say_routes(&mut self) {
        let of_peer = |(name, running): (&String, &Running)| {
            let said = self.said.get(name);
            let of_peer = OfPeer {
                prefixes: running.peer.prefixes.clone(),
                routes: running.orders.borrow().routes.clone(),
                rib: said.map(|said| said.rib.clone()).unwrap_or_default(),
                established: said.is_some_and(|said| said.router.established),
                leaving: running.peer.leaving,
            };
            (name.clone(), of_peer)
        };
        let of = ToldOf {
            peers: self.running.iter().map(of_peer).collect(),
            untold: self.untold.clone(),
        };
        if self.told_of.as_ref() == Some(&of) {
            return;
        }
        let folder = &self.settings.run_folder;
        match of.write(folder) {
            Ok(()) => self.told_of = Some(of),
            Err(error) => {
                self.told_of = None;
                tracing::warn!(folder = %folder.display(), %error, "cannot write what routers know");
            }
        }
    }

    /// Those that agreed on a graceful restart keep their routes: the data
    /// plane goes on.
    async fn farewell(mut self) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            let session = self.running.get(&name).map(|running| &running.peer.session);
            let graceful = session.is_some_and(|session| session.graceful.is_some());
            let stop = if graceful {
                Stop::Restart
            } else {
                Stop::Shutdown("the agent ends".to_owned())
            };
            self.end(&name, stop);
        }
        let all = async { while self.speakers.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("not all routers took the farewell");
        }
        // Last: a session of BGP that has ended in peace is not ended by BFD.
        self.bfd.stop().await;
    }
}

impl Running {
    /// Where the peer is, and the number of its link, if the address holds on
    /// one link only. None while it is not known.
    fn remote(&self) -> Option<(IpAddr, u32)> {
        remote(&self.peer.peer, self.neighbour.as_ref())
    }

    /// The session of BFD that it should have; none while nobody is known.
    fn bfd(&self) -> Option<bfd::Ends> {
        ends(&self.peer, self.neighbour.as_ref())
    }
}

fn orders(session: &Session, neighbour: Option<Neighbour>) -> Orders {
    Orders {
        routes: session.routes.clone(),
        leaving: session.peer.leaving,
        bfd: ends(&session.peer, neighbour.as_ref()),
        neighbour,
    }
}

fn remote(peer: &Peer, neighbour: Option<&Neighbour>) -> Option<(IpAddr, u32)> {
    match &peer.end {
        PeerEnd::Address(remote) => Some((*remote, 0)),
        PeerEnd::Interface(_) => neighbour.map(|found| (found.address.into(), found.link)),
    }
}

/// Between which BFD is spoken, where it is wanted.
fn ends(peer: &BgpPeer, neighbour: Option<&Neighbour>) -> Option<bfd::Ends> {
    peer.bfd.as_ref()?;
    let peer = &peer.peer;
    let (remote, scope) = remote(peer, neighbour)?;
    Some(bfd::Ends {
        remote,
        scope,
        source: peer.source_address,
        device: peer.vrf.clone(),
    })
}
