//! Kubernetes's programs and etcd, built once from the pinned Go modules in
//! tests/kubernetes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_tests::kubernetes::{Tools, VERSION, tools_folder};

use super::go;
use crate::report;
use crate::workspace::{root, run};

/// A Go package, the folder of the module that pins it, and the program's name.
struct Build<'a> {
    module: &'a str,
    package: String,
    program: &'a str,
    linker_flags: String,
}

/// Makes sure that these programs are there, in the folder that
/// `KUBEBUILDER_ASSETS` names or in ours.
pub(crate) fn kubernetes_tools(programs: &[&str]) -> Result<()> {
    if Tools::find(programs).is_ok() {
        return Ok(());
    }
    let folder = tools_folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !folder.join(program).is_file())
        .collect();
    let go = go::go()?;
    report::step(format_args!(
        "building {} (Kubernetes {VERSION}; minutes, once)",
        missing.join(", ")
    ));
    for program in missing {
        build(&go, &folder, &describe(program))?;
    }
    Tools::find(programs).map(drop)
}

fn describe(program: &str) -> Build<'_> {
    if program == "etcd" {
        return Build {
            module: "tests/kubernetes/etcd",
            package: "go.etcd.io/etcd/server/v3".into(),
            program,
            linker_flags: "-s -w".into(),
        };
    }
    // Clients cannot parse what a server says of itself without a version.
    let base = "-X k8s.io/component-base/version";
    let mut parts = VERSION.split('.');
    let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("0"));
    Build {
        module: "tests/kubernetes",
        package: format!("k8s.io/kubernetes/cmd/{program}"),
        program,
        linker_flags: format!(
            "-s -w {base}.gitVersion=v{VERSION} {base}.gitMajor={major} {base}.gitMinor={minor}"
        ),
    }
}

fn build(go: &Path, folder: &Path, build: &Build<'_>) -> Result<()> {
    let Build {
        module,
        package,
        program,
        linker_flags,
    } = build;
    report::step(format_args!("  {program}"));
    // Under its name only once it is whole.
    let unfinished = folder.join(format!("{program}.new"));
    run(Command::new(go)
        .current_dir(root().join(module))
        .args(["build", "-trimpath", "-ldflags", linker_flags, "-o"])
        .arg(&unfinished)
        .arg(package)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0"))?;
    fs::rename(&unfinished, folder.join(program))
        .with_context(|| format!("cannot put {program} into {}", folder.display()))
}
