//! Fragments: only the first one carries ports, so it leaves word for the
//! others of its datagram.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, plain::plain, table::Target};

/// A fragmented datagram (RFC 791 §3.2, RFC 8200 §4.5). Key of `FRAGMENTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey {
    pub src: Addr,
    pub dst: Addr,
    pub identification: u32,
    /// IANA protocol number.
    pub protocol: u32,
}
plain!(FragmentKey);
const _: () = assert!(size_of::<FragmentKey>() == 40);

/// What was done with the first fragment, to be done with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentValue {
    /// The address that replaces the destination (towards the pod) or the
    /// source (towards the client), where it was translated.
    pub translated: Addr,
    /// Bytes of the datagram seen so far. Only the next byte continues it:
    /// what overlaps or leaves a gap is dropped.
    pub covered: u32,
    /// When the first fragment came, in jiffies (low half).
    pub seen: u32,
    pub frontend: u32,
    pub target: Target,
    /// [`what`].
    pub what: u16,
}
plain!(FragmentValue);
const _: () = assert!(size_of::<FragmentValue>() == 32);

/// Values of [`FragmentValue::what`].
pub mod what {
    pub const DELIVERED: u16 = 1;
    pub const HANDED_OVER: u16 = 2;
    pub const HANDED_ON_MARKED: u16 = 3;
    /// A reply: its source was translated.
    pub const REPLY: u16 = 4;
}
