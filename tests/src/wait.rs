//! Waiting for a condition, with a limit. The only place that sleeps.
#![expect(
    clippy::disallowed_methods,
    reason = "conditions of a real kernel can only be polled"
)]

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};

use crate::interrupt;

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, at most for `limit`.
pub fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_ok(limit, what, || {
        if condition() {
            Ok(())
        } else {
            bail!("not yet")
        }
    })
}

/// As [`until`], and not to be interrupted: for cleaning up.
pub fn always_until(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= limit {
            bail!("waited {limit:?} in vain until {what}");
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// Waits until `attempt` succeeds; the error holds the last attempt's.
pub fn until_ok<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        interrupt::check()?;
        if start.elapsed() >= limit {
            return Err(error.context(format!("waited {limit:?} in vain until {what}")));
        }
        sleep(PAUSE);
    }
}

/// Waits until Ctrl-C or SIGTERM ([`interrupt::arm`] first).
pub fn until_interrupted() {
    while !interrupt::pending() {
        sleep(PAUSE);
    }
}

/// Waits for a while, where passing time is the point: traffic that runs.
pub fn pass(duration: Duration) {
    sleep(duration);
}

/// The machine's clock, as captures have it.
#[must_use]
pub fn clock() -> SystemTime {
    SystemTime::now()
}

/// How long something takes.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = act();
    (result, start.elapsed())
}
