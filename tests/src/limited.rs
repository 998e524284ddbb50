//! Agents that may do less than root may.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::program;

/// Begins a command that has these capabilities at most, whoever starts it.
/// `bounds`: as setpriv(1) has them, `-all,+net_raw`.
#[must_use]
pub fn limited(bounds: &str) -> String {
    format!("setpriv --bounding-set={bounds} --inh-caps=-all")
}

/// An agent that is started so; the file goes with it.
#[derive(Debug)]
pub struct Wrapper(PathBuf);

impl Wrapper {
    /// `name`: of its file, one for each test.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = format!("corten-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// From the next start on.
    pub fn write(&self, bounds: &str) -> Result<()> {
        let agent = program("lb-agent")?;
        let text = format!(
            "#!/bin/sh\nexec {} {} \"$@\"\n",
            limited(bounds),
            agent.display()
        );
        // The old one may be running.
        let new = self.0.with_extension("new");
        fs::write(&new, text)?;
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        Ok(fs::rename(&new, &self.0)?)
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
