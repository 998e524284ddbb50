//! Headers as they lie in a packet. Fields of more than a byte are in network
//! order: `u16::from_be` and friends read them.

#[repr(C)]
pub struct Ethernet {
    pub dst: [u16; 3],
    pub src: [u16; 3],
    pub ethertype: u16,
}

/// What follows the first 12 bytes of a tagged frame (IEEE 802.1Q §9).
#[repr(C)]
pub struct Vlan {
    pub tag: u16,
    pub ethertype: u16,
}

/// RFC 826, for Ethernet and IPv4.
#[repr(C)]
pub struct Arp {
    pub hardware: u16,
    pub protocol: u16,
    pub lengths: u16,
    pub operation: u16,
    pub sender_mac: [u16; 3],
    pub sender_ip: [u16; 2],
    pub target_mac: [u16; 3],
    pub target_ip: [u16; 2],
}

/// RFC 791 §3.1.
#[repr(C)]
pub struct Ipv4 {
    pub version_ihl: u8,
    pub tos: u8,
    pub total_len: u16,
    pub identification: u16,
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub src: u32,
    pub dst: u32,
}

/// RFC 8200 §3.
#[repr(C)]
pub struct Ipv6 {
    pub version: u32,
    pub payload_len: u16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub src: [u32; 4],
    pub dst: [u32; 4],
}

/// The common beginning of IPv6 extension headers (RFC 8200 §4), and the whole
/// of the fragment header.
#[repr(C)]
pub struct Extension {
    pub next_header: u8,
    /// In units of 8 bytes, not counting the first 8.
    pub len: u8,
    pub fragment: u16,
    pub identification: u32,
}

/// RFC 9293 §3.1.
#[repr(C)]
pub struct Tcp {
    pub src: u16,
    pub dst: u16,
    pub seq: u32,
    pub ack: u32,
    pub offset: u8,
    pub flags: u8,
    pub window: u16,
    pub checksum: u16,
    pub urgent: u16,
}

impl Tcp {
    /// Bytes of the header, as it says itself.
    #[inline(always)]
    pub fn header_len(&self) -> u32 {
        u32::from(self.offset >> 4) * 4
    }

    /// SYN and FIN take a number each (RFC 9293 §3.4).
    #[inline(always)]
    pub fn sequence_of_flags(&self) -> u32 {
        u32::from(self.flags & 1) + u32::from((self.flags >> 1) & 1)
    }
}

/// RFC 768.
#[repr(C)]
pub struct Udp {
    pub src: u16,
    pub dst: u16,
    pub len: u16,
    pub checksum: u16,
}

/// RFC 792, RFC 4443.
#[repr(C)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub checksum: u16,
    pub rest: u32,
}

pub mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q and 802.1ad.
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;
}

pub mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const DESTINATION: u8 = 60;
}
