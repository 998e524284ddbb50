//! `cargo xtask crds`: `manifests/crds`, from the types of the agent.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::workspace::{cargo, run};

#[derive(Debug, Args)]
pub(crate) struct Crds {
    /// Write nothing; fail if the files are not what they would be
    #[arg(long)]
    check: bool,
}

impl Crds {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let mut command = cargo();
        command.args(["run", "--quiet", "-p", "lb-agent", "--", "crds"]);
        command.args(["--folder", "manifests/crds"]);
        if self.check {
            command.arg("--check");
        }
        run(&mut command)?;
        Ok(ExitCode::SUCCESS)
    }
}
