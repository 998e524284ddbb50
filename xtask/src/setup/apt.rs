//! Debian packages.

use std::process::Command;

use anyhow::{Result, bail};
use lb_tests::require::is_root;

use super::is_debian;
use crate::report;
use crate::workspace::run;

/// A package, what it is for, and how to see that it is not needed.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub(super) package: &'static str,
    pub(super) why: &'static str,
    pub(super) present: fn() -> bool,
}

/// Installs those that are missing; elsewhere than on Debian, says which.
pub(super) fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let list: Vec<String> = missing
        .iter()
        .map(|need| format!("  {} ({})", need.package, need.why))
        .collect();
    let list = list.join("\n");
    if !is_debian() {
        bail!(
            "these are missing; please install them, by the names that your system gives \
             to these Debian packages:\n{list}"
        );
    }
    let command = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    if !is_root() {
        bail!("these packages are missing:\n{list}\nas root: {command}");
    }
    report::step(format_args!("installing Debian packages:\n{list}"));
    run(apt().args(["-q", "update"]))?;
    run(apt()
        .args(["-q", "-y", "install", "--no-install-recommends"])
        .args(&packages))?;
    let still: Vec<&str> = missing
        .iter()
        .filter(|need| !(need.present)())
        .map(|need| need.package)
        .collect();
    if !still.is_empty() {
        bail!(
            "installed, but what is needed of them is not there: {}",
            still.join(" ")
        );
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
