//! nginx for images, out of Debian's packages, installed nowhere.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::{apt, is_debian};
use crate::report;
use crate::workspace::target;

/// nginx and what it is linked to.
const PACKAGES: &[&str] = &[
    "nginx",
    "nginx-common",
    "libc6",
    "libcrypt1",
    "libpcre2-8-0",
    "libssl3",
    "zlib1g",
];

/// The folder into which the packages are unpacked.
pub(crate) fn nginx_packages() -> Result<PathBuf> {
    let folder = target().join("tools/nginx");
    if folder.is_dir() {
        return Ok(folder);
    }
    if !is_debian() {
        bail!(
            "the lab's nginx images are made of Debian's packages, for which apt-get is \
             needed; or put a root folder with /usr/sbin/nginx and its libraries at {}",
            folder.display()
        );
    }
    report::step(format_args!(
        "fetching nginx for the lab's images ({})",
        PACKAGES.join(", ")
    ));
    // Under its name only once it is whole.
    let unfinished = target().join("tools/nginx.new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("cannot remove an unfinished nginx")?;
    }
    apt::unpack(PACKAGES, &unfinished)?;
    fs::rename(&unfinished, &folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
