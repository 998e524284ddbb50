//! Neighbour discovery for IPv6 (RFC 4861).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::model::Mac;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The flag "override" of an advertisement (§4.4).
const OVERRIDE: u8 = 0x20;
/// Option "target link-layer address" (§4.6.1), 8 bytes.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
/// Option "source link-layer address" (§4.6.1), 8 bytes.
const SOURCE_LINK_LAYER: [u8; 2] = [1, 1];
const ETHERTYPE: [u8; 2] = [0x86, 0xdd];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;

/// To all nodes, not solicited, override set (§7.2.6).
#[must_use]
pub fn unsolicited_advertisement(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = message(ADVERTISEMENT, OVERRIDE, vip);
    message.extend_from_slice(&TARGET_LINK_LAYER);
    message.extend_from_slice(&mac);
    frame(mac, vip, ALL_NODES, message)
}

/// A solicitation from nobody (RFC 4862 §5.4.2): who has the address answers
/// to all nodes.
#[must_use]
pub fn duplicate_address_detection(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let message = message(SOLICITATION, 0, vip);
    frame(mac, Ipv6Addr::UNSPECIFIED, solicited_node(vip), message)
}

/// Asks for `target` (§7.2.2), whose MAC is known and to be confirmed (§7.3.3),
/// or not known.
#[must_use]
pub fn solicitation(target: Ipv6Addr, known: Option<Mac>, mac: Mac, own: Ipv6Addr) -> Vec<u8> {
    let mut message = message(SOLICITATION, 0, target);
    message.extend_from_slice(&SOURCE_LINK_LAYER);
    message.extend_from_slice(&mac);
    match known {
        Some(known) => frame_to(known, mac, own, target, message),
        None => frame(mac, own, solicited_node(target), message),
    }
}

/// Who answers in this frame; none: nobody does. Only whoever is on the link can
/// send it with this hop limit (§7.1.2).
#[must_use]
pub fn who_answers(frame: &[u8]) -> Option<Ipv6Addr> {
    let ip = frame.get(12..)?.strip_prefix(&ETHERTYPE)?;
    let [ICMPV6, 255] = ip.get(6..8)? else {
        return None;
    };
    let message = ip.get(40..)?;
    let [ADVERTISEMENT, 0] = message.get(..2)? else {
        return None;
    };
    let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    Some(target.into())
}

/// The group of all addresses with these last three bytes (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// Type, code 0, no checksum yet, flags, target.
fn message(kind: u8, flags: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    message.extend_from_slice(&target.octets());
    message
}

/// To a group.
fn frame(mac: Mac, src: Ipv6Addr, dst: Ipv6Addr, message: Vec<u8>) -> Vec<u8> {
    let [.., a, b, c, d] = dst.octets();
    // RFC 2464 §7.
    frame_to([0x33, 0x33, a, b, c, d], mac, src, dst, message)
}

/// With the hop limit that neighbour discovery asks for (§7.1).
fn frame_to(to: Mac, mac: Mac, src: Ipv6Addr, dst: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(0);
    let checksum = checksum(src, dst, length, &message);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    let mut frame = Vec::with_capacity(86);
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ETHERTYPE);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[ICMPV6, 255]);
    frame.extend_from_slice(&src.octets());
    frame.extend_from_slice(&dst.octets());
    frame.extend_from_slice(&message);
    frame
}

/// Of the pseudo-header (RFC 8200 §8.1) and the message, which has an even
/// number of bytes.
fn checksum(src: Ipv6Addr, dst: Ipv6Addr, length: u16, message: &[u8]) -> u16 {
    let addresses = src.segments().into_iter().chain(dst.segments());
    let words = message
        .chunks_exact(2)
        .filter_map(|word| Some(u16::from_be_bytes(word.try_into().ok()?)));
    let words = addresses.chain(words).chain([length, u16::from(ICMPV6)]);
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 4291 §2.7.1.
    #[test]
    fn the_group_is_made_of_the_last_three_bytes() {
        let address: Ipv6Addr = "4037::01:800:200E:8C6C".parse().unwrap();
        let group: Ipv6Addr = "ff02::1:ff0e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(address), group);
    }
}
