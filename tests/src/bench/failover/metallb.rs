//! What people have today in Kubernetes: MetalLB's speakers move the VIP, and
//! kube-proxy brings what comes to the pods, of any node, by masquerade.
//!
//! A whole cluster in the same lab. Its pods are on all nodes but the one that
//! has the VIP: the next one knows nothing of flows and picks pods anew, those
//! of the lost node among them, until Kubernetes has noticed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

use super::system::{End, System};
use crate::kubernetes::corten::wait_addresses;
use crate::kubernetes::{Cluster, ClusterNode, workload};
use crate::lab::{ECHO_UDP_PORT, KubeProxy, Lab, NGINX_PORT, Spec};
use crate::load::{Target, spread};
use crate::wait;

/// Nodes find each other again within a minute.
const LIMIT: Duration = Duration::from_secs(150);
const METRICS: &str = "metallb_speaker_announced";
const SPEAKER: &str = "speaker";
const METRICS_PORT: u16 = 7472;
const SERVICE: &str = "echo";
/// So many connections in a row that all are answered.
const NEW_FLOWS: u32 = 60;

const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: default, namespace: metallb-system }
spec: { addresses: [192.0.2.80/32, '2001:db8:0:2::80/128'] }
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: { name: default, namespace: metallb-system }
";

/// Kubernetes 1.36 refuses numbers of AS above 2^31 as the most of an int32,
/// and with them every BGPPeer.
const BGP_PEERS: &str = "bgppeers.metallb.io";
const ASN_FORMAT: &str = r#"[
  {"op": "replace", "path": "/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/myASN/format", "value": "int64"},
  {"op": "replace", "path": "/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/peerASN/format", "value": "int64"}
]"#;

/// A cluster with it. `objects`: its configuration.
fn install(spec: Spec, archives: &[PathBuf], objects: &str) -> Result<Cluster> {
    let cluster = Cluster::up(spec, KubeProxy::Nftables, archives)?;
    cluster.install_metallb()?;
    let kubectl = cluster.kubectl();
    kubectl.run(&[
        "patch",
        "crd",
        BGP_PEERS,
        "--type=json",
        "--patch",
        ASN_FORMAT,
    ])?;
    // Its webhook answers a moment after its pod is ready.
    wait::until_ok(LIMIT, "MetalLB takes a configuration", || {
        kubectl.apply(objects)
    })?;
    Ok(cluster)
}

/// A pod on each node, and the addresses of their Service. `families`: its
/// `ipFamilyPolicy`.
fn serve(cluster: &Cluster, families: &str) -> Result<Vec<IpAddr>> {
    let kubectl = cluster.kubectl();
    kubectl.apply(&workload::echo_pods())?;
    let policy = |families: &str| format!("ipFamilyPolicy: {families}");
    let service = workload::echo_service(SERVICE, "");
    kubectl.apply(&service.replace(&policy("RequireDualStack"), &policy(families)))?;
    cluster.wait_rollout("default", "daemonset/echo")?;
    wait_addresses(cluster, SERVICE)
}

#[derive(Debug)]
pub(super) struct MetalLb {
    cluster: Cluster,
    vips: Vec<IpAddr>,
    /// Who has the VIP whenever all are there; none: a router spreads packets
    /// over all nodes.
    first: Option<u8>,
}

impl MetalLb {
    /// `archives`: images of its programs and of the pods' server.
    pub(super) fn up(spec: Spec, archives: &[PathBuf]) -> Result<Self> {
        let mut this = Self::of(spec, archives, POOL, "RequireDualStack")?;
        let vips = &this.vips;
        ensure!(vips.len() == 2, "one of each family, not {vips:?}");
        let first = this.wait_holder(|_| true)?;
        this.first = Some(first);
        this.keep_pods_away(first)?;
        Ok(this)
    }

    /// With a pod on each node. `objects`: its configuration; `families`: the
    /// Service's `ipFamilyPolicy`.
    pub(super) fn of(
        spec: Spec,
        archives: &[PathBuf],
        objects: &str,
        families: &str,
    ) -> Result<Self> {
        let cluster = install(spec, archives, objects)?;
        let vips = serve(&cluster, families)?;
        Ok(Self {
            cluster,
            vips,
            first: None,
        })
    }

    /// From the node that has the VIP.
    fn keep_pods_away(&self, first: u8) -> Result<()> {
        let node = format!("node{first}");
        let patch = format!(
            "{{\"spec\":{{\"template\":{{\"spec\":{{\"affinity\":{{\"nodeAffinity\":{{\
             \"requiredDuringSchedulingIgnoredDuringExecution\":{{\"nodeSelectorTerms\":[\
             {{\"matchExpressions\":[{{\"key\":\"kubernetes.io/hostname\",\
             \"operator\":\"NotIn\",\"values\":[\"{node}\"]}}]}}]}}}}}}}}}}}}}}"
        );
        let kubectl = self.cluster.kubectl();
        kubectl.run(&["patch", "daemonset", "echo", "--patch", &patch])?;
        self.cluster.wait_rollout("default", "daemonset/echo")?;
        let pods = usize::from(self.lab().spec().nodes) - 1;
        for target in self.targets() {
            let what = format!("{pods} pods answer at {target:?}");
            wait::until_ok(LIMIT, &what, || {
                let found = spread(&self.lab().client(), target, NEW_FLOWS)?;
                ensure!(found.lost == 0 && found.by_pod.len() == pods, "{found:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn targets(&self) -> impl Iterator<Item = Target> {
        self.vips.iter().flat_map(|vip| {
            [
                Target::tcp((*vip, NGINX_PORT)),
                Target::udp((*vip, ECHO_UDP_PORT)),
            ]
        })
    }

    /// Waits until one speaker alone announces all VIPs.
    fn wait_holder(&self, meant: impl Fn(u8) -> bool) -> Result<u8> {
        wait::until_ok(LIMIT, "one speaker announces the VIPs", || {
            let mut holders = Vec::new();
            for node in self.cluster.nodes() {
                match self.announced(node)? {
                    0 => {}
                    all if all == self.vips.len() => holders.push(node.number()),
                    some => bail!("{} announces {some}", node.name()),
                }
            }
            match holders[..] {
                [holder] if meant(holder) => Ok(holder),
                _ => bail!("{holders:?} announce them"),
            }
        })
    }

    /// How many of the VIPs a node's speaker announces, as its metrics say.
    fn announced(&self, node: ClusterNode<'_>) -> Result<usize> {
        let address = format!("http://{}:{METRICS_PORT}/metrics", node.address().v4);
        let ask = ["--silent", "--fail", "--max-time", "2", &address];
        let metrics = self.lab().control_plane().run("curl", &ask)?;
        let announced = |vip: &&IpAddr| {
            let name = format!("{METRICS}{{ip=\"{vip}\"");
            let mut lines = metrics.lines();
            lines.any(|line| line.starts_with(&name) && line.ends_with(" 1"))
        };
        Ok(self.vips.iter().filter(announced).count())
    }

    fn label(&self, node: u8, label: &str) -> Result<()> {
        let node = format!("node{node}");
        let words = ["label", "--overwrite", "node", &node, label];
        self.cluster.kubectl().run(&words).map(drop)
    }
}

impl System for MetalLb {
    fn lab(&self) -> &Lab {
        self.cluster.lab()
    }

    fn vips(&self) -> Vec<IpAddr> {
        self.vips.clone()
    }

    fn owner(&self) -> Result<u8> {
        self.wait_holder(|holder| Some(holder) == self.first)
    }

    /// For as long as its kubelet is away, nobody starts it again.
    fn end(&self, node: u8, how: End) -> Result<()> {
        let node = self.cluster.node(node);
        node.kill("kubelet")?;
        let signal = match how {
            End::Terminate => Signal::SIGTERM,
            End::Kill => Signal::SIGKILL,
        };
        node.signal_pod(SPEAKER, signal).map(drop)
    }

    fn start(&self, node: u8) -> Result<()> {
        self.cluster.node(node).start_kubelet()
    }

    fn drain(&mut self, node: u8, away: bool) -> Result<()> {
        const LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
        match away {
            true => self.label(node, &format!("{LABEL}=")),
            false => self.label(node, &format!("{LABEL}-")),
        }
    }
}
