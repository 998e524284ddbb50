//! Debian packages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
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
    let quiet = NoServices::begin()?;
    run(apt()
        .args(["-q", "-y", "install", "--no-install-recommends"])
        .args(&packages))?;
    drop(quiet);
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

/// Unpacks packages into a folder, without installing them.
pub(super) fn unpack(packages: &[&str], folder: &Path) -> Result<()> {
    let archives = folder.with_extension("debs");
    for folder in [&archives, folder] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    run(apt().args(["-q", "update"]))?;
    run(apt()
        .args(["-q", "download"])
        .args(packages)
        .current_dir(&archives))?;
    for archive in fs::read_dir(&archives).context("cannot read the downloads")? {
        run(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(archive?.path())
            .arg(folder))?;
    }
    fs::remove_dir_all(&archives).context("cannot remove the downloads")
}

/// Where Debian asks whether a service may be started.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While this lives, packages that are installed start no services. A policy
/// that was there is left as it is.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n").context("cannot hold services back")?;
            fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // If it stays, apt says so the next time.
            drop(fs::remove_file(POLICY));
        }
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
