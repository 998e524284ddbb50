//! Chance, from a seed that the shell gives: so that many that began at one
//! moment do not go on at one moment.

use core::time::Duration;

/// A sequence that the seed alone decides (SplitMix64).
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A part of `time`, between so many percent of it, evenly.
    pub fn percent(&mut self, time: Duration, from: u32, to: u32) -> Duration {
        let least = time * from / 100;
        let span = (time * to / 100).saturating_sub(least);
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let more = if nanos == 0 { 0 } else { self.number() % nanos };
        least + Duration::from_nanos(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_within_their_bounds_and_differ() {
        let mut jitter = Jitter::new(7);
        let second = Duration::from_secs(1);
        let all: [Duration; 100] = core::array::from_fn(|_| jitter.percent(second, 75, 100));
        let least = Duration::from_millis(750);
        assert!(all.iter().all(|time| (least..second).contains(time)));
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(jitter.percent(Duration::ZERO, 75, 100), Duration::ZERO);
    }
}
