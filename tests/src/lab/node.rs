//! A node: a namespace with a bpffs of its own and an agent.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Lab;
use super::address::{self, Pair};
use super::process::Process;
use crate::command::{output, run};
use crate::netns::Namespace;
use crate::wait;

/// How long an agent may take from its start until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Where the agent's commands look for its maps.
pub const BPFFS_VARIABLE: &str = "CORTEN_BPFFS";

/// A handle to one node of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub(super) lab: &'a Lab,
    pub(super) number: u8,
}

impl<'a> Node<'a> {
    #[must_use]
    pub fn name(self) -> String {
        format!("node{}", self.number)
    }

    #[must_use]
    pub fn number(self) -> u8 {
        self.number
    }

    #[must_use]
    pub fn address(self) -> Pair {
        address::node(self.lab.spec.wire, self.number).address
    }

    /// Its address of the same family.
    #[must_use]
    pub fn address_like(self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(_) => self.address().v4.into(),
            IpAddr::V6(_) => self.address().v6.into(),
        }
    }

    #[must_use]
    pub fn namespace(self) -> Namespace {
        self.lab.namespace(&self.name())
    }

    /// The node's own bpffs. It is mounted outside the agent, so that what is
    /// pinned there outlives the agent.
    #[must_use]
    pub fn bpffs(self) -> PathBuf {
        self.folder().join("bpf")
    }

    #[must_use]
    pub fn agent_log(self) -> PathBuf {
        self.folder().join("agent.log")
    }

    #[must_use]
    pub fn agent_pid(self) -> Option<u32> {
        self.agent().pid()
    }

    /// Starts the agent; [`Self::wait_ready`] waits until it has done its
    /// first work.
    pub fn start_agent(self) -> Result<()> {
        let program = self.program()?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--manifests")
            .arg(self.manifest_folder())
            .args(["--node", &self.name()])
            .arg("--bpffs")
            .arg(self.bpffs())
            .args(&self.lab.spec.agent_arguments);
        self.agent()
            .start(&mut command)
            .with_context(|| format!("the agent of {}", self.name()))
    }

    /// Waits until the agent says that it is ready, or fails with the end of
    /// its log.
    pub fn wait_ready(self) -> Result<()> {
        let what = format!("the agent of {} is ready", self.name());
        let mut gone = false;
        let waited = wait::until_ok(READY_LIMIT, &what, || {
            if self.agent_pid().is_none() {
                gone = true;
                return Ok(());
            }
            let status = self.ask(&["status"])?;
            ensure!(status["ready"] == Value::Bool(true), "it says {status}");
            Ok(())
        });
        let waited = match (waited, gone) {
            (Ok(()), false) => return Ok(()),
            (Ok(()), true) => Err(anyhow::anyhow!("it ended")),
            (Err(error), _) => Err(error),
        };
        waited.with_context(|| {
            format!(
                "{what}: no. The end of {}:\n{}",
                self.agent_log().display(),
                self.agent().log_tail()
            )
        })
    }

    /// `kill -9`.
    pub fn kill_agent(self) -> Result<()> {
        self.agent().end(Signal::SIGKILL)
    }

    /// Asks the agent to end, and waits until it did.
    pub fn stop_agent(self) -> Result<()> {
        self.agent().end(Signal::SIGTERM)
    }

    /// Removes everything pinned: programs leave their interfaces, maps and
    /// what they knew are gone. The agent must not be running.
    pub fn wipe_maps(self) -> Result<()> {
        if let Some(pid) = self.agent_pid() {
            bail!("the agent of {} runs, as process {pid}", self.name());
        }
        for entry in fs::read_dir(self.bpffs()).context("cannot read the bpffs")? {
            let entry = entry?;
            let path = entry.path();
            // The kernel's own in every bpffs, not to be removed.
            if ["maps.debug", "progs.debug"]
                .iter()
                .any(|own| path.ends_with(own))
            {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            }
            .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Runs an agent command such as `["counters"]` on this node and gives
    /// its JSON.
    pub fn ask(self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.namespace().command(self.program()?);
        command
            .args(arguments)
            .args(["--output", "json"])
            .env(BPFFS_VARIABLE, self.bpffs());
        let answer = output(&mut command)?;
        serde_json::from_str(&answer).with_context(|| format!("not JSON: {answer}"))
    }

    /// The folder that its agent watches.
    pub(super) fn manifest_folder(self) -> PathBuf {
        if self.lab.spec.apart {
            self.folder().join("manifests")
        } else {
            self.lab.manifest_folder()
        }
    }

    pub(super) fn prepare(self) -> Result<()> {
        let bpffs = self.bpffs();
        fs::create_dir_all(&bpffs).with_context(|| format!("cannot make {}", bpffs.display()))?;
        let bpffs = bpffs.to_string_lossy().into_owned();
        run("mount", &["-t", "bpf", "bpf", &bpffs]).map(drop)
    }

    fn program(self) -> Result<&'a Path> {
        let agent = self.lab.spec.agent.as_deref();
        agent.context("this lab runs no agents")
    }

    fn folder(self) -> PathBuf {
        self.lab.folder().join(self.name())
    }

    fn agent(self) -> Process {
        let folder = self.folder();
        Process {
            namespace: self.namespace(),
            pid_file: folder.join("agent.pid"),
            log: folder.join("agent.log"),
        }
    }
}
