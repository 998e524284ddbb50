//! Frames of our own making: gratuitous ARP and unsolicited neighbour
//! advertisements.
#![expect(
    unsafe_code,
    reason = "socket2 has no safe way to make the address of a packet socket"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header};
use lb_core::model::Mac;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

const BROADCAST: Mac = [0xff; 6];
/// The MAC of ff02::1, all nodes on the link (RFC 2464 §7).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// Neighbour advertisement (RFC 4861 §4.4): type, and the flag "override".
const ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
/// Option "target link-layer address" (RFC 4861 §4.6.1), 8 bytes.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];

/// Sends whole frames by any device, and receives none.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0: nothing is delivered to it.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        Ok(Self { socket })
    }

    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        self.socket.send_to(frame, &by_device(ifindex)?).map(drop)
    }
}

/// The address that says which device a frame leaves by.
fn by_device(ifindex: u32) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address, of which any bytes are a value.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    address.sll_halen = 6;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the storage holds an address of this length, written above.
    Ok(unsafe { SockAddr::new(storage, length) })
}

/// The frames that tell everybody on the link that `vip` is at `mac` now.
pub(super) fn announcements(vip: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match vip {
        // Both forms: some listen to one, some to the other (RFC 5944 §4.6).
        IpAddr::V4(vip) => [ArpOperation::REQUEST, ArpOperation::REPLY]
            .into_iter()
            .map(|operation| gratuitous_arp(vip, mac, operation))
            .collect(),
        IpAddr::V6(vip) => vec![unsolicited_advertisement(vip, mac)],
    }
}

/// Sender and target are the same (RFC 5944 §4.6).
fn gratuitous_arp(vip: Ipv4Addr, mac: Mac, operation: ArpOperation) -> Vec<u8> {
    let ethernet = Ethernet2Header {
        source: mac,
        destination: BROADCAST,
        ether_type: EtherType::ARP,
    };
    let target_mac = if operation == ArpOperation::REPLY {
        mac
    } else {
        [0; 6]
    };
    let arp = ArpEthIpv4Packet {
        operation,
        sender_mac: mac,
        sender_ipv4: vip.octets(),
        target_mac,
        target_ipv4: vip.octets(),
    };
    let mut frame = ethernet.to_bytes().to_vec();
    frame.extend_from_slice(&arp.to_bytes());
    frame
}

/// RFC 4861 §7.2.6: to all nodes, not solicited, override set.
fn unsolicited_advertisement(vip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut payload = Vec::with_capacity(24);
    payload.extend_from_slice(&vip.octets());
    payload.extend_from_slice(&TARGET_LINK_LAYER);
    payload.extend_from_slice(&mac);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac, ALL_NODES_MAC)
        .ipv6(vip.octets(), all_nodes.octets(), 255)
        .icmpv6_raw(ADVERTISEMENT, 0, [OVERRIDE, 0, 0, 0])
        .write(&mut frame, &payload)
        .expect("a vector takes any number of bytes");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn gratuitous_arp_names_the_vip_twice() {
        let frames = announcements("192.0.2.80".parse().unwrap(), MAC);
        assert_eq!(frames.len(), 2);
        for (frame, operation) in frames.iter().zip([1, 2]) {
            assert_eq!(frame.len(), 42);
            assert_eq!(frame[..6], BROADCAST);
            assert_eq!(frame[12..14], [0x08, 0x06]);
            assert_eq!(frame[20..22], [0, operation]);
            assert_eq!(frame[22..28], MAC);
            assert_eq!(frame[28..32], [192, 0, 2, 80]);
            assert_eq!(frame[38..42], [192, 0, 2, 80]);
        }
    }

    #[test]
    fn an_unsolicited_advertisement_is_one_that_hosts_accept() {
        let vip: Ipv6Addr = "2001:db8::80".parse().unwrap();
        let frames = announcements(vip.into(), MAC);
        let frame = &frames[0];
        assert_eq!(frame[..6], ALL_NODES_MAC);
        // RFC 4861 §7.1.2: hop limit 255, code 0, the right checksum.
        assert_eq!(frame[14 + 7], 255);
        let icmp = &frame[54..];
        assert_eq!(icmp.len(), 32);
        assert_eq!(icmp[..2], [136, 0]);
        assert_eq!(icmp[4], 0x20);
        assert_eq!(icmp[8..24], vip.octets());
        assert_eq!(icmp[24..32], [2, 1, 2, 0, 0, 0, 0, 9]);
        let slice = etherparse::Icmpv6Slice::from_slice(icmp).unwrap();
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        assert!(slice.is_checksum_valid(vip.octets(), all_nodes.octets()));
    }
}
