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
mod running;
mod speaker;
mod telling;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::bgp::peer::Stop;
use lb_core::bgp::rib::Routes;
use lb_core::config::{Password, Peer};
use lb_core::desired::{BgpPeer, Untold};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::bfd::{self, Want};
use crate::clock;
use crate::report::routers::Routers;
use finder::Neighbour;
use listener::{Accepted, Listener};
use running::{Running, orders};
use speaker::{Outbox, Said, Speaker};
use telling::Telling;

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

struct Driver {
    settings: Settings,
    running: BTreeMap<String, Running>,
    speakers: JoinSet<()>,
    /// Dropped by no speaker: closed never.
    outbox: Outbox,
    telling: Telling,
    untold: Arc<Vec<Untold>>,
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
        telling: Telling::new(settings.run_folder.clone(), told),
        settings,
        running: BTreeMap::new(),
        speakers: JoinSet::new(),
        outbox: Outbox { status, found },
        untold: Arc::default(),
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
            self.telling.forget(&name);
        }
        for (name, session) in wanted {
            let running = self.running.get_mut(name);
            if running.is_some_and(|running| running.adopt(session)) {
                continue;
            }
            self.end(name, Stop::Changed);
            self.start(session);
        }
        self.first = false;
        self.prepare();
    }

    fn find(&mut self, name: &str, neighbour: Neighbour) {
        if let Some(running) = self.running.get_mut(name) {
            running.find(neighbour);
            self.prepare();
        }
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
            stop,
            neighbour: None,
            resumes: self.first && self.settings.preserved,
        };
        self.running.insert(session.peer.peer.name.clone(), running);
    }

    fn end(&mut self, name: &str, stop: Stop) {
        if let Some(running) = self.running.remove(name) {
            running.end(stop);
        }
    }

    fn hear(&mut self, said: Said) {
        if self.running.contains_key(&said.router.name) {
            self.telling.hear(said);
        }
    }

    fn say(&mut self) {
        let found = self.bfd.found.borrow().clone();
        self.telling.say(&self.running, &found, &self.untold);
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

    /// Those that agreed on a graceful restart keep their routes: the data
    /// plane goes on.
    async fn farewell(mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            let stop = match running.peer.session.graceful {
                Some(_) => Stop::Restart,
                None => Stop::Shutdown("the agent ends".to_owned()),
            };
            running.end(stop);
        }
        let all = async { while self.speakers.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("not all routers took the farewell");
        }
        // Last: a session of BGP that has ended in peace is not ended by BFD.
        self.bfd.stop().await;
    }
}
