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

mod data_plane;
mod error;
mod fencing;
mod leave;
mod options;
mod routers;
mod source;
mod sweep;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_core::fence::{Arbiter, Doubts};
use lb_core::gossip::Roll;
use lb_core::l2::Wanted;
use lb_core::model::{Members, NodeName};
use lb_core::moved::Awaiting;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::error::AgentError;
pub use self::options::{Options, Reads};

use self::data_plane::DataPlane;
use self::fencing::{Fenced, Fencing};
use self::leave::Leaving;
use self::routers::Routers;
use self::source::{Source, Starts};
use self::sweep::sweep;
use crate::dataplane::sweep::Sweeper;
use crate::driver::channel::{self, Channel, Programmed};
use crate::driver::claims::{self, Found, Probed};
use crate::driver::peers::report_file::PeersReport;
use crate::driver::{bgp, fence, peers};
use crate::net::announce;
use crate::net::{NetFacts, Question, watch as net_watch};
use crate::publish::{self, Decided};
use crate::reconcile::{Hears, Reconciler, Tells};
use crate::report::Report;
use crate::shutdown;
use crate::source::State;
use crate::{admin, clock};

/// Between the socket to other agents and those who talk over it.
const PAYLOADS: usize = 1024;

/// What runs beside each other; the first that ends takes the others down.
type Tasks = JoinSet<Result<(), AgentError>>;

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
    let source = Source::open(options.reads.clone(), options.ours.clone(), &options.node).await?;
    let asks = options.secrets.is_none();
    let known = source.secrets(options.secrets.clone(), &options.run_folder);
    let (known, secret) = watch::channel(known);
    let mut tasks = Tasks::new();
    let DataPlane {
        pins,
        kernel,
        attachments,
        hz,
    } = DataPlane::load(&options, &mut tasks).await?;

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
        let answers = admin::Answers {
            pins: pins.clone(),
            report: report.clone(),
            decided: decided.clone(),
            peers: peers_report.clone(),
            routers: routers_told.clone(),
            as_metallb: options.metrics_as_metallb,
        };
        serve(address, answers, &mut tasks).await?;
    }
    let settings = options.reconciling(source.name(), hz);
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
    let ended = peers::start(talk_with, others, tells).map_err(AgentError::PeersThread)?;
    // Dropped without a word: it panicked.
    tasks.spawn(async move { Err(ended.await.map_or(AgentError::PeersPanicked, Into::into)) });
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
    write_down(&options, peers_report, roll, members.clone(), &mut tasks);
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
    let uplinks = options.uplinks.clone();
    tasks.spawn(async move { Ok(net_watch::run(uplinks, question_in, net_out).await?) });
    tasks.spawn(async move { announce::run(owned_in).await.map_err(AgentError::Announce) });
    tasks.spawn(sweep(sweeper, filter_out));
    let fenced = Fencing {
        node: NodeName::new(&options.node),
        timing: options.fence_timing(),
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
    } = fenced.start(&pins, &mut tasks)?;
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

/// Answers at `address` from when this returns.
async fn serve(
    address: SocketAddr,
    answers: admin::Answers,
    tasks: &mut Tasks,
) -> Result<(), AgentError> {
    let listening = admin::listen(address).await;
    let listener = listening.map_err(|error| AgentError::Listen(address, error))?;
    tasks.spawn(async move {
        let ended = admin::run(listener, answers).await;
        ended.map_err(AgentError::Serve)
    });
    Ok(())
}

/// Keeps what is known of other agents in files: for people, and for the process
/// after this one.
fn write_down(
    options: &Options,
    report: watch::Receiver<Arc<PeersReport>>,
    roll: Roll,
    members: watch::Receiver<Members>,
    tasks: &mut Tasks,
) {
    let folder = options.run_folder.clone();
    tasks.spawn(async move {
        peers::report_file::keep(report, folder).await;
        // Who talked with others has ended, and says why.
        std::future::pending().await
    });
    let (this, folder) = (NodeName::new(&options.node), options.run_folder.clone());
    tasks.spawn(async move {
        peers::roll_file::keep(roll, this, members, folder).await;
        // As above.
        std::future::pending().await
    });
}
