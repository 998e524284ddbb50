//! What a running agent says of itself: one small JSON file, written anew
//! after every piece of work, read by `lb-agent status`.
//!
//! The maps say what is forwarded; this says whether somebody keeps them up to
//! date. It counts only while the process that wrote it lives, so a file left
//! behind by `kill -9` makes nobody ready. It is not in the bpffs, where there
//! are no files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::driver::channel;
use crate::source::Watch;

pub mod addresses;
pub(crate) mod file;
pub mod routers;
pub mod routes;
pub mod vips;

/// The state of a running agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub pid: u32,
    /// When the process started, in the kernel's ticks since boot: tells it
    /// from a later one with the same id.
    pub pid_started: u64,
    pub version: String,
    pub node: String,
    /// Where it gets its facts from: a folder, or an API server.
    pub reads: String,
    /// The maps hold what they should, and the programs are where they should
    /// be.
    pub ready: bool,
    /// Why not, as sentences; empty if ready.
    pub not_ready: Vec<String>,
    /// The worst of them.
    pub problems: Vec<ProblemRow>,
    pub problems_total: usize,
    /// What says something else by now but is wrong, or cannot be read.
    pub mistakes: Vec<String>,
    /// What is watched, where facts come from a cluster.
    pub watches: Vec<Watch>,
    /// The talk with other agents about flows.
    #[serde(default)]
    pub channel: channel::Report,
    pub work: Work,
}

/// What is wrong with what the agent was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemRow {
    pub name: String,
    pub severity: String,
    pub text: String,
}

/// How much there was to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How often everything was computed since the agent started.
    pub runs: u64,
    /// Of the last run: from facts to written maps.
    pub last_us: u64,
    /// And how much of that was spent computing.
    pub last_cpu_us: u64,
    pub last_steps: usize,
    /// The longest run, and the first one, which reads the maps back.
    pub longest_us: u64,
    pub first_us: u64,
    /// When the last run ended, in seconds since boot.
    pub at_s: u64,
}

/// Where an agent with this bpffs writes, unless told otherwise.
#[must_use]
pub fn default_folder(bpffs: &Path) -> PathBuf {
    let text = bpffs.to_string_lossy().replace('-', "--");
    let name = text.trim_matches('/').replace('/', "-");
    Path::new("/run/lb-agent").join(name)
}

const FILE: &str = "status.json";

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl Report {
    /// Of this process, with nothing in it yet.
    #[must_use]
    pub fn of_this_process() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            pid_started: started(pid).unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Self::default()
        }
    }

    /// Whole, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        file::write(folder, FILE, self)
    }

    /// What the agent that runs now says; none if none runs.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let text = fs::read(file(folder)).ok()?;
        let report: Self = serde_json::from_slice(&text).ok()?;
        (started(report.pid)? == report.pid_started).then_some(report)
    }

    /// The process goes.
    pub fn remove(folder: &Path) {
        // If it stays, nobody will take it for ours.
        let _removed = fs::remove_file(file(folder));
    }
}

/// When a process started: field 22 of its `stat` (proc(5)). None: it is gone.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may contain anything but ends with the last ')'.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_only_while_its_process_lives() {
        let folder = std::env::temp_dir().join(format!("corten-report-{}", std::process::id()));
        let mut report = Report::of_this_process();
        report.ready = true;
        report.write(&folder).unwrap();
        assert_eq!(Report::read(&folder), Some(report.clone()));
        report.pid_started += 1;
        report.write(&folder).unwrap();
        assert_eq!(Report::read(&folder), None);
        Report::remove(&folder);
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn two_agents_write_in_two_places() {
        let folder = |bpffs: &str| default_folder(Path::new(bpffs));
        let own = Path::new("/run/lb-agent/sys-fs-bpf-corten");
        assert_eq!(folder("/sys/fs/bpf/corten"), own);
        assert_ne!(folder("/a-b/c"), folder("/a/b-c"));
        assert_ne!(folder("/run/x/node1/bpf"), folder("/run/x/node2/bpf"));
    }
}
