//! Real Kubernetes for tests: an API server alone ([`ApiServer`]), or a whole
//! [`Cluster`] in the lab.
//!
//! The programs are Kubernetes's own, pinned as Go tools in tests/kubernetes
//! and built once by `cargo xtask`; see [`Tools`].

mod api_server;
pub mod audit;
pub(crate) mod cgroup;
mod cluster;
mod control_plane;
pub mod corten;
mod files;
mod kubectl;
pub mod metallb;
mod node;
pub mod page;
mod pki;
pub mod readme;
mod tools;
mod user;
pub mod workload;

use std::path::PathBuf;

use anyhow::{Result, ensure};

pub use self::api_server::ApiServer;
pub use self::cluster::Cluster;
pub use self::kubectl::Kubectl;
pub use self::node::{ClusterNode, cni_folder};
pub use self::tools::{API_TOOLS, CLUSTER_TOOLS, Tools, VERSION, tools_folder};

/// A pool of 256 addresses.
pub const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: main
  namespace: metallb-system
spec:
  addresses: [192.0.2.0/24]
";

/// Corten's image, as manifests/ names it.
pub const AGENT_IMAGE: &str = "corten.dev/corten:0.1.0";
/// The same under another tag, for rolling updates.
pub const NEXT_IMAGE: &str = "corten.dev/corten:next";
/// The lab's pods' server, which also holds a pod's namespaces.
pub const POD_IMAGE: &str = "corten.dev/lab/echo:1";
/// What people's manifests ask for, made of Debian's nginx.
pub const SEED_IMAGES: &[&str] = &[
    "docker.io/library/nginx:1",
    "docker.io/library/nginx:1.19.1-alpine",
];

/// The archives that a cluster's nodes are given, as `cargo xtask test` has
/// built them: Corten's, the pods' and nginx's.
pub fn images() -> Result<Vec<PathBuf>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/images");
    let paths = IMAGE_FILES.map(|name| PathBuf::from(folder).join(name));
    for path in &paths {
        ensure!(
            path.is_file(),
            "no {}: `cargo xtask test` builds it, if it is not told which tests to run",
            path.display()
        );
    }
    Ok(paths.to_vec())
}

/// Their names: of Corten, the lab's server, nginx.
pub const IMAGE_FILES: [&str; 3] = ["corten.tar", "pod.tar", "nginx.tar"];
