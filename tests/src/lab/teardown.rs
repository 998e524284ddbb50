//! Removing a lab, also one of which only pieces are left.

use std::fs;
use std::path::{MAIN_SEPARATOR, Path};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::process::end_all;
use super::spec::check_prefix;
use super::{folder, record};
use crate::command::run;
use crate::kubernetes::cgroup;
use crate::netns::Namespace;
use crate::wait;

/// Each agent's is in here (`lb_agent::report::default_folder`).
const RUN_FOLDERS: &str = "/run/lb-agent";
const END_LIMIT: Duration = Duration::from_secs(10);

/// Removes whatever there is of the lab with this prefix: processes in its
/// namespaces, the namespaces, mounts and files. Nothing is there: no error.
pub fn remove(prefix: &str) -> Result<()> {
    check_prefix(prefix)?;
    let namespaces = Namespace::list(&format!("{prefix}-"))?;
    for namespace in &namespaces {
        end_all(namespace)?;
    }
    // Pods of a cluster, whose namespaces only its nodes knew.
    cgroup::remove(&format!("{prefix}-"))?;
    for namespace in &namespaces {
        let what = format!("nothing runs in {}", namespace.name());
        wait::always_until(END_LIMIT, &what, || {
            namespace.processes().is_ok_and(|left| left.is_empty())
        })?;
    }
    let folder = folder(prefix);
    unmount_below(&folder)?;
    for namespace in &namespaces {
        namespace.delete()?;
    }
    if folder.exists() {
        // The prefix is free to choose, and /run is full of others' folders.
        ensure!(
            record(prefix).exists(),
            "{} is not a lab's folder; choose another prefix",
            folder.display()
        );
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        forget(&folder)?;
    }
    Ok(())
}

/// What agents of the lab's nodes have written down, which a lab of the same
/// name is not to find: agents name their folders after the bpffs, with
/// hyphens for slashes.
fn forget(lab: &Path) -> Result<()> {
    let Ok(folders) = fs::read_dir(RUN_FOLDERS) else {
        return Ok(());
    };
    let lab = lab.to_string_lossy().replace('-', "--");
    let name = lab
        .trim_matches(MAIN_SEPARATOR)
        .replace(MAIN_SEPARATOR, "-");
    for folder in folders {
        let folder = folder.context("cannot list what agents have written")?;
        let of_a_node = format!("{name}-node");
        if folder.file_name().to_string_lossy().starts_with(&of_a_node) {
            fs::remove_dir_all(folder.path())
                .with_context(|| format!("cannot remove {}", folder.path().display()))?;
        }
    }
    Ok(())
}

fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    for mount in mounts.lines() {
        let mut words = mount.split(' ').skip(1);
        let (Some(target), Some(kind)) = (words.next(), words.next()) else {
            continue;
        };
        if kind == "bpf" && Path::new(target).starts_with(folder) {
            run("umount", &[target])?;
        }
    }
    Ok(())
}
