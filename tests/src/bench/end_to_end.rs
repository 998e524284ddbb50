//! Packets a second through a node, from the wire to the wire or into a pod:
//! live frames over veth, one core doing all of it, beside what kube-proxy's
//! rules do in the same run.
//!
//! Frames are sent from the client's end of the link (`BPF_PROG_TEST_RUN` with
//! live frames) and counted where they arrive: back at that end for those that
//! were handed over, inside the pod for those that were delivered. Nearly all
//! must arrive.

use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use lb_common::flow::TCP;
use lb_common::frontend::flags;
use serde::Serialize;

use super::kernel::{Kernel, Load};
use super::network::{Network, POD, Tcx, UPLINK, attach_tcx, attach_xdp, detach_tcx, detach_xdp};
use super::{Effort, MANY, SIZES, fill, median, padded};
use crate::object::world::{Family, NODE_MAC, UPLINK_MAC, World, node, port};
use crate::object::{Sizes, same_link};
use crate::packet::Segment;

const FLOWS: u32 = MANY;
/// Of all packets, in thousandths: the last ones may still be under way.
const ARRIVE: u64 = 995;

/// One way of packets.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub case: &'static str,
    pub flows: u32,
    /// For a packet, sending and counting it included; medians.
    pub ns: f64,
    pub packets_per_second: f64,
    /// Packets a second, in those of nft; the median of the loads' ratios.
    pub ratio: f64,
    pub promised: Option<f64>,
    pub under: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Floor,
    HandOver,
    Direct,
    Stack,
    Nft,
}

const WAYS: [(Way, &str, Option<f64>); 5] = [
    (Way::Floor, "received and dropped (XDP)", None),
    (Way::HandOver, "hand-over, same link", Some(5.0)),
    (Way::Direct, "local delivery, direct", Some(2.0)),
    (Way::Stack, "local delivery, stack", Some(1.5)),
    (Way::Nft, "nft DNAT and masquerade, 10 endpoints", None),
];

/// What an uplink has besides XDP.
const ON_UPLINKS: [Tcx; 1] = [Tcx {
    program: "lb_egress",
    device: UPLINK,
    direction: TcAttachType::Egress,
}];
/// What is there besides where pods are reached past the stack.
const PAST_THE_STACK: [Tcx; 2] = [
    Tcx::ingress("lb_deliver", UPLINK),
    Tcx::ingress("lb_return", POD),
];

/// Measures every way, everything built and loaded afresh for each load.
pub fn run(effort: Effort, mut progress: impl FnMut(&str)) -> Result<Vec<Line>> {
    let mut rounds = Vec::new();
    for load in 0..effort.loads {
        progress(&format!(
            "end to end, load {} of {}",
            load + 1,
            effort.loads
        ));
        rounds.push(round(effort)?);
    }
    let lines = WAYS.iter().enumerate();
    let lines = lines.map(|(index, &(_, case, promised))| {
        let ns = median(rounds.iter().map(|round| round[index]));
        let nft = |round: &[f64; WAYS.len()]| round[WAYS.len() - 1];
        let ratio = median(rounds.iter().map(|round| nft(round) / round[index]));
        Line {
            case,
            flows: FLOWS,
            ns,
            packets_per_second: 1e9 / ns,
            ratio,
            promised,
            under: promised.is_some_and(|promised| ratio < promised),
        }
    });
    Ok(lines.collect())
}

/// For people.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:<44} {:>8} {:>8} {:>12} {:>7} {:>12}\n",
        "end to end", "flows", "ns", "packets/s", "to nft", "promised"
    );
    for line in lines {
        let promised = match line.promised {
            Some(least) => format!("{least:.1} {}", if line.under { "UNDER" } else { "ok" }),
            None => "-".into(),
        };
        text.push_str(&format!(
            "{:<44} {:>8} {:>8.0} {:>12.0} {:>7.2} {:>12}\n",
            line.case, line.flows, line.ns, line.packets_per_second, line.ratio, promised
        ));
    }
    text
}

struct Trial {
    network: Network,
    kernel: Kernel,
    world: World,
    effort: Effort,
    /// The client's index of its device.
    device: u32,
}

/// Nanoseconds a packet, of every way.
fn round(effort: Effort) -> Result<[f64; WAYS.len()]> {
    let network = Network::up()?;
    let mut kernel = Kernel::load(FLOWS)?;
    let mut world = World::of_sizes(&Sizes {
        flows: FLOWS,
        ..SIZES
    })?;
    let [uplink, pod] = network.devices()?;
    world.configure(|config| config.uplinks[0].ifindex = uplink)?;
    let mut away = same_link(NODE_MAC, UPLINK_MAC);
    away.ifindex = uplink;
    world.node(node::SAME_LINK, away)?;
    world.backend(0, Family::V4.pod(), pod)?;
    fill(&mut kernel, &mut world, FLOWS)?;
    let device = network
        .client
        .within(|| nix::net::if_::if_nametoindex(UPLINK))??;
    let sink = Tcx::ingress("bench_sink_tc", UPLINK);
    attach_tcx(&network.pod, kernel.ebpf(), sink)?;
    attach_xdp(&network.client, kernel.ebpf(), "bench_sink")?;
    let mut trial = Trial {
        network,
        kernel,
        world,
        effort,
        device,
    };
    let mut results = [0.0; WAYS.len()];
    for (result, (way, name, _)) in results.iter_mut().zip(WAYS) {
        *result = trial.measure(way).context(name)?;
    }
    Ok(results)
}

impl Trial {
    /// Prepares the node for one way, measures it and cleans up.
    fn measure(&mut self, way: Way) -> Result<f64> {
        match way {
            Way::Floor => {
                let link = attach_xdp(&self.network.node, self.kernel.ebpf(), "bench_sink")?;
                let result = self.send(port::HERE);
                detach_xdp(self.kernel.ebpf(), "bench_sink", link)?;
                result
            }
            Way::HandOver => self.through(port::SAME_LINK, 0),
            Way::Direct => self.through(port::HERE, flags::DIRECT),
            Way::Stack => self.through(port::HERE, 0),
            Way::Nft => {
                self.network.add_nft()?;
                self.send(port::HERE)
            }
        }
    }

    /// Through our programs, as the agent attaches them.
    fn through(&mut self, port: u16, flags: u32) -> Result<f64> {
        let vip = Family::V4.vip(port::HERE);
        self.world.frontend_flags(vip, TCP, flags)?;
        let node = &self.network.node;
        let ingress = attach_xdp(node, self.world.ebpf(), "lb_ingress")?;
        let past = flags & flags::DIRECT != 0;
        let mut attached = Vec::new();
        for &tcx in ON_UPLINKS
            .iter()
            .chain(PAST_THE_STACK.iter().filter(|_| past))
        {
            attached.push((tcx.program, attach_tcx(node, self.world.ebpf(), tcx)?));
        }
        let result = self.send(port);
        for (program, link) in attached {
            detach_tcx(self.world.ebpf(), program, link)?;
        }
        detach_xdp(self.world.ebpf(), "lb_ingress", ingress)?;
        result
    }

    /// Nanoseconds for each packet to a port of the VIP.
    fn send(&mut self, port: u16) -> Result<f64> {
        let family = Family::V4;
        let load = Load {
            frame: padded(&Segment::tcp(family.client(), family.vip(port), "A")),
            flows: FLOWS,
            vips: 1,
            layout: 4,
        };
        let packets = self.effort.packets.max(4 * FLOWS);
        let (kernel, device) = (&mut self.kernel, self.device);
        self.network.client.within(|| {
            // Every flow has been seen, and its entries made, where any are.
            kernel.send(&load, device, packets)?;
            let before = kernel.arrived()?;
            let ns = kernel.send(&load, device, packets)?;
            let arrived = kernel.arrived()? - before;
            ensure!(
                arrived * 1000 >= u64::from(packets) * ARRIVE,
                "{arrived} of {packets} packets arrived"
            );
            Ok(ns)
        })?
    }
}
