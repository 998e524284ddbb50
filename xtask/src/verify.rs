//! `cargo xtask verify`: every program through the running kernel's verifier.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use lb_tests::object::verify::{LIMIT, verify};
use lb_tests::require::is_root;

use crate::build_ebpf;
use crate::report::say;
use crate::workspace::target;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(
            is_root(),
            "programs are loaded into the kernel: run as root"
        );
        build_ebpf::build()?;
        let programs = verify(&target().join("bpf").join("lb.o"))?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&programs)?);
            return Ok(ExitCode::SUCCESS);
        }
        say!(
            "{:<12} {:>12} {:>10} {:>8} {:>12}",
            "",
            "instructions",
            "verified",
            "of limit",
            "machine code"
        );
        for program in &programs {
            let share = f64::from(program.verified) / f64::from(LIMIT) * 100.0;
            say!(
                "{:<12} {:>12} {:>10} {share:>7.1}% {:>12}",
                program.program,
                program.instructions,
                program.verified,
                program.bytes
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
