//! Frontends: what a packet is matched to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, plain::plain};

/// (VIP, port, protocol).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct FrontendKey {
    pub vip: Addr,
    pub port: u16,
    /// IANA protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    pub pad: u8,
}
plain!(FrontendKey);
const _: () = assert!(size_of::<FrontendKey>() == 20);

impl FrontendKey {
    pub const fn new(vip: Addr, port: u16, protocol: u8) -> Self {
        Self {
            vip,
            port,
            protocol,
            pad: 0,
        }
    }
}

/// Where a frontend's pick table is, and how it is to be read.
/// `FRONTENDS[key]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendValue {
    /// Seed of the pick hash: equal on all nodes.
    pub seed: u64,
    /// Hash of the set of endpoints that the table was made from, equal on all
    /// nodes that see the same slices. What peers say they have "told" for.
    pub endpoints_hash: u64,
    /// The first chunk of the table in `TABLES`.
    pub chunk: u32,
    /// Slots in the table: a power of two, 256 or more.
    pub slots: u32,
    /// Index in `TRAFFIC`, key in `NAMES`, part of the key in `ENDPOINTS`.
    pub id: u32,
    /// [`flags`].
    pub flags: u32,
    /// When slots last left an endpoint that is still present for another
    /// node, in seconds of CLOCK_BOOTTIME; 0 if no flow can have been
    /// displaced.
    pub changed_s: u32,
    pub pad: u32,
}
plain!(FrontendValue);
const _: () = assert!(size_of::<FrontendValue>() == 40);

/// Bits of [`FrontendValue::flags`].
pub mod flags {
    /// TCP: a flow that nobody here knows is offered to the slot's `next`
    /// once, since the set has changed and `next` may own the flow.
    pub const TCP_UNSETTLED: u32 = 1;
    /// UDP: datagrams go to the slot's `next` first, for the same reason.
    pub const UDP_UNSETTLED: u32 = 2;
    /// The set has changed and not every endpoint's node has told which of
    /// its flows moved: `TOLD` has the answers. Only with the channel between
    /// agents.
    pub const AWAITING_TOLD: u32 = 4;
    /// Backends of this frontend are reached past the stack.
    pub const DIRECT: u32 = 8;
}
