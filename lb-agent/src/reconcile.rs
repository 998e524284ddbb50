//! The single owner of the inputs: what is known comes in, what should be is
//! computed whole, and the difference goes to the kernel.
//!
//! ```text
//! source ──facts────────┐                          ┌──question──> net::watch
//! net::watch ───links───┴─> Reconciler: desired ───┼──owned─────> net::announce
//! sweep ──filter ready────>   plan, diff, apply    ├──elected───> driver::fence
//! driver::fence ──free────>                        └──report────> status file
//! ```
//!
//! The first change is worked on at once, what comes within 50 ms after it
//! together. A write that fails leaves what the maps hold, which is read back,
//! and is tried again soon. Nothing is written before the facts and the links
//! have been read once: an agent that knows nothing yet changes nothing.

mod config;
mod heard;
mod owned;
mod routers;
mod said;
mod stopwatch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_common::config::Config;
use lb_core::dataplane::{Image, Ledger, Settle, diff, plan};
use lb_core::desired::{Desired, Memo, desired};
use lb_core::l2::Wanted as Announced;
use lb_core::model::{Inputs, Links, Members, NodeName};
use lb_core::moved::Awaiting;
use lb_core::problem::Problem;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::clock;
use crate::dataplane::apply::{self, Kernel, Target as _};
use crate::dataplane::attach::{Attachments, Hook, Wanted};
use crate::dataplane::readback::ReadError;
use crate::dataplane::sizes::MapSizes;
use crate::driver::bgp::Wanted as SessionsWanted;
use crate::driver::channel::{self, Programmed};
use crate::driver::claims::{Found, Probed};
use crate::driver::fence::Findings;
use crate::net::{Device, NetFacts, Question};
use crate::publish::Decided;
use crate::report::Report;
use crate::report::vips::Vips;
use crate::secret::Known;
use crate::source::State;
use heard::leaving;
use said::Failure;
use stopwatch::Stopwatch;

/// Between two runs.
const PACE: Duration = Duration::from_millis(50);
/// After a failure; doubled until the longest.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeName,
    /// Where facts come from, for people.
    pub reads: String,
    pub run_folder: PathBuf,
    pub sizes: MapSizes,
    pub settle: Settle,
    pub tunnel_port: u16,
    /// How often all VIPs are announced again; none: not.
    pub announce_every: Option<Duration>,
    /// By `lb_common::traffic::rate`.
    pub rates: [u32; 4],
    pub hz: u32,
}

/// The half of the client filter that was filled; answered when it is in use.
#[derive(Debug)]
pub struct FilterReady {
    pub half: u32,
    pub in_use: oneshot::Sender<()>,
}

/// Where the reconciler hears from.
#[derive(Debug)]
pub struct Hears {
    pub facts: watch::Receiver<State>,
    pub net: watch::Receiver<NetFacts>,
    pub filter: mpsc::Receiver<FilterReady>,
    pub awaiting: watch::Receiver<Arc<Awaiting>>,
    /// How the talk with other agents goes.
    pub channel: watch::Receiver<Arc<channel::Report>>,
    pub secret: watch::Receiver<Known>,
    pub fence: watch::Receiver<Findings>,
    pub found: watch::Receiver<Found>,
    pub members: watch::Receiver<Members>,
}

/// Whom it tells.
#[derive(Debug)]
pub struct Tells {
    pub question: watch::Sender<Question>,
    pub owned: watch::Sender<Announced>,
    pub elected: watch::Sender<Option<BTreeSet<NodeName>>>,
    pub probed: watch::Sender<Probed>,
    /// Nodes that are leaving, and of whose VIPs this one's share is here.
    pub acted: watch::Sender<BTreeSet<NodeName>>,
    pub programmed: watch::Sender<Programmed>,
    pub decided: watch::Sender<Decided>,
    pub report: watch::Sender<Arc<Report>>,
    pub sessions: watch::Sender<SessionsWanted>,
}

/// Why the agent cannot go on. What was attached stays attached.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("cannot read the maps back")]
    Read(#[from] ReadError),
    #[error("{0} has ended")]
    Ended(&'static str),
}

#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    kernel: Kernel,
    attachments: Attachments,
    tells: Tells,
    memo: Memo,
    ledger: Ledger,
    current: Arc<Image>,
    inputs: Inputs,
    owned: owned::Links,
    /// What that was made of; none: it is to be made anew.
    owned_of: Option<owned::OwnedOf>,
    /// Whoever announces them knows what the fence found last.
    told_standing: bool,
    /// VIPs that this node would be the first to use, and has to ask about.
    unproven: BTreeSet<IpAddr>,
    /// Who else says to have VIPs.
    others: Found,
    /// What the fence found last.
    found: Findings,
    /// Kept when no device fits any more: better the old ones than none.
    uplinks: Vec<Device>,
    net: NetFacts,
    config: Config,
    report: Report,
    known_problems: BTreeSet<Problem>,
    /// What the file of addresses was made of.
    addresses: Option<said::AddressesOf>,
    /// What the file of VIPs says, and was made of.
    vips: Vips,
    vips_of: Option<said::VipsOf>,
    /// What routers were told of.
    told_of: Option<routers::ToldOf>,
    retry: Duration,
    /// What the source said last; the inputs' facts are of it.
    said: State,
    /// Why the cluster's secret is not known, or no newer one.
    secret_failure: Option<String>,
    /// Other agents tell which flows moved, or may.
    talks: bool,
}

/// When to run next, and why.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// No sooner than this.
    paced: Instant,
    due: Option<Instant>,
}

impl Schedule {
    fn at(&mut self, moment: Instant) {
        self.due = Some(self.due.map_or(moment, |due| due.min(moment)));
    }

    fn soon(&mut self) {
        self.at(self.paced);
    }

    /// Without waiting for what else may come.
    fn at_once(&mut self) {
        self.paced = clock::instant();
        self.at(self.paced);
    }

    fn next(&self) -> Option<Instant> {
        self.due.map(|due| due.max(self.paced))
    }
}

impl Reconciler {
    /// Reads back what the maps hold.
    pub fn new(
        settings: Settings,
        kernel: Kernel,
        attachments: Attachments,
        tells: Tells,
    ) -> Result<Self, ReconcileError> {
        let current = Arc::new(kernel.read()?);
        let config = config::of(&settings, kernel.config()?);
        let mut report = Report::of_this_process();
        report.node = settings.node.to_string();
        report.reads.clone_from(&settings.reads);
        Ok(Self {
            ledger: Ledger::new(settings.sizes.for_core(), settings.settle, clock::now()),
            inputs: Inputs {
                facts: lb_core::model::Facts::default(),
                this_node: settings.node.clone(),
                secret: Vec::new(),
                links: Links::default(),
                members: Members::default(),
                free: None,
            },
            settings,
            kernel,
            attachments,
            tells,
            memo: Memo::default(),
            current,
            owned: owned::Links::new(),
            owned_of: None,
            told_standing: false,
            unproven: BTreeSet::new(),
            others: Found::default(),
            found: Findings::default(),
            uplinks: Vec::new(),
            net: NetFacts::default(),
            config,
            report,
            known_problems: BTreeSet::new(),
            addresses: None,
            vips: Vips::default(),
            vips_of: None,
            told_of: None,
            retry: RETRY,
            said: State::default(),
            secret_failure: None,
            talks: true,
        })
    }

    /// Whether the maps were filled when the agent started.
    #[must_use]
    pub fn found_tables(&self) -> bool {
        !self.current.frontends.is_empty()
    }

    /// Runs until one of those it hears from ends.
    pub async fn run(mut self, mut hears: Hears) -> Result<(), ReconcileError> {
        self.first_inputs(&mut hears).await?;
        self.take_findings(&mut hears.fence);
        self.take_awaiting(&mut hears.awaiting);
        let mut schedule = Schedule {
            paced: clock::instant(),
            due: Some(clock::instant()),
        };
        loop {
            let next = schedule.next();
            let due = async {
                match next {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = hears.fence.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the fence"))?;
                    if self.take_findings(&mut hears.fence) {
                        schedule.at_once();
                    } else {
                        self.tell_owned();
                    }
                }
                changed = hears.members.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the talk with peers"))?;
                    if self.take_members(&mut hears.members) {
                        schedule.at_once();
                    }
                }
                () = due => {
                    schedule.due = None;
                    self.work(&mut schedule);
                    schedule.paced = clock::instant() + PACE;
                }
                changed = hears.facts.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the source of facts"))?;
                    self.take_facts(&mut hears.facts);
                    schedule.soon();
                }
                changed = hears.found.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("who looks for claims"))?;
                    if self.take_found(&mut hears.found) {
                        schedule.soon();
                    } else {
                        self.tell_owned();
                    }
                }
                changed = hears.net.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("netlink"))?;
                    self.take_net(&mut hears.net);
                    schedule.soon();
                }
                changed = hears.secret.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the cluster's secret"))?;
                    self.take_secret(&mut hears.secret);
                    schedule.soon();
                }
                changed = hears.awaiting.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the channel"))?;
                    self.take_awaiting(&mut hears.awaiting);
                    schedule.soon();
                }
                changed = hears.channel.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the channel"))?;
                    self.report.channel = (**hears.channel.borrow_and_update()).clone();
                    self.write_report();
                }
                ready = hears.filter.recv() => {
                    let ready = ready.ok_or(ReconcileError::Ended("the sweep"))?;
                    self.use_filter(ready);
                }
            }
        }
    }

    /// Computes what should be and makes it so.
    fn work(&mut self, schedule: &mut Schedule) {
        let mut watch = Stopwatch::start();
        let now = clock::now();
        let desired = desired(&self.inputs, &mut self.memo);
        watch.lap("desired");
        let direct = desired.local.iter().filter(|(_, reach)| reach.direct);
        self.ask(direct.map(|(backend, _)| backend.address).collect());
        watch.lap("ask");
        let (mut target, more) = plan(&desired, &self.current, &mut self.ledger, now);
        let same = self.owns_the_same(&desired);
        if !same {
            self.hold_back_unproven(&desired, &mut target);
        }
        self.tell_unproven();
        watch.lap("plan");
        let steps = diff(&self.current, &target);
        watch.lap("diff");
        let mut failures = Vec::new();
        failures.extend(self.write_config(&target).err().map(Failure::from));
        // Before the maps speak of pods that only these programs reach. Where
        // the maps are empty they let everything pass.
        let wanted = self.wanted_programs(&desired);
        let unattached = self.attachments.attach(&wanted);
        let attached = unattached.is_empty() && !self.uplinks.is_empty();
        failures.extend(unattached.into_iter().map(Failure::from));
        watch.lap("attach");
        if !same {
            self.owned = self.owned(&desired);
            failures.extend(self.choose_links().err().map(Failure::from));
        }
        match apply::run(&mut self.kernel, &steps) {
            Ok(()) => self.current = Arc::new(target),
            Err(error) => {
                failures.push(error.into());
                match self.kernel.read() {
                    Ok(there) => self.current = Arc::new(there),
                    Err(error) => failures.push(error.into()),
                }
            }
        }
        watch.lap("apply");
        // Without any uplink nothing is known, which is no reason to let go.
        if !self.uplinks.is_empty() {
            let left = self.attachments.detach_others(&wanted);
            failures.extend(left.into_iter().map(Failure::from));
        }
        watch.lap("detach");
        self.note_work(&watch, steps.len());
        let mut more = more;
        more.extend(owned::unlinked(&desired, &self.owned));
        let claimed = self.claimed(&desired);
        more.extend(claimed.iter().cloned());
        self.say_problems(desired.problems.iter().cloned().chain(more));
        if !same || !self.told_standing {
            self.tell_owned();
        }
        let done = failures.is_empty();
        self.owned_of = done.then(|| (desired.vips.clone(), self.uplinks.clone()));
        if !steps.is_empty() || self.report.work.runs == 1 {
            self.tell_programmed(&desired);
        }
        if failures.is_empty() {
            let leaving = leaving(&self.inputs.members);
            self.tells.acted.send_if_modified(|last| {
                let changed = *last != leaving;
                *last = leaving;
                changed
            });
        }
        self.tell_routers(&desired, attached);
        self.write_addresses(&desired);
        self.write_vips(&desired);
        self.tell_decided(desired, claimed);
        self.report_state(&failures);
        if failures.is_empty() {
            self.tells.elected.send_replace(self.inputs.free.clone());
        }
        self.next_run(schedule, failures.is_empty());
    }

    /// Sets when to run again although nothing new is heard.
    fn next_run(&mut self, schedule: &mut Schedule, succeeded: bool) {
        if succeeded {
            self.retry = RETRY;
        } else {
            schedule.at(clock::instant() + self.retry);
            self.retry = (self.retry * 2).min(RETRY_LONGEST);
        }
        if let Some(deadline) = self.ledger.deadline(&self.current) {
            let left_s = deadline.seconds().saturating_sub(clock::now().seconds());
            // Whole seconds are enough here, and never too early.
            schedule.at(clock::instant() + Duration::from_secs(u64::from(left_s) + 1));
        }
    }

    fn wanted_programs(&self, desired: &Desired) -> Wanted {
        let mut wanted = Wanted::new();
        let direct = desired
            .local
            .iter()
            .filter(|(_, reach)| reach.direct)
            .filter_map(|(_, reach)| reach.link);
        let pod_devices: BTreeSet<u32> = direct.collect();
        for uplink in &self.uplinks {
            let place = |hook| ((hook, uplink.ifindex), uplink.name.clone());
            wanted.extend([place(Hook::Ingress), place(Hook::Egress)]);
            if !pod_devices.is_empty() {
                wanted.extend([place(Hook::Deliver)]);
            }
        }
        for ifindex in pod_devices {
            if let Some(name) = self.net.pod_devices.get(&ifindex) {
                wanted.insert((Hook::Return, ifindex), name.clone());
            }
        }
        wanted.retain(|(hook, _), _| self.attachments.has_program(*hook));
        wanted
    }

    /// For those who write to the cluster, if it is anything new.
    fn tell_decided(&self, desired: Desired, claimed: BTreeSet<Problem>) {
        let Inputs { facts, members, .. } = &self.inputs;
        let nodes = facts.nodes.keys().filter(|node| members.counts(node));
        let decided = Decided {
            assignment: desired.assignment,
            handles: self.said.handles.clone(),
            epoch: self.said.epoch,
            config: self.inputs.facts.config.clone(),
            vips: desired.vips,
            bgp: desired.bgp,
            nodes: Arc::new(nodes.cloned().collect()),
            claimed: Arc::new(claimed),
        };
        self.tells.decided.send_if_modified(|last| {
            let changed = *last != decided;
            *last = decided;
            changed
        });
    }

    /// For the talk with other agents: what the maps hold by now.
    fn tell_programmed(&self, desired: &Desired) {
        self.tells.programmed.send_replace(Programmed {
            nodes: Arc::new(self.current.node_ids(&desired.peers)),
            image: self.current.clone(),
        });
    }
}
