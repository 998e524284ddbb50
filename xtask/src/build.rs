//! `cargo xtask build`: everything, optimised.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use lb_tests::command::output;

use crate::workspace::{cargo, run as run_command, target};
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

/// The agent and the lab's pods' server as programs that need no libraries,
/// for images; gives the folder they are in.
pub(crate) fn stand_alone() -> Result<PathBuf> {
    build_ebpf::build()?;
    report::step("building the programs for images");
    static_programs(&["-p", "lb-agent", "-p", "lb-tests", "--bins"])
}

/// Of these, the pods' server alone.
pub(crate) fn stand_alone_echo() -> Result<PathBuf> {
    report::step("building the pods' server");
    static_programs(&["-p", "lb-tests", "--bin", "corten-echo"])
}

fn static_programs(which: &[&str]) -> Result<PathBuf> {
    let host = host()?;
    // A target is named so that the flags are for the programs alone and not
    // for what the compiler runs while it builds them.
    run_command(
        cargo()
            .args(["build", "--release", "--target", &host])
            .args(which)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
    )?;
    stand_alone_folder()
}

/// Where [`stand_alone`] puts them.
pub(crate) fn stand_alone_folder() -> Result<PathBuf> {
    Ok(target().join(host()?).join("release"))
}

fn host() -> Result<String> {
    let said = output(cargo().args(["-vV"]))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.unwrap_or_default().to_owned())
}
