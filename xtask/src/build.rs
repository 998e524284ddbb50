//! `cargo xtask build`: everything, optimised.

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::{cargo, run as run_command};
use crate::{build_ebpf, report};

pub(crate) fn run() -> Result<ExitCode> {
    release(true)?;
    Ok(ExitCode::SUCCESS)
}

/// The lab's programs in `target/release`, with the agent and the data plane
/// inside it, or without.
pub(crate) fn release(with_agent: bool) -> Result<()> {
    if with_agent {
        build_ebpf::build()?;
        report::step("building the agent");
        run_command(cargo().args(["build", "--release", "-p", "lb-agent"]))?;
    }
    report::step("building the lab's programs");
    run_command(cargo().args(["build", "--release", "-p", "lb-tests", "--bins"]))
}
