//! What the agents say in the cluster: addresses of Services, events, and how
//! the configuration is used.
//!
//! ```text
//! reconcile ──Decided──> services ──status, events──> API   (the holder of the Lease)
//!               │    ──> pools ─────counters───────>  API   (the holder of the Lease)
//!               ├──────> statuses, claims, events ─>  API   (who announces; each agent)
//!               └──────> configuration ────────────>  API   (each agent, of itself)
//! source <──epoch── election <────Lease────> API
//! reconcile <─known── secret <────Secret───> API   (each agent; made by the holder)
//! ```
//!
//! Every agent computes the same; one writes. It begins when it holds the
//! Lease *and* the facts that were decided upon were listed after it got it,
//! and names in every write the version of the object that was decided upon.
//! Nothing is computed here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use lb_core::config::Kept;
use lb_core::desired::{BgpPeers, Vip};
use lb_core::ipam::Assignment;
use lb_core::lease::Timing;
use lb_core::model::{NodeName, ServiceName};
use lb_core::problem::Problem;
use lb_core::shared::SharedMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::crd::{ServiceBGPStatus, ServiceL2Status};
use crate::secret::Known;
use crate::source::Handle;

mod announcements;
mod claims;
mod configuration;
mod election;
mod events;
mod of_node;
mod plan;
mod pools;
mod request;
mod secret;
mod services;
mod status_kind;
mod statuses;

use claims::Claims;
use configuration::Configuration;
pub use election::Fence;
use election::{Candidate, Term};
use events::Events;
use pools::Pools;
use secret::ClusterSecret;
use services::Services;
use statuses::Statuses;

/// Who we are, in the `managedFields` of what we write, and in events.
pub(crate) const MANAGER: &str = "corten";

/// What was decided, and upon what. Both are of one and the same state of the
/// source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub assignment: Arc<Assignment>,
    pub handles: Arc<BTreeMap<ServiceName, Arc<Handle>>>,
    /// As of which epoch Services are known.
    pub epoch: Option<u64>,
    pub config: Kept,
    /// Who answers for which address, and on which links.
    pub vips: SharedMap<IpAddr, Arc<Vip>>,
    /// What this node is to tell which routers, whether or not a session with
    /// them is up.
    pub bgp: BgpPeers,
    /// Nodes whose agents are there.
    pub nodes: Arc<BTreeSet<NodeName>>,
    /// VIPs of this node that another machine says to have.
    pub claimed: Arc<BTreeSet<Problem>>,
}

/// Counts the occasions on which a writer wants fresh facts. The source lists
/// Services anew whenever it changes.
#[derive(Clone, Debug)]
pub struct Epoch(Arc<watch::Sender<u64>>);

impl Epoch {
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<u64>) {
        let (sender, receiver) = watch::channel(0);
        (Self(Arc::new(sender)), receiver)
    }

    fn next(&self) -> u64 {
        let mut next = 0;
        self.0.send_modify(|epoch| {
            *epoch += 1;
            next = *epoch;
        });
        next
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Of this node.
    pub node: String,
    /// Where the Lease is.
    pub namespace: String,
    /// Where the configuration is.
    pub config_namespace: String,
    pub timing: Timing,
    /// Where the cluster's secret is kept, and who is told of it. None: it is
    /// known from elsewhere.
    pub secret: Option<(PathBuf, watch::Sender<Known>)>,
    pub fence: Fence,
}

/// Writes what is decided, until it is told to stop; then what is under way is
/// ended, and the Lease given up.
pub async fn run(
    client: Client,
    settings: Settings,
    epoch: Epoch,
    decided: watch::Receiver<Decided>,
    stop: oneshot::Receiver<()>,
) {
    let (terms_out, terms) = watch::channel(None);
    let (quiet_out, quiet) = watch::channel(false);
    let (give_up, given_up) = oneshot::channel();
    let candidate = Candidate::new(
        client.clone(),
        &settings.namespace,
        &settings.node,
        settings.timing,
        epoch.clone(),
        terms_out,
        settings.fence,
    );
    let events = Events::new(client.clone(), &settings.node);
    let mut writers = JoinSet::new();
    // When it is full, events are lost.
    let (news, news_in) = mpsc::channel(10_000);
    let limit = request_limit(settings.timing);
    let pools = Pools::new(client.clone(), &settings.config_namespace, limit);
    writers.spawn(pools.run(decided.clone(), terms.clone(), quiet.clone()));
    if let Some((folder, known)) = settings.secret {
        let (client, terms) = (client.clone(), terms.clone());
        let secret = ClusterSecret::new(client, &settings.namespace, folder, known, terms);
        writers.spawn(secret.run(quiet.clone()));
    }
    let (node, namespace) = (&settings.node, &settings.config_namespace);
    let l2 = Statuses::<ServiceL2Status>::new(client.clone(), namespace, node, news.clone(), limit);
    writers.spawn(l2.run(decided.clone(), terms.clone(), quiet.clone()));
    let bgp =
        Statuses::<ServiceBGPStatus>::new(client.clone(), namespace, node, news.clone(), limit);
    writers.spawn(bgp.run(decided.clone(), terms.clone(), quiet.clone()));
    let configuration = Configuration::new(client.clone(), namespace, node, news.clone(), limit);
    writers.spawn(configuration.run(decided.clone(), terms.clone(), quiet.clone()));
    let claims = Claims::new(news.clone());
    writers.spawn(claims.run(decided.clone(), quiet.clone()));
    let services = Services::new(client, news, epoch, settings.timing);
    writers.spawn(services.run(decided, terms, quiet.clone()));
    writers.spawn(events.run(news_in, quiet));
    let mut election = JoinSet::new();
    election.spawn(candidate.run(given_up));
    tokio::select! {
        _ = stop => {}
        // A panic there is one here.
        Some(ended) = writers.join_next() => resume(ended),
        Some(ended) = election.join_next() => resume(ended),
    }
    quiet_out.send_replace(true);
    while let Some(ended) = writers.join_next().await {
        resume(ended);
    }
    // Whoever ends first needs no telling.
    let _told = give_up.send(());
    while let Some(ended) = election.join_next().await {
        resume(ended);
    }
}

/// Waits until there is something to look at: what was decided, who holds the
/// Lease, or what is `due` to be tried again. False: it is to be quiet, or there
/// is nobody left to hear from.
async fn woken(
    due: Option<Instant>,
    decided: &mut watch::Receiver<Decided>,
    terms: &mut watch::Receiver<Option<Term>>,
    quiet: &mut watch::Receiver<bool>,
) -> bool {
    let due = async {
        match due {
            Some(moment) => tokio::time::sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = quieted(quiet) => false,
        changed = terms.changed() => changed.is_ok(),
        changed = decided.changed() => changed.is_ok(),
        () = due => true,
    }
}

/// Nothing more is to be begun.
async fn quieted(quiet: &mut watch::Receiver<bool>) {
    // Nobody left to say so: the same.
    drop(quiet.wait_for(|quiet| *quiet).await);
}

fn resume(ended: Result<(), tokio::task::JoinError>) {
    if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
}

/// For one request of a writer: all are over before anybody else may write.
fn request_limit(timing: Timing) -> Duration {
    (timing.duration - timing.trust) * 4 / 5
}
