//! Addresses of both families in one shape.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::plain::plain;

/// An IP address: 16 bytes in network order, IPv4 as v4-mapped
/// (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2), so that there is one code path for
/// both families.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(4))]
pub struct Addr {
    pub bytes: [u8; 16],
}
plain!(Addr);

impl Addr {
    /// `::`, which no packet may carry as a destination.
    pub const UNSPECIFIED: Self = Self { bytes: [0; 16] };

    /// The address whose 32-bit words, as they lie in memory, are `words`.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        zerocopy::transmute!(words)
    }

    /// The 32-bit words as they lie in memory (that is, of network order,
    /// loaded without a swap).
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        zerocopy::transmute!(self)
    }

    /// The IPv4 address whose four bytes, as they lie in memory, are `word`.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self::from_words([0, 0, V4_MAPPED_WORD, word])
    }

    /// Equality, a word at a time. (That of `==` is a byte at a time on the
    /// kernel's machine.)
    #[inline(always)]
    pub const fn is(self, other: Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.words(), other.words());
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
    }

    /// Whether this is a v4-mapped address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        let words = self.words();
        words[0] == 0 && words[1] == 0 && words[2] == V4_MAPPED_WORD
    }
}

/// `00 00 ff ff` as a word in memory.
pub const V4_MAPPED_WORD: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl From<Ipv4Addr> for Addr {
    fn from(addr: Ipv4Addr) -> Self {
        Self {
            bytes: addr.to_ipv6_mapped().octets(),
        }
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(addr: Ipv6Addr) -> Self {
        Self {
            bytes: addr.octets(),
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        Ipv6Addr::from(addr.bytes).to_canonical()
    }
}

impl core::fmt::Debug for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl core::fmt::Display for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_round_trip_in_both_families() {
        for text in ["192.0.2.80", "2001:db8::80", "::", "0.0.0.0"] {
            let addr: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(addr)), addr, "{text}");
        }
    }

    #[test]
    fn words_are_the_bytes_in_memory() {
        let addr = Addr::from(Ipv4Addr::new(192, 0, 2, 80));
        assert!(addr.is_v4());
        assert_eq!(
            addr,
            Addr::from_v4_word(u32::from_ne_bytes([192, 0, 2, 80]))
        );
        assert_eq!(Addr::from_words(addr.words()), addr);
        assert!(!Addr::from(Ipv6Addr::LOCALHOST).is_v4());
    }
}
