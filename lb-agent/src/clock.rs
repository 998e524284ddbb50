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

/// Waits for a moment; for ever where there is none.
pub async fn wait_until(moment: Option<Timestamp>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(now())).await,
        None => std::future::pending().await,
    }
}

/// The first at once, and none is made up for.
#[must_use]
pub fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
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
