//! BFD sessions, in a thread of their own: neither reconciling nor BGP holds
//! their timers up, nor, where it may have a real-time priority, other work of
//! the machine.
//!
//! ```text
//! driver::bgp ──Wanted (watch)──> run ──Found (watch)──> its speakers, reports
//!                                 ▲ │
//!              packets (mpsc) ────┘ └──> a socket for each session
//!        listeners (a task for each socket that hears)
//! ```
//!
//! Every arm of the loop is a receive or a sleep: nothing is lost when it is
//! dropped. Packets that come faster than they are taken are, as on any network.

mod listeners;
mod priority;
mod running;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lb_core::bfd::{Config, Packet, State, Status};
use lb_core::bgp::peer::Reach;
use lb_core::config::BfdProfile;
use lb_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use listeners::{Heard, Listeners};
use running::Running;

/// RFC 5881: by no router; RFC 5883: by any number of them.
const NEAR_PORT: u16 = 3784;
const FAR_PORT: u16 = 4784;
/// Counters are told anew, and what failed is tried again.
const SECOND: Duration = Duration::from_secs(1);
/// How long a peer keeps a session whose agent is being restarted.
const RESTART: Duration = Duration::from_secs(30);
/// For peers to answer when the agent ends, and between words to them.
const FAREWELL: Duration = Duration::from_secs(1);
const REPEAT: Duration = Duration::from_millis(30);
const REPEATS: u32 = 3;
/// Packets that wait for the loop.
const QUEUE: usize = 256;

/// A session's ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    pub remote: IpAddr,
    /// The number of the link, for an address that holds on one link only.
    pub scope: u32,
    pub source: Option<IpAddr>,
    /// A VRF.
    pub device: Option<String>,
}

/// A session that there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub config: Config,
    /// The least TTL of packets that came by routers; 255 is asked of others.
    pub least_ttl: u8,
    /// The peer is behind routers, whatever its address looks like.
    pub far: bool,
    /// The peer is to keep the session while this agent is restarted.
    pub outlives: bool,
}

pub type Wanted = BTreeMap<Ends, Want>;

/// How a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub status: Status,
    /// Over several hops.
    pub far: bool,
    /// Why nothing is sent or heard.
    pub error: Option<String>,
}

pub type AllFound = Arc<BTreeMap<Ends, Found>>;

impl Want {
    /// `resumes`: an agent was here before, and what it had programmed is.
    #[must_use]
    pub fn of(profile: &BfdProfile, far: bool, outlives: bool, resumes: bool) -> Self {
        let millis = |number: u32| Duration::from_millis(number.into());
        Self {
            config: Config {
                desired_tx: millis(profile.transmit_interval_ms),
                required_rx: millis(profile.receive_interval_ms),
                multiplier: profile.detect_multiplier,
                passive: profile.passive_mode,
                resumes: resumes && outlives,
            },
            least_ttl: profile.minimum_ttl,
            far,
            outlives,
        }
    }
}

impl Found {
    #[must_use]
    pub fn reach(&self) -> Reach {
        let status = &self.status;
        if status.state == State::Up {
            Reach::Up
        } else if status.remote_state == State::AdminDown {
            Reach::Unwatched
        } else if status.ups == 0 {
            Reach::Awaited
        } else {
            Reach::Down
        }
    }
}

/// Says which sessions there should be, and ends them.
#[derive(Debug)]
pub struct Handle {
    pub wanted: watch::Sender<Wanted>,
    pub found: watch::Receiver<AllFound>,
    quit: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Handle {
    /// Takes leave of the peers, which takes a second at most.
    pub async fn stop(self) {
        // Who has ended needs no telling.
        let _told = self.quit.send(());
        let _ended = self.ended.await;
    }
}

/// Runs in a thread of its own.
///
/// # Errors
/// There can be no thread, or no timers in it.
pub fn start() -> io::Result<Handle> {
    let (wanted, wanted_in) = watch::channel(Wanted::new());
    let (found_out, found) = watch::channel(AllFound::default());
    let (quit, asked) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        runtime.block_on(run(wanted_in, found_out, asked));
        // Whoever waited may be gone.
        let _told = end.send(());
    };
    thread::Builder::new().name("bfd".to_owned()).spawn(run)?;
    Ok(Handle {
        wanted,
        found,
        quit,
        ended,
    })
}

struct Driver {
    sessions: BTreeMap<Ends, Running>,
    listeners: Listeners,
    found: watch::Sender<AllFound>,
}

async fn run(
    mut wanted: watch::Receiver<Wanted>,
    found: watch::Sender<AllFound>,
    mut quit: oneshot::Receiver<()>,
) {
    let (packets_out, mut packets) = mpsc::channel(QUEUE);
    let mut driver = Driver {
        sessions: BTreeMap::new(),
        listeners: Listeners::new(packets_out),
        found,
    };
    let mut ticks = clock::ticks(SECOND);
    let mut hurries = false;
    loop {
        driver.work();
        let timer = clock::wait_until(driver.deadline());
        tokio::select! {
            biased;
            // Also where nobody is left to say it.
            _ = &mut quit => break,
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
                let now = wanted.borrow_and_update().clone();
                // Agents without a session have no need of it.
                if !hurries && !now.is_empty() {
                    hurries = true;
                    priority::raise_or_say();
                }
                driver.want(&now);
            }
            // Packets before timers: one that waits may be the one that is
            // missed.
            Some(heard) = packets.recv() => driver.hear(&heard),
            () = timer => driver.due(),
            _ = ticks.tick() => driver.look(),
        }
    }
    driver.farewell(&mut packets).await;
}

impl Driver {
    fn want(&mut self, wanted: &Wanted) {
        let now = clock::now();
        let gone = |ends: &Ends| !wanted.contains_key(ends);
        let gone: Vec<Ends> = self.sessions.keys().filter(|e| gone(e)).cloned().collect();
        for ends in gone {
            if let Some(mut running) = self.sessions.remove(&ends) {
                running.session.stop(now);
                running.work();
            }
        }
        for (ends, want) in wanted {
            match self.sessions.get_mut(ends) {
                Some(running) => running.change(*want, now),
                None => {
                    let free = |number| self.with(number).is_none();
                    let running = Running::new(ends, *want, free, now);
                    self.sessions.insert(ends.clone(), running);
                }
            }
        }
        self.listen();
        self.publish();
    }

    /// The sockets that these sessions need.
    fn listen(&mut self) {
        let wanted = self.sessions.values().map(Running::hears_at).collect();
        self.listeners.want(wanted);
        for running in self.sessions.values_mut() {
            running.deaf = self.listeners.failure(&running.hears_at());
        }
    }

    fn with(&self, discriminator: u32) -> Option<&Ends> {
        let mut all = self.sessions.iter();
        let found = all.find(|(_, running)| running.session.discriminator() == discriminator);
        found.map(|(ends, _)| ends)
    }

    fn hear(&mut self, heard: &Heard) {
        let Ok(packet) = Packet::decode(heard.bytes()) else {
            return;
        };
        let from = heard.from.ip().to_canonical();
        let mine = packet.your_discriminator;
        // RFC 5880 section 6.8.6: by the discriminator, if there is one.
        let running = self.sessions.iter_mut().find(|(ends, running)| {
            let number = running.session.discriminator();
            ends.remote == from
                && (mine == 0 || mine == number)
                && (ends.scope == 0 || ends.scope == scope(heard.from))
        });
        if let Some((_, running)) = running
            && running.accepts(heard)
        {
            running.session.handle_packet(&packet, heard.at);
        }
    }

    fn due(&mut self) {
        let now = clock::now();
        for running in self.sessions.values_mut() {
            if running.session.deadline().is_some_and(|at| at <= now) {
                running.session.handle_timeout(now);
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let deadlines = self.sessions.values();
        deadlines.filter_map(|r| r.session.deadline()).min()
    }

    /// Sends what is to be sent, and tells what has changed.
    fn work(&mut self) {
        let mut news = false;
        for running in self.sessions.values_mut() {
            news |= running.work();
        }
        if news {
            self.publish();
        }
    }

    /// Once a second.
    fn look(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        self.sessions.values_mut().for_each(Running::look);
        self.listen();
        self.publish();
    }

    fn publish(&self) {
        let all = self.sessions.iter();
        let all = all.map(|(ends, running)| (ends.clone(), running.found()));
        self.found.send_replace(Arc::new(all.collect()));
    }

    /// Sessions that outlive the agent are slowed down until the next one is
    /// there; the others end, which is no failure.
    async fn farewell(&mut self, packets: &mut mpsc::Receiver<Heard>) {
        let now = clock::now();
        for running in self.sessions.values_mut() {
            running.leave(RESTART, now);
        }
        let all = async {
            for repeat in 0.. {
                self.work();
                let agreed = self.sessions.values().all(Running::has_left);
                if agreed && repeat >= REPEATS {
                    return;
                }
                let again = tokio::time::sleep(REPEAT);
                tokio::pin!(again);
                loop {
                    tokio::select! {
                        Some(heard) = packets.recv() => self.hear(&heard),
                        () = &mut again => break,
                    }
                }
                let now = clock::now();
                for running in self.sessions.values_mut() {
                    running.say_again(now);
                }
            }
        };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("not all peers took the farewell of BFD");
        }
    }
}

/// The number of the link that an address holds on; 0: on all.
pub(super) const fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    }
}
