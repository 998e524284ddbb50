//! MetalLB, the system that people migrate from: the real one, installed from
//! its own manifest.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::cluster::Cluster;

/// As in tests/kubernetes/metallb/go.mod; a test compares them.
pub const VERSION: &str = "0.15.2";
pub const PROGRAMS: [&str; 2] = ["controller", "speaker"];
/// Its manifest for networks without FRR.
pub const MANIFEST: &str = "metallb-native.yaml";
pub const NAMESPACE: &str = "metallb-system";

/// Where `cargo xtask` puts it, by version.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/tools")
        .join(format!("metallb-{VERSION}"))
}

/// The names of its images, as its manifest has them.
#[must_use]
pub fn image(program: &str) -> String {
    format!("quay.io/metallb/{program}:v{VERSION}")
}

/// The archives of its images.
pub fn images() -> Result<Vec<PathBuf>> {
    let paths = PROGRAMS.map(|program| folder().join(format!("{program}.tar")));
    for path in &paths {
        ensure!(
            path.is_file(),
            "no {}: `cargo xtask test` builds it, if it is not told which tests to run",
            path.display()
        );
    }
    Ok(paths.to_vec())
}

impl Cluster {
    /// Installs it as its users do.
    pub fn install_metallb(&self) -> Result<()> {
        let manifest = folder().join(MANIFEST);
        let file = manifest.to_string_lossy();
        self.kubectl().run(&["apply", "--filename", &file])?;
        for what in ["deployment/controller", "daemonset/speaker"] {
            self.wait_rollout(NAMESPACE, what)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_the_go_module() {
        let module = include_str!("../../kubernetes/metallb/go.mod");
        let line = format!("go.universe.tf/metallb v{VERSION}");
        assert!(module.contains(&line), "go.mod does not require {line}");
    }
}
