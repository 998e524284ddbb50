//! What is measured, by the names that the CLI has: from the tables, from what
//! the agent says of itself, and from what was decided.

use std::collections::BTreeMap;

use lb_common::maps::{Kind as MapKind, MAPS};
use lb_common::verdict::{Direction, Reason, Verdict};

use super::text::{Kind, Text};
use crate::dataplane::maps::Maps;
use crate::dataplane::pins::Pins;
use crate::dataplane::readback::count;
use crate::dataplane::view::{Frontend, View, ViewError, ip, protocol, socket};
use crate::driver::channel;
use crate::publish::Decided;
use crate::report::Report;

/// What stands in the tables.
pub(super) fn of_tables(text: &mut Text, pins: &Pins) -> Result<(), ViewError> {
    let view = View::read(pins)?;
    packets(text, &view.maps);
    frontends(text, &view);
    backends(text, &view);
    maps(text, pins)
}

fn packets(text: &mut Text, maps: &Maps) {
    text.family(
        "corten_packets_total",
        Kind::Counter,
        "Packets by what became of them and why.",
    );
    for reason in Reason::ALL {
        let counted = maps.counters.get(&(*reason as u32), 0);
        let counted: u64 = counted.map_or(0, |values| values.iter().sum());
        let verdict = match reason.verdict() {
            Verdict::Pass => "pass",
            Verdict::Forward => "forward",
            Verdict::Drop => "drop",
            Verdict::Event => "event",
        };
        let direction = match reason.direction() {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
            Direction::Both => "both",
        };
        let labels: [(&str, &dyn std::fmt::Display); 3] = [
            ("reason", &reason.name()),
            ("verdict", &verdict),
            ("direction", &direction),
        ];
        text.sample(&labels, counted);
    }
}

fn frontends(text: &mut Text, view: &View) {
    let mut family = |name, kind, help, value: &dyn Fn(&Frontend) -> u64| {
        text.family(name, kind, help);
        for frontend in &view.frontends {
            let protocol = protocol(frontend.key.protocol.into());
            let labels: [(&str, &dyn std::fmt::Display); 5] = [
                ("namespace", &frontend.namespace),
                ("service", &frontend.service),
                ("vip", &ip(frontend.key.vip)),
                ("port", &frontend.key.port),
                ("protocol", &protocol),
            ];
            text.sample(&labels, value(frontend));
        }
    };
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    family(
        "corten_frontend_packets_total",
        Kind::Counter,
        "Packets for a frontend that came to this node first.",
        &|frontend| view.traffic(frontend.value.id).packets,
    );
    family(
        "corten_frontend_bytes_total",
        Kind::Counter,
        "Their bytes.",
        &|frontend| view.traffic(frontend.value.id).bytes,
    );
    family(
        "corten_frontend_backends",
        Kind::Gauge,
        "Backends of a frontend, on all nodes.",
        &|frontend| number(frontend.endpoints.len()),
    );
    family(
        "corten_frontend_ready_backends",
        Kind::Gauge,
        "Those of them that are ready.",
        &|frontend| number(frontend.ready()),
    );
}

fn backends(text: &mut Text, view: &View) {
    for (name, help, bytes) in [
        (
            "corten_backend_packets_total",
            "Packets delivered to a backend on this node.",
            false,
        ),
        ("corten_backend_bytes_total", "Their bytes.", true),
    ] {
        text.family(name, Kind::Counter, help);
        for frontend in &view.frontends {
            for (key, value) in &frontend.endpoints {
                let Some(traffic) = view.pod_traffic(value) else {
                    continue;
                };
                let labels: [(&str, &dyn std::fmt::Display); 5] = [
                    ("namespace", &frontend.namespace),
                    ("service", &frontend.service),
                    ("frontend", &frontend.address()),
                    ("protocol", &protocol(frontend.key.protocol.into())),
                    ("backend", &socket(key.addr, key.port)),
                ];
                text.sample(
                    &labels,
                    if bytes {
                        traffic.bytes
                    } else {
                        traffic.packets
                    },
                );
            }
        }
    }
}

fn maps(text: &mut Text, pins: &Pins) -> Result<(), ViewError> {
    let counted =
        |map: &&lb_common::maps::Map| !matches!(map.kind, MapKind::Array | MapKind::PerCpuArray);
    text.family(
        "corten_map_entries",
        Kind::Gauge,
        "Entries of a table in the kernel.",
    );
    for map in MAPS.iter().filter(counted) {
        text.sample(&[("map", &map.name)], count(pins, map)?);
    }
    Ok(())
}

/// What the agent says of itself.
pub(super) fn of_agent(text: &mut Text, report: &Report) {
    text.family("corten_build_info", Kind::Gauge, "The agent's version.");
    text.sample(&[("version", &report.version)], 1);
    text.family(
        "corten_ready",
        Kind::Gauge,
        "Whether the tables hold what they should and the programs are attached.",
    );
    text.sample(&[], u8::from(report.ready));
    text.family(
        "corten_runs_total",
        Kind::Counter,
        "How often everything was computed.",
    );
    text.sample(&[], report.work.runs);
    text.family(
        "corten_last_run_cpu_microseconds",
        Kind::Gauge,
        "What the last of them cost.",
    );
    text.sample(&[], report.work.last_cpu_us);
    text.family(
        "corten_problems",
        Kind::Gauge,
        "What is wrong with what the agent was told, by name; of the worst 200.",
    );
    let mut problems: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for problem in &report.problems {
        *problems
            .entry((&problem.name, &problem.severity))
            .or_default() += 1;
    }
    for ((name, severity), number) in problems {
        text.sample(&[("name", &name), ("severity", &severity)], number);
    }
    text.family(
        "corten_watch_up",
        Kind::Gauge,
        "Whether a kind of objects is followed; if not, the last good state is used.",
    );
    for watch in &report.watches {
        let up = watch.listed && watch.failure.is_none();
        text.sample(&[("kind", &watch.kind)], u8::from(up));
    }
    of_channel(text, &report.channel);
}

/// How the talk with other agents about flows goes.
fn of_channel(text: &mut Text, channel: &channel::Report) {
    text.family(
        "corten_channel_peer_up",
        Kind::Gauge,
        "Whether the agent of a node tells which flows moved.",
    );
    for peer in &channel.peers {
        let up = peer.state == channel::PeerState::Speaks;
        text.sample(&[("node", &peer.node)], u8::from(up));
    }
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let gauges = [
        (
            "corten_flows_held",
            "Flows that live on other nodes and come here.",
            number(channel.held),
        ),
        (
            "corten_flows_displaced",
            "Flows that live here and come to other nodes.",
            number(channel.displaced),
        ),
        (
            "corten_frontends_awaiting",
            "Frontends that changed lately and wait for other agents to tell.",
            number(channel.awaiting),
        ),
    ];
    for (name, help, value) in gauges {
        text.family(name, Kind::Gauge, help);
        text.sample(&[], value);
    }
    text.family(
        "corten_channel_messages_total",
        Kind::Counter,
        "What agents said to each other about flows.",
    );
    for (kind, direction, value) in [
        ("moved", "said", channel.moved_said),
        ("moved", "heard", channel.moved_heard),
        ("told", "said", channel.told_said),
        ("told", "heard", channel.told_heard),
        ("disputed", "said", channel.disputed),
    ] {
        text.sample(&[("kind", &kind), ("direction", &direction)], value);
    }
    text.family(
        "corten_channel_refused_total",
        Kind::Counter,
        "Datagrams and messages of other agents that were of no use.",
    );
    for (reason, value) in &channel.refused {
        text.sample(&[("reason", reason)], *value);
    }
    text.family(
        "corten_flows_without_room_total",
        Kind::Counter,
        "Flows of other nodes for which MOVED had no room.",
    );
    text.sample(&[], channel.no_room);
}

/// What was decided about addresses.
pub(super) fn of_addresses(text: &mut Text, decided: &Decided) {
    let assignment = &decided.assignment;
    text.family(
        "corten_config_loaded",
        Kind::Gauge,
        "Whether there was a good configuration yet.",
    );
    text.sample(&[], u8::from(decided.config.good.is_some()));
    text.family(
        "corten_config_refusals",
        Kind::Gauge,
        "What is wrong with the configuration; if anything, the last good one is used.",
    );
    text.sample(&[], decided.config.refused.len());
    type Value = fn(&lb_core::ipam::PoolUse) -> (u64, u64);
    let families: [(&str, &str, Value); 2] = [
        (
            "corten_pool_assigned_addresses",
            "Addresses of a pool that Services have.",
            |pool| (pool.assigned_v4, pool.assigned_v6),
        ),
        (
            "corten_pool_available_addresses",
            "Addresses of a pool that are free.",
            |pool| (pool.available_v4, pool.available_v6),
        ),
    ];
    for (name, help, value) in families {
        text.family(name, Kind::Gauge, help);
        for (pool, used) in &assignment.pools {
            let (v4, v6) = value(used);
            text.sample(&[("pool", pool), ("family", &"ipv4")], v4);
            text.sample(&[("pool", pool), ("family", &"ipv6")], v6);
        }
    }
    text.family(
        "corten_services_allocated",
        Kind::Gauge,
        "Services that have an address.",
    );
    let allocations = assignment.allocations.values();
    let allocated = allocations.clone().filter(|a| !a.addresses.is_empty());
    text.sample(&[], allocated.count());
    text.family(
        "corten_services_refused",
        Kind::Gauge,
        "Services that do not have what they ask for, by reason.",
    );
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for refusal in allocations.filter_map(|allocation| allocation.refusal.as_ref()) {
        *refused.entry(refusal.name()).or_default() += 1;
    }
    for (reason, number) in refused {
        text.sample(&[("reason", &reason)], number);
    }
}
