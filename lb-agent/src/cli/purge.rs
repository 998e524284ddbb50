//! `lb-agent purge`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::report::Report;
use crate::report::addresses::Addresses;
use crate::shutdown;

/// Stop forwarding: detach the programs and remove all tables and flows
///
/// This node stops answering for VIPs and forwarding at once, and established
/// flows of its pods are forgotten. Needed before the sizes of maps can be
/// changed, and to leave a machine clean.
///
/// JSON: {removed}, the number of maps, links and programs.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// Stay afterwards until asked to end, as a pod must that runs on every
    /// node
    #[arg(long)]
    stay: bool,
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
        if self.stay {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot wait for a signal")?;
            runtime.block_on(shutdown::requested())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
