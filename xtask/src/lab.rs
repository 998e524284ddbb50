//! `cargo xtask lab`: the lab's command line.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use lb_tests::command::describe;
use lb_tests::kubernetes::Cluster;
use lb_tests::lab::{self, BPFFS_VARIABLE, KubeProxy, Offload, Spec, Wire};
use lb_tests::netns::Namespace;
use lb_tests::require::is_root;
use lb_tests::{interrupt, wait};

use crate::report::say;
use crate::workspace::release_folder;
use crate::{build, image, report, setup};

/// The prefix of the lab that people use; tests have others.
const PREFIX: &str = "corten";

#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Bring the lab up; what an earlier one left is removed first
    Up(Up),
    /// Take the lab down
    Down(Which),
    /// Show namespaces, addresses, agents and pods
    Status(Which),
    /// Run a command on a host of the lab: `lab exec client -- curl 192.0.2.80`
    Exec(Exec),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// What the lab's names begin with
    #[arg(long, default_value = PREFIX)]
    prefix: String,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    which: Which,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u8,
    /// How many pods in all, spread over the nodes in turn
    #[arg(long, default_value_t = 3, value_name = "N")]
    pods: u16,
    /// Put the nodes on subnets of their own, behind a router
    #[arg(long)]
    routed: bool,
    /// As --routed, and the router learns by BGP from the agents where the
    /// VIPs are, and by BFD which nodes are gone (FRR)
    #[arg(long, conflicts_with_all = ["kubernetes", "manifests", "no_agents"])]
    bgp: bool,
    /// Make nodes and pods compute checksums themselves (`ethtool -K … tx off`)
    #[arg(long)]
    no_offload: bool,
    /// Give the agents this folder instead of the lab's own manifests
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Run this agent instead of building one
    #[arg(long, value_name = "PROGRAM", conflicts_with = "no_agents")]
    agent: Option<PathBuf>,
    /// A whole Kubernetes cluster on the nodes, which brings its own pods
    #[arg(long, conflicts_with_all = ["pods", "routed", "no_offload", "manifests", "agent"])]
    kubernetes: bool,
    /// What the cluster's kube-proxy writes its rules with
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Mode::Nftables)]
    kube_proxy: Mode,
    /// Use the programs for images as they were built before
    #[arg(long, requires = "kubernetes")]
    no_build: bool,
    /// Only the network and the pods; of a cluster, only Kubernetes
    #[arg(long)]
    no_agents: bool,
    /// Stay until Ctrl-C, then take the lab down
    #[arg(long)]
    foreground: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    Iptables,
    Nftables,
}

impl From<Mode> for KubeProxy {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Iptables => Self::Iptables,
            Mode::Nftables => Self::Nftables,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    which: Which,
    /// `client`, `router`, `switch`, `control-plane`, `node1`, `node1-pod1`, …
    host: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Lab {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(is_root(), "the lab makes network namespaces: run as root");
        match self {
            Self::Up(up) => up.run(),
            Self::Down(which) => lab::remove(&which.prefix),
            Self::Status(which) => status(&lab::Lab::open(&which.prefix)?),
            Self::Exec(exec) => exec.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Up {
    fn run(&self) -> Result<()> {
        if self.kubernetes {
            return self.run_cluster();
        }
        setup::lab()?;
        if self.bgp {
            setup::routers()?;
        }
        build::release(!self.no_agents && self.agent.is_none())?;
        let spec = self.spec()?;
        interrupt::arm()?;
        report::step("bringing up the lab");
        let lab = lab::Lab::up(spec)?;
        status(&lab)?;
        self.leave(lab)
    }

    fn run_cluster(&self) -> Result<()> {
        setup::cluster()?;
        let programs = match self.no_build {
            true => build::stand_alone_folder()?,
            false => build::stand_alone()?,
        };
        let images = image::for_cluster(&programs)?;
        let mut spec = Spec::new(&self.which.prefix, programs.join("corten-echo"));
        spec.nodes = self.nodes;
        interrupt::arm()?;
        report::step("bringing up a Kubernetes cluster in the lab");
        let cluster = Cluster::up(spec, self.kube_proxy.into(), &images)?;
        say!(
            "{}",
            cluster.kubectl().run(&["get", "nodes", "-o", "wide"])?
        );
        report::step("try: cargo xtask lab exec control-plane -- kubectl get pods -A");
        self.leave(cluster.into_lab())
    }

    /// What becomes of a lab that is up.
    fn leave(&self, mut lab: lab::Lab) -> Result<()> {
        if self.foreground {
            report::step("up; Ctrl-C takes it down");
            wait::until_interrupted();
            report::step("taking the lab down");
            return lab.down();
        }
        lab.stay();
        report::step("up; `cargo xtask lab down` takes it down");
        Ok(())
    }

    fn spec(&self) -> Result<Spec> {
        let mut spec = Spec::new(&self.which.prefix, release_folder().join("corten-echo"));
        spec.nodes = self.nodes;
        spec.pods = self.pods;
        if self.routed || self.bgp {
            spec.wire = Wire::Routed;
        }
        spec.bgp = self.bgp;
        spec.bfd = self.bgp;
        if self.no_offload {
            spec.offload = Offload::Off;
        }
        spec.manifests = self.manifests.as_deref().map(absolute).transpose()?;
        spec.agent = match (&self.agent, self.no_agents) {
            (Some(agent), _) => Some(absolute(agent)?),
            (None, true) => None,
            (None, false) => Some(release_folder().join("lb-agent")),
        };
        Ok(spec)
    }
}

impl Exec {
    /// Becomes the command: its terminal, signals and exit code are ours.
    fn run(&self) -> Result<()> {
        let lab = lab::Lab::open(&self.which.prefix)?;
        let prefix = format!("{}-", self.which.prefix);
        let host = self.host.strip_prefix(&prefix).unwrap_or(&self.host);
        let namespace = lab.namespace(host);
        if !namespace.exists() {
            bail!("no host {host:?}; there are {}", hosts(&lab, &prefix)?);
        }
        let (program, arguments) = self.command.split_first().context("no command")?;
        if lab.spec().kubernetes.is_some() {
            return in_cluster(lab, host, program, arguments);
        }
        let mut command = namespace.command(program);
        command.args(arguments).env("PATH", path_with_agent(&lab)?);
        if let Some(node) = lab.nodes().find(|node| node.name() == host) {
            command.env(BPFFS_VARIABLE, node.bpffs());
        }
        become_command(command)
    }
}

/// On a node, with the mounts that its pods see; elsewhere, as the cluster's
/// administrator.
fn in_cluster(lab: lab::Lab, host: &str, program: &str, arguments: &[String]) -> Result<()> {
    let cluster = Cluster::open(lab)?;
    let node = cluster.nodes().find(|node| node.name() == host);
    let mut command = match node {
        Some(node) => node.command(program)?,
        None => cluster.lab().namespace(host).command(program),
    };
    // Ours first, as another kubectl may be on the PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [cluster.tools().folder().to_owned(), release_folder()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).context("a folder's name has a colon")?;
    command
        .args(arguments)
        .env("PATH", path)
        .env("KUBECONFIG", cluster.kubectl().kubeconfig());
    become_command(command)
}

fn become_command(mut command: Command) -> Result<()> {
    let shown = describe(&command);
    Err(anyhow!(command.exec()).context(format!("cannot run `{shown}`")))
}

fn hosts(lab: &lab::Lab, prefix: &str) -> Result<String> {
    let names: Vec<String> = lab
        .namespaces()?
        .iter()
        .map(|namespace| namespace.name().replacen(prefix, "", 1))
        .collect();
    Ok(names.join(", "))
}

fn path_with_agent(lab: &lab::Lab) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let agent = lab.spec().agent.as_deref().and_then(Path::parent);
    let folders = agent
        .map(Path::to_path_buf)
        .into_iter()
        .chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("a folder on the PATH has a colon in its name")
}

fn status(lab: &lab::Lab) -> Result<()> {
    say!("{:<20} {:<48} RUNS", "NAMESPACE", "ADDRESSES");
    for namespace in lab.namespaces()? {
        let runs = lab
            .nodes()
            .find(|node| node.namespace() == namespace)
            .filter(|_| lab.spec().agent.is_some())
            .map(|node| running("agent", node.agent_pid()))
            .or_else(|| {
                lab.pods()
                    .find(|pod| pod.namespace() == namespace)
                    .map(|pod| running("echo server", pod.pid()))
            })
            .unwrap_or_default();
        let addresses = uplink_addresses(&namespace)?;
        say!("{:<20} {addresses:<48} {runs}", namespace.name());
    }
    say!();
    for service in &lab.manifests.services {
        if lab.spec().manifests.is_none() {
            say!(
                "service {}: {} port {} at {}",
                service.name,
                service.protocol.name(),
                service.port,
                service.vip
            );
        }
    }
    say!("manifests: {}", lab.manifest_folder().display());
    say!("logs: {}/node*/agent.log", lab.folder().display());
    Ok(())
}

fn running(what: &str, pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("{what}, process {pid}"),
        None => format!("{what} is dead"),
    }
}

/// What the kernel says, which is more than the plan: agents may add some.
fn uplink_addresses(namespace: &Namespace) -> Result<String> {
    let listing = namespace.run("ip", &["-brief", "address", "show", "scope", "global"])?;
    let uplink = listing
        .lines()
        .find(|line| line.starts_with(lab::UPLINK))
        .unwrap_or_default();
    let addresses: Vec<&str> = uplink.split_whitespace().skip(2).collect();
    Ok(addresses.join(" "))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("no {}", path.display()))
}
