//! The outer header between nodes: seen, pushed, popped, and the frame that
//! goes with it.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::{
    checksum::fold,
    config::Config,
    flow::UDP,
    hash::source_hash,
    node::{NodeValue, kind},
    tunnel::{MARKED_ETHERTYPE, OVERHEAD_V4, OVERHEAD_V6, Shim, flags},
    verdict::Reason,
};

use crate::{
    header::{Ipv4, Ipv6, Udp, Vlan, ethertype},
    locate::{self, Packet},
    maps::{self, NODE_NETS},
    packet::{Frame, adjust_head, redirect},
    parse::{ETHERNET_LEN, Family, Ip, L2, L2_MAX, OFFSET_MAX},
    step::{Hint, Step, flatten},
    translate::step_ttl,
};

/// How a packet came here.
#[derive(Clone, Copy)]
pub struct Came(usize);

impl Came {
    const TUNNELLED: usize = 1;
    const MARKED: usize = 2;

    /// From where the IP packet begins: behind the link header or not.
    #[inline(always)]
    pub fn new(frame: &Frame, tunnelled: bool, marked: bool) -> Self {
        let mut bits = 0;
        if tunnelled {
            bits |= Self::TUNNELLED;
        }
        if marked {
            bits |= Self::MARKED;
        }
        Self(frame.blur(bits, 3))
    }

    #[inline(always)]
    pub fn of_bits(bits: u32) -> Self {
        Self(bits as usize & 3)
    }

    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Inside an outer header.
    #[inline(always)]
    pub fn tunnelled(self) -> bool {
        self.0 & Self::TUNNELLED != 0
    }

    /// Handed on once already: never again.
    #[inline(always)]
    pub fn marked(self) -> bool {
        self.0 & Self::MARKED != 0
    }

    /// Whether there is anything around the client's packet to take away.
    #[inline(always)]
    pub fn around(self) -> bool {
        self.0 != 0
    }
}

/// If the IP packet at `ip.l3` is an outer header of ours from a node that we
/// know, where the inner packet begins and whether it is marked.
#[inline(always)]
pub fn seen(frame: &Frame, config: &Config, ip: &Ip) -> Option<(usize, bool)> {
    let to_us = if ip.family.is_v4() {
        config.node_v4
    } else {
        config.node_v6
    };
    if ip.protocol != UDP || ip.dst != to_us || ip.fragment.is_part() {
        return None;
    }
    let udp = frame.header::<Udp>(ip.l4)?;
    if u32::from(u16::from_be(udp.dst)) != config.tunnel_port {
        return None;
    }
    let shim = frame.header::<Shim>(ip.l4 + size_of::<Udp>())?;
    if shim.magic != Shim::MAGIC || shim.version != Shim::VERSION {
        return None;
    }
    // Known nodes only: the source is one's own address.
    let net = NODE_NETS.get(&aya_ebpf::btf_maps::lpm_trie::Key::new(128, ip.src))?;
    if net.own == 0 {
        return None;
    }
    let inner = frame.blur(ip.l4 + size_of::<Udp>() + size_of::<Shim>(), OFFSET_MAX);
    Some((inner, shim.flags & flags::MARKED != 0))
}

/// Takes away what lies around a packet, as the pending [`Packet::cover`] says, and names
/// its family again: the frame is then what the client's would have been. All
/// that was known of the frame is void. 0: it could not be done.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_uncover(ctx: *mut xdp_md) -> u32 {
    let Some(pending) = maps::pending() else {
        return 0;
    };
    let cover = pending.cover;
    let l2_len = cover as usize & 0x1f;
    let between = (cover >> 8) as usize & OFFSET_MAX;
    let family = if cover >> 31 != 0 {
        Family::V4
    } else {
        Family::V6
    };
    let Some(config) = maps::config() else {
        return 0;
    };
    let frame = Frame::of_xdp(ctx, config);
    u32::from(uncover(frame, l2_len, between, family).is_some())
}

#[inline(always)]
fn uncover(mut frame: Frame, l2_len: usize, between: usize, family: Family) -> Option<()> {
    if between != 0 {
        copy_link_header(&frame, l2_len, 0, between)?;
        frame = adjust_head(&frame, between as i32)?;
    }
    set_ethertype(&frame, l2_len, family.ethertype())
}

/// The same in place, for functions that are rare themselves.
#[inline(always)]
pub fn pop(packet: &Packet) -> Option<Frame> {
    let between = (packet.ip.l3 - packet.l2.len) & OFFSET_MAX;
    uncover(packet.frame, packet.l2.len, between, packet.ip.family)?;
    Some(packet.frame.anew())
}

/// Hands the packet over by the long way: marked, or in or out of an outer
/// header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_hand_over(ctx: *mut xdp_md, step: u32, hint: u32) -> u32 {
    let (node, marked) = Step(step).to_node();
    flatten(far(ctx, node, marked, Hint(hint))).0
}

#[inline(always)]
fn far(ctx: *mut xdp_md, node: u16, marked: bool, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let packet = locate::again(ctx, config, hint)?;
    let node = maps::node(node).ok_or(Reason::no_next_hop)?;
    let (reason, action) = hand_over(&packet, node, marked)?;
    Ok(Step::done(reason, action))
}

/// Copies the link header. Outer headers have at least 32 bytes and a link
/// header at most 22, so the two places do not overlap.
#[inline(always)]
pub fn copy_link_header(frame: &Frame, len: usize, from: usize, to: usize) -> Option<()> {
    // Blurred, as in `outer_at`.
    let (from, to) = (frame.blur(from, OFFSET_MAX), frame.blur(to, OFFSET_MAX));
    copy_word(frame, from, to)?;
    copy_word(frame, from + 4, to + 4)?;
    copy_word(frame, from + 8, to + 8)?;
    if len > ETHERNET_LEN {
        copy_word(frame, from + 12, to + 12)?;
    }
    if len > ETHERNET_LEN + size_of::<Vlan>() {
        copy_word(frame, from + 16, to + 16)?;
    }
    let last = frame.blur(len - size_of::<u16>(), L2_MAX);
    let ethertype = *frame.header::<u16>(from + last)?;
    *frame.header::<u16>(to + last)? = ethertype;
    Some(())
}

#[inline(always)]
fn copy_word(frame: &Frame, from: usize, to: usize) -> Option<()> {
    let word = *frame.header::<u32>(from)?;
    *frame.header::<u32>(to)? = word;
    Some(())
}

#[inline(always)]
fn set_ethertype(frame: &Frame, l2_len: usize, ethertype: u16) -> Option<()> {
    *frame.header::<u16>(l2_len - 2)? = ethertype.to_be();
    Some(())
}

/// A [`NodeValue`]'s MACs as they are compared and copied.
#[inline(always)]
pub fn mac_words(mac: [u8; 6]) -> [u16; 3] {
    [
        u16::from_ne_bytes([mac[0], mac[1]]),
        u16::from_ne_bytes([mac[2], mac[3]]),
        u16::from_ne_bytes([mac[4], mac[5]]),
    ]
}

/// Sends the packet to another node: by its MAC on the same link, inside an
/// outer header otherwise.
#[inline(always)]
pub fn hand_over(packet: &Packet, node: &NodeValue, marked: bool) -> Result<(Reason, u32), Reason> {
    let Packet { l2, ref ip, .. } = *packet;
    step_ttl(&packet.frame, ip.at()).ok_or(Reason::malformed_for_vip)?;
    let frame = if ip.l3 == l2.len {
        packet.frame
    } else {
        pop(packet).ok_or(Reason::malformed_for_vip)?
    };
    let (frame, reason) = match (node.kind, marked) {
        (kind::SAME_LINK, false) => (frame, Reason::handed_over),
        (kind::SAME_LINK, true) => {
            set_ethertype(&frame, l2.len, MARKED_ETHERTYPE).ok_or(Reason::malformed_for_vip)?;
            (frame, Reason::handed_on)
        }
        (kind::ROUTED, _) => {
            let frame = push(&frame, l2, ip, node, marked).ok_or(Reason::no_next_hop)?;
            let reason = if marked {
                Reason::handed_on_routed
            } else {
                Reason::handed_over_routed
            };
            (frame, reason)
        }
        _ => return Err(Reason::no_next_hop),
    };
    let action = send(&frame, node).ok_or(Reason::malformed_for_vip)?;
    Ok((reason, action))
}

/// Rewrites the MACs and sends.
#[inline(always)]
pub fn send(frame: &Frame, node: &NodeValue) -> Option<u32> {
    *frame.header::<[u32; 3]>(0)? = node.macs();
    Some(if node.ifindex == crate::packet::ifindex(frame.context()) {
        xdp_action::XDP_TX
    } else {
        redirect(node.ifindex)
    })
}

/// Bytes that the outer header to a node takes.
#[inline(always)]
pub fn overhead(node: &NodeValue) -> u32 {
    if node.outer_dst.is_v4() {
        OVERHEAD_V4
    } else {
        OVERHEAD_V6
    }
}

/// Puts the outer header in front of the packet at `l2.len`.
#[inline(always)]
fn push(frame: &Frame, l2: L2, ip: &Ip, node: &NodeValue, marked: bool) -> Option<Frame> {
    // The source port spreads flows over ECMP paths and receive queues
    // (RFC 8086 §3.1: the dynamic range).
    let spread = source_hash(0, ip.src, source_port_of(frame, l2.len, ip), ip.protocol);
    let source_port = 0xc000 | (spread as u16 & 0x3fff);
    let port = maps::config()?.tunnel_port as u16;
    let udp = Udp {
        src: source_port.to_be(),
        dst: port.to_be(),
        len: ((ip.len + 12) as u16).to_be(),
        // None: the inner packet has its own, and in IPv6 that is allowed for
        // tunnels whose other end knows (RFC 6935 §5).
        checksum: 0,
    };
    let shim = Shim::new(marked);
    if node.outer_dst.is_v4() {
        let frame = room(frame, l2.len, OVERHEAD_V4)?;
        set_ethertype(&frame, l2.len, ethertype::IPV4)?;
        outer_v4(frame.header(outer_at(&frame, l2))?, ip.len, node, udp, shim);
        Some(frame)
    } else {
        let frame = room(frame, l2.len, OVERHEAD_V6)?;
        set_ethertype(&frame, l2.len, ethertype::IPV6)?;
        outer_v6(frame.header(outer_at(&frame, l2))?, ip.len, node, udp, shim);
        Some(frame)
    }
}

/// Where the outer header goes. Blurred, or the compiler sees that the bound
/// follows from an earlier one, which the verifier does not.
#[inline(always)]
fn outer_at(frame: &Frame, l2: L2) -> usize {
    frame.blur(l2.len, L2_MAX)
}

/// All that is put in front of a packet. One reference for the whole of it, so
/// that there is one bound for the verifier to remember.
#[repr(C)]
struct Outer<T> {
    ip: T,
    udp: Udp,
    shim: Shim,
}

/// The source port, where the packet has one. The inner packet begins behind
/// the link header by now.
#[inline(always)]
fn source_port_of(frame: &Frame, l3: usize, ip: &Ip) -> u16 {
    // All fragments of a datagram take one path.
    if ip.fragment.is_part() {
        return 0;
    }
    frame
        .header::<u16>(l3 + (ip.l4 - ip.l3))
        .map_or(0, |port| *port)
}

/// Makes room for the outer header and moves the link header to the front.
#[inline(always)]
fn room(frame: &Frame, l2_len: usize, by: u32) -> Option<Frame> {
    let frame = adjust_head(frame, -(by as i32))?;
    copy_link_header(&frame, l2_len, by as usize, 0)?;
    Some(frame)
}

#[inline(always)]
fn outer_v4(outer: &mut Outer<Ipv4>, inner_len: u32, node: &NodeValue, udp: Udp, shim: Shim) {
    let total_len = ((inner_len + OVERHEAD_V4) as u16).to_be();
    // Don't fragment: what does not fit is answered before it gets here.
    let fragment = 0x4000_u16.to_be();
    let (src, dst) = (node.outer_src.words()[3], node.outer_dst.words()[3]);
    let sum = u64::from(u16::from_ne_bytes([0x45, 0]))
        + u64::from(total_len)
        + u64::from(fragment)
        + u64::from(u16::from_ne_bytes([64, UDP]))
        + u64::from(src)
        + u64::from(dst);
    outer.ip.version_ihl = 0x45;
    outer.ip.tos = 0;
    outer.ip.total_len = total_len;
    outer.ip.identification = 0;
    outer.ip.fragment = fragment;
    outer.ip.ttl = 64;
    outer.ip.protocol = UDP;
    outer.ip.checksum = !fold(sum);
    outer.ip.src = src;
    outer.ip.dst = dst;
    outer.udp = udp;
    outer.shim = shim;
}

#[inline(always)]
fn outer_v6(outer: &mut Outer<Ipv6>, inner_len: u32, node: &NodeValue, udp: Udp, shim: Shim) {
    outer.ip.version = 0x6000_0000_u32.to_be();
    outer.ip.payload_len = ((inner_len + OVERHEAD_V6 - size_of::<Ipv6>() as u32) as u16).to_be();
    outer.ip.next_header = UDP;
    outer.ip.hop_limit = 64;
    outer.ip.src = node.outer_src.words();
    outer.ip.dst = node.outer_dst.words();
    outer.udp = udp;
    outer.shim = shim;
}
