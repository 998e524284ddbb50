//! `lb-agent backends`.

use std::process::ExitCode;

use clap::Args;
use lb_common::traffic::condition;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use super::services::is_of;
use crate::dataplane::view::{View, ip, percent, protocol, socket};

/// List the backends of all services, with their share of new flows
///
/// One line for each backend of each frontend, on all nodes.
///
/// JSON: [{namespace, service, vip, port, protocol, address, backend_port,
/// node, here, ready, serving, terminating, slots, of_slots, packets, bytes}].
/// The share of new flows is slots / of_slots. Packets are those delivered to
/// the pod on this node, from all its services; null for pods elsewhere.
#[derive(Debug, Args)]
pub(super) struct Backends {
    /// Only those of this service: NAME or NAMESPACE/NAME
    service: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Row {
    namespace: String,
    service: String,
    vip: String,
    port: u16,
    protocol: String,
    address: String,
    backend_port: u16,
    node: String,
    here: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    slots: u32,
    of_slots: u32,
    packets: Option<u64>,
    bytes: Option<u64>,
}

impl Backends {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let view = View::read(&self.place.pins()?)?;
        let mut rows = Vec::new();
        let mut table = output::table(&[
            "SERVICE", "FRONTEND", "BACKEND", "NODE", "STATE", "SHARE", "PACKETS", "BYTES",
        ]);
        let frontends = view.frontends.iter();
        for frontend in frontends.filter(|f| is_of(f, self.service.as_deref())) {
            for (key, value) in &frontend.endpoints {
                let traffic = view.pod_traffic(value);
                let has = |bit| value.conditions & bit != 0;
                let row = Row {
                    namespace: frontend.namespace.clone(),
                    service: frontend.service.clone(),
                    vip: ip(frontend.key.vip),
                    port: frontend.key.port,
                    protocol: protocol(frontend.key.protocol.into()),
                    address: ip(key.addr),
                    backend_port: key.port,
                    node: view.node(value.node),
                    here: value.node == 0,
                    ready: has(condition::READY),
                    serving: has(condition::SERVING),
                    terminating: has(condition::TERMINATING),
                    slots: value.slots,
                    of_slots: frontend.value.slots,
                    packets: traffic.map(|traffic| traffic.packets),
                    bytes: traffic.map(|traffic| traffic.bytes),
                };
                let count = |number: Option<u64>, text: fn(u64) -> String| {
                    number.map_or_else(|| "-".to_owned(), text)
                };
                table.add_row([
                    &frontend.name(),
                    &format!("{}/{}", frontend.address(), row.protocol),
                    &socket(key.addr, key.port),
                    &format!("{}{}", row.node, if row.here { " *" } else { "" }),
                    state(&row),
                    &percent(row.slots.into(), row.of_slots.into()),
                    &count(row.packets, output::short),
                    &count(row.bytes, output::bytes),
                ]);
                rows.push(row);
            }
        }
        if self.output.is_json() {
            output::json(&rows)?;
        } else {
            output::print(&table);
            say!("* this node");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn state(row: &Row) -> &'static str {
    match (row.ready, row.serving && row.terminating) {
        (true, _) => "ready",
        (false, true) => "draining",
        (false, false) => "not ready",
    }
}
