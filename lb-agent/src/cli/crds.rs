//! `lb-agent crds`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::output::say;
use crate::crd;

/// Print the definitions of the custom resources, for kubectl apply
///
/// They are MetalLB's kinds (group metallb.io) as this version knows them.
#[derive(Debug, Args)]
pub(super) struct Crds {
    /// Write them there, one file each, and remove other files
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Write nothing; fail if the folder has something else
    #[arg(long, requires = "folder")]
    check: bool,
}

impl Crds {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut files = crd::files()?;
        let definitions = files.len();
        let Some(folder) = &self.folder else {
            for (_, text) in files {
                say!("---\n{}", text.trim_end());
            }
            return Ok(ExitCode::SUCCESS);
        };
        files.push(crd::kustomization(&files));
        if !self.check {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        for (name, text) in &files {
            let path = folder.join(name);
            if self.check {
                let there = fs::read_to_string(&path).unwrap_or_default();
                let shown = path.display();
                ensure!(there == *text, "{shown} is stale: run `cargo xtask crds`");
            } else {
                fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let shown = path.display();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| files.iter().any(|(known, _)| known == name)) {
                continue;
            }
            ensure!(!self.check, "{shown} is left over: run `cargo xtask crds`");
            fs::remove_file(&path).with_context(|| format!("cannot remove {shown}"))?;
        }
        let done = if self.check {
            "as it should be"
        } else {
            "written"
        };
        say!("{}: {definitions} definitions, {done}", folder.display());
        Ok(ExitCode::SUCCESS)
    }
}
