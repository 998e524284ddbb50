//! What a privileged test asks for before it starts.
//!
//! Without root it fails and says why. `LB_TEST_SKIP=kernel,net,kubernetes`
//! skips by name; every skip is written to the file named by `LB_TEST_SKIP_LOG`, so
//! that `cargo xtask test` counts it as skipped and not as passed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

/// True when a test of this kind (`kernel`, `net`) is to run:
/// `if !require::root("net") { return; }`.
///
/// # Panics
/// When it is to run and this process is not root.
#[must_use]
pub fn root(kind: &str) -> bool {
    if !wanted(kind) {
        return false;
    }
    assert!(
        is_root(),
        "this test needs root (namespaces, BPF); LB_TEST_SKIP={kind} skips its kind"
    );
    true
}

/// As [`root`], for tests that need none (`kubernetes`).
#[must_use]
pub fn wanted(kind: &str) -> bool {
    let skips = std::env::var("LB_TEST_SKIP").unwrap_or_default();
    let wanted = !skips.split(',').any(|skip| skip.trim() == kind);
    if !wanted {
        note_skip(kind);
    }
    wanted
}

#[must_use]
pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

fn note_skip(kind: &str) {
    let Some(path) = std::env::var_os("LB_TEST_SKIP_LOG") else {
        return;
    };
    let test = thread::current().name().unwrap_or("?").to_owned();
    // One short write in append mode: lines of parallel tests stay whole.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{kind} {test}\n").as_bytes()))
        .expect("the log of skipped tests can be written");
}
