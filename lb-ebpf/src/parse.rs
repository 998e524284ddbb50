//! From bytes to what the rest needs to know: where the headers are, whose
//! packet it is, and how it came.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    addr::Addr,
    flow::{ICMP, ICMPV6, L4, TCP, UDP},
    limits::{EXTENSION_HEADERS_MAX, VLAN_TAGS_MAX},
    pending::Pending,
    tunnel::MARKED_ETHERTYPE,
    verdict::Reason,
};

use crate::{
    header::{Ethernet, Extension, Ipv4, Ipv6, Tcp, Udp, Vlan, ethertype, extension},
    maps,
    packet::Frame,
};

pub const ETHERNET_LEN: usize = size_of::<Ethernet>();

/// Bounds for the verifier, each a power of two less one: the link header (22
/// bytes at the most), and where a packet's transport header may begin (outer
/// and inner headers, extension headers of up to 2 KiB each cut short).
pub const L2_MAX: usize = 0x1f;
pub const OFFSET_MAX: usize = 0x1ff;

/// Where the Ethernet header and its tags end, and what follows.
#[derive(Clone, Copy)]
pub struct L2 {
    pub len: usize,
    /// In host order.
    pub ethertype: u16,
}

/// Parses the Ethernet header and up to [`VLAN_TAGS_MAX`] tags.
#[inline(always)]
pub fn l2(frame: &Frame) -> Option<L2> {
    let ethernet = frame.header::<Ethernet>(0)?;
    let mut l2 = L2 {
        len: ETHERNET_LEN,
        ethertype: u16::from_be(ethernet.ethertype),
    };
    for _ in 0..VLAN_TAGS_MAX {
        if l2.ethertype != ethertype::VLAN && l2.ethertype != ethertype::QINQ {
            break;
        }
        let tag = frame.header::<Vlan>(l2.len)?;
        l2.ethertype = u16::from_be(tag.ethertype);
        l2.len += size_of::<Vlan>();
    }
    l2.len = frame.blur(l2.len, L2_MAX);
    Some(l2)
}

/// The family of an IP packet, as its version number. Not an enum: the verifier
/// is not to know which it is until somebody asks (see `Frame::blur`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Family(usize);

impl Family {
    pub const V4: Self = Self(4);
    pub const V6: Self = Self(6);

    #[inline(always)]
    pub fn of_version(version: u32) -> Self {
        Self(version as usize & 7)
    }

    #[inline(always)]
    pub fn version(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub fn is_v4(self) -> bool {
        self.0 == 4
    }

    #[inline(always)]
    pub fn ethertype(self) -> u16 {
        if self.is_v4() {
            ethertype::IPV4
        } else {
            ethertype::IPV6
        }
    }

    /// The family of an EtherType, and whether it is the mark.
    #[inline(always)]
    pub fn of(frame: &Frame, l2: L2) -> Option<(Self, bool)> {
        match l2.ethertype {
            ethertype::IPV4 => Some((Self::V4, false)),
            ethertype::IPV6 => Some((Self::V6, false)),
            MARKED_ETHERTYPE => Some((Self::by_version(frame, l2.len)?, true)),
            _ => None,
        }
    }

    /// The family by the version nibble of the header at `l3`.
    #[inline(always)]
    pub fn by_version(frame: &Frame, l3: usize) -> Option<Self> {
        // Two bytes: of a single one the verifier would not believe the bound.
        match frame.header::<[u8; 2]>(l3)?[0] >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    #[inline(always)]
    fn blurred(self, frame: &Frame) -> Self {
        Self(frame.blur(self.0, 7))
    }
}

/// A part of a fragmented datagram, or a whole one.
#[derive(Clone, Copy)]
pub struct Fragment {
    is_part: usize,
    pub identification: u32,
    /// In bytes.
    pub offset: u32,
    /// Bytes of the datagram in this part.
    pub len: u32,
}

impl Fragment {
    const WHOLE: Self = Self {
        is_part: 0,
        identification: 0,
        offset: 0,
        len: 0,
    };

    /// The part with the ports, or, with `is_part` 0, a whole datagram.
    #[inline(always)]
    pub fn first(is_part: u32, identification: u32, len: u32) -> Self {
        Self {
            is_part: is_part as usize,
            identification,
            offset: 0,
            len,
        }
    }

    #[inline(always)]
    pub fn is_part(&self) -> bool {
        self.is_part != 0
    }

    /// The part with the ports.
    #[inline(always)]
    pub fn is_first(&self) -> bool {
        self.is_part != 0 && self.offset == 0
    }

    #[inline(always)]
    pub fn is_later(&self) -> bool {
        self.is_part != 0 && self.offset != 0
    }
}

/// An IP header, and where its payload is.
#[derive(Clone, Copy)]
pub struct Ip {
    pub family: Family,
    /// Where the header is in the frame.
    pub l3: usize,
    /// Where the payload is, after options and extension headers.
    pub l4: usize,
    /// The whole packet, header included.
    pub len: u32,
    pub protocol: u8,
    pub ttl: u8,
    pub src: Addr,
    pub dst: Addr,
    pub fragment: Fragment,
}

/// Which headers a packet has, and where.
#[derive(Clone, Copy)]
pub struct At {
    pub family: Family,
    pub l3: usize,
    pub l4: usize,
    pub protocol: u8,
}

impl At {
    /// Of the packet that an earlier stage has parsed.
    #[inline(always)]
    pub fn of_pending(pending: &Pending) -> Self {
        let located = &pending.located;
        Self {
            family: Family::of_version(located.version),
            l3: located.l3 as usize & OFFSET_MAX,
            l4: located.l4 as usize & OFFSET_MAX,
            protocol: pending.flow.protocol as u8,
        }
    }
}

impl Ip {
    #[inline(always)]
    pub fn at(&self) -> At {
        At {
            family: self.family,
            l3: self.l3,
            l4: self.l4,
            protocol: self.protocol,
        }
    }
}

/// Source and destination of the header at `l3`, without looking further.
#[inline(always)]
pub fn addresses(frame: &Frame, family: Family, l3: usize) -> Option<(Addr, Addr)> {
    if family.is_v4() {
        let ip = frame.header::<Ipv4>(l3)?;
        Some((Addr::from_v4_word(ip.src), Addr::from_v4_word(ip.dst)))
    } else {
        let ip = frame.header::<Ipv6>(l3)?;
        Some((Addr::from_words(ip.src), Addr::from_words(ip.dst)))
    }
}

/// Parses the IP header at `l3`. `Err` names what is wrong with it.
#[inline(always)]
pub fn ip(frame: &Frame, family: Family, l3: usize) -> Result<Ip, Reason> {
    let mut ip = if family.is_v4() {
        ipv4(frame, l3)?
    } else {
        ipv6(frame, l3)?
    };
    ip.family = ip.family.blurred(frame);
    ip.protocol = frame.blur(usize::from(ip.protocol), 0xff) as u8;
    ip.fragment.is_part = frame.blur(ip.fragment.is_part, 0x3fff);
    Ok(ip)
}

#[inline(always)]
fn ipv4(frame: &Frame, l3: usize) -> Result<Ip, Reason> {
    let ip = frame.header::<Ipv4>(l3).ok_or(Reason::malformed)?;
    let header_len = usize::from(ip.version_ihl & 0xf) * 4;
    let len = u32::from(u16::from_be(ip.total_len));
    if ip.version_ihl >> 4 != 4 || header_len < size_of::<Ipv4>() || (len as usize) < header_len {
        return Err(Reason::malformed_for_vip);
    }
    // RFC 791 §3.1: a flag (more fragments) and an offset in units of 8 bytes.
    let fragment = u16::from_be(ip.fragment) & 0x3fff;
    Ok(Ip {
        family: Family::V4,
        l3,
        l4: frame.blur(l3 + header_len, OFFSET_MAX),
        len,
        protocol: ip.protocol,
        ttl: ip.ttl,
        src: Addr::from_v4_word(ip.src),
        dst: Addr::from_v4_word(ip.dst),
        fragment: Fragment {
            is_part: usize::from(fragment),
            identification: u32::from(u16::from_be(ip.identification)),
            offset: u32::from(fragment & 0x1fff) * 8,
            len: len - header_len as u32,
        },
    })
}

/// Parses the IP header of a packet that leaves: pods send no extension headers
/// but the fragment header, so no others are walked.
#[inline(always)]
pub fn leaving(frame: &Frame, family: Family, l3: usize) -> Option<Ip> {
    let mut ip = if family.is_v4() {
        ipv4(frame, l3).ok()?
    } else {
        let mut ip = ipv6_fixed(frame, l3).ok()?;
        if ip.protocol == extension::FRAGMENT {
            let header = frame.header::<Extension>(ip.l4)?;
            ip.protocol = header.next_header;
            ip.l4 = frame.blur(ip.l4 + size_of::<Extension>(), OFFSET_MAX);
            ip.fragment = Fragment {
                is_part: usize::from(u16::from_be(header.fragment) & 0xfff9),
                identification: u32::from_be(header.identification),
                offset: u32::from(u16::from_be(header.fragment) & 0xfff8),
                len: ip.len.wrapping_sub((ip.l4 - l3) as u32),
            };
        }
        ip
    };
    ip.family = ip.family.blurred(frame);
    ip.protocol = frame.blur(usize::from(ip.protocol), 0xff) as u8;
    ip.fragment.is_part = frame.blur(ip.fragment.is_part, 0xffff);
    Some(ip)
}

#[inline(always)]
fn ipv6(frame: &Frame, l3: usize) -> Result<Ip, Reason> {
    let mut parsed = ipv6_fixed(frame, l3)?;
    let len = parsed.len;
    if !is_extension(parsed.protocol) {
        return Ok(parsed);
    }
    let found = Extensions(lb_extensions(frame.context(), l3 as u32));
    if let Some(reason) = found.refused() {
        return Err(reason);
    }
    parsed.l4 = frame.blur(found.l4(), OFFSET_MAX);
    parsed.protocol = found.protocol();
    if found.is_part() {
        // The fragment header is the last one that was walked.
        let header = frame
            .header::<Extension>(parsed.l4 - size_of::<Extension>())
            .ok_or(Reason::malformed_for_vip)?;
        let before = (parsed.l4 - l3) as u32;
        if len < before {
            return Err(Reason::malformed_for_vip);
        }
        parsed.fragment = Fragment {
            is_part: 1,
            identification: u32::from_be(header.identification),
            offset: u32::from(u16::from_be(header.fragment) & 0xfff8),
            len: len - before,
        };
    }
    Ok(parsed)
}

#[inline(always)]
fn ipv6_fixed(frame: &Frame, l3: usize) -> Result<Ip, Reason> {
    let ip = frame.header::<Ipv6>(l3).ok_or(Reason::malformed)?;
    let len = u32::from(u16::from_be(ip.payload_len)) + size_of::<Ipv6>() as u32;
    Ok(Ip {
        family: Family::V6,
        l3,
        l4: l3 + size_of::<Ipv6>(),
        len,
        protocol: ip.next_header,
        ttl: ip.hop_limit,
        src: Addr::from_words(ip.src),
        dst: Addr::from_words(ip.dst),
        fragment: Fragment::WHOLE,
    })
}

/// What [`lb_extensions`] found, in one number.
#[derive(Clone, Copy)]
struct Extensions(u32);

impl Extensions {
    const PART: u32 = 1 << 24;
    const MALFORMED: Self = Self(1 << 30);
    const TOO_MANY: Self = Self(1 << 31);

    #[inline(always)]
    fn refused(self) -> Option<Reason> {
        match self {
            Self(0x4000_0000) => Some(Reason::malformed_for_vip),
            Self(0x8000_0000) => Some(Reason::extension_headers),
            _ => None,
        }
    }

    #[inline(always)]
    fn protocol(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    fn l4(self) -> usize {
        (self.0 >> 8) as usize & OFFSET_MAX
    }

    #[inline(always)]
    fn is_part(self) -> bool {
        self.0 & Self::PART != 0
    }
}

/// Walks the extension headers of the IPv6 packet at `l3` (RFC 8200 §4), up to
/// and including a fragment header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_extensions(ctx: *mut xdp_md, l3: u32) -> u32 {
    match maps::config() {
        Some(config) => extensions(&Frame::of_xdp(ctx, config), l3).0,
        None => Extensions::MALFORMED.0,
    }
}

#[inline(always)]
fn extensions(frame: &Frame, l3: u32) -> Extensions {
    let l3 = l3 as usize & OFFSET_MAX;
    let Some(ip) = frame.header::<Ipv6>(l3) else {
        return Extensions::MALFORMED;
    };
    let mut protocol = ip.next_header;
    let mut at = l3 + size_of::<Ipv6>();
    for _ in 0..=EXTENSION_HEADERS_MAX {
        if !is_extension(protocol) {
            return Extensions(u32::from(protocol) | (at as u32) << 8);
        }
        let Some(header) = frame.header::<Extension>(at) else {
            return Extensions::MALFORMED;
        };
        let is_fragment = protocol == extension::FRAGMENT;
        let mut len = size_of::<Extension>();
        if !is_fragment {
            len = (usize::from(header.len) + 1) * 8;
        }
        protocol = header.next_header;
        // Headers that run on beyond the bound are as good as too many.
        if at + len > OFFSET_MAX {
            return Extensions::TOO_MANY;
        }
        at = frame.blur(at + len, OFFSET_MAX);
        // RFC 8200 §4.5. An "atomic" fragment (RFC 6946) is whole.
        if is_fragment && u16::from_be(header.fragment) & 0xfff9 != 0 {
            return Extensions(u32::from(protocol) | (at as u32) << 8 | Extensions::PART);
        }
    }
    Extensions::TOO_MANY
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION
    )
}

/// Parses TCP or UDP at `ip.l4`.
#[inline(always)]
pub fn l4(frame: &Frame, ip: &Ip) -> Result<L4, Reason> {
    let payload = ip.len.wrapping_sub((ip.l4 - ip.l3) as u32);
    if payload > ip.len {
        return Err(Reason::malformed_for_vip);
    }
    if ip.protocol == TCP {
        let tcp = frame
            .header::<Tcp>(ip.l4)
            .ok_or(Reason::malformed_for_vip)?;
        let header_len = tcp.header_len();
        // In a fragment the rest of the header may follow; nobody sends that.
        if header_len < size_of::<Tcp>() as u32 || header_len > payload {
            return Err(Reason::malformed_for_vip);
        }
        Ok(L4 {
            src_port: u16::from_be(tcp.src),
            dst_port: u16::from_be(tcp.dst),
            flags: tcp.flags,
            seq: u32::from_be(tcp.seq),
            ack: u32::from_be(tcp.ack),
            seq_len: payload - header_len + tcp.sequence_of_flags(),
            pad: 0,
            pad_end: 0,
        })
    } else {
        let udp = frame
            .header::<Udp>(ip.l4)
            .ok_or(Reason::malformed_for_vip)?;
        if (payload as usize) < size_of::<Udp>() {
            return Err(Reason::malformed_for_vip);
        }
        // RFC 768: the length covers the header. A fragment holds a part.
        let udp_len = u32::from(u16::from_be(udp.len));
        if udp_len < size_of::<Udp>() as u32 || (!ip.fragment.is_part() && udp_len > payload) {
            return Err(Reason::malformed_for_vip);
        }
        Ok(L4 {
            src_port: u16::from_be(udp.src),
            dst_port: u16::from_be(udp.dst),
            flags: 0,
            seq: 0,
            ack: 0,
            seq_len: 0,
            pad: 0,
            pad_end: 0,
        })
    }
}

/// Whether the protocol has ports that frontends match on.
#[inline(always)]
pub fn has_ports(protocol: u8) -> bool {
    protocol == TCP || protocol == UDP
}

#[inline(always)]
pub fn is_icmp(ip: &Ip) -> bool {
    if ip.family.is_v4() {
        ip.protocol == ICMP
    } else {
        ip.protocol == ICMPV6
    }
}
