//! The agent, put together once, top to bottom.
//!
//! ```text
//! files, API ──> source ──────facts──> reconcile ──steps──> pinned maps <── programs
//!                                       │  ▲  ▲  ▲               ▲   ▲         ▲
//!                   net::announce <─────┘  │  │  └──filter── sweep ──┘         │
//!                   net::watch ───links────┤  └─awaiting── channel ──┘ attach ─┘
//!                           ┌─────members──┘                   │
//! other agents <───> driver::peers <───────────────────────────┘
//! ```
//!
//! Every task ends with the agent; whichever ends first takes the others down,
//! and what is pinned stays.

mod leave;
mod source;
mod sweep;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::dataplane::Settle;
use lb_core::fence::{Arbiter, Doubts};
use lb_core::gossip;
use lb_core::l2::Wanted;
use lb_core::model::{Members, NodeName};
use lb_core::moved::Awaiting;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use self::leave::Leaving;
use crate::dataplane::apply::{Kernel, MendError};
use crate::dataplane::attach::{Attachments, Hook};
use crate::dataplane::fence::FenceMap;
use crate::dataplane::load::{LoadError, Object, load};
use crate::dataplane::log::{LogError, PacketLog};
use crate::dataplane::maps::OpenError;
use crate::dataplane::pins::Pins;
use crate::dataplane::readback::ReadError;
use crate::dataplane::sizes::MapSizes;
use crate::dataplane::sweep::{Sweeper, Timeouts};
use crate::dataplane::{jiffies, kernel};
use crate::driver::channel::{self, Channel, ChannelError, Programmed};
use crate::driver::claims::{self, Found, Probed};
use crate::driver::fence::{self, Findings, Keep};
use crate::driver::peers;
use crate::driver::{bfd, bgp};
use crate::net::announce;
use crate::net::{NetFacts, Question, watch as net_watch};
use crate::publish::{self, Decided};
use crate::reconcile::{Hears, ReconcileError, Reconciler, Settings, Tells};
use crate::report::{self, Report};
use crate::secret::Secrets;
use crate::shutdown;
use crate::source::State;
use crate::source::kube::connect::ConnectError;
use crate::source::object::Ours;
use crate::{admin, clock};

use self::source::{Source, Starts};
use self::sweep::sweep;

/// For people who watch: safe Rust has no way to be woken by the programs.
const READ_LOG_EVERY: Duration = Duration::from_millis(50);
/// Between the socket to other agents and those who talk over it.
const PAYLOADS: usize = 1024;

/// What the agent is to do.
#[derive(Clone, Debug)]
pub struct Options {
    pub node: String,
    pub reads: Reads,
    pub ours: Ours,
    pub bpffs: PathBuf,
    pub run_folder: PathBuf,
    pub uplinks: Vec<String>,
    /// Of a file; none: a cluster has one itself, and a folder goes without.
    pub secrets: Option<Secrets>,
    pub sizes: MapSizes,
    pub timeouts: Timeouts,
    pub settle: Settle,
    pub vip_lease: Duration,
    /// How often all VIPs are announced again; none: not.
    pub announce_every: Option<Duration>,
    pub tunnel_port: u16,
    /// Where agents talk to each other, by UDP.
    pub peer_port: u16,
    pub timing: gossip::Timing,
    /// When asked to end: it comes back within that time and keeps its VIPs;
    /// none: it hands them over.
    pub returns_in: Option<Duration>,
    /// Where connections of routers are taken; none: nowhere.
    pub bgp_listen_port: Option<u16>,
    /// Routers next to this node send with TTL 255, and others do not count.
    pub bgp_ttl_security: bool,
    pub rates: [u32; 4],
    pub debug_packets: bool,
    /// Where `/metrics`, `/healthz` and `/readyz` are; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Under MetalLB's names as well.
    pub metrics_as_metallb: bool,
    /// Instead of the data plane that is built in.
    pub object: Option<PathBuf>,
}

/// Where facts come from.
#[derive(Clone, Debug)]
pub enum Reads {
    /// A folder of manifests.
    Folder(PathBuf),
    /// A cluster: the one of this kubeconfig, else of KUBECONFIG, else the one
    /// that this is a pod of.
    Cluster {
        kubeconfig: Option<PathBuf>,
        config_namespace: String,
        /// Where the Lease is; none: the pod's own, or that of the kubeconfig.
        namespace: Option<String>,
        lease: Duration,
    },
}

/// Why the agent ended. What was pinned and attached still is.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(
        "another agent, process {pid}, uses {bpffs}: end it first, or name another folder with \
         --bpffs"
    )]
    Running { pid: u32, bpffs: PathBuf },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Unfit(#[from] kernel::Unfit),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    Net(#[from] net_watch::NetError),
    #[error(
        "cannot listen on {0} for metrics: is another agent there? --metrics-addr names another"
    )]
    Listen(SocketAddr, #[source] io::Error),
    #[error("metrics cannot be served")]
    Serve(#[source] io::Error),
    #[error("cannot start the thread of the fence")]
    Fence(#[source] io::Error),
    #[error("the fence has ended: nothing renews VIPs")]
    Fenceless,
    #[error("cannot start the thread that talks with other agents")]
    PeersThread(#[source] io::Error),
    #[error("the thread that talks with other agents has panicked")]
    PeersPanicked,
    #[error("cannot start the thread of BFD")]
    Bfd(#[source] io::Error),
    #[error("cannot announce VIPs")]
    Announce(#[source] io::Error),
    #[error("cannot put the pinned maps right")]
    Mend(#[from] MendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Peers(#[from] peers::Ended),
    #[error("cannot wait for signals")]
    Wait(#[source] io::Error),
    #[error("a task panicked")]
    Panicked(#[source] JoinError),
}

/// Waits until no other agent uses the same folder: one that was killed takes a
/// moment to be gone.
async fn alone(options: &Options) -> Result<(), AgentError> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const PERIOD: Duration = Duration::from_millis(20);
    let gone = async {
        while Report::read(&options.run_folder).is_some() {
            tokio::time::sleep(PERIOD).await;
        }
    };
    if tokio::time::timeout(PATIENCE, gone).await.is_ok() {
        return Ok(());
    }
    match Report::read(&options.run_folder) {
        Some(other) => Err(AgentError::Running {
            pid: other.pid,
            bpffs: options.bpffs.clone(),
        }),
        None => Ok(()),
    }
}

/// Runs until SIGTERM, SIGINT or an error.
pub async fn run(options: Options) -> Result<(), AgentError> {
    alone(&options).await?;
    let source = Source::open(options.reads, options.ours, &options.node).await?;
    let asks = options.secrets.is_none();
    let (known, secret) = watch::channel(source.secrets(options.secrets, &options.run_folder));
    kernel::check(&options.bpffs)?;
    let pins = Pins::new(&options.bpffs);
    let object = match options.object {
        Some(path) => Object::File(path),
        None if options.debug_packets => Object::Logging,
        None => Object::Plain,
    };
    tracing::info!(bpffs = %options.bpffs.display(), "loading the data plane");
    let mut ebpf = load(&object, &pins, &options.sizes)?;
    let mut tasks: JoinSet<Result<(), AgentError>> = JoinSet::new();
    if options.debug_packets {
        let mut log = PacketLog::open(&mut ebpf)?;
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(READ_LOG_EVERY);
            loop {
                ticks.tick().await;
                log.pass_on();
            }
        });
    }
    let mut attachments = Attachments::new(ebpf, pins.clone());
    for hook in Hook::ALL {
        if !attachments.has_program(hook) {
            tracing::warn!(
                program = hook.program(),
                "the data plane has no such program yet"
            );
        }
    }
    if let Err(error) = attachments.pin_clock() {
        tracing::warn!(%error, "the clock cannot be pinned");
    }
    let mut kernel = Kernel::open(&pins)?;
    kernel.mend()?;
    let hz = match kernel.config()?.hz {
        0 => jiffies::measure(&pins).await,
        found_before => found_before,
    };

    let (facts_out, facts) = watch::channel(State::default());
    let (question, question_in) = watch::channel(Question::default());
    let (net_out, net) = watch::channel(NetFacts::default());
    let (owned, owned_in) = watch::channel(Wanted::default());
    // One at a time: the sweep waits for the answer.
    let (filter_out, filter) = mpsc::channel(1);
    let (programmed_out, programmed) = watch::channel(Programmed::default());
    // Until others have answered, they may speak.
    let (awaiting_out, awaiting) = watch::channel(Arc::new(Awaiting::unknown()));
    let (talk_out, talk) = watch::channel(Arc::default());

    let settings = Settings {
        node: NodeName::new(&options.node),
        reads: source.name(),
        run_folder: options.run_folder.clone(),
        sizes: options.sizes,
        settle: options.settle,
        tunnel_port: options.tunnel_port,
        announce_every: options.announce_every,
        rates: options.rates,
        hz,
    };
    let (report_out, report) = watch::channel(Arc::default());
    let (decided_out, decided) = watch::channel(Decided::default());
    let (acted, acted_in) = watch::channel(BTreeSet::new());
    let (members_out, members) = watch::channel(Members::default());
    let (peers_out, peers_report) = watch::channel(Arc::default());
    let (arbiter_out, arbiter) = watch::channel(Arbiter::Unknown);
    let (doubts_out, doubts) = watch::channel(Doubts::default());
    let (leave, leave_in) = watch::channel(None);
    let (released_out, released) = watch::channel(None);
    let owned_now = owned.subscribe();
    let (elected, elected_in) = watch::channel(None);
    let (probed, probed_in) = watch::channel(Probed::default());
    let (sessions_out, sessions) = watch::channel(bgp::Wanted::default());
    let (routers_out, routers_told) = watch::channel(Arc::default());
    let tells = Tells {
        question,
        owned,
        elected,
        probed,
        acted,
        programmed: programmed_out,
        decided: decided_out,
        report: report_out,
        sessions: sessions_out,
    };
    if let Some(address) = options.metrics {
        let listening = admin::listen(address).await;
        let listener = listening.map_err(|error| AgentError::Listen(address, error))?;
        let answers = admin::Answers {
            pins: pins.clone(),
            report: report.clone(),
            decided: decided.clone(),
            peers: peers_report.clone(),
            routers: routers_told.clone(),
            as_metallb: options.metrics_as_metallb,
        };
        tasks.spawn(async move {
            admin::run(listener, answers)
                .await
                .map_err(AgentError::Serve)
        });
    }
    let reconciler = Reconciler::new(settings, kernel, attachments, tells)?;
    let roll = peers::roll_file::read(&options.run_folder);
    let talk_with = peers::Settings {
        node: NodeName::new(&options.node),
        port: options.peer_port,
        timing: options.timing,
        found_tables: reconciler.found_tables(),
        remembered: roll.remembered(clock::wall()),
    };
    let (said_out, said) = mpsc::channel(PAYLOADS);
    let (renewals_out, renewals) = mpsc::channel(PAYLOADS);
    let (heard_out, heard) = mpsc::channel(PAYLOADS);
    let (to_fence, others_renewals) = mpsc::channel(PAYLOADS);
    let others = peers::Hears {
        nodes: question_in.clone(),
        secret: secret.clone(),
        net: net.clone(),
        report,
        acted: acted_in,
        leave: leave_in,
        channel: said,
        fence: renewals,
    };
    let tells = peers::Tells {
        members: members_out,
        channel: heard_out,
        fence: to_fence,
        report: peers_out,
        released: released_out,
    };
    start_peers(talk_with, others, tells, &mut tasks)?;
    let channel = Channel::open(
        &pins,
        hz,
        channel::Tells {
            datagrams: said_out,
            awaiting: awaiting_out,
            report: talk_out,
        },
    )?;
    let hears = channel::Hears {
        programmed,
        members: members.clone(),
        datagrams: heard,
    };
    tasks.spawn(async move { Ok(channel.run(hears).await?) });
    let folder = options.run_folder.clone();
    tasks.spawn(async move {
        peers::report_file::keep(peers_report, folder).await;
        // Who talked with others has ended, and says why.
        std::future::pending().await
    });
    let (this, knows) = (NodeName::new(&options.node), members.clone());
    let folder = options.run_folder.clone();
    tasks.spawn(async move {
        peers::roll_file::keep(roll, this, knows, folder).await;
        // As above.
        std::future::pending().await
    });
    let sweeper = Sweeper::open(&pins, options.timeouts)?;
    let routers = Routers::start(
        bgp::Settings {
            listen: options.bgp_listen_port,
            ttl_security: options.bgp_ttl_security,
            preserved: reconciler.found_tables(),
            run_folder: options.run_folder.clone(),
        },
        sessions,
        routers_out,
    )?;

    let starts = Starts {
        facts: facts_out,
        decided,
        known,
        asks: asks.then_some(options.run_folder.clone()),
        fence: publish::Fence {
            doubts,
            arbiter: arbiter_out,
        },
    };
    let mut publisher = source.start(starts, &mut tasks);
    tasks.spawn(async move { Ok(net_watch::run(options.uplinks, question_in, net_out).await?) });
    tasks.spawn(async move { announce::run(owned_in).await.map_err(AgentError::Announce) });
    tasks.spawn(sweep(sweeper, filter_out));
    let fenced = Fencing {
        node: NodeName::new(&options.node),
        timing: fence::Timing {
            sole: options.vip_lease,
            ..if options.timing == gossip::Timing::FAST {
                fence::Timing::FAST
            } else {
                fence::Timing::NORMAL
            }
        },
        peers: fence::Peers {
            members: members.clone(),
            received: others_renewals,
            sent: renewals_out,
        },
        net: net.clone(),
        elected: elected_in,
        arbiter,
        doubts: doubts_out,
    };
    let Fenced {
        found: fence,
        opposed,
        keep,
    } = start_fence(fenced, &pins, &mut tasks)?;
    let (found_out, found) = watch::channel(Found::default());
    let claims = claims::Claims {
        pins: pins.clone(),
        found: found_out,
        opposed,
    };
    tasks.spawn(async move {
        let ended = claims::run(claims, probed_in).await;
        ended.map_err(AgentError::Announce)
    });
    let hears = Hears {
        facts,
        net,
        filter,
        secret,
        fence,
        found,
        members,
        awaiting,
        channel: talk,
    };
    tasks.spawn(async move { Ok(reconciler.run(hears).await?) });

    let ended = tokio::select! {
        signal = shutdown::requested() => {
            let signal = signal.map_err(AgentError::Wait)?;
            tracing::info!("{signal}: going, and forwarding goes on");
            let leaving = Leaving { leave, released, owned: owned_now, keep };
            leaving.run(options.returns_in).await;
            Ok(())
        }
        Some(ended) = tasks.join_next() => ended.map_err(AgentError::Panicked).and_then(|r| r),
        ended = publisher.ended() => ended,
    };
    routers.stop().await;
    publisher.stop().await;
    Report::remove(&options.run_folder);
    ended
}

/// The ways to and from the fence.
struct Fenced {
    /// Who is free.
    found: watch::Receiver<Findings>,
    /// Another node announces a VIP of ours.
    opposed: mpsc::Sender<()>,
    /// This agent will be back.
    keep: mpsc::Sender<Keep>,
}

/// What the fence is started with.
struct Fencing {
    node: NodeName,
    timing: fence::Timing,
    peers: fence::Peers,
    net: watch::Receiver<NetFacts>,
    elected: watch::Receiver<Option<BTreeSet<NodeName>>>,
    arbiter: watch::Receiver<Arbiter>,
    doubts: watch::Sender<Doubts>,
}

fn start_fence(
    fencing: Fencing,
    pins: &Pins,
    tasks: &mut JoinSet<Result<(), AgentError>>,
) -> Result<Fenced, AgentError> {
    let (findings, found) = watch::channel(Findings::default());
    // Full: it yields already.
    let (opposed, opposed_in) = mpsc::channel(1);
    // Said once.
    let (keep, keep_in) = mpsc::channel(1);
    let Fencing {
        node,
        timing,
        peers,
        net,
        elected,
        arbiter,
        doubts,
    } = fencing;
    let settings = fence::Settings { node, timing };
    let hears = fence::Hears {
        net,
        arbiter,
        peers: Some(peers),
        elected,
        opposed: opposed_in,
        keep: keep_in,
    };
    let ended = fence::start(settings, FenceMap::open(pins)?, hears, findings, doubts);
    let ended = ended.map_err(AgentError::Fence)?;
    tasks.spawn(async move {
        // Dropped without a word: it panicked.
        ended.await.map_err(|_panicked| AgentError::Fenceless)
    });
    Ok(Fenced {
        found,
        opposed,
        keep,
    })
}

/// Talks with other agents, in a thread that reconciling does not hold up.
fn start_peers(
    settings: peers::Settings,
    hears: peers::Hears,
    tells: peers::Tells,
    tasks: &mut JoinSet<Result<(), AgentError>>,
) -> Result<(), AgentError> {
    let ended = peers::start(settings, hears, tells).map_err(AgentError::PeersThread)?;
    // Dropped without a word: it panicked.
    tasks.spawn(async move { Err(ended.await.map_or(AgentError::PeersPanicked, Into::into)) });
    Ok(())
}

/// The sessions with routers, which end in their own way.
struct Routers {
    quit: oneshot::Sender<()>,
    driver: JoinHandle<()>,
}

impl Routers {
    fn start(
        settings: bgp::Settings,
        sessions: watch::Receiver<bgp::Wanted>,
        told: watch::Sender<Arc<report::routers::Routers>>,
    ) -> Result<Self, AgentError> {
        let (quit, asked) = oneshot::channel();
        let bfd = bfd::start().map_err(AgentError::Bfd)?;
        let driver = tokio::spawn(bgp::run(settings, sessions, told, bfd, asked));
        Ok(Self { quit, driver })
    }

    /// Takes leave of them; it is the driver that limits how long that takes.
    async fn stop(self) {
        // Whoever has ended needs no telling.
        let _told = self.quit.send(());
        let _left = self.driver.await;
    }
}
