//! The agent under measurement: a process, with maps of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::child::Child;
use lb_tests::command::{output, run};
use lb_tests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
/// The scheduler's unit in `/proc/PID/stat` (USER_HZ, which is 100 everywhere).
const TICK_S: f64 = 0.01;

pub(crate) struct Agent {
    child: Option<Child>,
    program: PathBuf,
    folder: PathBuf,
}

/// The last piece of work, as the agent reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) runs: u64,
    pub(crate) steps: u64,
    pub(crate) cpu_ms: f64,
}

impl Agent {
    /// Starts it, and waits until it has nothing left to do.
    pub(crate) fn start(
        program: &Path,
        kubeconfig: &Path,
        node: &str,
        uplink: &str,
    ) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("corten-bench-{}", std::process::id()));
        let bpffs = folder.join("bpf");
        fs::create_dir_all(&bpffs)?;
        run("mount", &["-t", "bpf", "bpf", &bpffs.to_string_lossy()])?;
        let mut this = Self {
            child: None,
            program: program.to_owned(),
            folder,
        };
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--lease-namespace", "default", "--metrics-addr", "none"])
            .args(["--node", node, "--uplink", uplink])
            .arg("--bpffs")
            .arg(&bpffs)
            .arg("--run-dir")
            .arg(&this.folder);
        this.child = Some(Child::start(&command, &this.folder.join("log"))?);
        wait::until(LIMIT, "the agent is ready", || {
            this.report().is_ok_and(|report| report["ready"] == true)
        })
        .with_context(|| this.log())?;
        Ok(this)
    }

    pub(crate) fn report(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(
            self.folder.join("status.json"),
        )?)?)
    }

    fn log(&self) -> String {
        self.child.as_ref().map(Child::log_tail).unwrap_or_default()
    }

    pub(crate) fn work(&self) -> Result<Work> {
        let report = self.report()?;
        let number = |name: &str| report["work"][name].as_u64().context("a number");
        Ok(Work {
            runs: number("runs")?,
            steps: number("last_steps")?,
            cpu_ms: Duration::from_micros(number("last_cpu_us")?).as_secs_f64() * 1e3,
        })
    }

    fn process(&self) -> Result<PathBuf> {
        let pid = self.report()?["pid"].as_u64().context("a process id")?;
        Ok(PathBuf::from(format!("/proc/{pid}")))
    }

    /// Computing time so far, of all threads, in seconds.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(self.process()?.join("stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("proc(5)")?;
        // Fields 14 and 15, counted from the third.
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks = ticks.map(|ticks| Ok(f64::from(ticks.parse::<u32>()?)));
        Ok(ticks.sum::<Result<f64>>()? * TICK_S)
    }

    /// Resident now and at most, in MiB.
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(self.process()?.join("status"))?;
        let mib = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next());
            Ok(kib.context("proc(5)")?.parse::<f64>()? / 1024.0)
        };
        Ok((mib("VmRSS:")?, mib("VmHWM:")?))
    }

    /// The frontends that its maps hold.
    pub(crate) fn frontends(&self) -> Result<u64> {
        let mut command = Command::new(&self.program);
        command
            .args(["status", "--output", "json", "--bpffs"])
            .arg(self.folder.join("bpf"))
            .arg("--run-dir")
            .arg(&self.folder);
        let status: Value = serde_json::from_str(&output(&mut command)?)?;
        status["frontends"].as_u64().context("a number")
    }

    pub(crate) fn check(&self, services: u32) -> Result<()> {
        let there = self.frontends()?;
        ensure!(
            there == u64::from(services),
            "{there} frontends for {services} services\n{}",
            self.log()
        );
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The agent first; what it attached goes with the device.
        drop(self.child.take());
        let bpffs = self.folder.join("bpf");
        drop(run("umount", &[&*bpffs.to_string_lossy()]));
        drop(fs::remove_dir_all(&self.folder));
    }
}
