//! Other nodes: how a packet is handed over to them, and how a packet that one
//! of them handed over is recognised.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, plain::plain};

/// The next hop to a node. `NODES[id]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeValue {
    /// Destination and source of the Ethernet frame that leaves for it, in the
    /// order in which they travel.
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    /// The device it leaves by.
    pub ifindex: u32,
    /// [`kind`].
    pub kind: u32,
    /// The MTU of the way there, outer headers included.
    pub mtu: u32,
    /// Outer addresses, where `kind` is `ROUTED`.
    pub outer_dst: Addr,
    pub outer_src: Addr,
}
plain!(NodeValue);
const _: () = assert!(size_of::<NodeValue>() == 56);

impl NodeValue {
    /// No way there is known.
    pub const UNKNOWN: Self = Self {
        dst_mac: [0; 6],
        src_mac: [0; 6],
        ifindex: 0,
        kind: kind::UNKNOWN,
        mtu: 0,
        outer_dst: Addr::UNSPECIFIED,
        outer_src: Addr::UNSPECIFIED,
    };

    /// Both MACs as they lie in memory.
    #[inline(always)]
    pub const fn macs(&self) -> [u32; 3] {
        zerocopy::transmute!([self.dst_mac, self.src_mac])
    }
}

/// Values of [`NodeValue::kind`].
pub mod kind {
    /// The way there is not known (no route, no neighbour): packets for it are
    /// dropped and counted.
    pub const UNKNOWN: u32 = 0;
    /// On the same link: the frame's MACs are rewritten, nothing else.
    pub const SAME_LINK: u32 = 1;
    /// Behind a router: IP in UDP.
    pub const ROUTED: u32 = 2;
}

/// Ways in one bucket of [`NodeMacs`].
pub const MAC_WAYS: usize = 4;
/// Buckets of [`NodeMacs`]; a power of two.
pub const MAC_BUCKETS: usize = 4096;

/// The MACs of all nodes, as a hash table in one value: one array lookup and
/// at most four comparisons tell who handed a frame over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeMacs {
    pub buckets: [MacBucket; MAC_BUCKETS],
}
plain!(NodeMacs);

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MacBucket {
    pub ways: [MacEntry; MAC_WAYS],
}

/// A node's MAC on one link; free where `node` is 0. Eight bytes, so that it is
/// compared in one piece.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct MacEntry {
    pub mac: [u8; 6],
    pub node: u16,
}

impl MacEntry {
    /// All of it as it lies in memory.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        zerocopy::transmute!(self)
    }
}

/// The bits of a [`MacEntry`] that are the MAC, not the node.
pub const MAC_MASK: u64 = mac_bits([0xff; 6]);

/// A MAC as [`MacEntry::bits`] has it.
#[inline(always)]
pub const fn mac_bits(mac: [u8; 6]) -> u64 {
    MacEntry { mac, node: 0 }.bits()
}

/// The bucket of a MAC, from [`mac_bits`].
#[inline(always)]
pub const fn mac_bucket(bits: u64) -> usize {
    // Fibonacci hashing: numbers in a row land far apart. The top 12 bits.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize
}

/// An address range that belongs to a node: its own addresses and those of its
/// pods. Traffic from there with that node's MAC was not handed over: the
/// client simply lives on that node. Key of the LPM trie `NODE_NETS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeNetValue {
    pub node: u32,
    /// 1 if it is an address of the node itself: outer headers come from
    /// these. 0: a range of its pods.
    pub own: u32,
}
plain!(NodeNetValue);

/// A name for people, padded with zeros. Kubernetes names have at most 253
/// bytes; a longer one than fits is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeName {
    pub name: [u8; 64],
    /// The node's first address.
    pub addr: Addr,
}
plain!(NodeName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_of_neighbouring_numbers_spread_over_the_buckets() {
        let mut load = [0_usize; MAC_BUCKETS];
        for n in 0..4000_u32 {
            let [a, b, c, d] = n.to_be_bytes();
            load[mac_bucket(mac_bits([2, 0, a, b, c, d]))] += 1;
        }
        assert!(load.iter().all(|&n| n <= MAC_WAYS));
    }
}
