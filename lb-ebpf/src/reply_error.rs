//! ICMP errors that leave: what a pod, or this node for it, says about a packet
//! of a flow. The packet that it quotes went to the pod; outside it went to the
//! VIP, and so did the error come from there.

use aya_ebpf::bindings::__sk_buff;
use lb_common::{
    addr::Addr,
    backend::BackendRef,
    checksum::ChecksumUpdate,
    config::Config,
    filter::pod_bit,
    flow::{ReverseKey, TCP, embryo},
    hash::source_hash,
    verdict::Reason,
};

use crate::{
    header::{Icmp, Ipv4, Ipv6, Tcp, Udp},
    icmp::{Ports, is_error},
    lookup::{embryo_set, is_young, tag},
    maps::{self, POD_FILTER, TCP_REVERSE, UDP_REVERSE, filtered, find},
    packet::jiffies,
    parse::{self, Family, Ip, has_ports, is_icmp},
    reply::{Outside, headers},
    step::Step,
    translate::address_update,
};

/// Translates an ICMP error about a flow of a pod here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_reply_error(skb: *mut __sk_buff) -> u32 {
    let reason = match error(skb) {
        Some(()) => Reason::icmp_error_translated,
        None => Reason::egress_untouched,
    };
    Step::done(reason, 0).0
}

#[inline(always)]
fn error(skb: *mut __sk_buff) -> Option<()> {
    let config = maps::config()?;
    let frame = &headers(skb, config);
    let l2 = parse::l2(frame)?;
    let (family, _) = Family::of(frame, l2)?;
    let ip = parse::leaving(frame, family, l2.len)?;
    if !is_icmp(&ip) || ip.fragment.is_part() {
        return None;
    }
    let icmp = frame.header::<Icmp>(ip.l4)?;
    if !is_error(ip.family, icmp.kind) {
        return None;
    }
    let at = frame.blur(ip.l4 + size_of::<Icmp>(), parse::OFFSET_MAX);
    let quoted = parse::leaving(frame, ip.family, at)?;
    if !has_ports(quoted.protocol) || quoted.fragment.is_later() {
        return None;
    }
    let ports = frame.header::<Ports>(quoted.l4)?;
    let (client_port, pod_port) = (u16::from_be(ports.src), u16::from_be(ports.dst));
    if !filtered!(POD_FILTER, pod_bit(quoted.dst, pod_port)) {
        return None;
    }
    let key = ReverseKey {
        client: quoted.src,
        pod: quoted.dst,
        client_port,
        pod_port,
        protocol: quoted.protocol.into(),
    };
    let outside = established(&key).or_else(|| in_handshake(&key, config))?;
    write(frame, &ip, &quoted, &outside)
}

#[inline(always)]
fn established(key: &ReverseKey) -> Option<Outside> {
    let known = if key.protocol == u32::from(TCP) {
        find!(TCP_REVERSE, key)
    } else {
        find!(UDP_REVERSE, key)
    }?;
    Some(Outside {
        vip: known.vip,
        vip_port: known.vip_port,
        client_port: known.client_port,
    })
}

/// A flow whose first packet is what the error is about.
#[inline(always)]
fn in_handshake(key: &ReverseKey, config: &Config) -> Option<Outside> {
    let hash = source_hash(
        config.client_seed,
        key.client,
        key.client_port,
        key.protocol as u8,
    );
    let set = embryo_set(config, hash)?;
    let udp = key.protocol != u32::from(TCP);
    let mut frontend = None;
    for embryo in set.iter() {
        let named = BackendRef {
            id: embryo.backend_id,
            generation: embryo.backend_generation,
        };
        if embryo.tag == tag(hash)
            && (embryo.flags & embryo::UDP != 0) == udp
            && is_young(config, embryo, jiffies())
            && maps::backend_of(named)
                .is_some_and(|backend| backend.addr == key.pod && backend.port == key.pod_port)
        {
            frontend = Some(embryo.frontend);
        }
    }
    let frontend = maps::frontend_key(frontend?)?;
    Some(Outside {
        vip: frontend.vip,
        vip_port: frontend.port,
        client_port: key.client_port,
    })
}

/// Writes the VIP and the client's own port into the quoted packet, and the VIP
/// as the error's source where the pod sent it. Such packets come from the
/// kernel with their checksums whole, so these are changed in place.
#[inline(always)]
fn write(frame: &crate::packet::Frame, ip: &Ip, quoted: &Ip, known: &Outside) -> Option<()> {
    let vip = known.vip;
    let mut update = ChecksumUpdate::NONE;
    if quoted.family.is_v4() {
        let header = frame.header::<Ipv4>(quoted.l3)?;
        let (before, word) = (header.checksum, vip.words()[3]);
        let after = ChecksumUpdate::NONE
            .replace_u32(header.dst, word)
            .apply(before);
        update = update
            .replace_u32(header.dst, word)
            .replace_u16(before, after);
        header.checksum = after;
        header.dst = word;
    } else {
        update = update.replace_addr(quoted.dst, vip);
        frame.header::<Ipv6>(quoted.l3)?.dst = vip.words();
    }
    let ports = frame.header::<Ports>(quoted.l4)?;
    let (src, dst) = (known.client_port.to_be(), known.vip_port.to_be());
    let inner = address_update(quoted.family, &quoted.dst, &vip)
        .replace_u16(ports.src, src)
        .replace_u16(ports.dst, dst);
    update = update
        .replace_u16(ports.src, src)
        .replace_u16(ports.dst, dst);
    ports.src = src;
    ports.dst = dst;
    // The quoted transport checksum, as far as it is quoted.
    if quoted.protocol == TCP {
        if let Some(tcp) = frame.header::<Tcp>(quoted.l4) {
            let after = inner.apply(tcp.checksum);
            update = update.replace_u16(tcp.checksum, after);
            tcp.checksum = after;
        }
    } else if let Some(udp) = frame.header::<Udp>(quoted.l4) {
        let after = inner.apply_udp(udp.checksum);
        update = update.replace_u16(udp.checksum, after);
        udp.checksum = after;
    }
    if ip.src == quoted.dst {
        update = from_vip(frame, ip, vip, update)?;
    }
    let icmp = frame.header::<Icmp>(ip.l4)?;
    icmp.checksum = update.apply(icmp.checksum);
    Some(())
}

/// The error comes from the pod: outside, from the VIP.
#[inline(always)]
fn from_vip(
    frame: &crate::packet::Frame,
    ip: &Ip,
    vip: Addr,
    update: ChecksumUpdate,
) -> Option<ChecksumUpdate> {
    if ip.family.is_v4() {
        let header = frame.header::<Ipv4>(ip.l3)?;
        let word = vip.words()[3];
        header.checksum = ChecksumUpdate::NONE
            .replace_u32(header.src, word)
            .apply(header.checksum);
        header.src = word;
        Some(update)
    } else {
        frame.header::<Ipv6>(ip.l3)?.src = vip.words();
        // ICMPv6 sums a pseudo-header (RFC 4443 §2.3).
        Some(update.replace_addr(ip.src, vip))
    }
}
