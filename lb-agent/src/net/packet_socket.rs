//! Frames of our own making, gratuitous ARP and unsolicited neighbour
//! advertisements, and answers of gateways.
#![expect(
    unsafe_code,
    reason = "socket2 has no safe way to make the address of a packet socket"
)]

use std::io;

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

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

/// What to hear of one device.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    Arp,
    /// Neighbour advertisements.
    Advertisements,
}

/// Hears frames of one kind that come by one device, whoever else takes them.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UdpSocket,
}

impl Listener {
    pub(crate) fn open(ifindex: u32, heard: Heard) -> io::Result<Self> {
        let ethertype = match heard {
            Heard::Arp => libc::ETH_P_ARP,
            Heard::Advertisements => libc::ETH_P_IPV6,
        };
        let ethertype = u16::try_from(ethertype).map_err(io::Error::other)?.to_be();
        let kind = Type::RAW.nonblocking();
        // Nothing is delivered before it is bound.
        let socket = Socket::new(Domain::PACKET, kind, None)?;
        if matches!(heard, Heard::Advertisements) {
            socket.attach_filter(&ADVERTISEMENTS)?;
        }
        socket.bind(&of_device(ifindex, ethertype)?)?;
        // Which only ever calls recv(2), the same for all kinds of datagrams.
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket })
    }

    /// The next frame, as far as it fits. Nothing is lost when it is cancelled.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }
}

/// IPv6, next header ICMPv6, type 136 (classic BPF; offsets from the frame's
/// start).
const ADVERTISEMENTS: [SockFilter; 6] = [
    filter(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 20),
    filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 3, 58),
    filter(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 54),
    filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 136),
    filter(libc::BPF_RET | libc::BPF_K, 0, 0xffff),
    filter(libc::BPF_RET | libc::BPF_K, 0, 0),
];

/// `else_skip`: so many are skipped where a comparison fails.
#[expect(
    clippy::cast_possible_truncation,
    reason = "all codes of classic BPF have eight bits"
)]
const fn filter(code: u32, else_skip: u8, k: u32) -> SockFilter {
    SockFilter::new(code as u16, 0, else_skip, k)
}

/// The address that says which device a frame leaves by.
fn by_device(ifindex: u32) -> io::Result<SockAddr> {
    of_device(ifindex, 0)
}

/// `ethertype`: in network order; 0 for none.
fn of_device(ifindex: u32, ethertype: u16) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address, of which any bytes are a value.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    address.sll_halen = 6;
    address.sll_protocol = ethertype;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the storage holds an address of this length, written above.
    Ok(unsafe { SockAddr::new(storage, length) })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use lb_core::l2::wire::{announcements, ndp, probe};
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

    #[test]
    fn a_neighbour_is_asked_in_a_way_that_it_answers() {
        let [gateway, own] = ["fe80::1", "fe80::2"].map(|text| text.parse::<Ipv6Addr>().unwrap());
        for known in [None, Some([2, 0, 0, 0, 0, 0xfe])] {
            let frame = ndp::solicitation(gateway, known, MAC, own);
            let to = known.unwrap_or([0x33, 0x33, 0xff, 0, 0, 1]);
            assert_eq!(frame[..6], to);
            let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::NetSlice::Ipv6(ip)) = &packet.net else {
                panic!("{packet:?}");
            };
            let ip = ip.header();
            assert_eq!((ip.source_addr(), ip.hop_limit()), (own, 255));
            let Some(etherparse::TransportSlice::Icmpv6(icmp)) = &packet.transport else {
                panic!("{packet:?}");
            };
            assert_eq!(icmp.slice()[..2], [135, 0]);
            assert_eq!(icmp.slice()[24..32], [1, 1, 2, 0, 0, 0, 0, 9]);
            assert!(icmp.is_checksum_valid(ip.source(), ip.destination()));
        }
    }
}
