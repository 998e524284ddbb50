//! Ctrl-C and SIGTERM: remembered here, so that whoever is at work stops with
//! an error and takes down what was built.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

static ARMED: AtomicBool = AtomicBool::new(false);
static PENDING: AtomicBool = AtomicBool::new(false);

/// From now on, signals are remembered and no longer end the process.
pub fn arm() -> Result<()> {
    if ARMED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    ctrlc::set_handler(|| PENDING.store(true, Ordering::Relaxed)).context("cannot handle Ctrl-C")
}

#[must_use]
pub fn pending() -> bool {
    PENDING.load(Ordering::Relaxed)
}

/// The error with which work stops once a signal came.
pub fn check() -> Result<()> {
    ensure!(!pending(), "interrupted");
    Ok(())
}
