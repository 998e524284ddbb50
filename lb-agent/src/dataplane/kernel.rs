//! What the agent needs of the machine, looked at before anything is tried.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// TCX, by which the programs on the way out are attached, came with this one.
pub const KERNEL_FLOOR: (u32, u32) = (6, 6);

/// Why this machine cannot run the data plane, and what to do. Nothing has
/// been changed.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error(
        "the data plane needs Linux {major}.{minor} or newer (for TCX), and this is {release}: \
         run the agent on a newer kernel",
        major = KERNEL_FLOOR.0,
        minor = KERNEL_FLOOR.1
    )]
    OldKernel { release: String },
    #[error(
        "missing capabilities: {0}: run as root, or give the container \
         BPF, NET_ADMIN, NET_RAW and PERFMON (or SYS_ADMIN)"
    )]
    NoCapabilities(String),
    #[error(
        "{0} is not on a bpffs: mount one with `mount -t bpf bpf /sys/fs/bpf`, in a container \
         mount the host's /sys/fs/bpf, or name another folder with --bpffs"
    )]
    NoBpffs(PathBuf),
    #[error("cannot look at {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Looks whether the data plane can run here.
pub fn check(bpffs: &Path) -> Result<(), Unfit> {
    check_kernel(&release()?)?;
    check_capabilities(&read(Path::new("/proc/self/status"))?)?;
    check_bpffs(bpffs)
}

/// The kernel's release, such as `6.12.5-amd64`.
pub fn release() -> Result<String, Unfit> {
    let release = read(Path::new("/proc/sys/kernel/osrelease"))?;
    Ok(release.trim().to_owned())
}

fn read(path: &Path) -> Result<String, Unfit> {
    fs::read_to_string(path).map_err(|source| Unfit::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn check_kernel(release: &str) -> Result<(), Unfit> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) if (major, minor) < KERNEL_FLOOR => Err(Unfit::OldKernel {
            release: release.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// By their numbers in linux/capability.h.
const CAPABILITIES: &[(u32, &str)] = &[
    (39, "BPF"),
    (12, "NET_ADMIN"),
    (13, "NET_RAW"),
    (38, "PERFMON"),
];
const SYS_ADMIN: u32 = 21;

fn check_capabilities(status: &str) -> Result<(), Unfit> {
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Ok(());
    };
    let has = |bit: u32| effective >> bit & 1 == 1;
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| !has(*bit))
        // SYS_ADMIN includes what was split off from it.
        .filter(|(bit, _)| *bit < 38 || !has(SYS_ADMIN))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Unfit::NoCapabilities(missing.join(", ")))
    }
}

/// The folder need not be there yet, but what it will be made in.
pub fn check_bpffs(bpffs: &Path) -> Result<(), Unfit> {
    let existing = bpffs.ancestors().find(|folder| folder.exists());
    let existing = existing.unwrap_or(Path::new("/"));
    let stat = statfs(existing).map_err(|errno| Unfit::Unreadable {
        path: existing.to_owned(),
        source: errno.into(),
    })?;
    if stat.filesystem_type() == BPF_FS_MAGIC {
        Ok(())
    } else {
        Err(Unfit::NoBpffs(bpffs.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_the_floor_on_will_do() {
        for good in ["6.6.0", "6.12.5-amd64", "7.0-rc1", "10.1"] {
            assert!(check_kernel(good).is_ok(), "{good}");
        }
        for old in ["6.5.13", "5.15.0-100-generic", "4.19"] {
            let message = check_kernel(old).unwrap_err().to_string();
            assert!(
                message.contains(old) && message.contains("6.6"),
                "{message}"
            );
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        let check = |bits: u64| check_capabilities(&format!("Name:\tx\nCapEff:\t{bits:016x}\n"));
        assert!(check(u64::MAX).is_ok());
        let all = 1 << 39 | 1 << 38 | 1 << 12 | 1 << 13;
        assert!(check(all).is_ok());
        assert!(check(1 << 21 | 1 << 12 | 1 << 13).is_ok());
        let message = check(all & !(1 << 12)).unwrap_err().to_string();
        assert!(message.contains("NET_ADMIN:"), "{message}");
    }

    #[test]
    fn another_file_system_will_not_do() {
        let message = check_bpffs(Path::new("/proc/no/such"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("mount -t bpf"), "{message}");
    }
}
