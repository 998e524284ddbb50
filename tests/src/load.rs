//! Traffic: flows through a VIP that stay open while things change, and new
//! ones that show how they spread over the pods.
//!
//! One thread inside the client's namespace drives all flows. It owns what is
//! known of them; others ask for a copy.

mod flood;
mod probe;
mod spread;
pub(crate) mod talk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc as answers;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

pub use self::flood::Flooding;
pub use self::probe::{PROBE_PACE, Probes, Track, Tracks, longest_gap};
pub use self::spread::{Spread, spread};
use crate::lab::Lab;
use crate::lab::manifests::Protocol;
use crate::netns::Namespace;
use crate::wait;

/// Between two lines of one flow.
const PACE: Duration = Duration::from_millis(50);
/// An answer that takes longer is a stall.
const STALL: Duration = Duration::from_secs(2);
/// How long flows may take to all be open, or to all have new answers.
const LIMIT: Duration = Duration::from_secs(40);

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

impl Target {
    #[must_use]
    pub fn tcp(address: impl Into<SocketAddr>) -> Self {
        Self {
            protocol: Protocol::Tcp,
            address: address.into(),
        }
    }

    #[must_use]
    pub fn udp(address: impl Into<SocketAddr>) -> Self {
        Self {
            protocol: Protocol::Udp,
            address: address.into(),
        }
    }
}

/// What is known of one flow.
#[derive(Clone, Debug)]
pub struct Flow {
    pub target: Target,
    /// The pod that answered first; none yet: empty.
    pub pod: String,
    pub answered: u64,
    /// How often another pod answered than just before.
    pub moved: u64,
    /// Answers of a pod that saw another address than the client's.
    pub masked: u64,
    /// Answers that took more than two seconds.
    pub stalled: u64,
    /// Datagrams without an answer.
    pub lost: u64,
    /// The longest wait for an answer.
    pub longest: Duration,
    /// The pod that answered last.
    last_pod: String,
    /// Why it ended before its time: reset, closed, silent.
    pub broken: Option<String>,
}

impl Flow {
    fn new(target: Target) -> Self {
        Self {
            target,
            pod: String::new(),
            answered: 0,
            moved: 0,
            masked: 0,
            stalled: 0,
            lost: 0,
            longest: Duration::ZERO,
            last_pod: String::new(),
            broken: None,
        }
    }

    /// Takes an answer `<pod> <client> …` into account.
    fn note(&mut self, answer: &str, own: SocketAddr, took: Duration) {
        let mut words = answer.split_whitespace();
        let pod = words.next().unwrap_or_default();
        if self.pod.is_empty() {
            pod.clone_into(&mut self.pod);
        } else if self.last_pod != pod {
            self.moved += 1;
        }
        if self.last_pod != pod {
            pod.clone_into(&mut self.last_pod);
        }
        self.answered += 1;
        self.masked += u64::from(words.next().and_then(|seen| seen.parse().ok()) != Some(own));
        self.stalled += u64::from(took > STALL);
        self.longest = self.longest.max(took);
    }
}

/// Flows that are open and have traffic until [`Load::finish`].
#[derive(Debug)]
pub struct Load {
    asks: mpsc::UnboundedSender<answers::Sender<Vec<Flow>>>,
    thread: JoinHandle<Result<Result<Vec<Flow>>>>,
}

impl Load {
    /// Opens a flow to each target, and returns once every one is answered.
    pub fn start(namespace: &Namespace, targets: Vec<Target>) -> Result<Self> {
        let (asks, asked) = mpsc::unbounded_channel();
        let thread = namespace.spawn(move || drive(&targets, asked));
        let load = Self { asks, thread };
        load.wait_for_answers(1)?;
        if let Some(text) = load.look()?.iter().find_map(|flow| flow.broken.clone()) {
            bail!("a flow did not open: {text}");
        }
        Ok(load)
    }

    /// As [`Load::start`]: so many connections to each VIP of a TCP service,
    /// and so many flows to each of a UDP service.
    pub fn open(lab: &Lab, connections: usize, udp_flows: usize) -> Result<Self> {
        let copies = |target: Target| match target.protocol {
            Protocol::Tcp => std::iter::repeat_n(target, connections),
            Protocol::Udp => std::iter::repeat_n(target, udp_flows),
        };
        let targets = lab.targets().into_iter().flat_map(copies).collect();
        Self::start(&lab.client(), targets)
    }

    /// All flows as they are now.
    pub fn look(&self) -> Result<Vec<Flow>> {
        let (answer, answered) = answers::channel();
        let gone = || anyhow!("the traffic has ended by itself");
        self.asks.send(answer).ok().with_context(gone)?;
        answered.recv().ok().with_context(gone)
    }

    /// Waits until every flow that is not broken has so many answers more, to
    /// lines sent after this was called.
    pub fn wait_for_answers(&self, more: u64) -> Result<()> {
        let before = self.look()?;
        wait::until_ok(LIMIT, "every flow is answered", || {
            let now = self.look()?;
            // One answer may be on its way to a line sent before.
            let behind = now.iter().zip(&before).filter(|(now, before)| {
                now.broken.is_none() && now.answered <= before.answered + more
            });
            let behind: Vec<_> = behind.map(|(now, _)| now).collect();
            ensure!(
                behind.is_empty(),
                "{} of {} flows are not, such as {:?}",
                behind.len(),
                now.len(),
                behind[0]
            );
            Ok(())
        })
    }

    /// Waits until each of these flows has new answers; none has ended, or was
    /// answered by another pod.
    pub fn wait_well(&self, which: impl Fn(&Flow) -> bool) -> Result<()> {
        const MORE: u64 = 4;
        let look = || -> Result<Vec<Flow>> {
            let flows = self.look()?.into_iter();
            Ok(flows.filter(&which).collect())
        };
        let before = look()?;
        ensure!(!before.is_empty(), "there are no such flows");
        wait::until_ok(LIMIT, "the flows that matter are answered", || {
            for (now, before) in look()?.iter().zip(&before) {
                ensure!(now.broken.is_none() && now.moved == 0, "{now:?}");
                ensure!(now.answered > before.answered + MORE, "{now:?}");
            }
            Ok(())
        })
    }

    /// Ends the flows, and tells of all.
    pub fn finish(self) -> Result<Vec<Flow>> {
        drop(self.asks);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
    }
}

/// Runs the flows until nobody can ask for them any more.
fn drive(
    targets: &[Target],
    mut asked: mpsc::UnboundedReceiver<answers::Sender<Vec<Flow>>>,
) -> Result<Vec<Flow>> {
    let flows: Vec<_> = targets
        .iter()
        .map(|target| Rc::new(RefCell::new(Flow::new(*target))))
        .collect();
    let copy = || flows.iter().map(|flow| flow.borrow().clone()).collect();
    let (stop, stopped) = watch::channel(false);
    let local = LocalSet::new();
    runtime()?.block_on(local.run_until(async {
        let tasks: Vec<_> = flows
            .iter()
            .enumerate()
            .map(|(index, flow)| {
                let share = u32::try_from(index % 50).expect("below 50");
                let offset = PACE * share / 50;
                tokio::task::spawn_local(talk::talk(Rc::clone(flow), offset, stopped.clone()))
            })
            .collect();
        while let Some(answer) = asked.recv().await {
            // Who asked may have given up.
            drop(answer.send(copy()));
        }
        stop.send_replace(true);
        for task in tasks {
            task.await.context("a flow's task panicked")?;
        }
        Ok(copy())
    }))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for traffic")
}

/// What became of many flows together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub flows: u64,
    pub answered: u64,
    pub reset: u64,
    /// Connections that another pod answered.
    pub moved: u64,
    /// The same of UDP flows, which is not promised not to be.
    pub udp_moved: u64,
    pub masked: u64,
    pub stalled: u64,
    pub lost: u64,
    pub longest: Duration,
    pub by_pod: BTreeMap<String, u64>,
}

impl Tally {
    #[must_use]
    pub fn of<F: std::borrow::Borrow<Flow>>(flows: impl IntoIterator<Item = F>) -> Self {
        let mut tally = Self::default();
        for flow in flows {
            let flow = flow.borrow();
            tally.flows += 1;
            tally.answered += flow.answered;
            tally.reset += u64::from(flow.broken.is_some());
            match flow.target.protocol {
                Protocol::Tcp => tally.moved += flow.moved,
                Protocol::Udp => tally.udp_moved += flow.moved,
            }
            tally.masked += flow.masked;
            tally.stalled += flow.stalled;
            tally.lost += flow.lost;
            tally.longest = tally.longest.max(flow.longest);
            *tally.by_pod.entry(flow.pod.clone()).or_default() += 1;
        }
        tally
    }

    /// What was added since, of the same flows.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            flows: self.flows,
            answered: self.answered - before.answered,
            reset: self.reset - before.reset,
            moved: self.moved - before.moved,
            udp_moved: self.udp_moved - before.udp_moved,
            masked: self.masked - before.masked,
            stalled: self.stalled - before.stalled,
            lost: self.lost - before.lost,
            longest: self.longest,
            by_pod: self.by_pod.clone(),
        }
    }

    /// As promised: nothing was reset, lost or stalled, no connection was
    /// answered by another pod, and every pod saw the client's address.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.reset + self.moved + self.masked + self.stalled + self.lost == 0
    }
}
