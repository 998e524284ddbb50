//! A node of a cluster: a namespace with mounts of its own, and containerd, a
//! kubelet and a kube-proxy in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::cluster::Cluster;
use super::{cgroup, files};
use crate::command::{feed, output};
use crate::lab::KubeProxy;
use crate::lab::address::{self, Pair};
use crate::lab::process::{Process, send};
use crate::netns::Namespace;
use crate::wait;

const START_LIMIT: Duration = Duration::from_secs(30);

/// A handle to one node of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct ClusterNode<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) number: u8,
}

impl ClusterNode<'_> {
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
        self.cluster.lab().node(self.number).address()
    }

    #[must_use]
    pub fn namespace(self) -> Namespace {
        self.cluster.lab().namespace(&self.name())
    }

    /// Its files and logs.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        self.cluster.lab().folder().join(self.name())
    }

    /// A command that will run on this node: in its network, with its mounts.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let pid = self.mounts().pid();
        let pid = pid.with_context(|| format!("{} is not up", self.name()))?;
        let mut command = self.namespace().command("nsenter");
        command
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            .arg("--")
            .arg(program);
        Ok(command)
    }

    /// Runs a program on this node to the end and gives what it printed.
    pub fn run(self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program)?.args(arguments))
    }

    /// Loads an image archive.
    pub fn load_image(self, archive: &Path) -> Result<()> {
        let mut command = self.command("ctr")?;
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive);
        output(&mut command).map(drop)
    }

    /// Starts what runs the pods; the kubelet comes with [`Self::start`], when
    /// the images are there.
    pub(super) fn prepare(self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(folder.join("cni"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let plugins = cni_folder().context("no CNI plugins; `cargo xtask setup` installs them")?;
        let authority = self.cluster.plane().pki().authority();
        for (name, text) in [
            ("containerd.toml", files::containerd(&folder, plugins)),
            (
                "kubelet.yaml",
                files::kubelet(&folder, &self.cgroup(), &authority),
            ),
            ("cni/lab.conflist", files::cni(&folder, self.number)),
            ("mounts.sh", files::mounts(&folder)),
        ] {
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        cgroup::make(&self.cgroup())?;
        let namespace = self.namespace();
        feed(
            namespace.command("nft").args(["--file", "-"]),
            &files::masquerade(),
        )?;
        self.start_mounts()?;
        self.start_containerd()
    }

    fn start_mounts(self) -> Result<()> {
        let folder = self.folder();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh"])
            .arg(folder.join("mounts.sh"));
        let process = self.mounts();
        process.start(&mut command)?;
        let what = format!("the mounts of {} are there", self.name());
        wait::until_ok(START_LIMIT, &what, || {
            ensure!(folder.join("mounted").exists(), "{}", process.log_tail());
            Ok(())
        })
    }

    fn start_containerd(self) -> Result<()> {
        let mut command = self.mounted("containerd")?;
        command
            .arg("--config")
            .arg(self.folder().join("containerd.toml"))
            .args(["--log-level", "warn"]);
        let process = self.process("containerd");
        process.start(&mut command)?;
        let what = format!("containerd of {} answers", self.name());
        let answers = wait::until_ok(START_LIMIT, &what, || {
            let mut ask = self.command("ctr")?;
            output(ask.arg("--address").arg(self.socket()).arg("version"))
        });
        answers.map(drop).with_context(|| process.log_tail())
    }

    /// Starts the kubelet and kube-proxy.
    pub(super) fn start(self) -> Result<()> {
        self.start_kubelet()?;
        self.start_kube_proxy(self.cluster.kube_proxy())
    }

    pub fn start_kubelet(self) -> Result<()> {
        let plane = self.cluster.plane();
        let folder = self.folder();
        let Pair { v4, v6 } = self.address();
        let mut command = self.mounted(plane.tools.program("kubelet"))?;
        command
            .arg("--config")
            .arg(folder.join("kubelet.yaml"))
            .arg("--kubeconfig")
            .arg(plane.kubeconfig(&user(&self.name())))
            .arg("--root-dir")
            .arg(folder.join("kubelet"))
            .arg("--cert-dir")
            .arg(folder.join("kubelet-pki"))
            .args(["--hostname-override", &self.name()])
            .args(["--node-ip", &format!("{v4},{v6}")]);
        self.process("kubelet").start(&mut command)
    }

    pub fn start_kube_proxy(self, kind: KubeProxy) -> Result<()> {
        let plane = self.cluster.plane();
        let mut command = self.mounted(plane.tools.program("kube-proxy"))?;
        command
            .arg("--kubeconfig")
            .arg(plane.kubeconfig("system:kube-proxy"))
            .args(["--proxy-mode", kind.name()])
            .args(["--hostname-override", &self.name()])
            .args(["--cluster-cidr", &address::POD_SUBNETS.join(",")])
            // These settings are the whole machine's.
            .args(["--conntrack-max-per-core", "0"])
            .args(["--conntrack-tcp-timeout-established", "0s"])
            .args(["--conntrack-tcp-timeout-close-wait", "0s"]);
        self.process("kube-proxy").start(&mut command)
    }

    /// Ends a program of this node (`kubelet`, `kube-proxy`, `containerd`) as a
    /// crash would.
    pub fn kill(self, program: &str) -> Result<()> {
        self.process(program).end(Signal::SIGKILL)
    }

    /// A process of a pod in this node's network, by its program's name.
    pub fn pod_pid(self, program: &str) -> Result<u32> {
        let processes = self.namespace().processes()?;
        let found = processes.into_iter().find(|pid| {
            // One that ends meanwhile is none.
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
        });
        found.with_context(|| format!("no {program} runs on {}", self.name()))
    }

    /// Sends a signal to it; gives its process id.
    pub fn signal_pod(self, program: &str, signal: Signal) -> Result<u32> {
        let pid = self.pod_pid(program)?;
        send(pid, signal)?;
        Ok(pid)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(self, program: &str) -> Option<u32> {
        self.process(program).pid()
    }

    fn mounted(self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        // As `command`, for a process that is started in the namespace anyway.
        let pid = self.mounts().pid().context("the node has its mounts")?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            .arg("--")
            .arg(program);
        Ok(command)
    }

    fn mounts(self) -> Process {
        self.process("mounts")
    }

    fn process(self, name: &str) -> Process {
        let folder = self.folder();
        Process {
            namespace: self.namespace(),
            pid_file: folder.join(format!("{name}.pid")),
            log: folder.join(format!("{name}.log")),
        }
    }

    fn socket(self) -> PathBuf {
        self.folder().join("containerd.sock")
    }

    fn cgroup(self) -> String {
        self.namespace().name().to_owned()
    }
}

/// As RBAC knows a node's kubelet.
pub(super) fn user(node: &str) -> String {
    format!("system:node:{node}")
}

/// Where Debian, or another system, has the CNI plugins.
#[must_use]
pub fn cni_folder() -> Option<&'static Path> {
    ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"]
        .map(Path::new)
        .into_iter()
        .find(|folder| folder.join("ptp").is_file() && folder.join("host-local").is_file())
}
