//! Packets that are answered rather than forwarded: RST and the ICMP errors.
//! Silence is never the answer to a mistake.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::{
    addr::Addr,
    checksum::fold,
    flow::{ICMP, ICMPV6, L4, TCP, tcp_flags},
    traffic::rate,
    verdict::Reason,
};

use crate::{
    answer::{back, fold_once, pseudo_sum},
    count,
    header::{Icmp, Ipv4, Ipv6, Tcp},
    locate::{self, Packet},
    maps,
    packet::{Frame, adjust_head, adjust_tail, jiffies, whole_len},
    parse::{self, Family, Ip},
    step::{Hint, Step, flatten},
    tunnel::{copy_link_header, pop},
};

/// What the sender is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// TCP: RST; else port unreachable.
    NoBackend,
    NoFrontend,
    NoProtocol,
    /// With the largest packet that fits.
    TooBig(u32),
    TimeExceeded,
}

/// Type, code and the second word of an ICMP error.
struct Error {
    kind: u8,
    code: u8,
    /// In host order.
    rest: u32,
}

impl Answer {
    /// As numbers: the kind, and the MTU where there is one.
    #[inline(always)]
    pub fn encode(self) -> (u32, u32) {
        match self {
            Self::NoBackend => (0, 0),
            Self::NoFrontend => (1, 0),
            Self::NoProtocol => (2, 0),
            Self::TooBig(mtu) => (3, mtu),
            Self::TimeExceeded => (4, 0),
        }
    }

    #[inline(always)]
    pub fn decode(kind: u32, mtu: u32) -> Self {
        match kind {
            0 => Self::NoBackend,
            1 => Self::NoFrontend,
            2 => Self::NoProtocol,
            3 => Self::TooBig(mtu),
            _ => Self::TimeExceeded,
        }
    }

    #[inline(always)]
    fn reason(self) -> Reason {
        match self {
            Self::NoBackend => Reason::rejected_no_backend,
            Self::NoFrontend => Reason::rejected_no_frontend,
            Self::NoProtocol => Reason::rejected_protocol,
            Self::TooBig(_) => Reason::too_big_answered,
            Self::TimeExceeded => Reason::time_exceeded_answered,
        }
    }

    /// RFC 792, RFC 1191 §4; RFC 4443 §3.
    #[inline(always)]
    fn error(self, family: Family, protocol_at: u32) -> Error {
        let (kind, code, rest) = if family.is_v4() {
            match self {
                Self::NoBackend | Self::NoFrontend => (3, 3, 0),
                Self::NoProtocol => (3, 2, 0),
                Self::TooBig(mtu) => (3, 4, mtu),
                Self::TimeExceeded => (11, 0, 0),
            }
        } else {
            match self {
                Self::NoBackend | Self::NoFrontend => (1, 4, 0),
                // Parameter problem, unrecognised next header: points at it.
                Self::NoProtocol => (4, 1, protocol_at),
                Self::TooBig(mtu) => (2, 0, mtu),
                Self::TimeExceeded => (3, 0, 0),
            }
        };
        Error { kind, code, rest }
    }
}

/// Answers the sender of the packet from its destination, which is a VIP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_answer(ctx: *mut xdp_md, step: u32, hint: u32) -> u32 {
    flatten(reject(ctx, Step(step).to_answer(), Hint(hint))).0
}

#[inline(always)]
fn reject(ctx: *mut xdp_md, answer: Answer, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let mac = locate::uplink_mac(ctx, config).ok_or(Reason::not_for_us)?;
    let packet = locate::again(ctx, config, hint)?;
    let ip = &packet.ip;
    // RFC 1122 §3.2.2: later fragments are not answered, nor is what came from
    // everybody.
    if ip.fragment.is_later() || multicast(ip.src) || ip.src == Addr::UNSPECIFIED {
        return Err(Reason::not_answerable.into());
    }
    let (kind, limit) = match answer {
        Answer::TooBig(_) | Answer::TimeExceeded => {
            (rate::ERROR, config.rates[rate::ERROR as usize])
        }
        _ => (rate::REJECT, config.rates[rate::REJECT as usize]),
    };
    let with_reset = ip.protocol == TCP && matches!(answer, Answer::NoBackend | Answer::NoFrontend);
    let made = if with_reset {
        let l4 = parse::l4(&packet.frame, ip)?;
        // RFC 9293 §3.10.7.1: a reset is not answered.
        if l4.flags & tcp_flags::RST != 0 {
            return Err(Reason::not_answerable.into());
        }
        if !count::within_rate(kind, limit, jiffies()) {
            return Err(Reason::rate_limited.into());
        }
        reset_segment(&packet, &l4)
    } else {
        if !count::within_rate(kind, limit, jiffies()) {
            return Err(Reason::rate_limited.into());
        }
        error(&packet, answer)
    };
    let frame = made.ok_or(Reason::malformed_for_vip)?;
    back(&frame, mac).ok_or(Reason::malformed_for_vip)?;
    Ok(Step::done(answer.reason(), xdp_action::XDP_TX))
}

#[inline(always)]
fn multicast(addr: Addr) -> bool {
    if addr.is_v4() {
        addr.bytes[12] >= 224
    } else {
        addr.bytes[0] == 0xff
    }
}

/// Writes an IP header for an answer from `ip.dst` to `ip.src`.
#[inline(always)]
fn ip_header(frame: &Frame, l3: usize, ip: &Ip, protocol: u8, payload: u32) -> Option<()> {
    if ip.family.is_v4() {
        let header = frame.header::<Ipv4>(l3)?;
        let (src, dst) = (ip.dst.words()[3], ip.src.words()[3]);
        let total_len = ((payload + size_of::<Ipv4>() as u32) as u16).to_be();
        header.version_ihl = 0x45;
        header.tos = 0;
        header.total_len = total_len;
        header.identification = 0;
        header.fragment = 0x4000_u16.to_be();
        header.ttl = 64;
        header.protocol = protocol;
        header.src = src;
        header.dst = dst;
        let sum = u64::from(u16::from_ne_bytes([0x45, 0]))
            + u64::from(total_len)
            + u64::from(0x4000_u16.to_be())
            + u64::from(u16::from_ne_bytes([64, protocol]))
            + u64::from(src)
            + u64::from(dst);
        header.checksum = !fold(sum);
    } else {
        let header = frame.header::<Ipv6>(l3)?;
        header.version = 0x6000_0000_u32.to_be();
        header.payload_len = (payload as u16).to_be();
        header.next_header = protocol;
        header.hop_limit = 64;
        header.src = ip.dst.words();
        header.dst = ip.src.words();
    }
    Some(())
}

#[inline(always)]
fn header_len(family: Family) -> usize {
    if family.is_v4() {
        size_of::<Ipv4>()
    } else {
        size_of::<Ipv6>()
    }
}

/// RFC 9293 §3.10.7.1: a reset that the sender will believe.
#[inline(always)]
fn reset_segment(packet: &Packet, l4: &L4) -> Option<Frame> {
    let Packet { frame, l2, ip, .. } = *packet;
    let ip = &ip;
    pop(packet)?;
    let tcp_at = l2.len + header_len(ip.family);
    let wanted = tcp_at + size_of::<Tcp>();
    let frame = adjust_tail(&frame, wanted as i32 - whole_len(&frame) as i32)?;
    ip_header(&frame, l2.len, ip, TCP, size_of::<Tcp>() as u32)?;
    let (seq, ack, flags) = if l4.flags & tcp_flags::ACK != 0 {
        (l4.ack, 0, tcp_flags::RST)
    } else {
        let ack = l4.seq.wrapping_add(l4.seq_len);
        (0, ack, tcp_flags::RST | tcp_flags::ACK)
    };
    let tcp = frame.header::<Tcp>(tcp_at)?;
    tcp.src = l4.dst_port.to_be();
    tcp.dst = l4.src_port.to_be();
    tcp.seq = seq.to_be();
    tcp.ack = ack.to_be();
    tcp.offset = 5 << 4;
    tcp.flags = flags;
    tcp.window = 0;
    tcp.urgent = 0;
    let sum = mapped_sum(ip, size_of::<Tcp>() as u32, TCP)
        + u64::from(tcp.src)
        + u64::from(tcp.dst)
        + u64::from(tcp.seq)
        + u64::from(tcp.ack)
        + u64::from(u16::from_ne_bytes([tcp.offset, flags]));
    tcp.checksum = !fold(fold_once(sum));
    Some(frame)
}

/// The pseudo-header's sum for an answer, in either family. The two mapped
/// prefixes of IPv4 are `ffff` each, which in one's complement is 0.
#[inline(always)]
fn mapped_sum(ip: &Ip, len: u32, protocol: u8) -> u64 {
    pseudo_sum(ip.dst, ip.src, len, protocol)
}

/// Where in an IPv6 packet the transport protocol is named: in its header, or
/// at the beginning of the last extension header (of eight bytes, as most are).
#[inline(always)]
fn next_header_at(ip: &Ip) -> u32 {
    const NEXT_HEADER: u32 = core::mem::offset_of!(Ipv6, next_header) as u32;
    let headers = (ip.l4 - ip.l3) as u32;
    if headers == size_of::<Ipv6>() as u32 {
        NEXT_HEADER
    } else {
        headers - 8
    }
}

/// Bytes of the offending packet that an error quotes at most: IPv4 wants the
/// header and 8 bytes (RFC 792), and a TCP header helps the sender (RFC 1812
/// §4.3.2.3); this much always has them, options included.
const QUOTE_V4: u32 = 84;
/// The same for IPv6 (RFC 4443 §2.4 (c) wants more; senders need the ports).
const QUOTE_V6: u32 = 104;

/// An ICMP error that quotes the packet.
#[inline(always)]
fn error(packet: &Packet, answer: Answer) -> Option<Frame> {
    let Packet { frame, l2, ip, .. } = *packet;
    let ip = &ip;
    pop(packet)?;
    let (limit, protocol) = if ip.family.is_v4() {
        (QUOTE_V4, ICMP)
    } else {
        (QUOTE_V6, ICMPV6)
    };
    // An even number, so that the sum is one of whole words.
    let quoted = if ip.len < limit { ip.len & !1 } else { limit };
    let ip_len = header_len(ip.family);
    let wanted = l2.len + quoted as usize;
    adjust_tail(&frame, wanted as i32 - whole_len(&frame) as i32)?;
    let room = ip_len + size_of::<Icmp>();
    let frame = adjust_head(&frame, -(room as i32))?;
    copy_link_header(&frame, l2.len, room, 0)?;
    let payload = size_of::<Icmp>() as u32 + quoted;
    ip_header(&frame, l2.len, ip, protocol, payload)?;
    let icmp_at = l2.len + ip_len;
    let error = answer.error(ip.family, next_header_at(ip));
    let icmp = frame.header::<Icmp>(icmp_at)?;
    icmp.kind = error.kind;
    icmp.code = error.code;
    icmp.rest = error.rest.to_be();
    let mut sum = u64::from(u16::from_ne_bytes([error.kind, error.code])) + u64::from(icmp.rest);
    if !ip.family.is_v4() {
        sum += mapped_sum(ip, payload, ICMPV6);
    }
    let quote_at = icmp_at + size_of::<Icmp>();
    for word in 0..(QUOTE_V6 as usize / 2) {
        if word * 2 >= quoted as usize {
            break;
        }
        sum += u64::from(*frame.header::<u16>(quote_at + word * 2)?);
    }
    icmp.checksum = !fold(fold_once(sum));
    Some(frame)
}
