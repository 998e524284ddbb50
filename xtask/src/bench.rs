//! `cargo xtask bench`: what a packet costs in the kernel.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use lb_tests::bench::{self, Effort, Parts, watch};
use lb_tests::kubernetes::API_TOOLS;
use lb_tests::require::is_root;

use crate::report::say;
use crate::workspace::{cargo, release_folder, run, target};
use crate::{build, build_ebpf, report, setup};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer loads and packets: rougher figures, sooner
    #[arg(long)]
    quick: bool,
    /// Measure only this
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Of the programs, measure only the cases whose name contains this
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    case: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a packet costs in each program
    Programs,
    /// Packets a second through a node, beside nft
    EndToEnd,
    /// What a large cluster costs an agent (some minutes; only if asked for)
    Watch,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(
            is_root(),
            "programs are loaded into the kernel: run as root"
        );
        if self.only == Some(Part::Watch) {
            return self.watch();
        }
        let parts = Parts {
            programs: self.only.is_none_or(|part| part == Part::Programs),
            end_to_end: self.only.is_none_or(|part| part == Part::EndToEnd),
        };
        if parts.end_to_end {
            setup::lab()?;
        }
        build_ebpf::build_for_bench()?;
        let effort = if self.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        };
        report::step("measuring; anything else that runs here disturbs it");
        let result = bench::run(effort, parts, &self.case, |what| report::step(what))?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&result)?);
        } else {
            say!("{}", result.table().trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn watch(&self) -> Result<ExitCode> {
        setup::lab()?;
        setup::kubernetes_tools(API_TOOLS)?;
        build::release(true)?;
        report::step("measuring; anything else that runs here disturbs it");
        let result = target().join("bench-watch.json");
        run(cargo()
            .args(["test", "-p", "lb-tests", "--test", "bench_watch"])
            .args(["--", "--ignored"])
            .env("LB_BENCH_AGENT", release_folder().join("lb-agent"))
            .env("LB_BENCH_RESULT", &result))?;
        let lines: Vec<watch::Line> = serde_json::from_slice(&fs::read(&result)?)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&lines)?);
        } else {
            say!("{}", watch::table(&lines).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }
}
