//! Corten on a cluster, installed as its users do it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::cluster::Cluster;
use super::kubectl::Kubectl;
use crate::wait;

/// Where it runs.
pub const NAMESPACE: &str = "corten-system";
const LIMIT: Duration = Duration::from_secs(60);

impl Cluster {
    /// `kubectl apply` of manifests/install.yaml, waiting until every node's
    /// agent is ready.
    pub fn install(&self) -> Result<()> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/install.yaml");
        self.kubectl().run(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename",
            file,
        ])?;
        self.kubectl().run(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ])?;
        self.wait_rollout(NAMESPACE, "daemonset/corten")
    }

    /// Runs an agent's command such as `["status"]` in the pod on a node and
    /// gives its JSON.
    pub fn ask_agent(&self, node: u8, arguments: &[&str]) -> Result<Value> {
        let pod = self.agent_pod(node)?;
        let exec = [
            "exec",
            "--namespace",
            NAMESPACE,
            &pod,
            "--",
            "/usr/bin/lb-agent",
        ];
        let words = [&exec[..], arguments, &["--output", "json"]].concat();
        let text = self.kubectl().run(&words)?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// The name of the agent's pod on a node.
    pub fn agent_pod(&self, node: u8) -> Result<String> {
        let selector = format!("spec.nodeName=node{node},status.phase=Running");
        let pods = self.kubectl().json(&[
            "get",
            "pods",
            "--namespace",
            NAMESPACE,
            "--field-selector",
            &selector,
        ])?;
        let name = pods["items"][0]["metadata"]["name"].as_str();
        name.map(str::to_owned)
            .with_context(|| format!("node{node} has no agent"))
    }

    /// The process of a node's agent, which a kubelet started.
    pub fn agent_pid(&self, node: u8) -> Result<u32> {
        self.node(node).pod_pid("lb-agent")
    }

    /// `kill -9`; gives its process id.
    pub fn kill_agent(&self, node: u8) -> Result<u32> {
        self.node(node).signal_pod("lb-agent", Signal::SIGKILL)
    }

    /// The end of every agent's log, for errors.
    #[must_use]
    pub fn agent_logs(&self) -> String {
        let all = ["logs", "--namespace", NAMESPACE, "daemonset/corten"];
        let how = ["--all-pods", "--prefix", "--tail=20"];
        let logs = self.kubectl().run(&[&all[..], &how[..]].concat());
        logs.unwrap_or_else(|error| format!("no logs: {error:#}"))
    }
}

/// Waits until every node, and the holder of the Lease, say this of the
/// configuration: `Valid` or `Invalid`.
pub fn wait_configuration(cluster: &Cluster, result: &str) -> Result<()> {
    let what = format!("every configuration state is {result}");
    let waited = wait::until_ok(LIMIT, &what, || {
        let all = ["get", "configurationstates", "--all-namespaces"];
        let all = cluster.kubectl().json(&all)?;
        let states = all["items"].as_array().context("a list")?;
        let wanted = cluster.nodes().count() + 1;
        let fit = states.iter().filter(|s| s["status"]["result"] == result);
        ensure!((states.len(), fit.count()) == (wanted, wanted), "{all}");
        Ok(())
    });
    waited.with_context(|| cluster.agent_logs())
}

/// The addresses of a Service's status, in its order.
pub fn addresses(kubectl: &Kubectl, service: &str) -> Result<Vec<IpAddr>> {
    let service = kubectl.json(&["get", "service", service])?;
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    let mut addresses = Vec::new();
    for entry in ingress.into_iter().flatten() {
        let ip = entry["ip"].as_str().context("an ingress has an address")?;
        addresses.push(ip.parse().context("an ingress has an address")?);
    }
    Ok(addresses)
}

/// Waits until a Service has addresses, and gives them.
pub fn wait_addresses(cluster: &Cluster, service: &str) -> Result<Vec<IpAddr>> {
    let waited = wait::until_ok(LIMIT, &format!("{service} has an address"), || {
        let found = addresses(cluster.kubectl(), service)?;
        ensure!(!found.is_empty(), "it has none");
        Ok(found)
    });
    waited.or_else(|error| {
        let kubectl = cluster.kubectl();
        let described = kubectl.run(&["describe", "service", service]);
        bail!(
            "{error:#}\n{}\n{}",
            described.unwrap_or_default(),
            cluster.agent_logs()
        )
    })
}
