//! Towards the pod: the destination becomes the pod's.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated as helpers,
};
use lb_common::{
    addr::Addr, backend::BackendValue, checksum::ChecksumUpdate, flow::TCP, verdict::Reason,
};

use crate::{
    header::{Ipv4, Ipv6, Tcp, Udp},
    packet::Frame,
    parse::{At, Family},
    reject::Answer,
    step::Step,
};

/// Writes a new destination address and keeps the IP header's checksum true.
#[inline(always)]
pub fn destination(frame: &Frame, at: At, to: &Addr) -> Option<()> {
    if at.family.is_v4() {
        let header = frame.header::<Ipv4>(at.l3)?;
        let word = to.words()[3];
        header.checksum = ChecksumUpdate::NONE
            .replace_u32(header.dst, word)
            .apply(header.checksum);
        header.dst = word;
    } else {
        frame.header::<Ipv6>(at.l3)?.dst = to.words()
    }
    Some(())
}

/// The difference that new addresses make to a transport checksum. IPv4's
/// mapped prefix is equal on both sides and is left out.
#[inline(always)]
pub fn address_update(family: Family, from: &Addr, to: &Addr) -> ChecksumUpdate {
    if family.is_v4() {
        ChecksumUpdate::NONE.replace_u32(from.words()[3], to.words()[3])
    } else {
        ChecksumUpdate::NONE.replace_addr(*from, *to)
    }
}

/// Writes the pod's address and port, and the client's port as the pod is to
/// see it.
#[inline(always)]
pub fn to_pod(
    frame: &Frame,
    at: At,
    vip: &Addr,
    backend: &BackendValue,
    client_port: u16,
) -> Result<(), Reason> {
    let update = address_update(at.family, vip, &backend.addr);
    destination(frame, at, &backend.addr).ok_or(Reason::malformed_for_vip)?;
    let (client_port, pod_port) = (client_port.to_be(), backend.port.to_be());
    if at.protocol == TCP {
        let tcp = frame
            .header::<Tcp>(at.l4)
            .ok_or(Reason::malformed_for_vip)?;
        tcp.checksum = update
            .replace_u16(tcp.src, client_port)
            .replace_u16(tcp.dst, pod_port)
            .apply(tcp.checksum);
        tcp.src = client_port;
        tcp.dst = pod_port;
    } else {
        let udp = frame
            .header::<Udp>(at.l4)
            .ok_or(Reason::malformed_for_vip)?;
        udp.checksum = update
            .replace_u16(udp.src, client_port)
            .replace_u16(udp.dst, pod_port)
            .apply_udp(udp.checksum);
        udp.src = client_port;
        udp.dst = pod_port;
    }
    Ok(())
}

/// One hop less to live, as a router does it. The caller has seen that the
/// hop limit is above 1.
#[inline(always)]
pub fn step_ttl(frame: &Frame, at: At) -> Option<()> {
    if at.family.is_v4() {
        let header = frame.header::<Ipv4>(at.l3)?;
        let before = u16::from_ne_bytes([header.ttl, header.protocol]);
        let ttl = header.ttl.wrapping_sub(1);
        let after = u16::from_ne_bytes([ttl, header.protocol]);
        header.checksum = ChecksumUpdate::NONE
            .replace_u16(before, after)
            .apply(header.checksum);
        header.ttl = ttl;
    } else {
        let header = frame.header::<Ipv6>(at.l3)?;
        header.hop_limit = header.hop_limit.wrapping_sub(1);
    }
    Some(())
}

/// Past the stack: the hop that it would have taken off.
#[inline(always)]
pub fn as_the_stack(frame: &Frame, at: At, ttl: u8) -> Result<(), Step> {
    if ttl <= 1 {
        return Err(Step::answer(Answer::TimeExceeded));
    }
    step_ttl(frame, at).ok_or(Reason::malformed_for_vip)?;
    Ok(())
}

/// What `lb_ingress` leaves for `lb_deliver` in front of the packet.
#[repr(C)]
pub struct Metadata {
    pub magic: u32,
    /// The pod's device on the host.
    pub ifindex: u32,
}

impl Metadata {
    pub const MAGIC: u32 = u32::from_be_bytes(*b"Crtn");
}

/// On to the pod: through the stack, or past it with a note for `lb_deliver`.
/// Where the driver has no room for the note, the stack delivers.
#[inline(always)]
pub fn pass(ctx: *mut xdp_md, direct_ifindex: u32) -> u32 {
    if direct_ifindex != 0 {
        // SAFETY: a helper call with a valid context.
        let failed = unsafe { helpers::bpf_xdp_adjust_meta(ctx, -(size_of::<Metadata>() as i32)) };
        if failed == 0 {
            let metadata = Frame::of_metadata(ctx);
            if let Some(note) = metadata.header::<Metadata>(0) {
                note.magic = Metadata::MAGIC;
                note.ifindex = direct_ifindex;
            }
        }
    }
    xdp_action::XDP_PASS
}
