//! ICMP errors to a VIP that quote an answer of one of its pods: translated
//! inside and out and delivered to that pod, on whichever node it lives.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    addr::Addr,
    checksum::ChecksumUpdate,
    filter::vip_hash,
    flow::{FlowKey, TCP},
    rules::{coded, kind},
    verdict::Reason,
};

use crate::{
    answer,
    establish::How,
    header::{Icmp, Ipv4, Ipv6, Tcp, Udp},
    locate::{self, Packet},
    lookup::Lookup,
    maps,
    parse::{self, Family, Ip, has_ports},
    select::{pick, segment, to_node},
    step::{Hint, Stage, Step, flatten},
    translate::{self, address_update},
    tunnel::pop,
};

/// ICMP types, both families.
#[inline(always)]
fn is_echo_request(family: Family, kind: u8) -> bool {
    if family.is_v4() {
        kind == 8
    } else {
        kind == 128
    }
}

/// Errors that quote a packet: RFC 792 (unreachable, time exceeded, parameter
/// problem), RFC 4443 §2.1 (below 128; too big is one of them).
#[inline(always)]
pub fn is_error(family: Family, kind: u8) -> bool {
    if family.is_v4() {
        matches!(kind, 3 | 11 | 12)
    } else {
        matches!(kind, 1..=4)
    }
}

/// The ports at the beginning of a quoted transport header.
#[repr(C)]
pub struct Ports {
    pub src: u16,
    pub dst: u16,
}

/// ICMP to a VIP: echo, neighbour discovery, errors.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_icmp(ctx: *mut xdp_md, hint: u32) -> u32 {
    flatten(icmp(ctx, Hint(hint))).0
}

#[inline(always)]
fn icmp(ctx: *mut xdp_md, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let mac = locate::uplink_mac(ctx, config).ok_or(Reason::not_for_us)?;
    let packet = locate::again(ctx, config, hint)?;
    let ip = &packet.ip;
    let header = packet
        .frame
        .header::<Icmp>(ip.l4)
        .ok_or(Reason::malformed_for_vip)?;
    if header.kind == answer::NEIGHBOUR_SOLICITATION && !ip.family.is_v4() {
        // Unicast, to make sure that we are still there (RFC 4861 §7.3.3).
        return Err(Step::go_on(Stage::Neighbour));
    }
    if is_echo_request(ip.family, header.kind) && !ip.fragment.is_part() && !packet.came.tunnelled()
    {
        return Ok(answer::echo(&packet.frame, ip, mac, config)?);
    }
    if is_error(ip.family, header.kind) {
        return Err(Step::go_on(Stage::IcmpError));
    }
    Err(Reason::icmp_unrelated.into())
}

/// An ICMP error to a VIP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_icmp_error(ctx: *mut xdp_md, hint: u32) -> u32 {
    flatten(error(ctx, Hint(hint))).0
}

#[inline(always)]
fn error(ctx: *mut xdp_md, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let packet = &locate::again(ctx, config, hint)?;
    let frame = &packet.frame;
    let quoted = quoted(packet)?;
    let ports = frame
        .header::<Ports>(quoted.l4)
        .ok_or(Reason::icmp_unrelated)?;
    // The quoted packet is an answer: from the VIP to the client.
    let (vip_port, client_port) = (u16::from_be(ports.src), u16::from_be(ports.dst));
    let pending = maps::pending().ok_or(Reason::icmp_unrelated)?;
    pending.flow = FlowKey {
        client: quoted.dst,
        vip: quoted.src,
        client_port,
        vip_port,
        protocol: quoted.protocol.into(),
    };
    let (place, frontend) = maps::frontend(config, &pending.flow, vip_hash(quoted.src))
        .ok_or(Reason::icmp_unrelated)?;
    pending.is_stranger = 0;
    pending.place = place;
    pending.frontend = frontend.id;
    pending.frontend_flags = frontend.flags;
    let slot = pick(frontend, &pending.flow)?;
    let segment = segment(quoted.protocol, 0);
    let mut lookup = Lookup::new(*frame, packet.came, pending, segment);
    let code = coded(segment, packet.came.marked(), slot, &mut lookup);
    match code.kind() {
        kind::HAND_OVER => to_node(packet, code.node(), code.marked(), frontend.id),
        kind::ESTABLISHED | kind::EMBRYONIC => {
            let pod_client_port = match &lookup.established {
                Some(flow) => flow.pod_client_port,
                None => client_port,
            };
            let pending = maps::pending().ok_or(Reason::icmp_unrelated)?;
            pending.backend = code.backend();
            pending.how = How::new(pod_client_port, 0, false).0;
            Ok(Step::go_on(Stage::IcmpToPod))
        }
        // Nobody here has begun such a flow.
        _ => Err(Reason::icmp_unrelated.into()),
    }
}

/// Delivers an error about a flow of the pending backend, which knows the
/// client by the pending port.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_icmp_to_pod(ctx: *mut xdp_md, hint: u32) -> u32 {
    flatten(deliver(ctx, Hint(hint))).0
}

#[inline(always)]
fn deliver(ctx: *mut xdp_md, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let pending = maps::pending().ok_or(Reason::icmp_unrelated)?;
    let client_port = How(pending.how).pod_client_port();
    let backend = maps::backend_of(pending.backend).ok_or(Reason::icmp_unrelated)?;
    let packet = locate::again(ctx, config, hint)?;
    let quoted = quoted(&packet)?;
    to_pod(&packet, &quoted, backend.addr, backend.port, client_port)
        .ok_or(Reason::malformed_for_vip)?;
    let action = translate::pass(packet.ctx, 0);
    Ok(Step::done(Reason::icmp_error_delivered, action))
}

/// The packet that an error quotes, if it is an answer from the VIP.
#[inline(always)]
fn quoted(packet: &Packet) -> Result<Ip, Reason> {
    let at = packet
        .frame
        .blur(packet.ip.l4 + size_of::<Icmp>(), parse::OFFSET_MAX);
    let quoted =
        parse::ip(&packet.frame, packet.ip.family, at).map_err(|_| Reason::icmp_unrelated)?;
    if !has_ports(quoted.protocol) || quoted.fragment.is_later() || quoted.src != packet.ip.dst {
        return Err(Reason::icmp_unrelated);
    }
    Ok(quoted)
}

/// Translates the error and what it quotes, and takes away what other nodes
/// put around it.
#[inline(always)]
fn to_pod(
    packet: &Packet,
    quoted: &Ip,
    pod: Addr,
    pod_port: u16,
    pod_client_port: u16,
) -> Option<()> {
    let frame = &packet.frame;
    let ip = &packet.ip;
    // Every change inside also changes the sum of the whole message.
    let mut update = ChecksumUpdate::NONE;
    if !ip.family.is_v4() {
        // The pseudo-header has the outer destination.
        update = update.replace_addr(ip.dst, pod);
    }
    if quoted.family.is_v4() {
        let header = frame.header::<Ipv4>(quoted.l3)?;
        let before = header.checksum;
        let word = pod.words()[3];
        header.checksum = ChecksumUpdate::NONE
            .replace_u32(header.src, word)
            .apply(before);
        update = update
            .replace_u32(header.src, word)
            .replace_u16(before, header.checksum);
        header.src = word;
    } else {
        let header = frame.header::<Ipv6>(quoted.l3)?;
        update = update.replace_addr(quoted.src, pod);
        header.src = pod.words();
    }
    let ports = frame.header::<Ports>(quoted.l4)?;
    let (old_src, old_dst) = (ports.src, ports.dst);
    ports.src = pod_port.to_be();
    ports.dst = pod_client_port.to_be();
    update = update
        .replace_u16(old_src, ports.src)
        .replace_u16(old_dst, ports.dst);
    // The quoted transport checksum, as far as it is quoted.
    let inner = address_update(quoted.family, &quoted.src, &pod)
        .replace_u16(old_src, ports.src)
        .replace_u16(old_dst, ports.dst);
    if quoted.protocol == TCP {
        if let Some(tcp) = frame.header::<Tcp>(quoted.l4) {
            let before = tcp.checksum;
            tcp.checksum = inner.apply(before);
            update = update.replace_u16(before, tcp.checksum);
        }
    } else if let Some(udp) = frame.header::<Udp>(quoted.l4) {
        let before = udp.checksum;
        udp.checksum = inner.apply_udp(before);
        update = update.replace_u16(before, udp.checksum);
    }
    let icmp = frame.header::<Icmp>(ip.l4)?;
    icmp.checksum = update.apply(icmp.checksum);
    translate::destination(frame, ip.at(), &pod)?;
    if packet.came.around() {
        pop(packet)?;
    }
    Some(())
}
