//! What a large cluster costs an agent: Services and endpoints of a real API
//! server, through the watch, into maps of the kernel.
//!
//! `cargo xtask bench --only watch` runs it and shows what it writes.

mod agent;
mod objects;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use lb_agent::source::kube::connect;
use lb_tests::bench::watch::Line;
use lb_tests::kubernetes::ApiServer;
use lb_tests::netns::Namespace;
use lb_tests::require;
use tokio::time::Instant;

use agent::{Agent, Work};
use objects::{ENDPOINTS, NODES, node_address, node_of};

const SIZES: [u32; 3] = [1_000, 3_000, 10_000];
const CHANGES: usize = 40;
const UPLINK: &str = "uplink";
/// It is done when two such spans take the same little computing time, in
/// seconds: talking to the other nodes goes on for ever.
const QUIET: Duration = Duration::from_millis(1500);
const LITTLE_S: f64 = 0.1;
const SAME_S: f64 = 0.03;
const LIMIT: Duration = Duration::from_secs(60);
/// For an object of each Service.
const SAYING: Duration = Duration::from_mins(10);

/// The network namespace in which all of it is.
struct Place(Namespace);

impl Place {
    /// With a link whose other end nobody listens at, and all nodes on it.
    fn make() -> Result<Self> {
        let name = format!("corten-bench-{}", std::process::id());
        let this = Self(Namespace::add(name)?);
        let mut lines = format!(
            "link add {UPLINK} type veth peer name wire\nlink set {UPLINK} up\nlink set wire up\n\
             address add {}/24 dev {UPLINK}\n",
            node_address(254)
        );
        for number in 1..=NODES {
            let mac = format!("02:00:00:00:01:{number:02x}");
            let address = node_address(number);
            lines += &format!("neigh add {address} lladdr {mac} dev {UPLINK} nud permanent\n");
        }
        this.0.ip(&lines)?;
        Ok(this)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.0.delete());
    }
}

#[test]
#[ignore = "a bench of minutes: cargo xtask bench --only watch"]
fn a_large_cluster_costs_what_is_promised() {
    assert!(require::root("net"), "it is asked for");
    let variable = |name: &str| std::env::var_os(name).expect("cargo xtask bench says it");
    let program = variable("LB_BENCH_AGENT");
    let place = Place::make().expect("a namespace");
    let lines = place.0.within(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build()?;
        runtime.block_on(measure(Path::new(&program)))
    });
    let lines = lines.expect("it is there").expect("measured");
    let text = serde_json::to_vec(&lines).expect("plain numbers");
    fs::write(variable("LB_BENCH_RESULT"), text).expect("written");
}

async fn measure(program: &Path) -> Result<Vec<Line>> {
    let server = ApiServer::start()?;
    let kubectl = server.kubectl();
    kubectl.run(&["create", "namespace", "metallb-system"])?;
    kubectl.define_kinds()?;
    kubectl.apply(objects::CONFIGURATION)?;
    let client = connect::connect(Some(server.kubeconfig())).await?.client;
    objects::make_nodes(&client).await?;
    let start = |node: &'static str| Agent::start(program, server.kubeconfig(), node, UPLINK);
    let agent = start("node1")?;
    let nothing_s = until_quiet(&agent).await?.work_s;
    drop(agent);
    let mut lines = Vec::new();
    // No endpoint comes twice.
    let mut rounds = 1..=u8::MAX;
    let mut made = 0;
    for size in SIZES {
        objects::make_services(&client, made, size).await?;
        made = size;
        let agent = start("node2")?;
        let mut line = measured(&agent, &client, 2, size, nothing_s).await?;
        change(&agent, &client, &mut line, &mut rounds).await?;
        lines.push(line);
    }
    // The same from a node with many of the pods.
    let agent = start("node1")?;
    let mut line = measured(&agent, &client, 1, made, nothing_s).await?;
    change(&agent, &client, &mut line, &mut rounds).await?;
    lines.push(line);
    Ok(lines)
}

/// What it takes until everything is in the maps.
async fn measured(
    agent: &Agent,
    client: &Client,
    node: u32,
    services: u32,
    nothing_s: f64,
) -> Result<Line> {
    let sync_s = until_quiet(agent).await?.work_s - nothing_s;
    agent.check(services)?;
    until_announced(client, node, services).await?;
    let rest = until_quiet(agent).await?;
    let nodes = (0..services).flat_map(|s| (0..ENDPOINTS).map(move |e| node_of(s, e)));
    let local = nodes.filter(|on| *on == node).count();
    let (memory_mib, memory_most_mib) = agent.memory_mib()?;
    Ok(Line {
        services,
        endpoints: services * ENDPOINTS,
        local_backends: u32::try_from(local)?,
        sync_s,
        rest_percent: rest.share * 100.0,
        memory_mib,
        memory_most_mib,
        change_ms: 0.0,
        change_most_ms: 0.0,
        change_all_ms: 0.0,
    })
}

/// This agent hears no other one, answers for all VIPs, and says so of each.
async fn until_announced(client: &Client, node: u32, services: u32) -> Result<()> {
    let services = usize::try_from(services)?;
    let node = format!("node{node}");
    let said = async {
        while objects::announced(client, &node).await? < services {
            tokio::time::sleep(QUIET).await;
        }
        anyhow::Ok(())
    };
    let said = tokio::time::timeout(SAYING, said).await;
    said.with_context(|| format!("{node} has not said what it announces"))?
}

/// What one endpoint costs that is replaced by another.
async fn change(
    agent: &Agent,
    client: &Client,
    line: &mut Line,
    rounds: &mut impl Iterator<Item = u8>,
) -> Result<()> {
    let rest = until_quiet(agent).await?;
    let (began, before_s) = (Instant::now(), agent.cpu_s()?);
    let mut took = Vec::new();
    for round in rounds.take(CHANGES) {
        let service = u32::from(round) * 211 % line.services;
        took.push(one_change(agent, client, service, round).await?);
    }
    ensure!(took.len() == CHANGES, "there are not so many endpoints");
    let all_s = agent.cpu_s()? - before_s - rest.share * began.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    line.change_ms = took[CHANGES / 2];
    line.change_most_ms = took[CHANGES - 1];
    line.change_all_ms = all_s * 1e3 / f64::from(u8::try_from(CHANGES)?);
    (line.memory_mib, line.memory_most_mib) = agent.memory_mib()?;
    Ok(())
}

/// Milliseconds of work for one endpoint that is replaced by another.
async fn one_change(agent: &Agent, client: &Client, service: u32, round: u8) -> Result<f64> {
    let before = agent.work()?.runs;
    objects::change(client, service, round).await?;
    let written = async {
        loop {
            let now: Work = agent.work()?;
            if now.runs > before && now.steps > 0 {
                return anyhow::Ok(now.cpu_ms);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let took = tokio::time::timeout(LIMIT, written).await;
    let took = took.context("the change is not written")??;
    // The next one is to meet an agent at rest.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(took)
}

/// An agent with nothing to do.
struct Rest {
    /// Computing time so far, in seconds, without what it takes at rest.
    work_s: f64,
    /// What it takes at rest, of one CPU.
    share: f64,
}

/// Waits until nothing more happens.
async fn until_quiet(agent: &Agent) -> Result<Rest> {
    let began = Instant::now();
    let (mut last_s, mut last_span_s) = (agent.cpu_s()?, f64::INFINITY);
    for _ in 0..40 {
        tokio::time::sleep(QUIET).await;
        let now_s = agent.cpu_s()?;
        let span_s = now_s - last_s;
        if span_s < LITTLE_S && (span_s - last_span_s).abs() < SAME_S {
            let share = span_s / QUIET.as_secs_f64();
            let work_s = now_s - share * began.elapsed().as_secs_f64();
            return Ok(Rest { work_s, share });
        }
        (last_s, last_span_s) = (now_s, span_s);
    }
    bail!("the agent does not come to rest: {last_span_s:.2} s in {QUIET:?}");
}
