//! Where facts come from, and who is told what is decided: files, or a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_core::lease::Timing;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::{AgentError, Reads, Tasks};
use crate::publish::{self, Decided, Epoch};
use crate::secret::{Known, Secrets};
use crate::source::kube::connect::{Cluster, ConnectError};
use crate::source::object::Ours;
use crate::source::{self, file, kube};

/// For what is under way in the cluster when the agent ends.
const GIVE_UP: Duration = Duration::from_secs(5);

/// What facts are read from, and who is told what is decided.
pub(super) enum Source {
    Folder(PathBuf, Ours),
    Cluster(Box<Clustered>),
}

/// What a source is started with.
pub(super) struct Starts {
    pub(super) facts: watch::Sender<source::State>,
    pub(super) decided: watch::Receiver<Decided>,
    pub(super) known: watch::Sender<Known>,
    /// Whether a cluster is to be asked for its secret, and where that is kept.
    pub(super) asks: Option<PathBuf>,
    /// Who wants to know what the Lease says about who lives.
    pub(super) fence: publish::Fence,
}

pub(super) struct Clustered {
    cluster: Cluster,
    scope: kube::Scope,
    publish: Published,
}

/// Where what is decided is written.
struct Published {
    node: String,
    namespace: String,
    config_namespace: String,
    timing: Timing,
}

impl Source {
    pub(super) async fn open(reads: Reads, ours: Ours, node: &str) -> Result<Self, ConnectError> {
        match reads {
            Reads::Folder(folder) => Ok(Self::Folder(folder, ours)),
            Reads::Cluster {
                kubeconfig,
                config_namespace,
                namespace,
                lease,
            } => {
                let cluster = kube::connect::connect(kubeconfig.as_deref()).await?;
                let publish = Published {
                    node: node.to_owned(),
                    namespace: namespace.unwrap_or_else(|| cluster.namespace.clone()),
                    config_namespace: config_namespace.clone(),
                    timing: Timing::of(lease),
                };
                let scope = kube::Scope {
                    ours,
                    config_namespace,
                };
                Ok(Self::Cluster(Box::new(Clustered {
                    cluster,
                    scope,
                    publish,
                })))
            }
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Folder(folder, _) => folder.display().to_string(),
            Self::Cluster(clustered) => clustered.cluster.url.clone(),
        }
    }

    /// What is known of the cluster's secret before anybody was asked.
    pub(super) fn secrets(&self, named: Option<Secrets>, run_folder: &Path) -> Known {
        match (self, named) {
            (_, Some(named)) => named.into(),
            (Self::Folder(..), None) => {
                tracing::warn!(
                    "no --cluster-secret-file: whoever knows that can tell which source port \
                     leads to which pod"
                );
                Secrets::none().into()
            }
            (Self::Cluster(_), None) => Secrets::kept(run_folder)
                .map(Known::from)
                .unwrap_or_default(),
        }
    }

    /// Reads until it is cancelled, and writes until it is told to stop.
    pub(super) fn start(self, starts: Starts, tasks: &mut Tasks) -> Publisher {
        let Starts {
            facts,
            decided,
            known,
            asks,
            fence,
        } = starts;
        let (stop, stopped) = oneshot::channel();
        let mut publisher = Publisher {
            stop,
            tasks: JoinSet::new(),
        };
        match self {
            Self::Folder(folder, ours) => {
                tasks.spawn(async move {
                    file::run(folder, ours, facts).await;
                    // Nobody says anything else, but who listens is not told
                    // that it ended.
                    drop(known);
                    Ok(())
                });
            }
            Self::Cluster(clustered) => {
                let Clustered {
                    cluster,
                    scope,
                    publish,
                } = *clustered;
                let publish = publish::Settings {
                    node: publish.node,
                    namespace: publish.namespace,
                    config_namespace: publish.config_namespace,
                    timing: publish.timing,
                    secret: asks.map(|folder| (folder, known.clone())),
                    fence,
                };
                let (epoch, epochs) = Epoch::new();
                let client = cluster.client.clone();
                let writes = publish::run(client, publish, epoch, decided, stopped);
                publisher.tasks.spawn(writes);
                tasks.spawn(async move {
                    kube::run(cluster.client, scope, epochs, facts).await;
                    drop(known);
                    Ok(())
                });
            }
        }
        publisher
    }
}

/// Who writes to the cluster; nobody where facts are files.
pub(super) struct Publisher {
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Publisher {
    /// Pending, but for a panic.
    pub(super) async fn ended(&mut self) -> Result<(), AgentError> {
        match self.tasks.join_next().await {
            Some(ended) => ended.map_err(AgentError::Panicked),
            None => std::future::pending().await,
        }
    }

    /// Ends what is under way and gives the Lease up.
    pub(super) async fn stop(mut self) {
        // Whoever has ended needs no telling.
        let _told = self.stop.send(());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GIVE_UP, all).await.is_err() {
            tracing::warn!("the API server does not answer: the Lease is left to lapse");
        }
    }
}
