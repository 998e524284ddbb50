//! `lb-agent counters`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lb_common::verdict::{Direction, Reason, Verdict};
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::dataplane::maps::Maps;

/// Show what became of packets, by reason
///
/// Every packet that a program sees meets one verdict for one reason, and is
/// counted under it. Counting begins when the tables are made.
///
/// JSON: {counters: {reason: packets, …}, reasons: [{name, verdict:
/// pass|forward|drop|event, direction: ingress|egress|both, text, packets}]}.
/// All reasons, also those that did not occur.
#[derive(Debug, Args)]
pub(super) struct Counters {
    /// Also reasons that have not occurred
    #[arg(long)]
    all: bool,
    /// Show every second what was added since the last
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Answer {
    counters: BTreeMap<&'static str, u64>,
    reasons: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    verdict: &'static str,
    direction: &'static str,
    text: &'static str,
    packets: u64,
}

const EVERY: Duration = Duration::from_secs(1);

impl Counters {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let maps = Maps::open(&self.place.pins()?)?;
        if !self.watch {
            self.show(&read(&maps)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.tick().await;
            let mut last = read(&maps)?;
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                }
                let now = read(&maps)?;
                let added = now.iter().zip(&last);
                let added: Vec<u64> = added.map(|(now, last)| now.saturating_sub(*last)).collect();
                self.show(&added)?;
                last = now;
            }
        })
    }

    fn show(&self, counters: &[u64]) -> anyhow::Result<()> {
        let rows = Reason::ALL
            .iter()
            .zip(counters)
            .map(|(reason, packets)| Row {
                name: reason.name(),
                verdict: verdict(reason.verdict()),
                direction: direction(reason.direction()),
                text: reason.text(),
                packets: *packets,
            });
        if self.output.is_json() {
            let reasons: Vec<Row> = rows.collect();
            let counters = reasons.iter().map(|row| (row.name, row.packets)).collect();
            return output::json(&Answer { counters, reasons });
        }
        let mut table = output::table(&["REASON", "VERDICT", "PACKETS", "MEANING"]);
        for row in rows.filter(|row| self.all || row.packets != 0) {
            let packets = row.packets.to_string();
            table.add_row([row.name, row.verdict, &packets, row.text]);
        }
        output::print(&table);
        if self.watch {
            say!();
        }
        Ok(())
    }
}

/// By reason, all CPUs together.
fn read(maps: &Maps) -> anyhow::Result<Vec<u64>> {
    Reason::ALL
        .iter()
        .map(|reason| {
            let values = maps.counters.get(&(*reason as u32), 0)?;
            Ok(values
                .iter()
                .fold(0, |sum: u64, value| sum.wrapping_add(*value)))
        })
        .collect()
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Forward => "forward",
        Verdict::Drop => "drop",
        Verdict::Event => "event",
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
        Direction::Both => "both",
    }
}
