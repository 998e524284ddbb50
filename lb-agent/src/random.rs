//! The only place that rolls dice.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that nobody can guess.
#[must_use]
pub fn number() -> u64 {
    // The keys of a `RandomState` come from the system's random numbers.
    RandomState::new().build_hasher().finish()
}

/// A number below the limit; 0 where that is 0.
#[must_use]
pub fn below(limit: u64) -> u64 {
    number().checked_rem(limit).unwrap_or(0)
}
