//! The compiler and linker of the data plane.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lb_tests::command::output;

use super::apt::{self, Need};
use super::{is_debian, on_path};
use crate::report;
use crate::workspace::{foreign, run, target};

const LINKER_VERSION: &str = "0.13.0";
/// The linker must be of an LLVM not older than the compiler's.
const LLVM: &str = "/usr/lib/llvm-22";
const LLVM_FEATURE: &str = "llvm-22";

const DEBIAN: &[Need] = &[
    Need {
        package: "rustc-web",
        why: "a compiler that knows the BPF target",
        present: || Path::new("/usr/bin/rustc").exists(),
    },
    Need {
        package: "cargo-web",
        why: "the cargo of that compiler",
        present: || Path::new("/usr/bin/cargo").exists(),
    },
    Need {
        package: "libstd-rust-web-dev-bpf",
        why: "Rust's core library for BPF",
        present: has_debian_core,
    },
];

const DEBIAN_LLVM: Need = Need {
    package: "llvm-22-dev",
    why: "what bpf-linker is built on",
    present: has_llvm,
};

/// Which compiler builds the BPF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BpfToolchain {
    /// Debian's rustc with its prebuilt core library.
    Debian,
    /// rustup's nightly, which builds the core library from rust-src.
    Nightly,
}

/// The compiler, and the path of bpf-linker; installed where missing.
pub(crate) fn bpf() -> Result<(BpfToolchain, PathBuf)> {
    let toolchain = toolchain()?;
    Ok((toolchain, linker(toolchain)?))
}

fn toolchain() -> Result<BpfToolchain> {
    if DEBIAN.iter().all(|need| (need.present)()) {
        return Ok(BpfToolchain::Debian);
    }
    if has_nightly_source() {
        return Ok(BpfToolchain::Nightly);
    }
    if !is_debian() {
        bail!(
            "no compiler for BPF. With rustup:\n  \
             rustup toolchain install nightly --component rust-src"
        );
    }
    apt::install(DEBIAN)?;
    Ok(BpfToolchain::Debian)
}

fn linker(toolchain: BpfToolchain) -> Result<PathBuf> {
    let tools = target().join("tools");
    let own = tools.join("bin/bpf-linker");
    if own.is_file() {
        return Ok(own);
    }
    // Debian's compiler and our own linker are of the same LLVM. A nightly's
    // is newer than that sooner or later: its user's linker goes first.
    if toolchain == BpfToolchain::Nightly
        && let Some(theirs) = on_path("bpf-linker")
    {
        return Ok(theirs);
    }
    if is_debian() {
        apt::install(&[DEBIAN_LLVM])?;
    } else if !has_llvm() {
        bail!(
            "no bpf-linker, and no LLVM 22 in {LLVM} to build one with. Install one that \
             matches your nightly's LLVM (`rustc +nightly -vV`), as in:\n  \
             cargo install bpf-linker --version {LINKER_VERSION}"
        );
    }
    report::step(format_args!(
        "building bpf-linker {LINKER_VERSION} (links the data plane; about a minute, once)"
    ));
    run(foreign("cargo")
        .args(["install", "bpf-linker", "--version", LINKER_VERSION])
        .args([
            "--no-default-features",
            "--features",
            LLVM_FEATURE,
            "--root",
        ])
        .arg(&tools)
        .env("LLVM_PREFIX", LLVM)
        .env("RUSTFLAGS", format!("-L{LLVM}/lib")))?;
    Ok(own)
}

fn has_debian_core() -> bool {
    Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib").is_dir()
}

fn has_llvm() -> bool {
    Path::new(LLVM).join("bin/llvm-config").exists()
}

fn has_nightly_source() -> bool {
    let mut ask = foreign("rustc");
    ask.args(["+nightly", "--print", "sysroot"]);
    output(&mut ask).is_ok_and(|sysroot| {
        Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
    })
}
