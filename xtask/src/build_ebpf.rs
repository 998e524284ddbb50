//! `cargo xtask build-ebpf`: the BPF objects, `target/bpf/lb.o` and
//! `target/bpf/lb-log.o`.
//!
//! The one place that knows how lb-ebpf is compiled: for another target, by
//! another compiler, with a lock file of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _};

use crate::report;
use crate::setup::{self, BpfToolchain};
use crate::workspace::{foreign, root, run as run_command, target};

const TARGET: &str = "bpfel-unknown-none";

struct Object {
    name: &'static str,
    /// The folder of its package, and the program in it.
    package: &'static str,
    program: &'static str,
    features: &'static [&'static str],
}

const OBJECTS: &[Object] = &[
    Object {
        name: "lb.o",
        package: "lb-ebpf",
        program: "lb",
        features: &[],
    },
    Object {
        name: "lb-log.o",
        package: "lb-ebpf",
        program: "lb",
        features: &["--features", "log"],
    },
];

/// What `cargo xtask bench` needs besides.
const BENCH: Object = Object {
    name: "bench.o",
    package: "tests/bpf",
    program: "bench",
    features: &[],
};

pub(crate) fn run() -> Result<ExitCode> {
    build()?;
    Ok(ExitCode::SUCCESS)
}

/// Builds both objects: the one that is used, and the one that also logs.
pub(crate) fn build() -> Result<()> {
    let (toolchain, linker) = setup::bpf()?;
    for object in OBJECTS {
        report::step(format_args!("building the data plane, {}", object.name));
        build_one(object, toolchain, &linker)?;
    }
    Ok(())
}

/// The data plane, and what measures it.
pub(crate) fn build_for_bench() -> Result<()> {
    let (toolchain, linker) = setup::bpf()?;
    for object in [&OBJECTS[0], &BENCH] {
        report::step(format_args!("building {}", object.name));
        build_one(object, toolchain, &linker)?;
    }
    Ok(())
}

fn build_one(object: &Object, toolchain: BpfToolchain, linker: &Path) -> Result<()> {
    let folder = target().join("ebpf");
    let mut command = compiler(toolchain);
    command
        .current_dir(root().join(object.package))
        .args(["build", "--release", "--target", TARGET])
        .args(object.features)
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(linker))
        .env("PATH", path_with(linker)?);
    run_command(&mut command)?;
    let built = folder.join(TARGET).join("release").join(object.program);
    let content = fs::read(&built).with_context(|| format!("no object at {}", built.display()))?;
    check(&content).with_context(|| format!("{} is unfit", object.name))?;
    write_if_changed(&target().join("bpf").join(object.name), &content)
}

fn compiler(toolchain: BpfToolchain) -> Command {
    match toolchain {
        BpfToolchain::Debian => {
            let mut command = foreign("/usr/bin/cargo");
            command
                .env("RUSTC", "/usr/bin/rustc")
                // aya-ebpf declares an unstable feature; nothing else may.
                .env("RUSTC_BOOTSTRAP", "aya_ebpf");
            command
        }
        BpfToolchain::Nightly => {
            let mut command = foreign("cargo");
            command.args(["+nightly", "-Zbuild-std=core"]);
            command
        }
    }
}

fn flags(linker: &Path) -> String {
    let architecture = std::env::consts::ARCH;
    let exports = include_str!("../../lb-ebpf/exports.txt");
    let exports: Vec<&str> = exports.split_whitespace().collect();
    [
        "--cfg".to_owned(),
        format!("bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        // Functions that stay functions of the kernel's own, which its verifier
        // checks once each.
        format!("-Clink-arg=--export={}", exports.join(",")),
    ]
    .join("\x1f")
}

/// The target's specification also asks for `bpf-linker` by name.
fn path_with(linker: &Path) -> Result<std::ffi::OsString> {
    let folder = linker.parent().context("a linker is in a folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("a folder on the PATH has a colon in its name")
}

/// What the verifier or bpftool would only say later, and less clearly.
fn check(object: &[u8]) -> Result<()> {
    let file: ElfFile64<'_> = ElfFile64::parse(object).context("not an ELF object")?;
    ensure!(
        file.section_by_name(".BTF").is_some(),
        "it has no .BTF section: its maps would have no types"
    );
    let panics: Vec<&str> = file
        .symbols()
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| name.contains("panic"))
        .collect();
    ensure!(
        panics.is_empty(),
        "it can panic, which the kernel refuses: {}",
        panics.join(", ")
    );
    Ok(())
}

/// Unchanged content keeps its time, so that nothing is rebuilt after it.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = path.parent().context("the object is in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}
