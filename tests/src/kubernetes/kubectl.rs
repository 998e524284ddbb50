//! kubectl, as one user of one cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{feed, output};
use crate::netns::Namespace;

/// kubectl with a kubeconfig file, in the namespace from which the API server
/// is reached.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub(super) program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) namespace: Option<Namespace>,
}

impl Kubectl {
    /// A command to be run or spawned, such as `["get", "services"]`.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command(&self.program),
            None => Command::new(&self.program),
        };
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"));
        command
    }

    /// Runs it to the end and gives what it printed.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        output(&mut self.command(arguments))
    }

    /// As [`Self::run`], with `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// `kubectl apply` of YAML.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        feed(&mut self.command(&["apply", "--filename", "-"]), yaml)
    }

    /// Defines Corten's kinds, which are MetalLB's, and waits until objects of
    /// them are taken.
    pub fn define_kinds(&self) -> Result<()> {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds");
        self.run(&["apply", "--kustomize", crds])?;
        let established = "--for=condition=Established";
        self.run(&["wait", established, "crd", "--all", "--timeout=60s"])?;
        Ok(())
    }

    /// Runs a shell's script in a folder, up to its first failure; `kubectl` in
    /// it is this one.
    pub fn shell(&self, script: &str, folder: &Path) -> Result<String> {
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command("sh"),
            None => Command::new("sh"),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ours = self.program.parent().map(Path::to_path_buf);
        let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path)))
            .context("a folder on the PATH has a colon in its name")?;
        command
            .args(["-e", "-c", script])
            .current_dir(folder)
            .env("PATH", path)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"));
        output(&mut command)
    }

    /// As another user, who has the token in that kubeconfig file.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}
