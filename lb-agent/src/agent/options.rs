//! What the agent is to do, checked already: see [`crate::cli`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lb_core::dataplane::Settle;
use lb_core::gossip;
use lb_core::model::NodeName;

use crate::dataplane::sizes::MapSizes;
use crate::dataplane::sweep::Timeouts;
use crate::driver::fence;
use crate::reconcile::Settings;
use crate::secret::Secrets;
use crate::source::object::Ours;

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

impl Options {
    /// `reads`: what the facts come from, for people. `hz`: jiffies a second.
    pub(super) fn reconciling(&self, reads: String, hz: u32) -> Settings {
        Settings {
            node: NodeName::new(&self.node),
            reads,
            run_folder: self.run_folder.clone(),
            sizes: self.sizes,
            settle: self.settle,
            tunnel_port: self.tunnel_port,
            announce_every: self.announce_every,
            rates: self.rates,
            hz,
        }
    }

    pub(super) fn fence_timing(&self) -> fence::Timing {
        let timing = if self.timing == gossip::Timing::FAST {
            fence::Timing::FAST
        } else {
            fence::Timing::NORMAL
        };
        fence::Timing {
            sole: self.vip_lease,
            ..timing
        }
    }
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
