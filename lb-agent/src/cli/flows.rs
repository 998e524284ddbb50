//! `lb-agent flows`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use lb_common::flow::{FlowKey, FlowValue, ReverseKey, ReverseValue, state};
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::dataplane::jiffies::Jiffies;
use crate::dataplane::pins::Pins;
use crate::dataplane::readback;
use crate::dataplane::view::{View, ip, protocol, socket};

/// List flows that pods of this node have with clients
///
/// Flows in which both sides take part, of pods on this node. What is only
/// handed over to another node leaves no flow here.
///
/// JSON: {total, flows: [{protocol, client, client_port, vip, vip_port, pod,
/// pod_port, pod_client_port, service, state, idle_s}]}. Pod: null if it has
/// gone. State: established, closing, closed, client-reset or unproven. With
/// --moved: {total, flows: [{protocol, client, client_port, vip, vip_port, node}]}.
#[derive(Debug, Args)]
pub(super) struct Flows {
    /// Only flows to this address
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<IpAddr>,
    /// Only flows of this client
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Instead, flows that live on other nodes although their packets come here,
    /// as the agents there have told
    #[arg(long)]
    moved: bool,
    /// Show at most this many; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Answer {
    /// That match, shown or not.
    total: usize,
    flows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    protocol: String,
    client: String,
    client_port: u16,
    vip: String,
    vip_port: u16,
    pod: Option<String>,
    pod_port: Option<u16>,
    pod_client_port: u16,
    service: String,
    state: &'static str,
    idle_s: u64,
}

#[derive(Serialize)]
struct MovedAnswer {
    /// That match, shown or not.
    total: usize,
    flows: Vec<MovedRow>,
}

#[derive(Serialize)]
struct MovedRow {
    protocol: String,
    client: String,
    client_port: u16,
    vip: String,
    vip_port: u16,
    node: String,
}

impl Flows {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let pins = self.place.pins()?;
        let view = View::read(&pins)?;
        if self.moved {
            return self.run_moved(&view, &pins);
        }
        let mut found = Vec::new();
        for (forward, reverse) in [("TCP_FLOWS", "TCP_REVERSE"), ("UDP_FLOWS", "UDP_REVERSE")] {
            let flows = readback::flows(&pins, forward)?.into_iter();
            let flows: Vec<_> = flows.filter(|(key, _)| self.matches(key)).collect();
            let reverse: HashMap<_, _> = readback::reverse(&pins, reverse)?.into_iter().collect();
            found.push((flows, reverse));
        }
        let answer = self.answer(&view, &pins, &found)?;
        if self.output.is_json() {
            output::json(&answer)?;
        } else {
            print(&answer);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn run_moved(&self, view: &View, pins: &Pins) -> anyhow::Result<ExitCode> {
        let mut all = readback::moved(pins)?;
        all.retain(|(key, _)| self.matches(key));
        all.sort_unstable_by_key(|(key, _)| *key);
        let total = all.len();
        let flows = all
            .into_iter()
            .take(self.most())
            .map(|(key, value)| MovedRow {
                protocol: protocol(key.protocol),
                client: ip(key.client),
                client_port: key.client_port,
                vip: ip(key.vip),
                vip_port: key.vip_port,
                node: view.node(value.node),
            });
        let answer = MovedAnswer {
            total,
            flows: flows.collect(),
        };
        if self.output.is_json() {
            output::json(&answer)?;
        } else {
            print_moved(&answer);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn most(&self) -> usize {
        if self.limit == 0 {
            usize::MAX
        } else {
            self.limit
        }
    }

    fn matches(&self, key: &FlowKey) -> bool {
        let is = |asked: Option<IpAddr>, there| {
            asked.is_none_or(|asked| asked.to_canonical() == IpAddr::from(there))
        };
        is(self.vip, key.vip) && is(self.client, key.client)
    }

    #[expect(
        clippy::type_complexity,
        reason = "both directions of both protocols, used once"
    )]
    fn answer(
        &self,
        view: &View,
        pins: &Pins,
        found: &[(Vec<(FlowKey, FlowValue)>, HashMap<ReverseKey, ReverseValue>)],
    ) -> anyhow::Result<Answer> {
        let config = view.maps.config.get(&0, 0)?;
        let jiffies = Jiffies::open(pins, config.hz);
        let now = jiffies.now();
        let services: HashMap<u32, String> = view
            .frontends
            .iter()
            .map(|frontend| (frontend.value.id, frontend.name()))
            .collect();
        let limit = self.most();
        let mut all: Vec<_> = found
            .iter()
            .flat_map(|(flows, reverse)| flows.iter().map(move |flow| (flow, reverse)))
            .collect();
        let total = all.len();
        all.sort_unstable_by_key(|((key, _), _)| *key);
        let flows = all.into_iter().take(limit).map(|((key, value), reverse)| {
            let backend = view.backends.get(&value.backend.id);
            let pod = backend.filter(|pod| pod.generation == value.backend.generation);
            let answered = pod.and_then(|pod| {
                reverse.get(&ReverseKey {
                    client: key.client,
                    pod: pod.addr,
                    client_port: value.pod_client_port,
                    pod_port: pod.port,
                    protocol: key.protocol,
                })
            });
            let idle = jiffies.age(now, value.seen);
            let idle = answered.map_or(idle, |reverse| idle.min(jiffies.age(now, reverse.seen)));
            Row {
                protocol: protocol(key.protocol),
                client: ip(key.client),
                client_port: key.client_port,
                vip: ip(key.vip),
                vip_port: key.vip_port,
                pod: pod.map(|pod| ip(pod.addr)),
                pod_port: pod.map(|pod| pod.port),
                pod_client_port: value.pod_client_port,
                service: services.get(&value.frontend).cloned().unwrap_or_default(),
                state: state_name(value),
                idle_s: idle.as_secs(),
            }
        });
        Ok(Answer {
            total,
            flows: flows.collect(),
        })
    }
}

fn state_name(flow: &FlowValue) -> &'static str {
    if flow.is_closed() {
        "closed"
    } else if flow.state & state::UNPROVEN != 0 {
        "unproven"
    } else if flow.state & state::CLIENT_RESET != 0 {
        "client-reset"
    } else if flow.state & state::CLOSING != 0 {
        "closing"
    } else {
        "established"
    }
}

fn print_moved(answer: &MovedAnswer) {
    let mut table = output::table(&["PROTOCOL", "CLIENT", "VIP", "LIVES ON"]);
    for row in &answer.flows {
        table.add_row([
            &row.protocol,
            &end(&row.client, row.client_port),
            &end(&row.vip, row.vip_port),
            &row.node,
        ]);
    }
    output::print(&table);
    print_rest(answer.flows.len(), answer.total);
}

/// An address with its port.
fn end(address: &str, port: u16) -> String {
    let parsed = address.parse::<IpAddr>();
    parsed.map_or_else(|_| address.to_owned(), |ip| socket(ip.into(), port))
}

fn print_rest(shown: usize, total: usize) {
    if shown < total {
        say!("{shown} of {total} flows; --limit 0 shows all");
    }
}

fn print(answer: &Answer) {
    let mut table = output::table(&[
        "PROTOCOL", "CLIENT", "VIP", "POD", "SERVICE", "STATE", "IDLE",
    ]);
    for row in &answer.flows {
        let pod = match (&row.pod, row.pod_port) {
            (Some(pod), Some(port)) => end(pod, port),
            _ => "gone".to_owned(),
        };
        table.add_row([
            &row.protocol,
            &end(&row.client, row.client_port),
            &end(&row.vip, row.vip_port),
            &pod,
            &row.service,
            row.state,
            &output::duration(row.idle_s),
        ]);
    }
    output::print(&table);
    print_rest(answer.flows.len(), answer.total);
}
