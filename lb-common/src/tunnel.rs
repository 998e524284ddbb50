//! The outer header between nodes that do not share a link: IP, UDP, and four
//! bytes that say what follows.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Four bytes between the outer UDP header and the inner IP packet.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+---------------+---------------+
/// |      'C'      |      'o'      |    version    |     flags     |
/// +---------------+---------------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Shim {
    pub magic: [u8; 2],
    pub version: u8,
    pub flags: u8,
}

/// Bits of [`Shim::flags`].
pub mod flags {
    /// This packet has been handed on once already and never travels again.
    pub const MARKED: u8 = 1;
}

impl Shim {
    pub const MAGIC: [u8; 2] = *b"Co";
    pub const VERSION: u8 = 1;

    pub const fn new(marked: bool) -> Self {
        Self {
            magic: Self::MAGIC,
            version: Self::VERSION,
            flags: if marked { flags::MARKED } else { 0 },
        }
    }
}

/// The UDP port of the outer header unless configured otherwise.
pub const DEFAULT_PORT: u16 = 6947;

/// Bytes that the outer header adds: outer IPv4 or IPv6, UDP, [`Shim`].
pub const OVERHEAD_V4: u32 = 20 + 8 + 4;
pub const OVERHEAD_V6: u32 = 40 + 8 + 4;

/// EtherType of a marked packet on the same link: IEEE 802 local experimental
/// EtherType 1. The version nibble of the IP header tells the family.
pub const MARKED_ETHERTYPE: u16 = 0x88b5;
