//! `cargo xtask fuzz`: hostile bytes for whatever reads a network, for as long
//! as one likes. The targets are in `lb-agent/core/tests/fuzz`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::report;
use crate::workspace::{cargo, run, target};

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Only this target [default: all, one after another]
    target: Option<String>,
    /// How long, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The same seed makes the same inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Run one input again that was saved, and no others
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

impl Fuzz {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        report::step("building the readers, optimised, with checks of every sum");
        let mut command = cargo();
        command
            .args(["test", "--profile", "fuzz", "-p", "lb-core"])
            .args(["--test", "fuzz", "--"])
            .args(["--exact", "for_long", "--ignored", "--nocapture"])
            .env("LB_FUZZ_SECONDS", self.seconds.to_string())
            .env("LB_FUZZ_SEED", self.seed.to_string())
            .env("LB_FUZZ_FOLDER", target().join("fuzz-inputs"));
        if let Some(target) = &self.target {
            command.env("LB_FUZZ_TARGET", target);
        }
        if let Some(input) = &self.input {
            // Tests run in the folder of their package.
            let input = input
                .canonicalize()
                .with_context(|| format!("cannot read {}", input.display()))?;
            command.env("LB_FUZZ_INPUT", input);
        }
        run(&mut command)?;
        Ok(ExitCode::SUCCESS)
    }
}
