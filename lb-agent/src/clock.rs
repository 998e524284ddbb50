//! The only place that reads clocks.

use std::time::Duration;

use lb_core::time::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Time since boot, time asleep included: the clock of the kernel programs.
#[must_use]
pub fn boottime() -> Duration {
    read(ClockId::CLOCK_BOOTTIME)
}

/// The same as the core wants it.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::since_boot(boottime())
}

/// Time since boot without time asleep, as jiffies count it.
#[must_use]
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Time since 1970, as people's clocks have it: to be shown, not to be reckoned
/// with.
#[must_use]
pub fn wall() -> Duration {
    read(ClockId::CLOCK_REALTIME)
}

/// How long this thread has computed: what work costs, whoever else is busy.
#[must_use]
pub fn thread_cpu() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// The moment that timers of this process count from.
#[must_use]
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn read(clock: ClockId) -> Duration {
    // Both clocks have been there for longer than any kernel we run on.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_sleep_counts_as_time() {
        let before = boottime();
        assert!(monotonic() <= boottime());
        assert!(before <= boottime());
        assert!(before > Duration::ZERO);
    }
}
