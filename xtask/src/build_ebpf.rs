//! `cargo xtask build-ebpf`: the BPF object, `target/bpf/lb.o`.
//!
//! The one place that knows how lb-ebpf is compiled: for another target, by
//! another compiler, with a lock file of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _};

use crate::report;
use crate::setup::{self, BpfToolchain};
use crate::workspace::{foreign, root, run as run_command, target};

const TARGET: &str = "bpfel-unknown-none";
const PROGRAM: &str = "lb-ebpf";

pub(crate) fn run() -> Result<ExitCode> {
    build()?;
    Ok(ExitCode::SUCCESS)
}

/// Builds it and gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    let (toolchain, linker) = setup::bpf()?;
    report::step("building the data plane");
    let folder = target().join("ebpf");
    let mut command = compiler(&toolchain);
    command
        .current_dir(root().join("lb-ebpf"))
        .args(["build", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&linker))
        .env("PATH", path_with(&linker)?);
    run_command(&mut command)?;
    let built = folder.join(TARGET).join("release").join(PROGRAM);
    let object = fs::read(&built).with_context(|| format!("no object at {}", built.display()))?;
    check(&object).with_context(|| format!("{} is unfit", built.display()))?;
    let path = target().join("bpf/lb.o");
    write_if_changed(&path, &object)?;
    Ok(path)
}

fn compiler(toolchain: &BpfToolchain) -> Command {
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
    [
        "--cfg".to_owned(),
        format!("bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
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
