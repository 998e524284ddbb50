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

/// The word and the bit of a VIP in `VIP_FILTER`.
#[inline(always)]
pub const fn vip_bit(addr: Addr) -> (usize, u32) {
    bit(addr, 0)
}

/// The word and the bit of a pod's address and port in `POD_FILTER`.
#[inline(always)]
pub const fn pod_bit(addr: Addr, port: u16) -> (usize, u32) {
    bit(addr, port)
}

#[inline(always)]
const fn bit(addr: Addr, port: u16) -> (usize, u32) {
    let [a, b, c, d] = addr.words();
    let low = ((d ^ b) as u64) << 16 | port as u64;
    let mixed = mix(low ^ ((c ^ a.rotate_left(13)) as u64) << 29);
    let index = (mixed >> 48) as usize;
    (index >> 5, 1 << (index & 31))
}

/// The word and the byte of a client in one half of `CLIENT_FILTER`, which has
/// `words` words of eight bytes, a power of two. A byte rather than a bit: a
/// plain store of a byte cannot undo another CPU's.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "parts of the hash are meant"
)]
pub const fn client_cell(client_hash: u64, words: u32) -> (u32, usize) {
    let word = (client_hash >> 26) as u32 & words.wrapping_sub(1);
    (word, (client_hash >> 61) as usize)
}
