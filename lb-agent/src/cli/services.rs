//! `lb-agent services`.

use std::process::ExitCode;

use clap::Args;
use lb_common::frontend::flags;
use serde::Serialize;

use super::Place;
use super::output::{self, Output};
use crate::dataplane::view::{Frontend, View, ip, protocol};

/// List services: their addresses, ports, backends and traffic
///
/// One line for each frontend: an address, port and protocol of a service.
///
/// JSON: [{namespace, name, frontends: [{vip, port, protocol, id, backends,
/// ready, slots, delivery: stack|direct, tcp_unsettled, udp_unsettled,
/// packets, bytes}]}]. Unsettled: its endpoints changed not long ago, so flows
/// that nobody knows are looked for where they may have been before. Packets
/// are those that came in on this node.
#[derive(Debug, Args)]
pub(super) struct Services {
    /// Only this service: NAME or NAMESPACE/NAME
    service: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Service {
    namespace: String,
    name: String,
    frontends: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    vip: String,
    port: u16,
    protocol: String,
    id: u32,
    backends: usize,
    ready: usize,
    slots: u32,
    delivery: &'static str,
    tcp_unsettled: bool,
    udp_unsettled: bool,
    packets: u64,
    bytes: u64,
}

impl Services {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let view = View::read(&self.place.pins()?)?;
        let wanted = |frontend: &&Frontend| is_of(frontend, self.service.as_deref());
        let mut services: Vec<Service> = Vec::new();
        for frontend in view.frontends.iter().filter(wanted) {
            let row = row(&view, frontend);
            match services.last_mut() {
                Some(last)
                    if last.namespace == frontend.namespace && last.name == frontend.service =>
                {
                    last.frontends.push(row);
                }
                _ => services.push(Service {
                    namespace: frontend.namespace.clone(),
                    name: frontend.service.clone(),
                    frontends: vec![row],
                }),
            }
        }
        if self.output.is_json() {
            output::json(&services)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = output::table(&[
            "SERVICE", "VIP", "PORT", "BACKENDS", "READY", "DELIVERY", "PACKETS", "BYTES",
        ]);
        for service in &services {
            for row in &service.frontends {
                table.add_row([
                    &format!("{}/{}", service.namespace, service.name),
                    &row.vip,
                    &format!("{}/{}", row.port, row.protocol),
                    &row.backends.to_string(),
                    &row.ready.to_string(),
                    row.delivery,
                    &output::short(row.packets),
                    &output::bytes(row.bytes),
                ]);
            }
        }
        output::print(&table);
        Ok(ExitCode::SUCCESS)
    }
}

fn row(view: &View, frontend: &Frontend) -> Row {
    let traffic = view.traffic(frontend.value.id);
    Row {
        vip: ip(frontend.key.vip),
        port: frontend.key.port,
        protocol: protocol(frontend.key.protocol.into()),
        id: frontend.value.id,
        backends: frontend.endpoints.len(),
        ready: frontend.ready(),
        slots: frontend.value.slots,
        delivery: frontend.delivery(),
        tcp_unsettled: frontend.value.flags & flags::TCP_UNSETTLED != 0,
        udp_unsettled: frontend.value.flags & flags::UDP_UNSETTLED != 0,
        packets: traffic.packets,
        bytes: traffic.bytes,
    }
}

/// Whether it is the service that was named, if one was.
pub(super) fn is_of(frontend: &Frontend, service: Option<&str>) -> bool {
    service.is_none_or(|service| frontend.service == service || frontend.name() == service)
}
