//! Where Kubernetes's programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Of everything in tests/kubernetes/go.mod; a test compares them.
pub const VERSION: &str = "1.36.3";

/// What an API server alone takes.
pub const API_TOOLS: &[&str] = &["etcd", "kube-apiserver", "kubectl"];

/// What a whole cluster takes, apart from Debian's packages.
pub const CLUSTER_TOOLS: &[&str] = &[
    "etcd",
    "kube-apiserver",
    "kubectl",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
];

/// The variable by which controller projects name a folder of such programs.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Where `cargo xtask` builds them, by version.
#[must_use]
pub fn tools_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/tools")
        .join(format!("kubernetes-{VERSION}"))
        .join("bin")
}

/// One folder with all the programs that were asked for.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// The folder named by `KUBEBUILDER_ASSETS` if it has all of `programs`,
    /// else our own. Programs of the two are never mixed: their versions may
    /// differ.
    pub fn find(programs: &[&str]) -> Result<Self> {
        let assets = std::env::var_os(ASSETS).map(PathBuf::from);
        for folder in assets.into_iter().chain([tools_folder()]) {
            if programs.iter().all(|name| folder.join(name).is_file()) {
                let folder = folder
                    .canonicalize()
                    .with_context(|| format!("cannot open {}", folder.display()))?;
                return Ok(Self { folder });
            }
        }
        bail!(
            "no folder has {}: `cargo xtask setup` builds them (Kubernetes {VERSION}), or \
             {ASSETS} names a folder with them",
            programs.join(", ")
        )
    }

    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_the_go_module() {
        let module = include_str!("../../kubernetes/go.mod");
        let line = format!("k8s.io/kubernetes v{VERSION}");
        let found = module.lines().any(|found| {
            let words: Vec<&str> = found.split_whitespace().take(2).collect();
            words.join(" ") == line
        });
        assert!(found, "go.mod does not require {line}");
    }

    #[test]
    fn every_program_but_etcd_is_a_tool_of_the_go_module() {
        let module = include_str!("../../kubernetes/go.mod");
        for name in CLUSTER_TOOLS.iter().filter(|name| **name != "etcd") {
            let line = format!("\tk8s.io/kubernetes/cmd/{name}\n");
            assert!(module.contains(&line), "go.mod has no line {line:?}");
        }
    }
}
