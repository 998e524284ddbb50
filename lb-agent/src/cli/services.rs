//! `lb-agent services`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use lb_common::frontend::flags;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::dataplane::view::{Frontend, View, ip, protocol};
use crate::report::addresses::{Addresses, RefusalRow, ServiceRow};

/// List services: their addresses, ports, backends and traffic
///
/// One line for each frontend: an address, port and protocol of a service; and
/// for each service that does not have the addresses that it asks for, why.
///
/// JSON: [{namespace, name, addresses[], pool, refusal: {name, text} or null,
/// frontends: [{vip, port, protocol, id, backends, ready, slots, delivery:
/// stack|direct, tcp_unsettled, udp_unsettled, packets, bytes}]}]. Addresses,
/// pool and refusal are what the agent has worked out, and the frontends what
/// is forwarded. Unsettled: its endpoints changed not long ago, so flows
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
    addresses: Vec<IpAddr>,
    pool: Option<String>,
    refusal: Option<RefusalRow>,
    frontends: Vec<Row>,
}

impl Service {
    /// Of which nothing is forwarded yet.
    fn new(row: ServiceRow) -> Self {
        let ServiceRow {
            namespace,
            name,
            addresses,
            pool,
            refusal,
        } = row;
        Self {
            namespace,
            name,
            addresses,
            pool,
            refusal,
            frontends: Vec::new(),
        }
    }

    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
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
        let assigned = Addresses::read(&self.place.run_folder())?;
        let services = services(&view, assigned.unwrap_or_default());
        let wanted = |service: &Service| {
            let name = self.service.as_deref();
            name.is_none_or(|name| service.name == name || service.full_name() == name)
        };
        let services: Vec<_> = services.into_iter().filter(wanted).collect();
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
                    &service.full_name(),
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
        for service in &services {
            if let Some(refusal) = &service.refusal {
                say!("{}: {}", service.full_name(), refusal.text);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is forwarded and what was worked out, in the order of the names.
fn services(view: &View, assigned: Addresses) -> Vec<Service> {
    let key = |service: &Service| (service.namespace.clone(), service.name.clone());
    let known = assigned.services.into_iter().map(Service::new);
    let mut services: BTreeMap<_, _> = known.map(|service| (key(&service), service)).collect();
    for frontend in &view.frontends {
        let (namespace, name) = (frontend.namespace.clone(), frontend.service.clone());
        let service = services
            .entry((namespace.clone(), name.clone()))
            .or_insert_with(|| {
                Service::new(ServiceRow {
                    namespace,
                    name,
                    ..ServiceRow::default()
                })
            });
        service.frontends.push(row(view, frontend));
    }
    services.into_values().collect()
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
