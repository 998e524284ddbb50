//! What a packet costs: `BPF_PROG_TEST_RUN`, net of an empty program in the
//! same run, beside one LRU lookup of a 40-byte key in the same run.
//!
//! The packet is put back before every run, as the next one of another flow
//! (`tests/bpf`). The verdict of every single packet is checked by the reason
//! counters. Everything is loaded afresh several times; medians are shown.

pub mod bgp;
mod cases;
pub mod end_to_end;
pub mod failover;
mod kernel;
mod network;
pub mod watch;

#[path = "../bpf/src/flow.rs"]
#[expect(
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "shared with the bench's kernel programs"
)]
mod flow;

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use lb_common::backend::BackendRef;
use lb_common::flow::{FlowKey, FlowValue, ReverseKey, ReverseValue, TCP};
use lb_common::frontend::flags;
use lb_common::table::{Slot, Target};
use serde::Serialize;

use self::cases::{Case, DIRECT, cases, padded, spread_vip};
use self::kernel::{Hook, Kernel, Load, RUNS, WARM_UP};
use crate::object::Sizes;
use crate::object::world::{Family, World, node, port};
use crate::packet::Segment;

/// Sizes of a node's maps, as far as the bench fills them; those of flows are
/// set by their number.
const SIZES: Sizes = Sizes {
    vips: 4096,
    frontends: 4096,
    chunks: 4096,
    flows: 1 << 20,
    udp_flows: 1024,
    embryo_sets: 16_384,
    filter_words: 16_384,
};

const MANY: u32 = 1 << 16;
const MOST: u32 = 1 << 19;
const VIPS: u32 = 1024;

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub case: &'static str,
    pub flows: u32,
    /// Net of an empty program; medians.
    pub ns: f64,
    pub yardstick_flows: u32,
    pub yardstick_ns: f64,
    pub ratio: f64,
    pub limit: Option<f64>,
    pub over: bool,
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub loads: usize,
    pub packets: u32,
    /// What each program costs.
    pub lines: Vec<Line>,
    pub end_to_end: Vec<end_to_end::Line>,
}

impl Report {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        if !self.lines.is_empty() {
            text.push_str(&self.programs());
        }
        if !self.end_to_end.is_empty() {
            text.push_str(&end_to_end::table(&self.end_to_end));
        }
        text
    }

    fn programs(&self) -> String {
        let mut text = format!(
            "{:<44} {:>8} {:>8} {:>10} {:>7} {:>7}\n",
            "", "flows", "ns", "yardstick", "ratio", "limit"
        );
        for line in &self.lines {
            let limit = match line.limit {
                Some(limit) => format!("{limit:.2} {}", if line.over { "OVER" } else { "ok" }),
                None => "-".into(),
            };
            text.push_str(&format!(
                "{:<44} {:>8} {:>8.1} {:>10.1} {:>7.2} {:>12}\n",
                line.case, line.flows, line.ns, line.yardstick_ns, line.ratio, limit
            ));
        }
        text
    }
}

/// How thoroughly.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub loads: usize,
    /// Packets of one measurement, at least.
    pub packets: u32,
}

impl Effort {
    pub const FULL: Self = Self {
        loads: 5,
        packets: 1 << 20,
    };
    pub const QUICK: Self = Self {
        loads: 3,
        packets: 1 << 17,
    };
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub programs: bool,
    pub end_to_end: bool,
}

/// Measures; of the programs those cases whose name contains `case`. `progress`
/// hears of every load.
pub fn run(
    effort: Effort,
    parts: Parts,
    case: &str,
    mut progress: impl FnMut(&str),
) -> Result<Report> {
    let mut report = Report {
        loads: effort.loads,
        packets: effort.packets,
        lines: Vec::new(),
        end_to_end: Vec::new(),
    };
    if parts.programs {
        report.lines = programs(effort, case, &mut progress)?;
    }
    if parts.end_to_end {
        report.end_to_end = end_to_end::run(effort, &mut progress)?;
    }
    Ok(report)
}

fn programs(effort: Effort, named: &str, mut progress: impl FnMut(&str)) -> Result<Vec<Line>> {
    let mut cases = cases();
    cases.retain(|case| case.name.contains(named));
    ensure!(!cases.is_empty(), "no case is named like \"{named}\"");
    let mut rounds: Vec<Vec<(f64, f64)>> = vec![Vec::new(); cases.len()];
    for load in 0..effort.loads {
        progress(&format!("load {} of {}", load + 1, effort.loads));
        for (results, result) in rounds.iter_mut().zip(round(&cases, effort)?) {
            results.push(result);
        }
    }
    let lines = cases.iter().zip(rounds).map(|(case, results)| {
        let ns = median(results.iter().map(|(ns, _)| *ns));
        let yardstick_ns = median(results.iter().map(|(_, yardstick)| *yardstick));
        let ratio = median(results.iter().map(|(ns, yardstick)| ns / yardstick));
        Line {
            case: case.name,
            flows: case.load.flows,
            ns,
            yardstick_flows: case.yardstick,
            yardstick_ns,
            ratio,
            limit: (case.limit > 0.0).then_some(case.limit),
            over: case.limit > 0.0 && ratio > case.limit,
        }
    });
    Ok(lines.collect())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Everything loaded afresh, and every case once: its net cost, and that of
/// its yardstick. Tables have room for as many flows as there are.
fn round(cases: &[Case], effort: Effort) -> Result<Vec<(f64, f64)>> {
    let mut results = vec![(0.0, 0.0); cases.len()];
    for flows in [1, MANY, MOST] {
        if cases.iter().all(|case| case.yardstick != flows) {
            continue;
        }
        let mut kernel = Kernel::load(flows)?;
        let mut world = World::of_sizes(&Sizes {
            flows: flows.max(1024),
            ..SIZES
        })?;
        many_vips(&mut world)?;
        fill(&mut kernel, &mut world, flows)?;
        let yardstick = yardstick(&mut kernel, flows, effort)?;
        for (case, result) in cases.iter().zip(&mut results) {
            if case.yardstick == flows {
                let net = measure(&mut kernel, &mut world, case, effort)
                    .with_context(|| case.name.to_owned())?;
                *result = (net, yardstick);
            }
        }
    }
    Ok(results)
}

fn packets(flows: u32, effort: Effort) -> u32 {
    effort.packets.max(flows)
}

fn yardstick(kernel: &mut Kernel, flows: u32, effort: Effort) -> Result<f64> {
    let family = Family::V4;
    let ack = Segment::tcp(family.client(), family.vip(port::HERE), "A");
    let load = Load {
        frame: padded(&ack),
        flows,
        vips: 1,
        layout: 4,
    };
    let before = kernel.misses()?;
    let program = kernel.program("bench_yardstick")?;
    let net = net(kernel, &load, Hook::Xdp, &program, packets(flows, effort))?;
    let missed = kernel.misses()? - before;
    ensure!(missed == 0, "the yardstick missed {missed} lookups");
    Ok(net)
}

fn net(
    kernel: &mut Kernel,
    load: &Load,
    hook: Hook,
    program: &aya::programs::ProgramFd,
    packets: u32,
) -> Result<f64> {
    let empty = kernel.program(match hook {
        Hook::Xdp => "bench_empty",
        Hook::Tc => "bench_empty_tc",
    })?;
    let whole = kernel.time(load, hook, program, packets)?;
    let empty = kernel.time(load, hook, &empty, packets)?;
    Ok(whole - empty)
}

fn measure(kernel: &mut Kernel, world: &mut World, case: &Case, effort: Effort) -> Result<f64> {
    let direct = if case.name == DIRECT {
        flags::DIRECT
    } else {
        0
    };
    world.frontend_flags(Family::V4.vip(port::HERE), TCP, direct)?;
    let packets = packets(case.load.flows, effort);
    let before = world.counter(case.reason)?;
    let program = world.ebpf().program(case.program);
    let program = program.with_context(|| format!("no program {}", case.program))?;
    let program = program.fd()?.try_clone()?;
    let net = net(kernel, &case.load, case.hook, &program, packets)?;
    let counted = world.counter(case.reason)? - before;
    ensure!(
        counted == u64::from(RUNS * packets + WARM_UP),
        "{counted} of {} packets were {}",
        RUNS * packets + WARM_UP,
        case.reason.name()
    );
    Ok(net)
}

/// Adds established flows of the pod here, and the same to the yardstick.
fn fill(kernel: &mut Kernel, world: &mut World, flows: u32) -> Result<()> {
    let flows = 0..flows;
    let family = Family::V4;
    kernel.fill_yardstick(flows.clone().map(|flow| key(family, flow)))?;
    let mut map = world.hash::<FlowKey, FlowValue>("TCP_FLOWS")?;
    for flow in flows.clone() {
        let key = key(family, flow);
        map.insert(key, established(key.client_port), 0)?;
    }
    let mut map = world.hash::<ReverseKey, ReverseValue>("TCP_REVERSE")?;
    for flow in flows {
        let key = key(family, flow);
        let reverse = ReverseKey {
            client: key.client,
            pod: family.pod().ip().into(),
            client_port: key.client_port,
            pod_port: family.pod().port(),
            protocol: key.protocol,
        };
        let value = ReverseValue {
            vip: key.vip,
            vip_port: key.vip_port,
            client_port: key.client_port,
            frontend: 1,
            seen: 0,
            flags: 0,
            pad: [0; 2],
        };
        map.insert(reverse, value, 0)?;
    }
    Ok(())
}

fn key(family: Family, flow: u32) -> FlowKey {
    FlowKey {
        client: Ipv4Addr::from_bits(flow::client(flow)).into(),
        vip: family.vip(0).ip().into(),
        client_port: flow::port(flow),
        vip_port: port::HERE,
        protocol: TCP.into(),
    }
}

fn established(client_port: u16) -> FlowValue {
    FlowValue {
        backend: BackendRef {
            id: 0,
            generation: 1,
        },
        frontend: 1,
        seen: 0,
        client_fin: 0,
        pod_fin: 0,
        pod_client_port: client_port,
        state: 0,
        pad: [0; 4],
    }
}

fn many_vips(world: &mut World) -> Result<()> {
    let slot = Slot {
        now: Target::node(node::SAME_LINK),
        next: Target::NONE,
    };
    for family in crate::object::world::BOTH {
        for number in 0..VIPS {
            let vip = spread_vip(family, number);
            world.vip(vip.ip(), u64::MAX)?;
            world.frontend(vip, TCP, slot, 0)?;
        }
    }
    Ok(())
}
