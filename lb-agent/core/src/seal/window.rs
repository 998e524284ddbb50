//! Which counters were here: RFC 4303 §3.4.3's window, with 128 places.

/// Counters up to the highest one that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: the counter n below the highest was here.
    seen: u128,
}

/// Why a counter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    Seen,
    TooOld,
}

impl Window {
    /// Begins with the first one that came; those before it may follow.
    pub(super) const fn from(counter: u64) -> Self {
        Self {
            highest: counter,
            seen: 1,
        }
    }

    /// Takes a counter, once.
    pub(super) fn take(&mut self, counter: u64) -> Result<(), Stale> {
        if let Some(ahead) = counter.checked_sub(self.highest).filter(|n| *n > 0) {
            let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = counter;
            return Ok(());
        }
        let behind = self.highest.saturating_sub(counter);
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        let bit = 1_u128.checked_shl(behind).ok_or(Stale::TooOld)?;
        if self.seen & bit != 0 {
            return Err(Stale::Seen);
        }
        self.seen |= bit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_are_taken_once_and_in_any_order_within_the_window() {
        let mut window = Window::from(10);
        assert_eq!(window.take(10), Err(Stale::Seen));
        assert_eq!(window.take(12), Ok(()));
        assert_eq!(window.take(11), Ok(()));
        assert_eq!(window.take(11), Err(Stale::Seen));
        assert_eq!(window.take(10), Err(Stale::Seen));
        assert_eq!(window.take(9), Ok(()));
        assert_eq!(window.take(12 + 127), Ok(()));
        assert_eq!(window.take(12), Err(Stale::Seen));
        assert_eq!(window.take(11), Err(Stale::TooOld));
        assert_eq!(window.take(u64::MAX), Ok(()));
        assert_eq!(window.take(0), Err(Stale::TooOld));
    }

    proptest! {
        #[test]
        fn no_counter_is_taken_twice(counters in prop::collection::vec(0_u64..400, 1..300)) {
            let mut window = Window::from(200);
            let mut taken = BTreeSet::from([200]);
            for counter in counters {
                match window.take(counter) {
                    Ok(()) => prop_assert!(taken.insert(counter)),
                    Err(Stale::Seen) => prop_assert!(taken.contains(&counter)),
                    Err(Stale::TooOld) => {
                        let later: Vec<_> = taken.range(counter + 128..).collect();
                        prop_assert!(!later.is_empty());
                    }
                }
            }
        }
    }
}
