//! Backends that live on this node. What lives elsewhere is named in a table
//! by its node alone, so a node's maps hold its own pods only.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, plain::plain};

/// A pod's address and port, and how to reach it. `BACKENDS[id]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BackendValue {
    pub addr: Addr,
    /// The pod's port.
    pub port: u16,
    /// Raised whenever the id names another backend, so that a flow entry of
    /// the old one no longer finds it. 0: there is no backend here.
    pub generation: u16,
    /// The pod's device on the host; 0 if it is not known.
    pub ifindex: u32,
    /// [`flags`].
    pub flags: u32,
}
plain!(BackendValue);
const _: () = assert!(size_of::<BackendValue>() == 28);

/// Bits of [`BackendValue::flags`].
pub mod flags {
    /// At least one service delivers past the stack, straight into the pod
    /// (`direct`); which ones, the frontends say.
    pub const DIRECT: u32 = 1;
}

/// Names a backend of this node for as long as it lives: what flow entries
/// hold. The generation tells a new backend from an old one of the same id.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BackendRef {
    pub id: u16,
    pub generation: u16,
}
plain!(BackendRef);

impl BackendRef {
    /// Both numbers in one register.
    #[inline(always)]
    pub const fn into_bits(self) -> u32 {
        self.id as u32 | (self.generation as u32) << 16
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are meant")]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            id: bits as u16,
            generation: (bits >> 16) as u16,
        }
    }
}
