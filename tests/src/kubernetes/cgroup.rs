//! The control group that a node's pods are in, in every hierarchy there is:
//! one (v2) or one a controller (v1).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

const ROOT: &str = "/sys/fs/cgroup";
const END_LIMIT: Duration = Duration::from_secs(10);

/// Makes a group of that name, ready for a kubelet's pods.
pub(super) fn make(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
        // In v1, a group has no CPUs and memory of its own at first.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (ours, above) = (group.join(file), hierarchy.join(file));
            if let (true, Ok(all)) = (ours.exists(), fs::read_to_string(above)) {
                fs::write(&ours, all).with_context(|| format!("cannot set {file}"))?;
            }
        }
        // In v2, controllers are handed down on demand.
        let controllers = fs::read_to_string(hierarchy.join("cgroup.controllers"));
        for controller in controllers.unwrap_or_default().split_whitespace() {
            for folder in [&hierarchy, &group] {
                let file = folder.join("cgroup.subtree_control");
                // Those that cannot be are those a kubelet can do without.
                drop(fs::write(file, format!("+{controller}")));
            }
        }
    }
    Ok(())
}

/// Ends everything in groups whose names begin so, and removes them. None is
/// there: no error.
pub(crate) fn remove(prefix: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        for entry in fs::read_dir(&hierarchy)? {
            let group = entry?.path();
            let name = group.file_name().unwrap_or_default().to_string_lossy();
            if !group.is_dir() || !name.starts_with(prefix) {
                continue;
            }
            let what = format!("{} is gone", group.display());
            wait::always_until(END_LIMIT, &what, || {
                end_all(&group);
                remove_tree(&group).is_ok()
            })?;
        }
    }
    Ok(())
}

fn end_all(group: &Path) {
    for folder in folders(group) {
        let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.parse().ok()) {
            // It may just have ended.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// From the leaves up: only an empty group can be removed.
fn remove_tree(group: &Path) -> io::Result<()> {
    for folder in folders(group).iter().rev() {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A group and all below it, each before what is in it.
fn folders(group: &Path) -> Vec<PathBuf> {
    let mut found = vec![group.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        next += 1;
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        let below: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(below);
    }
    found
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let mut found = Vec::new();
    for mount in mounts.lines() {
        let words: Vec<&str> = mount.split(' ').collect();
        if let [_, folder, "cgroup" | "cgroup2", ..] = words[..]
            && folder.starts_with(ROOT)
        {
            found.push(PathBuf::from(folder));
        }
    }
    Ok(found)
}
