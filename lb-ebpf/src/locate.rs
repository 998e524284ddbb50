//! Where the packet for a VIP is in the frame: directly behind the link
//! header, or inside an outer header of ours.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    config::Config,
    filter::{bit, vip_bit, vip_hash},
    node::{MAC_MASK, MacEntry},
    pending::{Located, Pending},
    verdict::Reason,
};

use crate::{
    maps::{self, VIP_FILTER, filtered},
    packet::{Frame, ifindex, whole_len},
    parse::{self, At, Family, Fragment, Ip, L2},
    step::{Hint, Stage, Step},
    tunnel::{self, Came, mac_words},
};

/// A packet whose destination passed the VIP filter, parsed.
#[derive(Clone, Copy)]
pub struct Packet {
    pub ctx: *mut xdp_md,
    pub frame: Frame,
    pub l2: L2,
    pub ip: Ip,
    /// Of its destination; 0 after its frontend was found.
    pub vip_hash: u64,
    pub came: Came,
}

impl Packet {
    /// For a stage of its own; see [`Packet::of_pending`]. A later fragment
    /// never gets there.
    #[inline(always)]
    pub fn leave(&self, located: &mut Located) {
        let ip = &self.ip;
        located.link = self.l2.len as u32;
        located.l3 = ip.l3 as u32;
        located.l4 = ip.l4 as u32;
        located.len = ip.len;
        located.version = ip.family.version();
        located.ttl = ip.ttl.into();
        located.came = self.came.bits();
        located.is_fragment = ip.fragment.is_part().into();
        if ip.fragment.is_part() {
            located.identification = ip.fragment.identification;
            located.fragment_len = ip.fragment.len;
        }
    }

    /// The packet in hand, as an earlier stage has parsed it.
    #[inline(always)]
    pub fn of_pending(ctx: *mut xdp_md, pending: &Pending) -> Self {
        let Pending { flow, located, .. } = pending;
        let At {
            family,
            l3,
            l4,
            protocol,
        } = At::of_pending(pending);
        Self {
            ctx,
            frame: Frame::with_zero(ctx, pending.zero),
            l2: L2 {
                len: located.link as usize & parse::L2_MAX,
                ethertype: family.ethertype(),
            },
            ip: Ip {
                family,
                l3,
                l4,
                len: located.len,
                protocol,
                ttl: located.ttl as u8,
                src: flow.client,
                dst: flow.vip,
                fragment: Fragment::first(
                    located.is_fragment,
                    located.identification,
                    located.fragment_len,
                ),
            },
            vip_hash: 0,
            came: Came::of_bits(located.came),
        }
    }

    /// For [`tunnel::lb_uncover`]: the length of the link header, what lies
    /// between it and the packet, and the packet's family, in one number.
    #[inline(always)]
    pub fn cover(&self) -> u32 {
        let between = (self.ip.l3 - self.l2.len) & parse::OFFSET_MAX;
        let v4 = if self.ip.family.is_v4() { 1 << 31 } else { 0 };
        self.l2.len as u32 | (between as u32) << 8 | v4
    }
}

/// Finds the packet for a VIP. `Err`: there is none, and why.
#[inline(always)]
pub fn packet(
    ctx: *mut xdp_md,
    frame: Frame,
    l2: L2,
    config: &Config,
    hint: Hint,
) -> Result<Packet, Step> {
    let (family, marked) = Family::of(&frame, l2).ok_or(Reason::not_ip)?;
    let (_, dst) = parse::addresses(&frame, family, l2.len).ok_or(Reason::malformed)?;
    let mut tunnelled = false;
    let mut marked = marked;
    let mut l3 = l2.len;
    let mut inner_family = family;
    let mut hash = vip_hash(dst);
    if !filtered!(VIP_FILTER, bit(hash)) {
        if marked || (!dst.is(config.node_v4) && !dst.is(config.node_v6)) {
            return Err(Reason::not_for_us.into());
        }
        if hint.inner() == 0 {
            return Err(Step::go_on(Stage::Outer));
        }
        tunnelled = true;
        marked = hint.inner_marked();
        l3 = hint.inner();
        inner_family = Family::by_version(&frame, l3).ok_or(Reason::not_for_us)?;
    }
    let l3 = frame.blur(l3, parse::OFFSET_MAX);
    let ip = parse::ip(&frame, inner_family, l3)?;
    if ip.len as usize + l3 > frame.len() && ip.len as usize + l3 > whole_len(&frame) {
        return Err(Reason::malformed_for_vip.into());
    }
    if tunnelled {
        hash = vip_hash(ip.dst);
    }
    Ok(Packet {
        ctx,
        frame,
        l2,
        ip,
        vip_hash: hash,
        came: Came::new(&frame, tunnelled, marked),
    })
}

/// If the frame is an outer header of ours, from a node that we know, around a
/// packet that may be for a VIP: where that packet is, and whether it is
/// marked. Else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_outer(ctx: *mut xdp_md) -> u32 {
    match maps::config() {
        Some(config) => outer(Frame::of_xdp(ctx, config), config).unwrap_or(0),
        None => 0,
    }
}

#[inline(always)]
fn outer(frame: Frame, config: &Config) -> Option<u32> {
    let l2 = parse::l2(&frame)?;
    let (family, _) = Family::of(&frame, l2)?;
    let (_, dst) = parse::addresses(&frame, family, l2.len)?;
    if !dst.is(config.node_v4) && !dst.is(config.node_v6) {
        return None;
    }
    let outer = parse::ip(&frame, family, l2.len).ok()?;
    let (inner, marked) = tunnel::seen(&frame, config, &outer)?;
    let inner_family = Family::by_version(&frame, inner)?;
    let (_, dst) = parse::addresses(&frame, inner_family, inner)?;
    if !filtered!(VIP_FILTER, vip_bit(dst)) {
        return None;
    }
    Some(inner as u32 | if marked { Hint::MARKED } else { 0 })
}

/// The same from the beginning, for programs that are called in the middle.
#[inline(always)]
pub fn again(ctx: *mut xdp_md, config: &Config, hint: Hint) -> Result<Packet, Step> {
    let frame = Frame::of_xdp(ctx, config);
    let l2 = parse::l2(&frame).ok_or(Reason::malformed)?;
    packet(ctx, frame, l2, config, hint)
}

/// The MAC of the uplink that the packet came by, if it is one of ours.
#[inline(always)]
pub fn uplink_mac(ctx: *mut xdp_md, config: &Config) -> Option<[u16; 3]> {
    uplink(ctx, config).map(|mac| mac_words(mac.mac))
}

/// Its number among this node's uplinks; 31 if it is none.
#[inline(always)]
pub fn uplink_number(ctx: *mut xdp_md, config: &Config) -> u32 {
    let ifindex = ifindex(ctx);
    let mut number = 31;
    for (at, uplink) in config.uplinks.iter().enumerate() {
        if uplink.ifindex == ifindex {
            number = at as u32;
        }
    }
    number
}

#[inline(always)]
fn uplink(ctx: *mut xdp_md, config: &Config) -> Option<MacEntry> {
    let ifindex = ifindex(ctx);
    for uplink in &config.uplinks {
        if uplink.ifindex == ifindex {
            return Some(uplink.mac);
        }
    }
    None
}

/// Whether the frame is for this machine, rather than merely seen by it. None:
/// it did not come by an uplink.
#[inline(always)]
pub fn is_for_us(ctx: *mut xdp_md, frame: &Frame, config: &Config) -> Option<bool> {
    let mac = uplink(ctx, config)?.bits();
    // The six bytes of the destination, and two more.
    let dst = *frame.header::<u64>(0)?;
    Some((dst ^ mac) & MAC_MASK == 0)
}
