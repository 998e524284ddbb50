//! The kernel's clock that flows are stamped with, and how fast it ticks.
//!
//! No file says either, so the kernel is asked: the program `lb_clock` returns
//! the low half of the jiffies when it is run once. Where the data plane has
//! no such program, the time since boot stands in, which is right to within a
//! second or two.

use std::io;
use std::time::Duration;

use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;

use super::pins::Pins;
use crate::clock;

/// The name of the program that returns jiffies.
pub const CLOCK: &str = "lb_clock";

/// What kernels are built with.
const RATES: [u32; 4] = [100, 250, 300, 1000];
/// Assumed where it cannot be measured: what most distributions have.
const USUAL: u32 = 250;
/// Long enough to tell 250 from 300.
const MEASURED_FOR: Duration = Duration::from_millis(120);

/// Reads jiffies.
#[derive(Debug)]
pub struct Jiffies {
    program: Option<Xdp>,
    hz: u32,
}

impl Jiffies {
    /// `hz` as `CONFIG` has it.
    #[must_use]
    pub fn open(pins: &Pins, hz: u32) -> Self {
        Self {
            program: program(pins),
            hz: hz.max(1),
        }
    }

    /// The low half of the jiffies.
    #[must_use]
    pub fn now(&self) -> u32 {
        let asked = self.program.as_ref().map(ask);
        match asked {
            Some(Ok(now)) => now,
            Some(Err(_)) | None => estimate(self.hz, clock::monotonic()),
        }
    }

    /// How long ago something was stamped.
    #[must_use]
    pub fn age(&self, now: u32, seen: u32) -> Duration {
        let age = now.wrapping_sub(seen);
        // Stamped after `now` was read.
        if age > u32::MAX / 2 {
            return Duration::ZERO;
        }
        Duration::from_secs(1) * (age / self.hz)
            + Duration::from_secs(1) * (age % self.hz) / self.hz
    }
}

/// Finds out how many jiffies a second has.
pub async fn measure(pins: &Pins) -> u32 {
    let measured = match program(pins) {
        Some(program) => ticks(&program).await.ok(),
        None => None,
    };
    measured.unwrap_or_else(|| {
        tracing::warn!("cannot measure the kernel's tick; {USUAL} a second assumed");
        USUAL
    })
}

async fn ticks(program: &Xdp) -> Result<u32, ProgramError> {
    let (start, from) = (clock::monotonic(), ask(program)?);
    tokio::time::sleep(MEASURED_FOR).await;
    let (end, to) = (clock::monotonic(), ask(program)?);
    Ok(nearest_rate(to.wrapping_sub(from), end - start))
}

fn nearest_rate(ticks: u32, time: Duration) -> u32 {
    let measured = f64::from(ticks) / time.as_secs_f64().max(0.001);
    let distance = |rate: u32| (measured / f64::from(rate)).ln().abs();
    let nearest = RATES
        .into_iter()
        .min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    nearest.unwrap_or(USUAL)
}

fn program(pins: &Pins) -> Option<Xdp> {
    Xdp::from_pin(pins.program(CLOCK), XdpAttachType::Interface).ok()
}

fn ask(program: &Xdp) -> Result<u32, ProgramError> {
    // The least that the kernel takes for a frame.
    let frame = [0; 64];
    let options = TestRunOptions {
        data_in: Some(&frame),
        ..TestRunOptions::new()
    };
    Ok(program.test_run(options)?.return_value)
}

/// The kernel starts counting five minutes before an overflow
/// (`INITIAL_JIFFIES`).
fn estimate(hz: u32, since_boot: Duration) -> u32 {
    let ticks = since_boot.as_millis() * u128::from(hz) / 1000;
    let low = u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0);
    low.wrapping_sub(300 * hz)
}

/// Pins the clock, so that commands can ask it too.
pub fn pin(program: &mut Xdp, pins: &Pins) -> io::Result<()> {
    let path = pins.program(CLOCK);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    program.pin(&path).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rate_is_taken() {
        let tenth = Duration::from_millis(100);
        assert_eq!(nearest_rate(10, tenth), 100);
        assert_eq!(nearest_rate(25, tenth), 250);
        assert_eq!(nearest_rate(30, tenth), 300);
        assert_eq!(nearest_rate(98, tenth), 1000);
        assert_eq!(nearest_rate(31, Duration::from_millis(120)), 250);
    }

    #[test]
    fn ages_wrap_with_the_counter() {
        let jiffies = Jiffies {
            program: None,
            hz: 250,
        };
        assert_eq!(jiffies.age(125, u32::MAX - 124), Duration::from_secs(1));
        assert_eq!(jiffies.age(100, 101), Duration::ZERO);
        assert_eq!(jiffies.age(25, 0), Duration::from_millis(100));
    }

    #[test]
    fn counting_starts_five_minutes_before_an_overflow() {
        assert_eq!(estimate(250, Duration::from_secs(300)), 0);
        assert_eq!(estimate(1000, Duration::from_secs(301)), 1000);
    }
}
