//! The talk between agents about flows, between the maps and the network.
//!
//! ```text
//! reconcile ──programmed──┐                       ┌──awaiting──> reconcile
//! gossip ─────members─────┼──> Talk (lb_core) ────┼──datagrams─> peers
//! peers ──────datagrams───┤                       ├──MOVED, TOLD, give way──> maps
//! walk of the flows ──────┘                       └──report────> status, metrics
//! ```
//!
//! One task, which alone writes `MOVED` and `TOLD`. Flows are looked through on
//! a thread of their own, one walk at a time: after each change of the maps, and
//! every second as long as something may have moved. Nothing is lost when a
//! branch of the loop is cancelled: what is waited for there is only received.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lb_common::limits::default_size;
use lb_core::dataplane::Image;
use lb_core::model::{MemberState, Members, NodeName};
use lb_core::moved::{Act, Awaiting, Living, Output, Presence, Tables, Talk};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::clock;
use crate::dataplane::apply::ApplyError;
use crate::dataplane::moved::{self, MovedError, MovedMaps};
use crate::dataplane::pins::Pins;
use crate::dataplane::readback::ReadError;
use crate::driver::peers::Payload;
use crate::random;

mod report;

pub use report::{PeerReport, PeerState, Report};

/// Between two walks while flows may have moved, and otherwise.
const WALK_SOON: Duration = Duration::from_secs(1);
const WALK_LATER: Duration = Duration::from_secs(5);
/// For how long after a change flows may have moved that were not told of:
/// handshakes that were under way.
const UNEASY: Duration = Duration::from_secs(90);
/// A walk pauses for so many times as long as it took.
const WALK_PAUSES: u32 = 10;
/// Between two looks at who has told what, at least; and so many times as long
/// as one takes.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_PAUSES: u32 = 5;
/// Flows that `MOVED` has room for.
const MOVED_ROOM: usize = default_size::MOVED as usize;
/// Datagrams that are taken at a time.
const DATAGRAMS_AT_A_TIME: usize = 64;

/// What the maps hold, as the reconciler has just written it.
#[derive(Clone, Debug, Default)]
pub struct Programmed {
    pub image: Arc<Image>,
    /// The numbers that the other nodes have there.
    pub nodes: Arc<BTreeMap<NodeName, u16>>,
}

/// Where the channel hears from.
#[derive(Debug)]
pub struct Hears {
    pub programmed: watch::Receiver<Programmed>,
    pub members: watch::Receiver<Members>,
    pub datagrams: mpsc::Receiver<Payload>,
}

/// Whom it tells.
#[derive(Debug)]
pub struct Tells {
    /// What does not fit is lost, as on any network, and sent again.
    pub datagrams: mpsc::Sender<Payload>,
    pub awaiting: watch::Sender<Arc<Awaiting>>,
    pub report: watch::Sender<Arc<Report>>,
}

/// Why the channel cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error(transparent)]
    Maps(#[from] MovedError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0} has ended")]
    Ended(&'static str),
    #[error("a look through the flows panicked")]
    Panicked(#[source] JoinError),
}

type Walk = JoinHandle<(Arc<Tables>, Result<Vec<Living>, ReadError>, Duration)>;

/// The task's own.
#[derive(Debug)]
pub struct Channel {
    talk: Talk,
    maps: MovedMaps,
    pins: Pins,
    hz: u32,
    tells: Tells,
    tables: Arc<Tables>,
    ids: BTreeMap<NodeName, u16>,
    names: BTreeMap<u16, NodeName>,
    walk: Option<Walk>,
    /// No walk before this moment.
    walk_after: Instant,
    /// When the next one is due.
    walk_due: Instant,
    changed: Instant,
    walk_took: Duration,
    /// When to look at who has told what.
    look_due: Option<Instant>,
    look_after: Instant,
}

impl Channel {
    pub fn open(pins: &Pins, hz: u32, tells: Tells) -> Result<Self, ChannelError> {
        let maps = MovedMaps::open(pins)?;
        let held = maps.held()?;
        let now = clock::instant();
        Ok(Self {
            talk: Talk::new(random::number().max(1), held, MOVED_ROOM),
            maps,
            pins: pins.clone(),
            hz,
            tells,
            tables: Arc::default(),
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            walk: None,
            walk_after: now,
            walk_due: now,
            changed: now,
            walk_took: Duration::ZERO,
            look_due: None,
            look_after: now,
        })
    }

    /// Runs until one of those it hears from ends.
    pub async fn run(mut self, mut hears: Hears) -> Result<(), ChannelError> {
        // Before the maps were written there is nothing to talk about.
        let ended = |_closed| ChannelError::Ended("the reconciler");
        hears.programmed.changed().await.map_err(ended)?;
        self.take_tables(&mut hears);
        let mut datagrams = Vec::with_capacity(DATAGRAMS_AT_A_TIME);
        loop {
            let next = self.next();
            tokio::select! {
                biased;
                changed = hears.programmed.changed() => {
                    changed.map_err(ended)?;
                    self.take_tables(&mut hears);
                }
                changed = hears.members.changed() => {
                    changed.map_err(|_closed| ChannelError::Ended("gossip"))?;
                    self.take_members(&mut hears.members);
                }
                count = hears.datagrams.recv_many(&mut datagrams, DATAGRAMS_AT_A_TIME) => {
                    if count == 0 {
                        return Err(ChannelError::Ended("the socket to peers"));
                    }
                    self.take_datagrams(datagrams.drain(..));
                }
                walked = done(&mut self.walk) => {
                    self.walk = None;
                    let (tables, found, took) = walked.map_err(ChannelError::Panicked)?;
                    self.take_walk(&tables, found, took);
                }
                () = tokio::time::sleep_until(next) => {}
            }
            self.talk.handle_timeout(clock::now());
            self.act();
            self.look();
            self.begin_walk();
        }
    }

    /// When there is something to do although nothing is heard.
    fn next(&self) -> Instant {
        let (moment, now) = (clock::instant(), clock::now());
        let deadline = self.talk.deadline(now);
        let deadline = deadline.map(|deadline| moment + deadline.since(now));
        let walk = self.walk.is_none().then_some(self.walk_due);
        let all = [deadline, self.look_due, walk];
        let next = all.into_iter().flatten().min();
        // Timers are that exact and no more.
        next.unwrap_or(moment + WALK_LATER)
            .max(moment + Duration::from_millis(1))
    }

    fn take_tables(&mut self, hears: &mut Hears) {
        let programmed = hears.programmed.borrow_and_update().clone();
        self.ids = (*programmed.nodes).clone();
        self.names = self
            .ids
            .iter()
            .map(|(name, id)| (*id, name.clone()))
            .collect();
        self.take_members(&mut hears.members);
        self.tables = Arc::new(Tables::of(&programmed.image, &self.tables));
        self.talk.set_tables(self.tables.sets(), clock::now());
        self.changed = clock::instant();
        self.walk_due = self.changed;
        // What was told for the sets of before holds no longer.
        self.look_now();
    }

    fn take_members(&mut self, members: &mut watch::Receiver<Members>) {
        let members = members.borrow_and_update();
        let presence = |name| presence(&members, name);
        let peers = self.ids.iter().map(|(name, id)| (*id, presence(name)));
        self.talk.set_peers(&peers.collect(), clock::now());
        self.look_due.get_or_insert(clock::instant());
    }

    fn take_datagrams(&mut self, datagrams: impl Iterator<Item = Payload>) {
        let now = clock::now();
        for (sender, datagram) in datagrams {
            if let Some(id) = self.ids.get(&sender) {
                self.talk.handle_datagram(*id, &datagram, now);
            }
        }
        self.look_due.get_or_insert(self.look_after);
    }

    fn take_walk(
        &mut self,
        tables: &Tables,
        found: Result<Vec<Living>, ReadError>,
        took: Duration,
    ) {
        self.walk_took = took;
        let moment = clock::instant();
        let period = if moment.duration_since(self.changed) < UNEASY {
            WALK_SOON
        } else {
            WALK_LATER
        };
        self.walk_after = moment + took * 2;
        self.walk_due = moment + period.max(took * WALK_PAUSES);
        // The tables have changed meanwhile.
        if !std::ptr::eq(&raw const *self.tables, tables) {
            self.walk_due = self.walk_after;
        }
        match found {
            Ok(living) => self.talk.walked(tables.sets(), living, clock::now()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "flows are not looked through");
            }
        }
    }

    fn begin_walk(&mut self) {
        let moment = clock::instant();
        let due = self.walk_due.max(self.walk_after) <= moment;
        // Alone, nothing lives elsewhere.
        if self.walk.is_some() || !due {
            return;
        }
        if self.ids.is_empty() {
            self.walk_due = moment + WALK_LATER;
            return;
        }
        let (pins, hz, tables) = (self.pins.clone(), self.hz, self.tables.clone());
        let watched: HashSet<_> = self.talk.watched().into_iter().collect();
        self.walk = Some(tokio::task::spawn_blocking(move || {
            let began = clock::monotonic();
            let found = moved::walk(&pins, hz, &tables, &watched);
            (tables, found, clock::monotonic().saturating_sub(began))
        }));
    }

    /// Does what the talk wants done.
    fn act(&mut self) {
        while let Some(act) = self.talk.poll_act() {
            let done = match act {
                Act::Transmit { peer, datagram } => {
                    if let Some(name) = self.names.get(&peer) {
                        // Full: lost, and sent again.
                        let _full = self.tells.datagrams.try_send((name.clone(), datagram));
                    }
                    Ok(())
                }
                Act::Map(Output::Hold { flow, node }) => self.maps.hold(&flow, node),
                Act::Map(Output::Release { flow }) => self.maps.release(&flow),
                Act::Map(Output::Compare {
                    peer,
                    flow,
                    idle_ms,
                }) => self.maps.compare(&flow, idle_ms, &self.tables).map(|kept| {
                    if let Some(ours_ms) = kept {
                        self.talk.kept(peer, flow, ours_ms, clock::now());
                    }
                }),
            };
            if let Err(error) = done {
                warn(&error);
            }
        }
    }

    fn look(&mut self) {
        if self.look_due.is_some_and(|due| due <= clock::instant()) {
            self.look_now();
        }
    }

    /// Writes who has told, and says who is waited for.
    fn look_now(&mut self) {
        let (now, began) = (clock::now(), clock::instant());
        self.look_due = None;
        if let Err(error) = self.maps.put_told(&self.talk.told(now)) {
            warn(&error);
        }
        let awaiting = self.talk.awaiting(now);
        let report = self.report(&awaiting, now);
        self.tells.awaiting.send_if_modified(|last| {
            let changed = **last != awaiting;
            if changed {
                *last = Arc::new(awaiting);
            }
            changed
        });
        self.tells.report.send_if_modified(|last| {
            // How long it takes differs all the time.
            let same = Report {
                walk_ms: last.walk_ms,
                ..report.clone()
            };
            let changed = **last != same;
            if changed {
                *last = Arc::new(report);
            }
            changed
        });
        let end = clock::instant();
        self.look_after = end + LOOK_EVERY.max((end - began) * LOOK_PAUSES);
    }
}

fn warn(error: &ApplyError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "what other agents said is not written");
}

/// One that was never heard of is not known to be dead.
fn presence(members: &Members, node: &NodeName) -> Presence {
    match members.by_node.get(node) {
        None => Presence::Unknown,
        Some(member) if member.returns_by.is_some() => Presence::There,
        Some(member) => match member.state {
            MemberState::Alive | MemberState::Suspect | MemberState::Leaving => Presence::There,
            MemberState::Down => Presence::Gone,
        },
    }
}

async fn done(
    walk: &mut Option<Walk>,
) -> Result<(Arc<Tables>, Result<Vec<Living>, ReadError>, Duration), JoinError> {
    match walk {
        Some(walk) => walk.await,
        None => std::future::pending().await,
    }
}
