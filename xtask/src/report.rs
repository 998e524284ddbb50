//! What these tools say while they work: on standard error, so that the
//! output of a command stays its own.
#![expect(clippy::print_stderr, reason = "progress is for whoever watches")]

use std::fmt::Display;

/// One step, as it begins.
pub(crate) fn step(what: impl Display) {
    eprintln!("==> {what}");
}

pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
