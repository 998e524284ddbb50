//! What is not for a VIP passes, bit for bit.

use lb_common::flow::{ICMP, ICMPV6};
use lb_common::verdict::Reason;
use lb_tests::object::action::XDP_PASS;
use lb_tests::object::world::{
    BOTH, Family, ROUTER_MAC, UPLINK_MAC, World, frame, ip_in_ip, port, tunnelled,
};
use lb_tests::packet::{Segment, ethernet, fragment, icmp, ip, tagged, with_extensions};

use crate::expect_frame;

#[track_caller]
fn untouched(world: &mut World, sent: &[u8], reason: Reason) {
    let ran = world.ingress(sent);
    expect_frame(&ran, XDP_PASS, &[reason], sent);
}

#[test]
fn packets_for_other_addresses() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, other) = (family.client(), family.stranger(80));
        for flags in ["S", "A", "PA", "FA", "R"] {
            let sent = frame(&Segment::tcp(client, other, flags).packet());
            untouched(&mut world, &sent, Reason::not_for_us);
        }
        let sent = frame(&Segment::udp(client, other).packet());
        untouched(&mut world, &sent, Reason::not_for_us);
        let echo = icmp(client.ip(), other.ip(), &[8, 0, 0, 0, 0, 1, 0, 1, 9, 9]);
        untouched(&mut world, &frame(&echo), Reason::not_for_us);
        // From a VIP is not for a VIP.
        let reply = Segment::tcp(family.vip(port::HERE), client, "SA");
        untouched(&mut world, &frame(&reply.packet()), Reason::not_for_us);
    }
}

#[test]
fn fragments_extension_headers_and_odd_protocols_for_other_addresses() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (src, dst) = (family.client().ip(), family.stranger(80).ip());
        for (offset, more) in [(0, true), (64, true), (128, false)] {
            let part = fragment(src, dst, 17, offset, more, &[7; 64]);
            untouched(&mut world, &frame(&part), Reason::not_for_us);
        }
        for protocol in [2, 47, 50, 89, 132, 253] {
            let packet = ip(src, dst, 64, protocol, &[1; 40]);
            untouched(&mut world, &frame(&packet), Reason::not_for_us);
        }
    }
    let (client, other) = (Family::V6.client(), Family::V6.stranger(80));
    for count in 1..=9 {
        let packet = with_extensions(&Segment::udp(client, other).packet(), count);
        untouched(&mut world, &frame(&packet), Reason::not_for_us);
    }
}

#[test]
fn other_tunnels_between_the_nodes() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (node, own) = (family.routed(), family.own());
        let inner = Segment::tcp(family.client(), family.vip(port::HERE), "S").packet();
        untouched(&mut world, &ip_in_ip(family, &inner), Reason::not_for_us);
        // VXLAN: its header, then a frame.
        let mut vxlan = vec![8, 0, 0, 0, 0, 0, 42, 0];
        vxlan.extend_from_slice(&frame(&inner));
        let outer = Segment::udp((node, 50000).into(), (own, 4789).into()).payload(&vxlan);
        untouched(&mut world, &frame(&outer.packet()), Reason::not_for_us);
        // Our port, but not what we send.
        let outer = Segment::udp((node, 50000).into(), (own, 6947).into()).payload(&vxlan);
        untouched(&mut world, &frame(&outer.packet()), Reason::not_for_us);
    }
}

#[test]
fn our_outer_header_from_who_is_no_node_or_around_what_is_for_no_vip() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let client = family.client();
        let to_vip = Segment::tcp(client, family.vip(port::HERE), "S").packet();
        let to_other = Segment::tcp(client, family.stranger(80), "S").packet();
        let sent = tunnelled(client.ip(), family.own(), false, &to_vip);
        untouched(&mut world, &sent, Reason::not_for_us);
        let sent = tunnelled(family.routed(), family.own(), false, &to_other);
        untouched(&mut world, &sent, Reason::not_for_us);
    }
}

#[test]
fn other_ethertypes_other_macs_and_three_tags() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    // Spanning tree's length field, LLDP, MPLS, PPPoE, the other local one.
    for ethertype in [0x0026, 0x88cc, 0x8847, 0x8864, 0x88b6] {
        let sent = ethernet(UPLINK_MAC, ROUTER_MAC, ethertype, &[0x45; 60]);
        untouched(&mut world, &sent, Reason::not_ip);
    }
    for family in BOTH {
        let syn = Segment::tcp(family.client(), family.vip(port::HERE), "S").packet();
        let three = tagged(&frame(&syn), 3);
        untouched(&mut world, &three, Reason::not_ip);
        let mut other = frame(&syn);
        other[5] ^= 0x40;
        untouched(&mut world, &other, Reason::other_mac);
    }
}

#[test]
fn multicast_and_neighbour_discovery_for_others() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let (client, other) = (Family::V6.client().ip(), Family::V6.stranger(0).ip());
    for kind in [133_u8, 134, 135, 136, 143] {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        if let std::net::IpAddr::V6(other) = other {
            message.extend_from_slice(&other.octets());
        }
        let mut packet = icmp(client, "ff02::1".parse().expect("an address"), &message);
        packet[7] = 255;
        let sent = ethernet([0x33, 0x33, 0, 0, 0, 1], ROUTER_MAC, 0x86dd, &packet);
        untouched(&mut world, &sent, Reason::not_for_us);
    }
    let group = [224, 0, 0, 18].into();
    for protocol in [2, 112, ICMP, ICMPV6] {
        let packet = ip(Family::V4.client().ip(), group, 255, protocol, &[1; 40]);
        let sent = ethernet([1, 0, 0x5e, 0, 0, 18], ROUTER_MAC, 0x0800, &packet);
        untouched(&mut world, &sent, Reason::not_for_us);
    }
}
