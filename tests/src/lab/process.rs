//! Processes that outlive whoever started them: agents and pods' servers.
//!
//! What is kept of one is a file with its process id. The id counts only
//! while that process is in the namespace it was started in, so that a stale
//! file never leads to somebody else's process.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::describe;
use crate::netns::Namespace;
use crate::wait;

/// How long a process may take to be gone after a signal that ends it.
const END_LIMIT: Duration = Duration::from_secs(10);

/// One thing that runs, or may run, in a namespace.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) namespace: Namespace,
    pub(crate) pid_file: PathBuf,
    pub(crate) log: PathBuf,
}

impl Process {
    /// Starts it, with its output at the end of the log, in a session of its
    /// own: neither Ctrl-C nor the end of the terminal reaches it.
    pub(crate) fn start(&self, program: &mut Command) -> Result<()> {
        if let Some(pid) = self.pid() {
            bail!("it runs already, as process {pid}");
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = self.namespace.command("setsid");
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run `{}`", describe(&command)))?;
        fs::write(&self.pid_file, format!("{}\n", child.id()))
            .with_context(|| format!("cannot write {}", self.pid_file.display()))?;
        // Its end is taken note of, so that it leaves no zombie while this
        // process lives.
        thread::spawn(move || child.wait());
        wait::until(END_LIMIT, "a process is in its namespace", || {
            self.pid().is_some() || self.recorded().is_none_or(|pid| !exists(pid))
        })
    }

    /// Its process id, while it lives.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.recorded().filter(|pid| is_in(*pid, &self.namespace))
    }

    /// Sends a signal that ends it and waits until it is gone.
    pub(crate) fn end(&self, signal: Signal) -> Result<()> {
        if let Some(pid) = self.pid() {
            send(pid, signal)?;
            wait::until(END_LIMIT, "a process is gone", || self.pid().is_none())?;
        }
        Ok(())
    }

    /// The last lines of its log, for errors.
    pub(crate) fn log_tail(&self) -> String {
        const LINES: usize = 20;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn recorded(&self) -> Option<u32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }
}

/// Ends everything in a namespace at once.
pub(crate) fn end_all(namespace: &Namespace) -> Result<()> {
    let own = std::process::id();
    for pid in namespace.processes()? {
        if pid != own {
            send(pid, Signal::SIGKILL)?;
        }
    }
    Ok(())
}

/// One that is gone by itself is no error.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    let target = Pid::from_raw(i32::try_from(pid).context("process ids fit")?);
    match kill(target, signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}

fn exists(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/ns/net")).is_ok()
}

/// A dead process that nobody waited for is in no namespace.
fn is_in(pid: u32, namespace: &Namespace) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let theirs = fs::metadata(format!("/proc/{pid}/ns/net"));
    let ours = fs::metadata(namespace.path());
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}
