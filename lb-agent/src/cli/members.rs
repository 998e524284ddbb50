//! `lb-agent members`.

use std::process::ExitCode;

use clap::Args;

use super::Place;
use super::output::{self, Output, say};
use crate::driver::peers::{PeerRow, PeersReport};
use crate::report::Report;

/// List the other nodes: whose agent is there, as this node's agent sees it
///
/// JSON: {node, port, period_ms, patience_ms, settled, peers: [{node, address,
/// state, since_ms, counts, programmed, uplinks_up, returns_in_ms, heard_ms,
/// round_trip_us, beats_sent, beats_received}], dropped: {reason: count}}.
/// State: alive, suspect (silent, but not for long), down (silent for
/// patience_ms), leaving, or absent (never heard of). Counts: it may own VIPs.
/// Settled: the agent has had the time to hear all that are there. Dropped:
/// datagrams of no use, for instance those sealed with another secret. Not
/// older than a second.
#[derive(Debug, Args)]
pub(super) struct MembersCommand {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

impl MembersCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.place.run_folder();
        if Report::read(&folder).is_none() {
            anyhow::bail!("no agent runs here: nobody knows who is there");
        }
        let Some(report) = PeersReport::read(&folder) else {
            anyhow::bail!(
                "the agent does not talk with others yet: it waits for the cluster's secret, or \
                 for its port"
            );
        };
        self.output.answer(&report, print)
    }
}

fn print(report: &PeersReport) {
    if report.peers.is_empty() {
        say!("{} knows of no other nodes", report.node);
    } else {
        let columns = [
            "NODE",
            "STATE",
            "SINCE",
            "HEARD",
            "ROUND TRIP",
            "ADDRESS",
            "OWNS VIPS",
        ];
        let mut table = output::table(&columns);
        for peer in &report.peers {
            table.add_row(row(peer));
        }
        output::print(&table);
    }
    if !report.settled {
        say!();
        say!("not settled: it may be that more are there");
    }
    if !report.dropped.is_empty() {
        say!();
        let reasons = report.dropped.iter();
        let reasons: Vec<String> = reasons
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        say!("datagrams of no use: {}", reasons.join(", "));
    }
}

fn row(peer: &PeerRow) -> [String; 7] {
    let seconds = |ms: u64| output::duration(ms / 1000);
    let may_not = match (peer.is_there(), peer.programmed, peer.uplinks_up) {
        (false, _, _) => "no",
        (true, false, _) => "no: its tables are not filled",
        (true, true, _) => "no: its uplinks are down",
    };
    [
        peer.node.clone(),
        peer.state.clone(),
        peer.since_ms.map(seconds).unwrap_or_default(),
        peer.heard_ms
            .map(|ms| format!("{ms} ms ago"))
            .unwrap_or_default(),
        peer.round_trip_us
            .map(|us| format!("{us} us"))
            .unwrap_or_default(),
        peer.address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        if peer.counts { "may" } else { may_not }.to_owned(),
    ]
}
