//! How long the parts of a run take.

use std::time::Duration;

use crate::clock;

#[derive(Debug)]
pub(super) struct Stopwatch {
    cpu: Duration,
    last: Duration,
    pub(super) laps: Vec<(&'static str, u64)>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self {
            cpu: clock::thread_cpu(),
            last: clock::boottime(),
            laps: Vec::with_capacity(8),
        }
    }

    /// What was done since the last lap.
    pub(super) fn lap(&mut self, name: &'static str) {
        let now = clock::boottime();
        let took = now.saturating_sub(self.last);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.laps.push((name, took_us));
        self.last = now;
    }

    /// Of this thread, which does nothing else meanwhile.
    pub(super) fn cpu_us(&self) -> u64 {
        let cpu = clock::thread_cpu().saturating_sub(self.cpu);
        u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn total_us(&self) -> u64 {
        self.laps.iter().map(|(_, took_us)| took_us).sum()
    }
}
