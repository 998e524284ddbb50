//! MetalLB, built once from the pinned Go module in tests/kubernetes/metallb,
//! and its manifest.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_tests::command::output;
use lb_tests::kubernetes::metallb::{MANIFEST, PROGRAMS, VERSION, folder};

use super::go;
use crate::report;
use crate::workspace::{root, run};

const MODULE: &str = "go.universe.tf/metallb";

/// The folder with its programs and its manifest.
pub(crate) fn metallb() -> Result<PathBuf> {
    let folder = folder();
    let whole = PROGRAMS
        .iter()
        .chain([&MANIFEST])
        .all(|name| folder.join(name).is_file());
    if whole {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let go = go::go()?;
    report::step(format_args!(
        "building MetalLB {VERSION}, to migrate from (minutes, once)"
    ));
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&go);
        command
            .current_dir(root().join("tests/kubernetes/metallb"))
            .args(arguments)
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0");
        command
    };
    for program in PROGRAMS {
        let unfinished = folder.join(format!("{program}.new"));
        run(command(&["build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(&unfinished)
            .arg(format!("{MODULE}/{program}")))?;
        fs::rename(&unfinished, folder.join(program))
            .with_context(|| format!("cannot put {program} into {}", folder.display()))?;
    }
    let module = output(&mut command(&["list", "-m", "-f", "{{.Dir}}", MODULE]))?;
    let manifest = PathBuf::from(module.trim())
        .join("config/manifests")
        .join(MANIFEST);
    let text = fs::read(&manifest).with_context(|| format!("no {}", manifest.display()))?;
    fs::write(folder.join(MANIFEST), text)?;
    Ok(folder)
}
