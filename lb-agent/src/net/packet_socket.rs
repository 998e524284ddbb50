//! Frames of our own making: gratuitous ARP and unsolicited neighbour
//! advertisements.
#![expect(
    unsafe_code,
    reason = "socket2 has no safe way to make the address of a packet socket"
)]

use std::io;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// Sends whole frames by any device, and receives none.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0: nothing is delivered to it.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        Ok(Self { socket })
    }

    pub(crate) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use lb_core::l2::wire::{announcements, probe};
    use lb_core::model::Mac;

    /// The MAC of ff02::1, all nodes on the link (RFC 2464 §7).
    const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
    const BROADCAST: Mac = [0xff; 6];
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

    #[test]
    fn a_probe_asks_without_saying_anything() {
        let arp = &probe("192.0.2.80".parse().unwrap(), MAC)[14..];
        // RFC 5227 §1.1: a request, the sender's address is zero.
        assert_eq!(arp[6..8], [0, 1]);
        assert_eq!(arp[8..14], MAC);
        assert_eq!(arp[14..18], [0; 4]);
        assert_eq!(arp[24..28], [192, 0, 2, 80]);
        let vip: Ipv6Addr = "2001:db8::80".parse().unwrap();
        let frame = probe(vip.into(), MAC);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 0x80]);
        let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Ipv6(ip)) = &packet.net else {
            panic!("{packet:?}");
        };
        let ip = ip.header();
        assert_eq!(ip.source_addr(), Ipv6Addr::UNSPECIFIED);
        assert_eq!(ip.hop_limit(), 255);
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = &packet.transport else {
            panic!("{packet:?}");
        };
        assert_eq!(icmp.slice()[..2], [135, 0]);
        assert_eq!(icmp.slice()[8..24], vip.octets());
        assert!(icmp.is_checksum_valid(ip.source(), ip.destination()));
    }
}
