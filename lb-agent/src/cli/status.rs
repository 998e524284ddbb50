//! `lb-agent status`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use lb_common::LAYOUT_VERSION;
use lb_common::node::kind;
use lb_common::vip::Ownership;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::clock;
use crate::dataplane::attach::{Hook, pinned};
use crate::dataplane::readback::{self, OWN_NODE};
use crate::dataplane::view::{View, ip, text};
use crate::dataplane::{fence, kernel, pins::Pins};
use crate::driver::channel::{self, PeerReport, PeerState};
use crate::net::{self, Device};
use crate::report::{ProblemRow, Report, Work};

/// Say whether this node forwards, and what is wrong
///
/// Exits with 0 if this node is ready, with 1 if it is not (with JSON, always
/// with 0).
///
/// Ready: an agent runs, the tables hold what they should, and the programs
/// are attached. Forwarding: the programs are attached, agent or not.
///
/// JSON: {ready, not_ready[], forwarding, node, bpffs, layout, kernel,
/// agent: {pid, version, reads, work: {runs, last_us, last_cpu_us,
/// last_steps, longest_us, first_us, at_s}} or null, uplinks: [{device, ifindex, mac, mtu,
/// xdp: driver|generic|none, programs[]}], vips: [{address, state:
/// ours|expired|others}], nodes: [{id, name, address, way:
/// same-link|routed|unknown, device, mac, mtu}], frontends, local_backends,
/// problems: [{name, severity, text}] (the
/// worst 200), problems_total, mistakes[]}
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Answer {
    ready: bool,
    not_ready: Vec<String>,
    forwarding: bool,
    node: String,
    bpffs: String,
    layout: u32,
    kernel: String,
    agent: Option<Agent>,
    uplinks: Vec<Uplink>,
    vips: Vec<Vip>,
    nodes: Vec<Node>,
    frontends: usize,
    local_backends: usize,
    channel: channel::Report,
    problems: Vec<ProblemRow>,
    problems_total: usize,
    mistakes: Vec<String>,
}

#[derive(Serialize)]
struct Agent {
    pid: u32,
    version: String,
    reads: String,
    work: Work,
}

#[derive(Serialize)]
struct Uplink {
    device: String,
    ifindex: u32,
    mac: String,
    mtu: u32,
    xdp: &'static str,
    /// Ours that are attached.
    programs: Vec<&'static str>,
}

#[derive(Serialize)]
struct Vip {
    address: String,
    state: &'static str,
}

#[derive(Serialize)]
struct Node {
    id: u32,
    name: String,
    address: String,
    way: &'static str,
    device: String,
    mac: String,
    mtu: u32,
}

impl Status {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let pins = self.place.pins()?;
        let report = Report::read(&self.place.run_folder());
        let answer = answer(&pins, report)?;
        if self.output.is_json() {
            output::json(&answer)?;
        } else {
            print(&answer);
        }
        // Programs read the answer in the document.
        Ok(if answer.ready || self.output.is_json() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn answer(pins: &Pins, report: Option<Report>) -> anyhow::Result<Answer> {
    if report.is_some() && !pins.exist() {
        anyhow::bail!("an agent has just started and made no tables yet");
    }
    let view = View::read(pins)?;
    let devices = devices()?;
    let uplinks = uplinks(pins, &view, &devices)?;
    let attached = |uplink: &Uplink| uplink.programs.contains(&Hook::Ingress.program());
    let forwarding = !uplinks.is_empty() && uplinks.iter().all(attached);
    let mut not_ready = match &report {
        Some(report) => report.not_ready.clone(),
        None => vec!["no agent runs: what is forwarded is not kept up to date".to_owned()],
    };
    let detached = uplinks.iter().filter(|uplink| !attached(uplink));
    not_ready.extend(detached.map(|uplink| {
        format!(
            "{} is not attached to {}",
            Hook::Ingress.program(),
            uplink.device
        )
    }));
    let said_ready = report.as_ref().is_some_and(|report| report.ready);
    if report.is_some() && !said_ready && not_ready.is_empty() {
        not_ready.push("the agent has just started".to_owned());
    }
    let report = report.unwrap_or_default();
    Ok(Answer {
        ready: said_ready && forwarding,
        not_ready,
        forwarding,
        node: if report.node.is_empty() {
            view.node(OWN_NODE)
        } else {
            report.node
        },
        bpffs: pins.bpffs().display().to_string(),
        layout: LAYOUT_VERSION,
        kernel: kernel::release()?,
        agent: (report.pid != 0).then_some(Agent {
            pid: report.pid,
            version: report.version,
            reads: report.reads,
            work: report.work,
        }),
        uplinks,
        vips: vips(pins)?,
        nodes: nodes(&view, &devices),
        frontends: view.frontends.len(),
        local_backends: view.backends.len(),
        channel: report.channel,
        problems: report.problems,
        problems_total: report.problems_total,
        mistakes: report.mistakes,
    })
}

fn devices() -> anyhow::Result<BTreeMap<u32, Device>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(net::devices_now())?)
}

fn uplinks(
    pins: &Pins,
    view: &View,
    devices: &BTreeMap<u32, Device>,
) -> anyhow::Result<Vec<Uplink>> {
    let config = view.maps.config.get(&0, 0)?;
    let links = pinned(pins);
    let uplinks = config.uplinks.iter().filter(|uplink| uplink.ifindex != 0);
    let uplinks = uplinks.map(|uplink| {
        let device = devices.get(&uplink.ifindex);
        let on_device = device.and_then(|device| device.xdp.program_id());
        let here = links.iter().filter(|(_, ifindex, program)| {
            // A link of a device that has gone is still pinned.
            *ifindex == uplink.ifindex && device.is_some() && *program != 0
        });
        let here =
            here.filter(|(hook, _, program)| *hook != Hook::Ingress || on_device == Some(*program));
        Uplink {
            device: device.map_or_else(|| format!("#{}", uplink.ifindex), |d| d.name.clone()),
            ifindex: uplink.ifindex,
            mac: mac(uplink.mac.mac),
            mtu: device.map_or(0, |device| device.mtu),
            xdp: device.map_or("none", |device| device.xdp.mode()),
            programs: here.map(|(hook, _, _)| hook.program()).collect(),
        }
    });
    Ok(uplinks.collect())
}

fn vips(pins: &Pins) -> anyhow::Result<Vec<Vip>> {
    let now = u64::try_from(clock::boottime().as_nanos()).unwrap_or(u64::MAX);
    let fence = fence::fence(pins)?;
    let mut vips = readback::vips(pins)?;
    vips.sort_unstable_by_key(|(vip, _)| *vip);
    let vips = vips.into_iter().map(|(vip, value)| Vip {
        address: ip(vip),
        state: match value.ownership(fence, now) {
            Ownership::Ours => "ours",
            Ownership::Expired => "expired",
            Ownership::Others => "others",
        },
    });
    Ok(vips.collect())
}

fn nodes(view: &View, devices: &BTreeMap<u32, Device>) -> Vec<Node> {
    let others = view.node_names.iter().filter(|(id, _)| **id != OWN_NODE);
    let nodes = others.filter_map(|(id, name)| {
        let value = view.maps.nodes.get(id, 0).ok()?;
        let way = match value.kind {
            kind::SAME_LINK => "same-link",
            kind::ROUTED => "routed",
            _ => "unknown",
        };
        let device = devices.get(&value.ifindex);
        Some(Node {
            id: *id,
            name: text(&name.name),
            address: ip(name.addr),
            way,
            device: device.map(|device| device.name.clone()).unwrap_or_default(),
            mac: mac(value.dst_mac),
            mtu: value.mtu,
        })
    });
    nodes.collect()
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn print(answer: &Answer) {
    let ready = if answer.ready { "ready" } else { "NOT READY" };
    let forwarding = if answer.forwarding { "yes" } else { "NO" };
    say!("{}: {ready}, forwarding: {forwarding}", answer.node);
    for reason in &answer.not_ready {
        say!("  {reason}");
    }
    match &answer.agent {
        Some(agent) => say!(
            "agent {}, process {}, reads {}; {} runs, the last took {} µs",
            agent.version,
            agent.pid,
            agent.reads,
            agent.work.runs,
            agent.work.last_us
        ),
        None => say!("agent: none runs"),
    }
    say!(
        "kernel {}, tables in {} (layout {})",
        answer.kernel,
        answer.bpffs,
        answer.layout
    );
    say!(
        "{} frontends, {} backends on this node",
        answer.frontends,
        answer.local_backends
    );
    let channel = &answer.channel;
    let speak = |peer: &&PeerReport| peer.state == PeerState::Speaks;
    let speaking = channel.peers.iter().filter(speak).count();
    if !channel.peers.is_empty() {
        say!(
            "{} flows of other nodes come here, {} of this node's come elsewhere; {speaking} of \
             {} agents tell which moved",
            channel.held,
            channel.displaced,
            channel.peers.len()
        );
    }
    say!();
    let mut uplinks = output::table(&["UPLINK", "MAC", "MTU", "XDP", "PROGRAMS"]);
    for uplink in &answer.uplinks {
        uplinks.add_row([
            &uplink.device,
            &uplink.mac,
            &uplink.mtu.to_string(),
            uplink.xdp,
            &uplink.programs.join(" "),
        ]);
    }
    output::print(&uplinks);
    if !answer.nodes.is_empty() {
        say!();
        let mut nodes = output::table(&["NODE", "ADDRESS", "WAY", "DEVICE", "MAC", "MTU"]);
        for node in &answer.nodes {
            nodes.add_row([
                &node.name,
                &node.address,
                node.way,
                &node.device,
                &node.mac,
                &node.mtu.to_string(),
            ]);
        }
        output::print(&nodes);
    }
    if !answer.vips.is_empty() {
        say!();
        let mut vips = output::table(&["VIP", "ANSWERED HERE"]);
        for vip in &answer.vips {
            let here = match vip.state {
                "ours" => "yes",
                "expired" => "no: the agent has not renewed it",
                _ => "no: another node does",
            };
            vips.add_row([&vip.address, here]);
        }
        output::print(&vips);
    }
    if !answer.problems.is_empty() || !answer.mistakes.is_empty() {
        say!();
    }
    for problem in &answer.problems {
        say!("{} ({}): {}", problem.severity, problem.name, problem.text);
    }
    if answer.problems_total > answer.problems.len() {
        say!("and {} more", answer.problems_total - answer.problems.len());
    }
    for mistake in &answer.mistakes {
        say!("error: {mistake}; the last good state stays");
    }
}
