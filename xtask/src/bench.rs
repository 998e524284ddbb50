//! `cargo xtask bench`: what a packet costs in the kernel.
#![expect(clippy::print_stdout, reason = "the result is the output")]

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use lb_tests::bench::{self, Effort};
use lb_tests::require::is_root;

use crate::{build_ebpf, report};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer loads and packets: rougher figures, sooner
    #[arg(long)]
    quick: bool,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(
            is_root(),
            "programs are loaded into the kernel: run as root"
        );
        build_ebpf::build_for_bench()?;
        let effort = if self.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        };
        report::step("measuring; anything else that runs here disturbs it");
        let result = bench::run(effort, |what| report::step(what))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&result)?);
        } else {
            print!("{}", result.table());
        }
        Ok(ExitCode::SUCCESS)
    }
}
