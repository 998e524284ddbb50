//! `cargo xtask bench`: what a packet costs in the kernel, and what else was
//! promised in figures.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use lb_tests::bench::{self, Effort, Parts, failover, watch};
use lb_tests::interrupt;
use lb_tests::kubernetes::API_TOOLS;
use lb_tests::require::is_root;

use crate::report::say;
use crate::workspace::{cargo, release_folder, run, target};
use crate::{build, build_ebpf, image, report, setup};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Measure only this [default: programs and end-to-end]
    #[arg(value_name = "PART", conflicts_with = "only")]
    part: Option<Part>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer loads and packets: rougher figures, sooner
    #[arg(long)]
    quick: bool,
    /// The same as PART
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Of programs and failover, measure only the cases whose name contains this
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
    /// What four routers cost an agent (a minute; only if asked for)
    Bgp,
    /// What a large cluster costs an agent (some minutes; only if asked for)
    Watch,
    /// What clients notice when a node is lost, beside keepalived and MetalLB
    /// (an hour, --quick a quarter; only if asked for)
    Failover,
    /// What connections notice when a router spreads them over other nodes,
    /// beside MetalLB (some minutes; only if asked for)
    Routed,
}

/// Of failover, medians of so many runs.
const RUNS: usize = 5;

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(
            is_root(),
            "programs are loaded into the kernel: run as root"
        );
        let only = self.part.or(self.only);
        match only {
            Some(Part::Watch) => return self.watch(),
            Some(Part::Failover) => return self.failover(),
            Some(Part::Bgp) => return self.bgp(),
            Some(Part::Routed) => return self.routed(),
            Some(Part::Programs | Part::EndToEnd) | None => {}
        }
        let parts = Parts {
            programs: only.is_none_or(|part| part == Part::Programs),
            end_to_end: only.is_none_or(|part| part == Part::EndToEnd),
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

    fn failover(&self) -> Result<ExitCode> {
        setup::lab()?;
        setup::keepalived()?;
        build::release(true)?;
        let archives = if failover::needs_cluster(&self.case) {
            setup::cluster()?;
            image::for_metallb()?
        } else {
            Vec::new()
        };
        interrupt::arm()?;
        let runs = if self.quick { 1 } else { RUNS };
        let parts = failover::Parts {
            programs: release_folder(),
            archives,
        };
        let told = |what: &str| report::step(what);
        let lines = failover::run(runs, &self.case, &parts, told)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&lines)?);
        } else {
            say!("{}", failover::table(&lines).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn routed(&self) -> Result<ExitCode> {
        setup::lab()?;
        setup::routers()?;
        build::release(true)?;
        setup::cluster()?;
        let parts = failover::Parts {
            programs: release_folder(),
            archives: image::for_metallb()?,
        };
        interrupt::arm()?;
        let lines = failover::routed::run(&parts, |what| report::step(what))?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&lines)?);
        } else {
            say!("{}", failover::routed::table(&lines).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn bgp(&self) -> Result<ExitCode> {
        setup::lab()?;
        setup::routers()?;
        build::release(true)?;
        report::step("measuring; anything else that runs here disturbs it");
        let figures = bench::bgp::run(&release_folder(), |what| report::step(what))?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&figures)?);
        } else {
            say!("{}", figures.table().trim_end());
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
