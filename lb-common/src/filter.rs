//! Bitmaps that say "certainly not" in a few nanoseconds, before a hash lookup
//! is paid for.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, hash::mix, plain::plain};

/// Words of an [`AddrFilter`].
pub const FILTER_WORDS: usize = 2048;

/// 65,536 bits, one of them for each address (and port) that may be ours.
/// False positives only cost a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddrFilter {
    pub words: [u32; FILTER_WORDS],
}
plain!(AddrFilter);

/// The hash of a VIP, from which its bit in `VIP_FILTER` and the places of its
/// frontends in `FRONTEND_INDEX` come.
#[inline(always)]
pub const fn vip_hash(addr: Addr) -> u64 {
    hash(addr, 0)
}

/// The word and the bit of a VIP in `VIP_FILTER`.
#[inline(always)]
pub const fn vip_bit(addr: Addr) -> (usize, u32) {
    bit(vip_hash(addr))
}

/// The word and the bit of a pod's address and port in `POD_FILTER`.
#[inline(always)]
pub const fn pod_bit(addr: Addr, port: u16) -> (usize, u32) {
    bit(hash(addr, port))
}

#[inline(always)]
const fn hash(addr: Addr, port: u16) -> u64 {
    let [a, b, c, d] = addr.words();
    let low = ((d ^ b) as u64) << 16 | port as u64;
    mix(low ^ ((c ^ a.rotate_left(13)) as u64) << 29)
}

/// The word and the bit of what has this hash.
#[inline(always)]
pub const fn bit(hash: u64) -> (usize, u32) {
    let index = (hash >> 48) as usize;
    (index >> 5, 1 << (index & 31))
}

/// The word and the number of the bit (0 to 63) of a client in one half of
/// `CLIENT_FILTER`, which has `words` words of 64 bits, a power of two.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "parts of the hash are meant"
)]
pub const fn client_bit(client_hash: u64, words: u32) -> (u32, u32) {
    let word = (client_hash >> 26) as u32 & words.wrapping_sub(1);
    (word, (client_hash >> 58) as u32)
}
