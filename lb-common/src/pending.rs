//! What one stage of a program leaves for a later one, for the packet in hand.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    backend::BackendRef,
    flow::FlowKey,
    fragment::{FragmentKey, FragmentValue},
    frontend::FrontendKey,
    plain::plain,
    table::Slot,
};

/// `PENDING[0]`, one a CPU: the stack holds half a kilobyte for all functions
/// that are in progress together, and the kernel's verifier checks a function
/// that begins with plain numbers for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pending {
    /// Whose packet it is. Protocol 0: nobody's.
    pub flow: FlowKey,
    /// Where it is in the frame.
    pub located: Located,
    /// Its frontend: where it is (`frontend::place`), its id and its flags.
    pub place: u32,
    pub frontend: u32,
    pub frontend_flags: u32,
    /// Its slot in the frontend's table.
    pub slot: Slot,
    /// `Config::zero`.
    pub zero: u32,
    pub backend: BackendRef,
    /// Client's port as the pod sees it, initial state, delivery: packed as
    /// the program likes.
    pub how: u32,
    /// What lies around the packet that is to be taken away.
    pub cover: u32,
    /// For a lookup in `FRONTENDS`.
    pub frontend_key: FrontendKey,
    pub fragment_key: FragmentKey,
    pub fragment: FragmentValue,
    /// Not 0: the table of flows was asked, and does not have it.
    pub is_stranger: u32,
}
plain!(Pending);

/// A packet that was parsed: offsets and lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Located {
    /// Bytes of the link header.
    pub link: u32,
    /// Where the IP header is, and where its payload.
    pub l3: u32,
    pub l4: u32,
    /// Bytes of the IP packet, header included.
    pub len: u32,
    /// 4 or 6.
    pub version: u32,
    pub ttl: u32,
    /// Marked, inside an outer header: packed as the program likes.
    pub came: u32,
    /// Not 0: the first fragment of a datagram, with this identification and
    /// so many bytes of it, which else mean nothing.
    pub is_fragment: u32,
    pub identification: u32,
    pub fragment_len: u32,
}
plain!(Located);
