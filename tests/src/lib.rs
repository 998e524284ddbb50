//! What the tests and the lab stand on: network namespaces, the lab's
//! topology, the pods' echo server, and waiting for conditions.
//!
//! `xtask` is the lab's command line; it knows nothing of how one is built.

pub mod announced;
pub mod bench;
pub mod child;
pub mod command;
mod datagrams;
pub mod echo;
pub mod frames;
pub mod frr;
pub mod hops;
pub mod image;
pub mod interrupt;
pub mod kubernetes;
pub mod lab;
pub mod limited;
pub mod load;
pub mod netns;
pub mod object;
pub mod packet;
pub mod require;
pub mod routers;
pub mod wait;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// A program of this workspace, as built beside the one that runs.
///
/// Test executables are in `deps/` under the folder of the programs.
/// `LB_BIN_DIR` names another folder.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("LB_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let this = std::env::current_exe().context("cannot find this executable")?;
            let beside = this.parent().context("an executable is in a folder")?;
            match beside.file_name() {
                Some(last) if last == "deps" => {
                    beside.parent().context("deps/ is in a folder")?.into()
                }
                _ => beside.into(),
            }
        }
    };
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: build it with `cargo xtask test` or `cargo build --bins`",
        path.display()
    );
    Ok(path)
}
