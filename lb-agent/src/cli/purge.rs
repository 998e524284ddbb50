//! `lb-agent purge`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::report::Report;
use crate::report::addresses::Addresses;

/// Stop forwarding: detach the programs and remove all tables and flows
///
/// This node stops answering for VIPs and forwarding at once, and established
/// flows of its pods are forgotten. Needed before the sizes of maps can be
/// changed, and to leave a machine clean.
///
/// JSON: {removed}, the number of maps, links and programs.
#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Answer {
    removed: usize,
}

impl Purge {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if let Some(agent) = Report::read(&self.place.run_folder()) {
            bail!(
                "the agent runs, as process {}, and would miss what is purged: end it first",
                agent.pid
            );
        }
        let removed = self.place.pins()?.purge()?;
        Addresses::remove(&self.place.run_folder())?;
        if self.output.is_json() {
            output::json(&Answer { removed })?;
        } else if removed == 0 {
            say!("nothing is there in {}", self.place.bpffs.display());
        } else {
            say!("removed {removed} maps, links and programs; this node forwards nothing");
        }
        Ok(ExitCode::SUCCESS)
    }
}
