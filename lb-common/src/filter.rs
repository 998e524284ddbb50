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
