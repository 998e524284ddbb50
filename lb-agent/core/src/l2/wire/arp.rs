//! ARP for IPv4 on Ethernet (RFC 826).

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::model::Mac;

pub const REQUEST: u16 = 1;
pub const REPLY: u16 = 2;
const BROADCAST: Mac = [0xff; 6];
/// EtherType ARP; hardware Ethernet, protocol IPv4, lengths 6 and 4.
const HEADER: [u8; 8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4];

/// Gratuitous ARP: sender and target are the same (RFC 5944 §4.6). As MetalLB
/// sends it, with everybody's hardware address as the target's.
#[must_use]
pub fn gratuitous(vip: Ipv4Addr, mac: Mac, operation: u16) -> Vec<u8> {
    frame(operation, (mac, vip), (BROADCAST, vip))
}

/// An ARP probe (RFC 5227 §1.1): the sender's address is zero, so that nobody
/// learns anything from it.
#[must_use]
pub fn probe(vip: Ipv4Addr, mac: Mac) -> Vec<u8> {
    frame(REQUEST, (mac, Ipv4Addr::UNSPECIFIED), ([0; 6], vip))
}

/// Asks for `target`, whose MAC is known and to be confirmed (RFC 1122 §2.3.2.1,
/// "unicast poll"), or not known. Without an address of one's own it is a probe.
#[must_use]
pub fn request(target: Ipv4Addr, known: Option<Mac>, mac: Mac, own: Option<Ipv4Addr>) -> Vec<u8> {
    let own = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let to = known.unwrap_or(BROADCAST);
    frame_to(to, REQUEST, (mac, own), ([0; 6], target))
}

/// Who answers in this frame; none: nobody does.
#[must_use]
pub fn who_answers(frame: &[u8]) -> Option<Ipv4Addr> {
    let arp = frame.get(12..)?.strip_prefix(&HEADER)?;
    let arp = arp.strip_prefix(&REPLY.to_be_bytes())?;
    let sender: [u8; 4] = arp.get(6..10)?.try_into().ok()?;
    Some(sender.into())
}

fn frame(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    frame_to(BROADCAST, operation, sender, target)
}

fn frame_to(to: Mac, operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&sender.0);
    frame.extend_from_slice(&HEADER);
    frame.extend_from_slice(&operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&address.octets());
    }
    frame
}
