//! The only place that rolls dice.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that nobody can guess.
#[must_use]
pub fn number() -> u64 {
    // The keys of a `RandomState` come from the system's random numbers.
    RandomState::new().build_hasher().finish()
}

/// 256 bits for a key, in hexadecimal digits: from the system alone, unlike the
/// numbers above.
///
/// # Errors
/// The system has none to give, which Linux knows only before it has booted.
pub fn hex_key() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String does not fail.
        let _written = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// A number below the limit; 0 where that is 0.
#[must_use]
pub fn below(limit: u64) -> u64 {
    number().checked_rem(limit).unwrap_or(0)
}
