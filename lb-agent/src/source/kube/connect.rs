//! How the API server is reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use ::kube::{Client, Config};

/// For one address of the server.
const CONNECT: Duration = Duration::from_secs(5);

/// A cluster, reached or not: nothing is asked of it yet.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub url: String,
    /// Of the pod, or of the kubeconfig's context.
    pub namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Why it is not known how to reach a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot use the kubeconfig {0}")]
    File(PathBuf, #[source] KubeconfigError),
    #[error("cannot use the kubeconfig that KUBECONFIG names")]
    Environment(#[source] KubeconfigError),
    #[error(
        "nothing says what to read: this is no pod of a cluster; name a folder with --manifests \
         or a cluster with --kubeconfig"
    )]
    Nowhere(#[source] InClusterError),
    #[error("cannot use what is said about the cluster")]
    Client(#[source] ::kube::Error),
}

/// By the file, else by what KUBECONFIG names, else as a pod of the cluster.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Cluster, ConnectError> {
    let mut config = config(kubeconfig).await?;
    config.connect_timeout = Some(CONNECT);
    // Each task knows best how long to wait, and for how long what it has to
    // say is true.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(ConnectError::Client)?;
    Ok(Cluster {
        client,
        url: url.trim_end_matches('/').to_owned(),
        namespace,
    })
}

async fn config(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions::default();
    if let Some(path) = kubeconfig {
        let wrong = |error| ConnectError::File(path.to_owned(), error);
        let file = Kubeconfig::read_from(path).map_err(wrong)?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(wrong);
    }
    if let Some(file) = Kubeconfig::from_env().map_err(ConnectError::Environment)? {
        let config = Config::from_custom_kubeconfig(file, &options).await;
        return config.map_err(ConnectError::Environment);
    }
    Config::incluster().map_err(ConnectError::Nowhere)
}
