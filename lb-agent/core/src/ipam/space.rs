//! The addresses of one family of a pool, and the next one to give away.
//!
//! Places are numbers: those of the pool's ranges in their order, each
//! ascending. Within one round addresses are only taken, never given back, so
//! what was found taken once is not looked at again: all Services together
//! cost about one look at each address that is in use.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::sharing::{Claim, Holders, Key, Port};
use crate::config::{AddressRange, Pool};
use crate::model::{Family, Origin};

#[derive(Debug)]
pub(super) struct Space<'a> {
    pool: &'a Pool,
    /// Sorted by the place of their first address.
    ranges: Vec<(u128, AddressRange)>,
    /// How many places there are.
    size: u128,
    /// How many of them may be given away, and how many nobody can have.
    usable: u128,
    unavailable: u128,
    /// Everything below it is unavailable.
    lowest: u128,
    shared: BTreeMap<Key<'a>, Shared>,
}

/// The places that Services with one key share.
#[derive(Debug, Default)]
struct Shared {
    places: BTreeSet<u128>,
    /// All places below it have the port in use.
    full_below: BTreeMap<Port, u128>,
}

impl<'a> Space<'a> {
    pub(super) fn new(pool: &'a Pool, family: Family) -> Self {
        let mut ranges = Vec::new();
        let (mut size, mut usable) = (0_u128, 0_u128);
        for range in &pool.ranges {
            if Family::of(range.first()) == family {
                ranges.push((size, *range));
                size = size.saturating_add(range.size());
                usable = usable.saturating_add(range.size() - avoided(pool, range));
            }
        }
        Self {
            pool,
            ranges,
            size,
            usable,
            unavailable: 0,
            lowest: 0,
            shared: BTreeMap::new(),
        }
    }

    /// How many addresses it has for Services.
    pub(super) const fn usable(&self) -> u128 {
        self.usable
    }

    /// One of its addresses is not free any more.
    pub(super) fn note_unavailable(&mut self) {
        self.unavailable += 1;
    }

    /// A Service that shares has an address of it.
    pub(super) fn note_shared(&mut self, claim: &Claim<'a>, address: IpAddr) {
        let Some(place) = self.place(address) else {
            return;
        };
        let shared = self.shared.entry(claim.key).or_default();
        if shared.places.insert(place) {
            let in_use = |port: &Port| claim.ports().any(|other| other == *port);
            shared
                .full_below
                .retain(|port, below| *below <= place || in_use(port));
        }
    }

    /// An address for a Service, if there is one; it is not taken yet.
    ///
    /// In a cluster it is the first in the order of the ranges that is free or
    /// that the Service may share, as with MetalLB, and stays since the status
    /// says so. For manifests, where no status is written, it is the first free
    /// one in an order of the Service's own: which other Services there are
    /// matters only if they want the same. Those that share go together.
    pub(super) fn pick(
        &mut self,
        origin: Origin,
        claim: &Claim<'a>,
        holders: &Holders<'a>,
    ) -> Option<IpAddr> {
        let shared = self.first_shared(claim, holders);
        let place = match origin {
            Origin::Files => shared.or_else(|| self.free_of_its_own(claim, holders)),
            Origin::Cluster => {
                let free = self.first_free(holders);
                shared.into_iter().chain(free).min()
            }
        };
        self.address(place?)
    }

    fn first_free(&mut self, holders: &Holders<'a>) -> Option<u128> {
        if self.unavailable >= self.usable {
            return None;
        }
        while self.lowest < self.size {
            let address = self.address(self.lowest)?;
            if holders.is_unused(address) && !self.pool.avoids(address) {
                return Some(self.lowest);
            }
            self.lowest += 1;
        }
        None
    }

    /// Goes through all places in steps of a width of its own, which leads to
    /// each of them once as it has no divisor in common with their number.
    fn free_of_its_own(&self, claim: &Claim<'a>, holders: &Holders<'a>) -> Option<u128> {
        if self.unavailable >= self.usable {
            return None;
        }
        let size = self.size;
        let (start, width) = self.walk(claim);
        let mut place = start;
        loop {
            let address = self.address(place)?;
            if holders.is_unused(address) && !self.pool.avoids(address) {
                return Some(place);
            }
            place = if place >= size - width {
                place - (size - width)
            } else {
                place + width
            };
            if place == start {
                return None;
            }
        }
    }

    /// Where a Service begins, and how far each step goes: from 1 to the number
    /// of places.
    fn walk(&self, claim: &Claim<'a>) -> (u128, u128) {
        let mut hash = Sha256::new_with_prefix("corten address v1");
        let (sharing_key, selector) = claim.key;
        let (kind, parts) = if claim.shares() {
            (1, [sharing_key, selector])
        } else {
            (0, [&*claim.service.namespace, &*claim.service.name])
        };
        hash.update([kind]);
        // No name contains a zero byte, so no two read alike.
        for part in [self.pool.name.as_str()].into_iter().chain(parts) {
            hash.update(part);
            hash.update([0]);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (start, width) = digest.split_at(16);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u128::from(*byte));
        let mut width = number(width) % self.size + 1;
        while gcd(width, self.size) != 1 {
            width = width % self.size + 1;
        }
        (number(start) % self.size, width)
    }

    /// The first place that others have and the Service may share.
    fn first_shared(&mut self, claim: &Claim<'a>, holders: &Holders<'a>) -> Option<u128> {
        if !claim.shares() {
            return None;
        }
        let (ranges, shared) = (&self.ranges, self.shared.get_mut(&claim.key)?);
        let below = |port: Port| shared.full_below.get(&port).copied().unwrap_or(0);
        let start = claim.ports().map(below).max().unwrap_or(0);
        for place in shared.places.range(start..) {
            let address = address(ranges, *place)?;
            match holders.taken_port(claim, address) {
                None if holders.is_reserved(address) => {}
                None => return Some(*place),
                Some(port) => {
                    let below = shared.full_below.entry(port).or_default();
                    if shared.places.range(*below..*place).next().is_none() {
                        *below = *place + 1;
                    }
                }
            }
        }
        None
    }

    fn address(&self, place: u128) -> Option<IpAddr> {
        address(&self.ranges, place)
    }

    fn place(&self, address: IpAddr) -> Option<u128> {
        let inside = |(_, range): &&(u128, AddressRange)| range.contains(address);
        let (base, range) = self.ranges.iter().find(inside)?;
        Some(base + number(address) - number(range.first()))
    }
}

fn address(ranges: &[(u128, AddressRange)], place: u128) -> Option<IpAddr> {
    let after = ranges.partition_point(|(base, _)| *base <= place);
    let (base, range) = ranges.get(after.checked_sub(1)?)?;
    range.nth(place - base)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// How many addresses of a range its pool does not give away: the first and
/// the last of every 256.
fn avoided(pool: &Pool, range: &AddressRange) -> u128 {
    if !pool.avoid_buggy_ips || !range.is_ipv4() {
        return 0;
    }
    let (first, last) = (number(range.first()), number(range.last()));
    // How many up to and including n, which end with .0 and with .255.
    let up_to = |n: u128| n / 256 + 1 + (n + 1) / 256;
    up_to(last) - first.checked_sub(1).map_or(0, up_to)
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn pool(ranges: &[&str], avoid_buggy_ips: bool) -> Pool {
        Pool {
            name: "pool".to_string(),
            labels: crate::config::Labels::new(),
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            auto_assign: true,
            avoid_buggy_ips,
            service_allocation: None,
        }
    }

    proptest! {
        #[test]
        fn avoided_addresses_are_counted_without_looking_at_each(
            first in 0..2000_u32,
            length in 0..2000_u32,
        ) {
            let end = |n: u32| IpAddr::from(n.to_be_bytes());
            let range = AddressRange::new(end(first), end(first + length)).unwrap();
            let pool = pool(&[], true);
            let expected = range.addresses().filter(|a| pool.avoids(*a)).count();
            prop_assert_eq!(avoided(&pool, &range), u128::try_from(expected).unwrap());
        }

        #[test]
        fn a_walk_leads_everywhere_once(size in 1..300_u128, name in "[a-z]{1,8}") {
            let mut pool = pool(&[], false);
            let last = IpAddr::from((u32::try_from(size).unwrap() - 1).to_be_bytes());
            let range = AddressRange::new([0, 0, 0, 0].into(), last).unwrap();
            pool.ranges = [range].into();
            let space = Space::new(&pool, Family::V4);
            let service = crate::model::Service::new(crate::model::sample::name(&name));
            let (start, width) = space.walk(&Claim::of(&service));
            prop_assert!(start < size && width >= 1 && width <= size);
            let places: BTreeSet<_> = (0..size).map(|n| (start + n * width) % size).collect();
            prop_assert_eq!(u128::try_from(places.len()).unwrap(), size);
        }
    }

    #[test]
    fn places_are_those_of_the_list_and_back() {
        let pool = pool(
            &["192.0.2.8/30", "2001:db8::/64", "192.0.2.1-192.0.2.2"],
            false,
        );
        let space = Space::new(&pool, Family::V4);
        assert_eq!(space.usable(), 6);
        for place in 0..6 {
            let address = space.address(place).unwrap();
            assert_eq!(space.place(address), Some(place));
        }
        assert_eq!(space.address(4), Some([192, 0, 2, 1].into()));
        assert_eq!(space.address(6), None);
        let v6 = Space::new(&pool, Family::V6);
        assert_eq!(v6.usable(), 1 << 64);
        assert_eq!(v6.place([192, 0, 2, 8].into()), None);
    }
}
