//! The pick table: from a packet's source to the node or pod that serves it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::plain::plain;

/// Where a slot leads, as one node's table says it: nothing, another node, or
/// a backend here.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Target(pub u16);
plain!(Target);

/// The bit of a [`Target`] that says "a backend here".
pub const TARGET_LOCAL: u16 = 0x8000;

impl Target {
    pub const NONE: Self = Self(0);

    /// The backend `id` of this node. `id` is below `limits::BACKENDS_MAX`.
    #[inline]
    pub const fn local(id: u16) -> Self {
        Self(id | TARGET_LOCAL)
    }

    /// The node `id`, from 1 to `limits::NODES_MAX` - 1.
    #[inline]
    pub const fn node(id: u16) -> Self {
        Self(id & !TARGET_LOCAL)
    }

    #[inline]
    pub const fn is_local(self) -> bool {
        self.0 & TARGET_LOCAL != 0
    }

    #[inline]
    pub const fn place(self) -> Place {
        if self.0 == 0 {
            Place::Nowhere
        } else if self.is_local() {
            Place::Here(self.0 & !TARGET_LOCAL)
        } else {
            Place::Node(self.0)
        }
    }
}

impl core::fmt::Debug for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.place().fmt(f)
    }
}

/// A [`Target`], taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Nowhere,
    /// A backend of this node, by its id.
    Here(u16),
    /// Another node, by its id.
    Node(u16),
}

/// One slot: who gets new flows, and who had them if the set has just changed.
///
/// `now` is nothing while no endpoint takes new flows; `next` is then the one
/// that most likely still has the old ones.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Slot {
    pub now: Target,
    pub next: Target,
}
plain!(Slot);

/// Slots in one chunk, the unit in which tables are placed.
pub const CHUNK_SLOTS: usize = 256;

/// 256 slots of a table; a table is a run of chunks. `TABLES[chunk]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chunk {
    pub slots: [Slot; CHUNK_SLOTS],
}
plain!(Chunk);

/// The slot of a table of `slots` slots that the pick hash `hash` falls in.
/// The upper half of the hash decides, as a fraction of the table, so that
/// tables of different sizes agree on the order.
#[inline(always)]
pub const fn slot_index(hash: u64, slots: u32) -> u32 {
    (((hash >> 32) * slots as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_nothing_a_node_or_a_backend_here() {
        assert_eq!(Target::NONE.place(), Place::Nowhere);
        assert_eq!(Target::node(7).place(), Place::Node(7));
        assert_eq!(Target::local(0).place(), Place::Here(0));
        assert_eq!(Target::local(0x7fff).place(), Place::Here(0x7fff));
    }

    #[test]
    fn every_hash_has_a_slot_inside_the_table() {
        for slots in [256, 1024, 65536] {
            assert_eq!(slot_index(0, slots), 0);
            assert_eq!(slot_index(u64::MAX, slots), slots - 1);
        }
    }
}
