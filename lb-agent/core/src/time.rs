//! Time as the core sees it: an argument, handed in by the shell.

use core::ops::Add;
use core::time::Duration;

/// A moment, as time since boot (CLOCK_BOOTTIME): the clock of the kernel
/// programs, so that what stands in maps can be compared with it, also after
/// the agent has started anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// Later than all others.
    pub const MAX: Self = Self(Duration::MAX);

    #[must_use]
    pub const fn since_boot(time: Duration) -> Self {
        Self(time)
    }

    /// Whole seconds. 136 years fit.
    #[must_use]
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0.as_secs()).unwrap_or(u32::MAX)
    }

    /// Nanoseconds, as the kernel's maps have them. 584 years fit.
    #[must_use]
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whole microseconds; 584,000 years fit.
    #[must_use]
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// The same back.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(Duration::from_micros(micros))
    }

    /// A moment earlier; the boot, if that would be before it.
    #[must_use]
    pub const fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }

    /// The time from an earlier moment to this one; none at all from a later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}
