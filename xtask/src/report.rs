//! What these tools say while they work: on standard error, so that the
//! output of a command stays its own.
#![expect(clippy::print_stderr, reason = "progress is for whoever watches")]

use std::fmt::{Arguments, Display};
use std::io::Write as _;

/// One step, as it begins.
pub(crate) fn step(what: impl Display) {
    eprintln!("==> {what}");
}

pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Writes a line of a command's answer. If nobody reads on (`| head`), the rest
/// is lost, and the work goes on: there may be something to take down.
pub(crate) fn line(text: Arguments<'_>) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// As `println!`, but for [`line`].
macro_rules! say {
    () => { crate::report::line(format_args!("")) };
    ($($text:tt)+) => { crate::report::line(format_args!($($text)+)) };
}
pub(crate) use say;
