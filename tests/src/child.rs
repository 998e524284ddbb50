//! A program that runs as long as a test, and never longer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::describe;
use crate::wait;

const END_LIMIT: Duration = Duration::from_secs(10);

/// Ended when it is dropped, and by the kernel when this process dies.
#[derive(Debug)]
pub struct Child {
    name: String,
    log: PathBuf,
    pid: Pid,
    /// Says that it is gone by being closed.
    gone: mpsc::Receiver<()>,
}

impl Child {
    /// Starts it with its output added to a file.
    pub fn start(program: &Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let shown = describe(program);
        let (started, pid) = mpsc::channel();
        let (alive, gone) = mpsc::channel();
        // The kernel's signal comes when the thread that started it ends, so
        // that thread stays until the child is gone.
        thread::spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(child.id())));
            drop(child.wait());
            drop(alive);
        });
        let pid = pid
            .recv()
            .context("the thread says how it went")?
            .with_context(|| format!("cannot run `{shown}`"))?;
        Ok(Self {
            name: shown.split(' ').next().unwrap_or_default().to_owned(),
            log: log.to_owned(),
            pid: Pid::from_raw(i32::try_from(pid).context("process ids fit")?),
            gone,
        })
    }

    #[must_use]
    pub fn runs(&self) -> bool {
        !matches!(self.gone.try_recv(), Err(mpsc::TryRecvError::Disconnected))
    }

    /// Fails with the end of its log when it has ended by itself.
    pub fn check(&self) -> Result<()> {
        if self.runs() {
            return Ok(());
        }
        bail!(
            "{} ended; the end of {}:\n{}",
            self.name,
            self.log.display(),
            self.log_tail()
        )
    }

    /// The last lines of its log, for errors.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const LINES: usize = 20;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Sends a signal that ends it, and waits until it is gone.
    pub fn end(&self, signal: Signal) -> Result<()> {
        // Its id is its own until the thread has waited for it, which closes
        // the channel only afterwards.
        if self.runs() {
            match kill(self.pid, signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error).context("cannot signal a child"),
            }
        }
        let what = format!("{} is gone", self.name);
        wait::always_until(END_LIMIT, &what, || !self.runs())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing more can be done than to send it.
        drop(self.end(Signal::SIGKILL));
    }
}
