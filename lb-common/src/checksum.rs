//! Incremental internet checksum (RFC 1624): what changes is summed, the rest
//! of the packet is not looked at.

use crate::addr::Addr;

/// The difference that a rewrite makes to a one's complement sum.
///
/// RFC 1624 §3, eqn. 3: `HC' = ~(~HC + ~m + m')`, where `m` is what was there
/// and `m'` what comes instead. `~m` and `m'` are collected here; words are
/// taken as they lie in memory, which a one's complement sum does not mind
/// (RFC 1071 §2 (B)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ChecksumUpdate {
    sum: u64,
}

impl ChecksumUpdate {
    pub const NONE: Self = Self { sum: 0 };

    #[inline(always)]
    pub const fn replace_u16(self, old: u16, new: u16) -> Self {
        Self {
            sum: self.sum + (!old) as u64 + new as u64,
        }
    }

    #[inline(always)]
    pub const fn replace_u32(self, old: u32, new: u32) -> Self {
        Self {
            sum: self.sum + (!old) as u64 + new as u64,
        }
    }

    #[inline(always)]
    pub const fn replace_addr(self, old: Addr, new: Addr) -> Self {
        let (old, new) = (old.words(), new.words());
        self.replace_u32(old[0], new[0])
            .replace_u32(old[1], new[1])
            .replace_u32(old[2], new[2])
            .replace_u32(old[3], new[3])
    }

    /// The checksum field after the rewrite, both as they lie in memory.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.sum + (!checksum) as u64)
    }

    /// The same for UDP: 0 means "none" and stays (RFC 768), and a computed 0
    /// is sent as all ones.
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        let updated = self.apply(checksum);
        if updated == 0 { 0xffff } else { updated }
    }
}

/// A sum of 16- and 32-bit words, folded to 16 bits with end-around carry.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "four folds leave 16 bits, whatever the sum was"
)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;
    use std::vec::Vec;

    use etherparse::{Ipv4Header, PacketBuilder};
    use proptest::prelude::*;

    use super::*;

    fn field(packet: &[u8], at: usize) -> u16 {
        u16::from_ne_bytes([packet[at], packet[at + 1]])
    }

    fn udp_v4(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(src, dst, 64)
            .udp(ports.0, ports.1)
            .write(&mut packet, payload)
            .unwrap();
        packet
    }

    proptest! {
        /// The oracle is a packet library that computes checksums whole.
        #[test]
        fn an_update_equals_a_computation_from_scratch(
            src: [u8; 4], dst: [u8; 4], new_dst: [u8; 4],
            sport: u16, dport: u16, new_dport: u16,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let before = udp_v4(src, dst, (sport, dport), &payload);
            let after = udp_v4(src, new_dst, (sport, new_dport), &payload);
            let addresses = ChecksumUpdate::NONE
                .replace_addr(IpAddr::from(dst).into(), IpAddr::from(new_dst).into());
            prop_assert_eq!(addresses.apply(field(&before, 10)), field(&after, 10));
            let both = addresses.replace_u16(dport.to_be(), new_dport.to_be());
            prop_assert_eq!(both.apply_udp(field(&before, 26)), field(&after, 26));
        }

        #[test]
        fn a_ttl_step_keeps_the_header_valid(ttl in 2_u8.., src: [u8; 4], dst: [u8; 4]) {
            let header = Ipv4Header::new(0, ttl, etherparse::IpNumber::UDP, src, dst).unwrap();
            let older = u16::from_ne_bytes([ttl, 17]);
            let newer = u16::from_ne_bytes([ttl - 1, 17]);
            let before = header.calc_header_checksum().to_be();
            let mut stepped = header;
            stepped.time_to_live = ttl - 1;
            let after = stepped.calc_header_checksum().to_be();
            prop_assert_eq!(ChecksumUpdate::NONE.replace_u16(older, newer).apply(before), after);
        }
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        assert_eq!(ChecksumUpdate::NONE.replace_u16(1, 2).apply_udp(0), 0);
    }
}
