//! `cargo xtask manifests`: manifests/install.yaml, rendered from manifests/base.
#![expect(clippy::print_stdout, reason = "a command line's answers")]

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use lb_tests::command::output;
use lb_tests::kubernetes::{API_TOOLS, Tools};

use crate::setup;
use crate::workspace::root;

const HEAD: &str = "\
# Corten, all of it: kubectl apply --server-side -f install.yaml
# Generated from manifests/base by `cargo xtask manifests`; do not edit.
";

#[derive(Debug, Args)]
pub(crate) struct Manifests {
    /// Only look whether the file is up to date
    #[arg(long)]
    check: bool,
}

impl Manifests {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        setup::kubernetes_tools(API_TOOLS)?;
        let kubectl = Tools::find(API_TOOLS)?.program("kubectl");
        let folder = root().join("manifests");
        let render = |overlay: &str| {
            let mut command = Command::new(&kubectl);
            output(command.arg("kustomize").arg(folder.join(overlay)))
        };
        // Not kept, but they must render.
        for overlay in ["overlays/l2", "overlays/bgp"] {
            render(overlay)?;
        }
        let text = format!("{HEAD}{}", render("base")?);
        let path = folder.join("install.yaml");
        if self.check {
            if fs::read_to_string(&path).is_ok_and(|old| old == text) {
                return Ok(ExitCode::SUCCESS);
            }
            bail!("manifests/install.yaml is stale: run `cargo xtask manifests`");
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
        Ok(ExitCode::SUCCESS)
    }
}
