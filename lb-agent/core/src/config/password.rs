//! A password that does not show itself.

use alloc::string::String;
use core::fmt;

/// Of a BGP session (TCP MD5, RFC 2385).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// For the socket, and for nothing that is written anywhere.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "…" })
    }
}
