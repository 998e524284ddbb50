//! A whole cluster in the lab: etcd, API server, controller-manager and
//! scheduler on a host of their own; containerd, kubelet and kube-proxy on
//! each node. The network, the client and their addresses are the lab's.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::control_plane::{ADMIN, ControlPlane};
use super::kubectl::Kubectl;
use super::node::{ClusterNode, user};
use super::tools::{CLUSTER_TOOLS, Tools};
use super::user::User;
use super::{audit, files};
use crate::interrupt;
use crate::lab::address;
use crate::lab::process::Process;
use crate::lab::{KubeProxy, Lab, Spec};
use crate::wait;

const READY_LIMIT: Duration = Duration::from_secs(120);

/// The users of the programs that run outside of pods.
const PROGRAMS: &[&str] = &[
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
];

/// A cluster that is up. Dropped, it is taken down with its lab, unless it was
/// told to [`Cluster::stay`].
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
    plane: ControlPlane,
    kubectl: Kubectl,
    /// Taken by tests, so that one cluster at a time has the machine. After
    /// the lab: it is given up when that is down.
    _turn: Option<Flock<File>>,
}

/// The file whose lock is the turn.
const TURN: &str = "/run/lock/corten-cluster";

impl Cluster {
    /// Brings up a lab, a cluster on its nodes with these images (archives),
    /// and waits until all nodes are ready.
    ///
    /// One at a time on a machine, whoever asks: a cluster takes two gigabytes
    /// and, while it starts, all CPUs. From here on Ctrl-C ends waits with an
    /// error, so that whoever it interrupts takes the cluster down.
    pub fn up(mut spec: Spec, kube_proxy: KubeProxy, images: &[PathBuf]) -> Result<Self> {
        let tools = Tools::find(CLUSTER_TOOLS)?;
        spec.pods = 0;
        spec.agent = None;
        spec.kubernetes = Some(kube_proxy);
        let turn = turn()?;
        interrupt::arm()?;
        let mut cluster = Self::of(Lab::up(spec)?, tools);
        cluster._turn = Some(turn);
        cluster.build(images)?;
        Ok(cluster)
    }

    /// Finds a cluster that is up. It stays when this is dropped.
    pub fn open(lab: Lab) -> Result<Self> {
        ensure!(
            lab.spec().kubernetes.is_some(),
            "there is no cluster in this lab; `cargo xtask lab up --kubernetes` makes one"
        );
        Ok(Self::of(lab, Tools::find(CLUSTER_TOOLS)?))
    }

    fn of(lab: Lab, tools: Tools) -> Self {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let plane = ControlPlane {
            tools,
            folder: lab.folder().join("control-plane"),
            api: SocketAddr::new(address::control_plane().address.v4.into(), 6443),
            etcd: SocketAddr::new(local, 2379),
            etcd_peers: SocketAddr::new(local, 2380),
        };
        let kubectl = Kubectl {
            program: plane.tools.program("kubectl"),
            kubeconfig: plane.kubeconfig(ADMIN),
            namespace: Some(lab.control_plane()),
        };
        Self {
            lab,
            plane,
            kubectl,
            _turn: None,
        }
    }

    fn build(&self, images: &[PathBuf]) -> Result<()> {
        fs::create_dir_all(&self.plane.folder)
            .with_context(|| format!("cannot make {}", self.plane.folder.display()))?;
        self.plane.prepare(&self.users()?)?;
        let policy = self.plane.folder.join("audit-policy.yaml");
        fs::write(policy, audit::POLICY).context("cannot write the audit policy")?;
        self.process("etcd").start(&mut self.plane.etcd())?;
        self.start_api_server()?;
        for node in self.nodes() {
            interrupt::check()?;
            node.prepare()?;
            for image in images {
                node.load_image(image)?;
            }
        }
        self.wait_api()?;
        for program in ["controller-manager", "scheduler"] {
            let mut command = self.plane.controller(program);
            self.process(program).start(&mut command)?;
        }
        for node in self.nodes() {
            self.kubectl
                .apply(&files::node(&node.name(), node.number()))?;
            node.start()?;
        }
        self.wait_nodes()
    }

    fn users(&self) -> Result<Vec<User>> {
        let mut users = vec![User::new(ADMIN, Some("system:masters"))?];
        for program in PROGRAMS {
            users.push(User::new(*program, None)?);
        }
        for node in self.nodes() {
            users.push(User::new(user(&node.name()), Some("system:nodes"))?);
        }
        Ok(users)
    }

    /// Starts the API server, which must not be running.
    pub fn start_api_server(&self) -> Result<()> {
        let mut command = self.plane.api_server();
        command
            .arg("--allow-privileged")
            .args(["--kubelet-preferred-address-types", "InternalIP"])
            // Webhooks are reached at their pods: this host has no kube-proxy.
            .arg("--enable-aggregator-routing")
            .arg("--audit-policy-file")
            .arg(self.plane.folder.join("audit-policy.yaml"))
            .arg("--audit-log-path")
            .arg(self.audit_log());
        self.process("kube-apiserver").start(&mut command)
    }

    fn audit_log(&self) -> PathBuf {
        self.plane.folder.join("audit.log")
    }

    /// What Corten's service account has asked of the API server so far.
    pub fn uses(&self) -> Result<audit::Uses> {
        audit::uses(&self.audit_log())
    }

    /// Waits until the API server answers.
    pub fn wait_api(&self) -> Result<()> {
        let process = self.process("kube-apiserver");
        wait::until_ok(READY_LIMIT, "the API server is ready", || {
            self.kubectl.run(&["get", "--raw", "/readyz"])
        })
        .map(drop)
        .with_context(|| process.log_tail())
    }

    /// Ends a program of the control plane (`kube-apiserver`, `etcd`,
    /// `controller-manager`, `scheduler`) as a crash would.
    pub fn kill(&self, program: &str) -> Result<()> {
        self.process(program).end(Signal::SIGKILL)
    }

    /// Waits until the API server says that all nodes are ready.
    pub fn wait_nodes(&self) -> Result<()> {
        wait::until_ok(READY_LIMIT, "all nodes are ready", || {
            let nodes = self.kubectl.json(&["get", "nodes"])?;
            let nodes = nodes["items"].as_array().context("a list has items")?;
            let ready = nodes.iter().filter(|node| is_ready(node)).count();
            ensure!(
                ready == usize::from(self.lab.spec().nodes),
                "{ready} are; see {}/node*/*.log",
                self.lab.folder().display()
            );
            Ok(())
        })
    }

    /// Waits until a Deployment or DaemonSet is as it should be, such as
    /// `("default", "deployment/nginx")`.
    pub fn wait_rollout(&self, namespace: &str, what: &str) -> Result<()> {
        let limit = format!("--timeout={}s", READY_LIMIT.as_secs());
        let waited =
            self.kubectl
                .run(&["rollout", "status", what, "--namespace", namespace, &limit]);
        if let Err(error) = waited {
            let pods = self
                .kubectl
                .run(&["describe", "pods", "--namespace", namespace])
                .unwrap_or_default();
            bail!("{error:#}\n{pods}");
        }
        Ok(())
    }

    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// kubectl of an administrator, on the control plane's host.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The node of that number, from 1.
    #[must_use]
    pub fn node(&self, number: u8) -> ClusterNode<'_> {
        ClusterNode {
            cluster: self,
            number,
        }
    }

    pub fn nodes(&self) -> impl Iterator<Item = ClusterNode<'_>> {
        let numbers = self.lab.spec().node_numbers();
        numbers.map(|number| self.node(number))
    }

    /// Leaves it up when this is dropped.
    pub fn stay(&mut self) {
        self.lab.stay();
    }

    /// The lab without a word about the cluster in it.
    #[must_use]
    pub fn into_lab(self) -> Lab {
        self.lab
    }

    /// Takes it down now, with an error where dropping could only be silent.
    pub fn down(self) -> Result<()> {
        self.lab.down()
    }

    pub(super) fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    pub(super) fn kube_proxy(&self) -> KubeProxy {
        let kind = self.lab.spec().kubernetes;
        kind.unwrap_or(KubeProxy::Nftables)
    }

    /// The folder of Kubernetes's programs, kubectl among them.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.plane.tools
    }

    fn process(&self, name: &str) -> Process {
        Process {
            namespace: self.lab.control_plane(),
            pid_file: self.plane.folder.join(format!("{name}.pid")),
            log: self.plane.folder.join(format!("{name}.log")),
        }
    }
}

fn turn() -> Result<Flock<File>> {
    let file = File::create(TURN).with_context(|| format!("cannot make {TURN}"))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_file, error)| error)
        .with_context(|| format!("cannot lock {TURN}"))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}
