//! Frontends: what a packet is matched to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, flow::FlowKey, plain::plain};

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

    /// Whether packets of this flow are for it.
    #[inline(always)]
    pub const fn is_of(&self, flow: &FlowKey) -> bool {
        let ports = (self.port ^ flow.vip_port) as u32;
        let protocols = self.protocol as u32 ^ flow.protocol;
        self.vip.is(flow.vip) && ports | protocols == 0
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
    /// Which of the two values in [`FrontendEntry`] this is: 0 or 1.
    pub side: u32,
}
plain!(FrontendValue);
const _: () = assert!(size_of::<FrontendValue>() == 40);

/// A frontend as the programs read it. `FRONTEND_ENTRIES[id]`.
///
/// A value is never written where programs read it: the new one goes to the
/// other side, and then [`FrontendWay::place`] changes over, one aligned word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendEntry {
    pub key: FrontendKey,
    pub pad: u32,
    pub values: [FrontendValue; 2],
}
plain!(FrontendEntry);
const _: () = assert!(size_of::<FrontendEntry>() == 104);

impl FrontendEntry {
    /// The value at a place of this entry.
    #[inline(always)]
    pub const fn value(&self, place: u32) -> &FrontendValue {
        &self.values[id_and_side(place).1 as usize & 1]
    }

    /// As [`Self::value`], to be set.
    pub const fn value_mut(&mut self, place: u32) -> &mut FrontendValue {
        &mut self.values[id_and_side(place).1 as usize & 1]
    }
}

impl FrontendValue {
    /// Where this value is in `FRONTEND_ENTRIES`.
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        place(self.id, self.side)
    }
}

/// Ways in one bucket of `FRONTEND_INDEX`.
pub const FRONTEND_WAYS: usize = 4;

/// Where a frontend with this tag is. Free where the tag is 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FrontendWay {
    pub tag: u32,
    /// See [`place`].
    pub place: u32,
}

/// A few frontends whose hashes are alike: `FRONTEND_INDEX[bucket]`. It says
/// in a tenth of the time of a hash map's lookup where most frontends are;
/// those that find no way here are in `FRONTENDS`, which has all.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FrontendBucket {
    pub ways: [FrontendWay; FRONTEND_WAYS],
}
plain!(FrontendBucket);

/// No place: the index knows nothing.
pub const NO_PLACE: u32 = u32::MAX;

/// The place of one of the two values of a frontend.
#[inline(always)]
pub const fn place(id: u32, side: u32) -> u32 {
    id << 1 | side & 1
}

/// The frontend and the side of a place.
#[inline(always)]
pub const fn id_and_side(place: u32) -> (u32, u32) {
    (place >> 1, place & 1)
}

/// Where to look for a frontend: its bucket, of a power of two, and its tag,
/// which is never 0.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "parts of the hash are meant"
)]
pub const fn bucket_and_tag(vip_hash: u64, port: u16, protocol: u8, buckets: u32) -> (u32, u32) {
    // Fibonacci hashing of port and protocol, on top of a hash that is good.
    let service = (protocol as u64) << 16 | port as u64;
    let hash = vip_hash ^ service.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let high = (hash >> 32) as u32;
    ((hash as u32 ^ high) & buckets.wrapping_sub(1), high | 1)
}

/// Buckets for so many frontends: a power of two, with one frontend a bucket.
#[must_use]
pub const fn buckets_for(frontends: u32) -> u32 {
    frontends.next_power_of_two()
}

impl FrontendBucket {
    /// Where the frontend with this tag is, or [`NO_PLACE`].
    #[inline(always)]
    pub fn find(&self, tag: u32) -> u32 {
        let mut found = NO_PLACE;
        for way in &self.ways {
            if way.tag == tag {
                found = way.place;
            }
        }
        found
    }

    /// Changes the way of this tag over to `place`, or gives it a free one.
    /// False: there is none.
    pub fn put(&mut self, tag: u32, place: u32) -> bool {
        let ways = &mut self.ways;
        let known = ways.iter().position(|way| way.tag == tag);
        let free = || ways.iter().position(|way| way.tag == 0);
        let Some(way) = known.or_else(free).and_then(|way| self.ways.get_mut(way)) else {
            return false;
        };
        *way = FrontendWay { tag, place };
        true
    }

    /// Frees the way of this tag, if it has one.
    pub fn remove(&mut self, tag: u32) {
        for way in &mut self.ways {
            if way.tag == tag {
                *way = FrontendWay::default();
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::vec::Vec;

    use super::*;
    use crate::filter::vip_hash;

    fn of(vip: u32, port: u16, buckets: u32) -> (u32, u32) {
        bucket_and_tag(vip_hash(Ipv4Addr::from(vip).into()), port, 6, buckets)
    }

    #[test]
    fn nearly_all_frontends_of_a_full_map_find_a_way() {
        let full = 16_384_u32;
        let buckets = buckets_for(full);
        let many_vips = (0..full).map(|n| of(0xcb00_7100 + n, 443, buckets));
        let many_ports = (0..full).map(|n| of(0xcb00_7150, u16::try_from(n).unwrap(), buckets));
        let both = (0..full).map(|n| {
            of(
                0xcb00_7100 + n / 4,
                80 + u16::try_from(n % 4).unwrap(),
                buckets,
            )
        });
        let sets: [Vec<_>; 3] = [many_vips.collect(), many_ports.collect(), both.collect()];
        for (number, set) in sets.iter().enumerate() {
            let mut index = std::vec![FrontendBucket::default(); buckets as usize];
            let found = set.iter().filter(|(bucket, tag)| {
                index[*bucket as usize].find(*tag) == NO_PLACE
                    && index[*bucket as usize].put(*tag, 7)
            });
            let found = found.count();
            assert!(
                found > 16_384 * 99 / 100,
                "set {number}: {found} have a way"
            );
        }
    }

    #[test]
    fn a_way_is_changed_over_where_it_is() {
        let mut bucket = FrontendBucket::default();
        for tag in 1..=4 {
            assert!(bucket.put(tag, place(tag, 0)));
        }
        assert!(!bucket.put(5, place(5, 0)), "it is full");
        assert!(bucket.put(3, place(3, 1)));
        assert_eq!(id_and_side(bucket.find(3)), (3, 1));
        bucket.remove(2);
        assert_eq!(bucket.find(2), NO_PLACE);
        assert!(bucket.put(5, place(5, 0)));
        assert_eq!(id_and_side(bucket.find(5)), (5, 0));
    }
}
