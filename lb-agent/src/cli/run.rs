//! `lb-agent run`.

use std::io::IsTerminal as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use lb_core::dataplane::Settle;
use lb_core::gossip;
use tracing_subscriber::EnvFilter;

use super::{Class, Place};
use crate::admin::DEFAULT_PORT;
use crate::agent::{self, Options, Reads};
use crate::dataplane::sizes::MapSizes;
use crate::dataplane::sweep::Timeouts;
use crate::driver::peers;
use crate::secret::Secrets;
use crate::source::object::config::NAMESPACE;

/// What the client of the API has to say, we say ourselves, once.
const LOG: &str = "info,kube_client=off";

/// Run the agent of this node
///
/// Needs root, Linux 6.6 or newer, and a bpffs (usually at /sys/fs/bpf).
///
/// What it attaches and fills outlives it: ended, killed or upgraded, it
/// leaves the programs in the kernel forwarding, and the next one goes on from
/// there. `lb-agent purge` takes everything away.
///
/// In a pod it reads the cluster that it is in.
///
/// Example: lb-agent run --manifests ./manifests --node node1
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Read a folder of Kubernetes manifests instead of a cluster: Services,
    /// EndpointSlices and Nodes as *.yaml or *.json files; changes are seen at
    /// once
    #[arg(long, value_name = "FOLDER", conflicts_with = "kubeconfig")]
    manifests: Option<PathBuf>,
    /// How to reach the cluster [default: what KUBECONFIG names, or the cluster
    /// that this is a pod of]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace of pools, advertisements and peers, and of MetalLB's old
    /// ConfigMap
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE)]
    config_namespace: String,
    /// The namespace of the Lease that says which agent writes addresses
    /// [default: that of the pod]
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// After how many seconds without a sign of life another agent takes over
    /// writing addresses; forwarding does not depend on it
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=300))]
    lease: u32,
    #[command(flatten)]
    class: Class,
    /// The name of this node, as its Node object has it
    #[arg(long, value_name = "NAME", env = "CORTEN_NODE")]
    node: String,
    #[command(flatten)]
    place: Place,
    /// A device that VIPs are reached by; may be given several times [default:
    /// the devices with this node's addresses or a default route]
    #[arg(long = "uplink", value_name = "DEVICE")]
    uplinks: Vec<String>,
    /// A file with a secret that all agents share: it seals what they tell each
    /// other, and hides from clients which source port leads to which pod
    ///
    /// Several lines are several secrets, of which the first one seals and all
    /// open; then a line "pick: SECRET" hides the pods, and must stay as it is.
    /// Without a file, agents in a cluster share the Secret corten-cluster,
    /// which they make themselves.
    #[arg(long, value_name = "FILE", env = "CORTEN_CLUSTER_SECRET_FILE")]
    cluster_secret_file: Option<PathBuf>,
    /// The UDP port between nodes that do not share a link; the same on all nodes
    #[arg(long, value_name = "PORT", default_value_t = lb_common::tunnel::DEFAULT_PORT)]
    tunnel_port: u16,
    /// The UDP port by which agents talk to each other; the same on all nodes
    #[arg(long, value_name = "PORT", default_value_t = peers::DEFAULT_PORT)]
    peer_port: u16,
    /// How soon a node that does not answer is taken for dead; the same on all
    /// nodes
    #[arg(long, value_enum, default_value_t = Timing::Normal)]
    timing: Timing,
    /// What becomes of this node's VIPs when the agent is asked to end (SIGTERM)
    ///
    /// "handover": other nodes take them over before it ends. "keep:SECONDS":
    /// they stay for as long, as the agent is restarted and will be back by
    /// then; if it is not, others take over after that. Of a node that goes,
    /// they are then not reached for as long.
    #[arg(long, value_name = "WHAT", default_value = "handover", value_parser = on_terminate)]
    on_terminate: OnTerminate,
    /// Take connections that routers make, on this TCP port; 179 is BGP's
    /// [default: take none, and connect to routers]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    bgp_listen_port: Option<u16>,
    /// Take from routers only what comes with TTL 255, which nobody who is
    /// farther away than they can send (RFC 5082)
    ///
    /// Routers have to send it (FRR: neighbor … ttl-security hops 1). Those whose
    /// BGPPeer says ebgpMultiHop are not checked.
    #[arg(long)]
    bgp_ttl_security: bool,
    /// How long VIPs are answered for (ARP, NDP) after the agent's last sign of
    /// life where there is no other agent that could take over, in seconds
    ///
    /// Where there is one, it is 0.32 s, and others take over after 0.37 s.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..))]
    vip_lease: u32,
    /// Announce all VIPs again every so many seconds (gratuitous ARP, unsolicited
    /// neighbour advertisements), for networks that forget or miss them [default:
    /// five times when they arrive, and where somebody else claims them]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    announce_every: Option<u32>,
    /// How long after a change of endpoints a moved TCP flow is still looked
    /// for at the pod that had it, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    tcp_hold: u32,
    /// The same for UDP
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    udp_hold: u32,
    /// Where /metrics, /healthz and /readyz are served, over HTTP; "none" for
    /// nowhere [default: [::]:6948 for a cluster, nowhere for manifests]
    #[arg(long, value_name = "ADDRESS", value_parser = metrics_address)]
    metrics_addr: Option<MetricsAddress>,
    /// Serve what MetalLB measures under MetalLB's names as well
    /// (metallb_bgp_session_up, …), for dashboards and alerts that are there
    /// already; not metallb_layer2_* and metallb_speaker_announced
    #[arg(long)]
    metallb_metrics: bool,
    /// Log every packet for a VIP; slow, for looking at a few packets
    #[arg(long)]
    debug_packets: bool,
    /// Load this object instead of the data plane that is built in
    #[arg(long, value_name = "FILE", hide = true)]
    object: Option<PathBuf>,
    #[command(flatten)]
    timeouts: Timeouts,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    sizes: MapSizes,
}

/// How soon a node is taken for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Timing {
    /// After 0.4 s, with 10 beats a second to each other node
    Normal,
    /// After 0.18 s, with 25 beats a second
    Fast,
}

/// What becomes of VIPs when the agent is asked to end.
#[derive(Clone, Copy, Debug)]
enum OnTerminate {
    HandOver,
    Keep(Duration),
}

/// Longer than anybody waits for a restart.
const KEEP_MAX_S: u64 = 300;

fn on_terminate(text: &str) -> Result<OnTerminate, String> {
    if text == "handover" {
        return Ok(OnTerminate::HandOver);
    }
    let seconds = text.strip_prefix("keep:").and_then(|s| s.parse().ok());
    match seconds {
        Some(seconds @ 1..=KEEP_MAX_S) => Ok(OnTerminate::Keep(Duration::from_secs(seconds))),
        _ => Err(format!(
            "\"{text}\" is neither \"handover\" nor \"keep:SECONDS\" with 1 to {KEEP_MAX_S} seconds"
        )),
    }
}

/// Where metrics are served, if anywhere.
#[derive(Clone, Copy, Debug)]
struct MetricsAddress(Option<SocketAddr>);

fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if text == "none" {
        return Ok(MetricsAddress(None));
    }
    let wrong = |_| format!("\"{text}\" is no address with a port, such as 0.0.0.0:{DEFAULT_PORT}");
    text.parse()
        .map(|address| MetricsAddress(Some(address)))
        .map_err(wrong)
}

/// Budgets for packets that the node makes itself.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Answers per CPU and period (256 jiffies: 0.26 s to 2.6 s)")]
struct Rates {
    /// Answers to pings of VIPs
    #[arg(long, value_name = "N", default_value_t = 1000)]
    echo_rate: u32,
    /// Resets and "port unreachable" where nothing takes a packet
    #[arg(long, value_name = "N", default_value_t = 5000)]
    reject_rate: u32,
    /// "Too big" and "time exceeded"
    #[arg(long, value_name = "N", default_value_t = 1000)]
    error_rate: u32,
    /// Flows that need another source port
    #[arg(long, value_name = "N", default_value_t = 1000)]
    source_port_rate: u32,
}

fn secrets(file: &Path) -> anyhow::Result<Secrets> {
    let unusable = || format!("cannot use the secret in {}", file.display());
    let text = std::fs::read(file).with_context(unusable)?;
    Secrets::read(&text).with_context(unusable)
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let filter = EnvFilter::try_from_env("CORTEN_LOG").unwrap_or_else(|_| LOG.into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init();
        let options = self.options()?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let result = runtime.block_on(agent::run(options));
        // A sweep that is under way is not waited for.
        runtime.shutdown_background();
        result?;
        Ok(ExitCode::SUCCESS)
    }

    fn options(self) -> anyhow::Result<Options> {
        let secrets = self.cluster_secret_file.as_deref().map(secrets);
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT));
        let default = self.manifests.is_none().then_some(everywhere);
        let metrics = self
            .metrics_addr
            .map_or(default, |MetricsAddress(address)| address);
        Ok(Options {
            metrics,
            metrics_as_metallb: self.metallb_metrics,
            run_folder: self.place.run_folder(),
            node: self.node,
            reads: match self.manifests {
                Some(folder) => Reads::Folder(folder),
                None => Reads::Cluster {
                    kubeconfig: self.kubeconfig,
                    config_namespace: self.config_namespace,
                    namespace: self.lease_namespace,
                    lease: Duration::from_secs(self.lease.into()),
                },
            },
            ours: self.class.ours(),
            bpffs: self.place.bpffs,
            uplinks: self.uplinks,
            secrets: secrets.transpose()?,
            sizes: self.sizes,
            timeouts: self.timeouts,
            settle: Settle {
                tcp_s: self.tcp_hold,
                udp_s: self.udp_hold,
            },
            vip_lease: Duration::from_secs(self.vip_lease.into()),
            announce_every: self
                .announce_every
                .map(|seconds| Duration::from_secs(seconds.into())),
            tunnel_port: self.tunnel_port,
            peer_port: self.peer_port,
            timing: match self.timing {
                Timing::Normal => gossip::Timing::NORMAL,
                Timing::Fast => gossip::Timing::FAST,
            },
            returns_in: match self.on_terminate {
                OnTerminate::HandOver => None,
                OnTerminate::Keep(time) => Some(time),
            },
            bgp_listen_port: self.bgp_listen_port,
            bgp_ttl_security: self.bgp_ttl_security,
            rates: [
                self.rates.echo_rate,
                self.rates.reject_rate,
                self.rates.error_rate,
                self.rates.source_port_rate,
            ],
            debug_packets: self.debug_packets,
            object: self.object,
        })
    }
}
