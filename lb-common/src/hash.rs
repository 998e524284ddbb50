//! Hashes that the kernel program can afford: a few multiplications each.

use crate::addr::Addr;

/// Mixes all bits into all others (the finaliser of MurmurHash3). A single
/// multiplication carries only upwards, which is not enough: the last byte of
/// an IPv4 address sits in the top bits of its word.
#[inline(always)]
pub const fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// Keyed hash of a source address and port: products of 32-bit words, each
/// blinded by a part of the key (the NH construction), then mixed.
///
/// With a frontend's seed it is the pick hash; with the node's own seed it
/// finds the set of a client in `EMBRYONIC` and its bit in `CLIENT_FILTER`.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "halves of a 64-bit seed are meant"
)]
pub const fn source_hash(seed: u64, source: Addr, port: u16, protocol: u8) -> u64 {
    let [a, b, c, d] = source.words();
    let (low, high) = (seed as u32, (seed >> 32) as u32);
    let tail = ((protocol as u32) << 16) | port as u32;
    let first = product(a.wrapping_add(low), b.wrapping_add(high));
    let second = product(
        c.wrapping_add(low.rotate_left(9) ^ 0x85eb_ca6b),
        d.wrapping_add(high.rotate_left(19) ^ 0xc2b2_ae35),
    );
    let third = product(
        tail.wrapping_add(high.rotate_left(7) ^ 0x27d4_eb2f),
        low.rotate_left(23) | 1,
    );
    mix(first.wrapping_add(second).wrapping_add(third) ^ seed ^ d as u64)
}

#[inline(always)]
const fn product(a: u32, b: u32) -> u64 {
    a as u64 * b as u64
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::vec;

    use super::*;
    use crate::table::slot_index;

    /// The largest share over the mean, over `cells` cells.
    fn imbalance(hashes: impl Iterator<Item = u64>, cells: u32) -> f64 {
        let mut load = vec![0_u32; cells as usize];
        let mut total = 0_u32;
        for hash in hashes {
            load[slot_index(hash, cells) as usize] += 1;
            total += 1;
        }
        let max = load.iter().copied().max().unwrap_or_default();
        f64::from(max) * f64::from(cells) / f64::from(total)
    }

    #[test]
    fn sources_of_every_kind_spread_evenly() {
        for seed in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let one_client = (0..60_000_u16)
                .map(|port| source_hash(seed, Ipv4Addr::new(192, 0, 2, 9).into(), port + 1024, 6));
            assert!(imbalance(one_client, 256) < 1.35, "ports, seed {seed:x}");

            let one_port = (0..65_536_u32)
                .map(|n| source_hash(seed, Ipv4Addr::from(0x0a00_0000 + n).into(), 443, 17));
            assert!(imbalance(one_port, 256) < 1.35, "IPv4, seed {seed:x}");

            let networks =
                (0..65_536_u32).map(|n| source_hash(seed, Ipv4Addr::from(n << 16).into(), 443, 17));
            assert!(imbalance(networks, 256) < 1.35, "networks, seed {seed:x}");

            let v6 = (0..65_536_u128).map(|n| {
                source_hash(
                    seed,
                    Ipv6Addr::from((0x2001_0db8 << 96) + (n << 64) + n).into(),
                    443,
                    6,
                )
            });
            assert!(imbalance(v6, 256) < 1.35, "IPv6, seed {seed:x}");
        }
    }

    #[test]
    fn frontends_pick_independently_of_each_other() {
        let same = (0..10_000_u16)
            .filter(|&port| {
                let slot = |seed| {
                    let source = Ipv4Addr::new(192, 0, 2, 9).into();
                    slot_index(source_hash(seed, source, port, 6), 256)
                };
                slot(7) == slot(8)
            })
            .count();
        assert!((20..60).contains(&same), "{same} of 10,000 slots are equal");
    }
}
