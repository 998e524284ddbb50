//! Questions about VIPs that are answered in place: ARP, neighbour
//! solicitations, echo requests.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::{
    addr::Addr,
    checksum::{ChecksumUpdate, fold},
    config::Config,
    filter::vip_bit,
    flow::ICMPV6,
    traffic::rate,
    verdict::Reason,
    vip::{Claim, Ownership, VipValue},
};

use crate::{
    count,
    header::{Arp, Ethernet, Icmp, Ipv4, Ipv6, ethertype},
    locate, lookup,
    maps::{self, CLAIMS, VIP_FILTER, filtered},
    packet::{Frame, adjust_tail, boottime_ns, ifindex, jiffies, whole_len},
    parse::{self, Family, Ip, L2},
    step::{Step, flatten},
    tunnel::mac_words,
};

/// What is known of `addr`, if it is a VIP.
#[inline(always)]
fn vip(addr: Addr) -> Option<VipValue> {
    if !filtered!(VIP_FILTER, vip_bit(addr)) {
        return None;
    }
    maps::vip(addr)
}

/// Whether we may answer for it on the uplink that the question came by.
#[inline(always)]
fn ownership(ctx: *mut xdp_md, config: &Config, vip: VipValue) -> Ownership {
    let uplink = locate::uplink_number(ctx, config);
    vip.ownership_on(uplink, maps::fence(), boottime_ns())
}

/// Somebody says to have a VIP. Notes who, unless it is the node that should.
#[inline(always)]
fn claimed(ctx: *mut xdp_md, frame: &Frame, addr: Addr, vip: VipValue) -> Option<()> {
    let node = lookup::sender(frame);
    let now = boottime_ns();
    if node != 0 && vip.ownership(maps::fence(), now) == Ownership::Others {
        return None;
    }
    let [a, b, c] = frame.header::<Ethernet>(0)?.src.map(u16::to_ne_bytes);
    let claim = Claim {
        mac: [a[0], a[1], b[0], b[1], c[0], c[1]],
        node,
        ifindex: ifindex(ctx),
        pad: 0,
        at_ns: now,
    };
    // Full is full: it is LRU, and this is for people.
    let _kept = CLAIMS.insert(&addr, &claim, 0);
    Some(())
}

/// ARP (RFC 826). Requests for a VIP are answered by its owner and dropped by
/// everybody else, so that no other part of the machine answers them.
#[inline(always)]
fn arp(
    ctx: *mut xdp_md,
    frame: &Frame,
    l2: L2,
    config: &Config,
    mac: [u16; 3],
) -> Result<Step, Step> {
    const ETHERNET: u16 = 1;
    const LENGTHS: u16 = 0x0604;
    const REQUEST: u16 = 1;
    const REPLY: u16 = 2;
    let arp = frame.header::<Arp>(l2.len).ok_or(Reason::arp_not_for_us)?;
    if u16::from_be(arp.hardware) != ETHERNET
        || u16::from_be(arp.protocol) != ethertype::IPV4
        || u16::from_be(arp.lengths) != LENGTHS
    {
        return Err(Reason::arp_not_for_us.into());
    }
    let sender = Addr::from_v4_word(word(arp.sender_ip));
    // A reply, or an announcement (RFC 5227 §3), of somebody who is not us.
    if let Some(vip) = vip(sender)
        && claimed(ctx, frame, sender, vip).is_some()
    {
        return Err(Reason::arp_foreign_answer.into());
    }
    let target = Addr::from_v4_word(word(arp.target_ip));
    // An announcement asks nothing, in whichever of its forms (RFC 5227 §3).
    if u16::from_be(arp.operation) != REQUEST || target.is(sender) {
        return Err(Reason::arp_not_for_us.into());
    }
    let vip = vip(target).ok_or(Reason::arp_not_for_us)?;
    match ownership(ctx, config, vip) {
        Ownership::Others => return Err(Reason::arp_not_owner.into()),
        Ownership::Expired => return Err(Reason::vip_expired.into()),
        Ownership::Ours => {}
    }
    let asked = arp.target_ip;
    arp.operation = REPLY.to_be();
    arp.target_mac = arp.sender_mac;
    arp.target_ip = arp.sender_ip;
    arp.sender_mac = mac;
    arp.sender_ip = asked;
    back(frame, mac).ok_or(Reason::malformed)?;
    Ok(Step::done(Reason::arp_answered, xdp_action::XDP_TX))
}

/// Turns the frame around: to its sender, from the uplink's own MAC.
#[inline(always)]
pub fn back(frame: &Frame, mac: [u16; 3]) -> Option<()> {
    let ethernet = frame.header::<Ethernet>(0)?;
    ethernet.dst = ethernet.src;
    ethernet.src = mac;
    Some(())
}

#[inline(always)]
fn word([a, b]: [u16; 2]) -> u32 {
    let ([a, b], [c, d]) = (a.to_ne_bytes(), b.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Neighbour solicitation (RFC 4861 §4.3) and what follows it.
#[repr(C)]
struct Neighbour {
    icmp: Icmp,
    target: [u32; 4],
}

/// The target link-layer address option (RFC 4861 §4.6.1).
#[repr(C)]
struct LinkLayerOption {
    kind: u8,
    len: u8,
    mac: [u16; 3],
}

pub const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const HOP_LIMIT: u8 = 255;

/// ARP, and neighbour discovery that may be about a VIP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_neighbour(ctx: *mut xdp_md) -> u32 {
    flatten(neighbour(ctx)).0
}

#[inline(always)]
fn neighbour(ctx: *mut xdp_md) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let frame = Frame::of_xdp(ctx, config);
    let l2 = parse::l2(&frame).ok_or(Reason::malformed)?;
    if l2.ethertype == ethertype::ARP {
        let mac = locate::uplink_mac(ctx, config).ok_or(Reason::arp_not_for_us)?;
        return arp(ctx, &frame, l2, config, mac);
    }
    let mac = locate::uplink_mac(ctx, config).ok_or(Reason::not_for_us)?;
    let ip = &parse::ip(&frame, Family::V6, l2.len).map_err(|_| Reason::not_for_us)?;
    let neighbour = frame.header::<Neighbour>(ip.l4).ok_or(Reason::not_for_us)?;
    // RFC 4861 §7.1.1: hop limit 255, code 0, at least 24 bytes.
    let len = ip.len.wrapping_sub((ip.l4 - ip.l3) as u32);
    let valid = ip.protocol == ICMPV6
        && ip.ttl == HOP_LIMIT
        && neighbour.icmp.code == 0
        && (24..=ip.len).contains(&len);
    let target = Addr::from_words(neighbour.target);
    if !valid || !filtered!(VIP_FILTER, vip_bit(target)) {
        return Err(Reason::not_for_us.into());
    }
    let vip = maps::vip(target).ok_or(Reason::not_for_us)?;
    if neighbour.icmp.kind == NEIGHBOUR_ADVERTISEMENT && claimed(ctx, &frame, target, vip).is_some()
    {
        return Err(Reason::arp_foreign_answer.into());
    }
    if neighbour.icmp.kind != NEIGHBOUR_SOLICITATION {
        return Err(Reason::not_for_us.into());
    }
    match ownership(ctx, config, vip) {
        Ownership::Others => return Err(Reason::ndp_not_owner.into()),
        Ownership::Expired => return Err(Reason::vip_expired.into()),
        Ownership::Ours => {}
    }
    Ok(advertise(frame, l2, ip, target, mac).ok_or(Reason::malformed_for_vip)?)
}

/// Bytes of an advertisement with its option, IPv6 header not counted.
const ADVERTISEMENT_LEN: usize = size_of::<Neighbour>() + size_of::<LinkLayerOption>();

/// Answers with an advertisement (RFC 4861 §7.2.4). A solicitation need not
/// carry the sender's link-layer address (unicast probes, duplicate address
/// detection), so the frame may have to grow by the option.
#[inline(always)]
fn advertise(frame: Frame, l2: L2, ip: &Ip, target: Addr, mac: [u16; 3]) -> Option<Step> {
    const SOLICITED: u32 = 0x4000_0000;
    const OVERRIDE: u32 = 0x2000_0000;
    const TARGET_LINK_LAYER: u8 = 2;
    // ff02::1, for who has no address yet (RFC 4861 §7.2.4).
    const ALL_NODES: [u32; 4] = [
        u32::from_ne_bytes([0xff, 2, 0, 0]),
        0,
        0,
        u32::from_ne_bytes([0, 0, 0, 1]),
    ];
    let wanted = l2.len + size_of::<Ipv6>() + ADVERTISEMENT_LEN;
    let frame = adjust_tail(&frame, wanted as i32 - whole_len(&frame) as i32)?;
    let (dst, flags) = if ip.src == Addr::UNSPECIFIED {
        (ALL_NODES, OVERRIDE)
    } else {
        (ip.src.words(), SOLICITED | OVERRIDE)
    };
    let ethernet = frame.header::<Ethernet>(0)?;
    ethernet.dst = if ip.src == Addr::UNSPECIFIED {
        mac_words([0x33, 0x33, 0, 0, 0, 1])
    } else {
        ethernet.src
    };
    ethernet.src = mac;
    let header = frame.header::<Ipv6>(l2.len)?;
    header.version = 0x6000_0000_u32.to_be();
    header.payload_len = (ADVERTISEMENT_LEN as u16).to_be();
    header.next_header = ICMPV6;
    header.hop_limit = HOP_LIMIT;
    header.src = target.words();
    header.dst = dst;
    let l4 = l2.len + size_of::<Ipv6>();
    let advertisement = frame.header::<Neighbour>(l4)?;
    advertisement.icmp.kind = NEIGHBOUR_ADVERTISEMENT;
    advertisement.icmp.code = 0;
    advertisement.icmp.rest = flags.to_be();
    advertisement.target = target.words();
    let option = frame.header::<LinkLayerOption>(l4 + size_of::<Neighbour>())?;
    option.kind = TARGET_LINK_LAYER;
    option.len = 1;
    option.mac = mac;
    let sum = pseudo_sum(
        target,
        Addr::from_words(dst),
        ADVERTISEMENT_LEN as u32,
        ICMPV6,
    ) + u64::from(u16::from_ne_bytes([NEIGHBOUR_ADVERTISEMENT, 0]))
        + u64::from(flags.to_be())
        + words_sum(target.words())
        + u64::from(u16::from_ne_bytes([TARGET_LINK_LAYER, 1]))
        + u64::from(mac[0])
        + u64::from(mac[1])
        + u64::from(mac[2]);
    advertisement.icmp.checksum = !fold(fold_once(sum));
    Some(Step::done(Reason::ndp_answered, xdp_action::XDP_TX))
}

/// Keeps a sum of many words from overflowing `fold`.
#[inline(always)]
pub fn fold_once(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

#[inline(always)]
pub fn words_sum(words: [u32; 4]) -> u64 {
    u64::from(words[0]) + u64::from(words[1]) + u64::from(words[2]) + u64::from(words[3])
}

/// The pseudo-header's part of a transport checksum (RFC 8200 §8.1; for IPv4,
/// RFC 9293 §3.1, with mapped addresses whose prefix is taken out again).
#[inline(always)]
pub fn pseudo_sum(src: Addr, dst: Addr, len: u32, protocol: u8) -> u64 {
    words_sum(src.words())
        + words_sum(dst.words())
        + u64::from(len.to_be())
        + u64::from(u32::from(protocol).to_be())
}

/// Answers an echo request to a VIP in place.
#[inline(always)]
pub fn echo(frame: &Frame, ip: &Ip, mac: [u16; 3], config: &Config) -> Result<Step, Reason> {
    const V4_REPLY: u8 = 0;
    const V6_REPLY: u8 = 129;
    if !count::within_rate(rate::ECHO, config.rates[rate::ECHO as usize], jiffies()) {
        return Err(Reason::rate_limited);
    }
    let icmp = frame
        .header::<Icmp>(ip.l4)
        .ok_or(Reason::malformed_for_vip)?;
    let before = u16::from_ne_bytes([icmp.kind, icmp.code]);
    icmp.kind = if ip.family.is_v4() {
        V4_REPLY
    } else {
        V6_REPLY
    };
    let after = u16::from_ne_bytes([icmp.kind, icmp.code]);
    // Swapping the addresses leaves the sums as they are.
    icmp.checksum = ChecksumUpdate::NONE
        .replace_u16(before, after)
        .apply(icmp.checksum);
    if ip.family.is_v4() {
        let header = frame
            .header::<Ipv4>(ip.l3)
            .ok_or(Reason::malformed_for_vip)?;
        let ttl = u16::from_ne_bytes([header.ttl, header.protocol]);
        header.ttl = 64;
        header.checksum = ChecksumUpdate::NONE
            .replace_u16(ttl, u16::from_ne_bytes([64, header.protocol]))
            .apply(header.checksum);
        core::mem::swap(&mut header.src, &mut header.dst);
    } else {
        let header = frame
            .header::<Ipv6>(ip.l3)
            .ok_or(Reason::malformed_for_vip)?;
        header.hop_limit = 64;
        core::mem::swap(&mut header.src, &mut header.dst);
    }
    back(frame, mac).ok_or(Reason::malformed_for_vip)?;
    Ok(Step::done(Reason::echo_answered, xdp_action::XDP_TX))
}
