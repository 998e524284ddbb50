//! Packets for tests, built and, as [`Seen`], checked by etherparse, which is not
//! ours.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
};

mod seen;

pub use seen::{Seen, Transport};

/// TCP flags, by the letters that tcpdump shows.
fn set_flags(header: &mut TcpHeader, flags: &str) {
    for flag in flags.chars() {
        match flag {
            'S' => header.syn = true,
            'A' => header.ack = true,
            'F' => header.fin = true,
            'R' => header.rst = true,
            'P' => header.psh = true,
            other => panic!("no TCP flag {other}"),
        }
    }
}

/// A TCP segment or UDP datagram, not yet in bytes.
#[derive(Clone, Debug)]
pub struct Segment {
    src: SocketAddr,
    dst: SocketAddr,
    ttl: u8,
    payload: Vec<u8>,
    tcp: Option<TcpHeader>,
}

impl Segment {
    #[must_use]
    pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: &str) -> Self {
        let mut header = TcpHeader::new(src.port(), dst.port(), 1000, 64240);
        set_flags(&mut header, flags);
        Self {
            src,
            dst,
            ttl: 64,
            payload: Vec::new(),
            tcp: Some(header),
        }
    }

    #[must_use]
    pub fn udp(src: SocketAddr, dst: SocketAddr) -> Self {
        Self {
            src,
            dst,
            ttl: 64,
            payload: b"hello".to_vec(),
            tcp: None,
        }
    }

    #[must_use]
    pub fn seq(mut self, seq: u32) -> Self {
        if let Some(tcp) = &mut self.tcp {
            tcp.sequence_number = seq;
        }
        self
    }

    #[must_use]
    pub fn ack(mut self, ack: u32) -> Self {
        if let Some(tcp) = &mut self.tcp {
            tcp.acknowledgment_number = ack;
        }
        self
    }

    /// The maximum segment size option.
    ///
    /// # Panics
    /// Of UDP.
    #[must_use]
    pub fn mss(mut self, mss: u16) -> Self {
        let tcp = self.tcp.as_mut().expect("UDP has no options");
        tcp.set_options(&[etherparse::TcpOptionElement::MaximumSegmentSize(mss)])
            .expect("it has room");
        self
    }

    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The transport header and the payload, with a checksum.
    ///
    /// # Panics
    /// When source and destination are of two families.
    #[must_use]
    pub fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(tcp) = &self.tcp {
            let mut tcp = tcp.clone();
            tcp.checksum = match (self.src.ip(), self.dst.ip()) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    tcp.calc_checksum_ipv4_raw(src.octets(), dst.octets(), &self.payload)
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    tcp.calc_checksum_ipv6_raw(src.octets(), dst.octets(), &self.payload)
                }
                mixed => panic!("two families: {mixed:?}"),
            }
            .expect("it is short");
            tcp.write(&mut bytes).expect("memory takes it");
        } else {
            let (src, dst) = (self.src.port(), self.dst.port());
            let udp = match (self.src.ip(), self.dst.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let ip = ipv4_header(from.octets(), to.octets(), 0, IpNumber::UDP, 0);
                    UdpHeader::with_ipv4_checksum(src, dst, &ip, &self.payload)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    let ip = ipv6_header(from.octets(), to.octets(), 0, IpNumber::UDP, 0);
                    UdpHeader::with_ipv6_checksum(src, dst, &ip, &self.payload)
                }
                mixed => panic!("two families: {mixed:?}"),
            }
            .expect("it is short");
            udp.write(&mut bytes).expect("memory takes it");
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The IP packet.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let protocol = if self.tcp.is_some() {
            IpNumber::TCP
        } else {
            IpNumber::UDP
        };
        ip(
            self.src.ip(),
            self.dst.ip(),
            self.ttl,
            protocol.0,
            &self.transport(),
        )
    }

    /// The datagram in parts of `size` bytes of payload each (a multiple of 8).
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let protocol = if self.tcp.is_some() { 6 } else { 17 };
        let transport = self.transport();
        let parts = transport.chunks(size).count();
        let part = |(index, bytes): (usize, &[u8])| {
            let more = index + 1 < parts;
            fragment(
                self.src.ip(),
                self.dst.ip(),
                protocol,
                index * size,
                more,
                bytes,
            )
        };
        transport.chunks(size).enumerate().map(part).collect()
    }
}

fn ipv4_header(src: [u8; 4], dst: [u8; 4], ttl: u8, protocol: IpNumber, len: usize) -> Ipv4Header {
    let len = u16::try_from(len).expect("IP packets are short");
    let mut header = Ipv4Header::new(len, ttl, protocol, src, dst).expect("the length fits");
    header.identification = 7;
    header
}

fn ipv6_header(src: [u8; 16], dst: [u8; 16], ttl: u8, next: IpNumber, len: usize) -> Ipv6Header {
    Ipv6Header {
        payload_length: u16::try_from(len).expect("IP packets are short"),
        next_header: next,
        hop_limit: ttl,
        source: src,
        destination: dst,
        ..Ipv6Header::default()
    }
}

/// An IP packet of any protocol.
///
/// # Panics
/// When source and destination are of two families.
#[must_use]
pub fn ip(src: IpAddr, dst: IpAddr, ttl: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (src, dst) = (src.octets(), dst.octets());
            let header = ipv4_header(src, dst, ttl, IpNumber(protocol), payload.len());
            header.write(&mut bytes)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (src, dst) = (src.octets(), dst.octets());
            let header = ipv6_header(src, dst, ttl, IpNumber(protocol), payload.len());
            header.write(&mut bytes)
        }
        mixed => panic!("two families: {mixed:?}"),
    }
    .expect("memory takes it");
    bytes.extend_from_slice(payload);
    bytes
}

/// An IPv4 packet with options (no-operations) of `words` 32-bit words.
///
/// # Panics
/// Of IPv6.
#[must_use]
pub fn with_options(packet: &[u8], words: usize) -> Vec<u8> {
    let (mut header, payload) = Ipv4Header::from_slice(packet).expect("it is IPv4");
    header.options = Ipv4Options::try_from(&vec![1; words * 4][..]).expect("at most 10 words");
    header
        .set_payload_len(payload.len())
        .expect("IP packets are short");
    let mut bytes = Vec::new();
    header.write(&mut bytes).expect("memory takes it");
    bytes.extend_from_slice(payload);
    bytes
}

/// An IPv6 packet with `count` destination options headers of 8 bytes each
/// before its payload.
///
/// # Panics
/// Of IPv4.
#[must_use]
pub fn with_extensions(packet: &[u8], count: usize) -> Vec<u8> {
    const DESTINATION_OPTIONS: u8 = 60;
    let (mut header, payload) = Ipv6Header::from_slice(packet).expect("it is IPv6");
    let protocol = header.next_header.0;
    let mut extensions = Vec::new();
    for index in 0..count {
        let last = index + 1 == count;
        let next = if last { protocol } else { DESTINATION_OPTIONS };
        // PadN over the six bytes that are left.
        extensions.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]);
    }
    if count > 0 {
        header.next_header = IpNumber(DESTINATION_OPTIONS);
    }
    extensions.extend_from_slice(payload);
    header.payload_length = u16::try_from(extensions.len()).expect("IP packets are short");
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&extensions);
    bytes
}

/// One part of a fragmented datagram.
///
/// # Panics
/// When source and destination are of two families.
#[must_use]
pub fn fragment(
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    offset: usize,
    more: bool,
    payload: &[u8],
) -> Vec<u8> {
    const FRAGMENT_HEADER: u8 = 44;
    let units = u16::try_from(offset / 8).expect("IP packets are short");
    let mut bytes = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (src, dst) = (src.octets(), dst.octets());
            let mut header = ipv4_header(src, dst, 64, IpNumber(protocol), payload.len());
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = IpFragOffset::try_new(units).expect("13 bits");
            header.write(&mut bytes).expect("memory takes it");
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => {
            let field = units << 3 | u16::from(more);
            let mut extension = vec![protocol, 0];
            extension.extend_from_slice(&field.to_be_bytes());
            extension.extend_from_slice(&7_u32.to_be_bytes());
            extension.extend_from_slice(payload);
            return ip(src, dst, 64, FRAGMENT_HEADER, &extension);
        }
        mixed => panic!("two families: {mixed:?}"),
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// An ICMP message of either family, with a checksum.
///
/// # Panics
/// When source and destination are of two families.
#[must_use]
pub fn icmp(src: IpAddr, dst: IpAddr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let sum = icmp_checksum(src, dst, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let protocol = if src.is_ipv4() { 1 } else { 58 };
    ip(src, dst, 64, protocol, &message)
}

/// The checksum that `message` (checksum field zero) is to have.
fn icmp_checksum(src: IpAddr, dst: IpAddr, message: &[u8]) -> u16 {
    use etherparse::checksum::Sum16BitWords;
    let mut sum = Sum16BitWords::new().add_slice(message);
    if let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) {
        let len = u32::try_from(message.len()).expect("IP packets are short");
        sum = sum
            .add_16bytes(src.octets())
            .add_16bytes(dst.octets())
            .add_4bytes(len.to_be_bytes())
            .add_2bytes([0, 58]);
    }
    sum.ones_complement().to_be()
}

/// A frame with any EtherType.
#[must_use]
pub fn ethernet(dst: [u8; 6], src: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(14 + payload.len());
    bytes.extend_from_slice(&dst);
    bytes.extend_from_slice(&src);
    bytes.extend_from_slice(&ethertype.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The EtherType of an IP packet.
#[must_use]
pub fn ethertype(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd }
}

/// The frame with `tags` VLAN tags.
#[must_use]
pub fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for tag in 0..tags {
        let kind = if tag + 1 < tags { 0x88a8_u16 } else { 0x8100 };
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 42]);
    }
    bytes.extend_from_slice(&frame[12..]);
    bytes
}
