//! Network namespaces by name, as `ip netns` keeps them.
//!
//! They are real ones under /run/netns, so that everything an operator knows
//! (`ip netns exec`, `nsenter`, `tcpdump`) works on them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use crate::command::{feed, output, run};

const FOLDER: &str = "/run/netns";

/// A network namespace that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A handle; nothing is made or looked up.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Makes it, with its loopback up.
    pub fn add(name: impl Into<String>) -> Result<Self> {
        let namespace = Self::named(name);
        run("ip", &["netns", "add", &namespace.name])?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// All namespaces whose name starts with `prefix`.
    pub fn list(prefix: &str) -> Result<Vec<Self>> {
        if !Path::new(FOLDER).exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(FOLDER).context(FOLDER)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names.into_iter().map(Self::named).collect())
    }

    pub fn delete(&self) -> Result<()> {
        run("ip", &["netns", "delete", &self.name]).map(drop)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Runs `ip` commands here, one a line, without the word `ip`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        feed(
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]),
            lines,
        )
    }

    /// A command that will run here. Mounts and process ids stay the caller's,
    /// and the process id is that of the program itself.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a program here to the end and gives what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }

    /// Runs `work` on a thread of its own inside this namespace. Sockets that
    /// it opens stay here, wherever they are used afterwards.
    ///
    /// # Panics
    /// When `work` does.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As [`Self::within`], going on beside the caller.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let here = self.clone();
        thread::spawn(move || {
            here.enter()?;
            Ok(work())
        })
    }

    /// Writes settings of the kernel that belong to this namespace, such as
    /// `("net/ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.within(|| {
            for (name, value) in settings {
                fs::write(Path::new("/proc/sys").join(name), value)
                    .with_context(|| format!("cannot set {name} to {value}"))?;
            }
            Ok(())
        })?
    }

    /// Process ids of everything that runs here.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let pids = run("ip", &["netns", "pids", &self.name])?;
        pids.split_whitespace()
            .map(|pid| pid.parse().context("`ip netns pids` prints numbers"))
            .collect()
    }

    fn enter(&self) -> Result<()> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("no namespace {}", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter {}", path.display()))
    }
}
