//! Questions about VIPs: ARP, neighbour discovery, echo.

use std::net::{IpAddr, Ipv6Addr};

use lb_common::verdict::Reason;
use lb_tests::object::Ran;
use lb_tests::object::action::{XDP_DROP, XDP_PASS, XDP_TX};
use lb_tests::object::world::{
    BOTH, Family, NODE_MAC, ROUTER_MAC, UPLINK_MAC, World, frame, node, port,
};
use lb_tests::packet::{Seen, Transport, ethernet, icmp, tagged};

use crate::{expect, expect_frame};

const BROADCAST: [u8; 6] = [0xff; 6];

fn v4(addr: IpAddr) -> [u8; 4] {
    match addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(_) => panic!("ARP is for IPv4"),
    }
}

fn v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V6(addr) => addr,
        IpAddr::V4(_) => panic!("neighbour discovery is for IPv6"),
    }
}

/// An ARP packet (RFC 826): operation, sender, target.
fn arp(operation: u8, sender: ([u8; 6], IpAddr), target: ([u8; 6], IpAddr)) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
    bytes.extend_from_slice(&sender.0);
    bytes.extend_from_slice(&v4(sender.1));
    bytes.extend_from_slice(&target.0);
    bytes.extend_from_slice(&v4(target.1));
    bytes
}

fn who_has(target: IpAddr) -> Vec<u8> {
    let sender = (ROUTER_MAC, Family::V4.client().ip());
    ethernet(
        BROADCAST,
        ROUTER_MAC,
        0x0806,
        &arp(1, sender, ([0; 6], target)),
    )
}

#[test]
fn the_owner_answers_arp() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let (client, vip) = (Family::V4.client().ip(), Family::V4.vip(0).ip());
    let answer = arp(2, (UPLINK_MAC, vip), (ROUTER_MAC, client));
    let answer = ethernet(ROUTER_MAC, UPLINK_MAC, 0x0806, &answer);
    let ran = world.ingress(&who_has(vip));
    expect_frame(&ran, XDP_TX, &[Reason::arp_answered], &answer);
    for tags in [1, 2] {
        let ran = world.ingress(&tagged(&who_has(vip), tags));
        let answer = tagged(&answer, tags);
        expect_frame(&ran, XDP_TX, &[Reason::arp_answered], &answer);
    }
}

#[test]
fn nobody_else_answers_arp_for_a_vip() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let ran = world.ingress(&who_has(Family::V4.others_vip()));
    expect(&ran, XDP_DROP, &[Reason::arp_not_owner]);
    let ran = world.ingress(&who_has(Family::V4.expired_vip()));
    expect(&ran, XDP_DROP, &[Reason::vip_expired]);
}

#[test]
fn other_arp_passes() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let sent = who_has(Family::V4.own());
    let ran = world.ingress(&sent);
    expect_frame(&ran, XDP_PASS, &[Reason::arp_not_for_us], &sent);
    let (client, own) = (Family::V4.client().ip(), Family::V4.own());
    let reply = arp(2, (ROUTER_MAC, client), (UPLINK_MAC, own));
    let sent = ethernet(UPLINK_MAC, ROUTER_MAC, 0x0806, &reply);
    let ran = world.ingress(&sent);
    expect_frame(&ran, XDP_PASS, &[Reason::arp_not_for_us], &sent);
}

#[test]
fn somebody_else_with_our_vip_is_noticed() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let vip = Family::V4.vip(0).ip();
    for operation in [1, 2] {
        let announcement = arp(operation, (ROUTER_MAC, vip), ([0; 6], vip));
        let sent = ethernet(BROADCAST, ROUTER_MAC, 0x0806, &announcement);
        let ran = world.ingress(&sent);
        expect_frame(&ran, XDP_PASS, &[Reason::arp_foreign_answer], &sent);
    }
}

/// Somebody on the link says to have `vip`: by an announcement, and by an
/// answer to a question of ours.
fn claims(family: Family, vip: IpAddr, mac: [u8; 6]) -> [Vec<u8>; 2] {
    match family {
        Family::V4 => [1, 2].map(|operation| {
            let claim = arp(operation, (mac, vip), ([0; 6], vip));
            ethernet(BROADCAST, mac, 0x0806, &claim)
        }),
        Family::V6 => [0x20, 0x60].map(|flags| {
            let all_nodes = "ff02::1".parse().expect("an address");
            let group_mac = [0x33, 0x33, 0, 0, 0, 1];
            let mut claim = advertisement(group_mac, all_nodes, vip, flags);
            claim[6..12].copy_from_slice(&mac);
            claim
        }),
    }
}

#[test]
fn who_says_to_have_a_vip_is_noted_unless_it_may() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (ours, others) = (family.vip(0).ip(), family.others_vip());
        let unnoticed = match family {
            Family::V4 => Reason::arp_not_for_us,
            Family::V6 => Reason::not_for_us,
        };
        for (vip, mac, noticed, node) in [
            (ours, ROUTER_MAC, true, 0),
            (ours, NODE_MAC, true, node::SAME_LINK),
            (others, ROUTER_MAC, true, 0),
            (others, NODE_MAC, false, 0),
        ] {
            for sent in claims(family, vip, mac) {
                world.forget_claims().expect("the map can be emptied");
                let ran = world.ingress(&sent);
                let reason = if noticed {
                    Reason::arp_foreign_answer
                } else {
                    unnoticed
                };
                expect_frame(&ran, XDP_PASS, &[reason], &sent);
                let claims = world.claims().expect("the map can be read");
                let seen: Vec<_> = claims
                    .iter()
                    .map(|(vip, c)| (*vip, c.mac, c.node))
                    .collect();
                let expected: &[_] = if noticed {
                    &[(vip.into(), mac, node)]
                } else {
                    &[]
                };
                assert_eq!(seen, expected, "{vip} at {mac:02x?}");
            }
        }
    }
}

/// What a question about a VIP of ours meets.
fn ask(world: &mut World, family: Family) -> Ran {
    let vip = family.vip(0).ip();
    match family {
        Family::V4 => world.ingress(&who_has(vip)),
        Family::V6 => {
            let (group, group_mac) = solicited_node(vip);
            let asked = solicitation(family.client().ip(), group, vip, true);
            world.ingress(&ethernet(group_mac, ROUTER_MAC, 0x86dd, &asked))
        }
    }
}

#[test]
fn nothing_is_answered_behind_the_fence() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        world.fence(1).expect("written");
        expect(&ask(&mut world, family), XDP_DROP, &[Reason::vip_expired]);
        world.fence(u64::MAX).expect("written");
        assert_eq!(ask(&mut world, family).action, XDP_TX);
    }
}

#[test]
fn a_vip_is_answered_for_on_its_links_only() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for (family, silent) in [
        (Family::V4, Reason::arp_not_owner),
        (Family::V6, Reason::ndp_not_owner),
    ] {
        let vip = family.vip(0).ip();
        // Of the second uplink, and packets come by the first.
        world.vip_on(vip, 0b10).expect("written");
        expect(&ask(&mut world, family), XDP_DROP, &[silent]);
        world.vip_on(vip, 0b01).expect("written");
        assert_eq!(ask(&mut world, family).action, XDP_TX);
        world.vip_on(vip, u32::MAX).expect("written");
    }
}

/// A neighbour solicitation (RFC 4861 §4.3).
fn solicitation(src: IpAddr, dst: IpAddr, target: IpAddr, with_option: bool) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&v6(target).octets());
    if with_option {
        message.extend_from_slice(&[1, 1]);
        message.extend_from_slice(&ROUTER_MAC);
    }
    let mut packet = icmp(src, dst, &message);
    packet[7] = 255;
    packet
}

fn solicited_node(target: IpAddr) -> (IpAddr, [u8; 6]) {
    let [.., a, b, c] = v6(target).octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    (group.into(), [0x33, 0x33, 0xff, a, b, c])
}

/// The advertisement that answers: flags, and our MAC.
fn advertisement(dst_mac: [u8; 6], dst: IpAddr, vip: IpAddr, flags: u8) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&v6(vip).octets());
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&UPLINK_MAC);
    let mut packet = icmp(vip, dst, &message);
    packet[7] = 255;
    ethernet(dst_mac, UPLINK_MAC, 0x86dd, &packet)
}

#[test]
fn the_owner_answers_neighbour_solicitations_with_and_without_an_option() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let (client, vip) = (Family::V6.client().ip(), Family::V6.vip(0).ip());
    let (group, group_mac) = solicited_node(vip);
    let answer = advertisement(ROUTER_MAC, client, vip, 0x60);
    for with_option in [true, false] {
        let asked = solicitation(client, group, vip, with_option);
        let ran = world.ingress(&ethernet(group_mac, ROUTER_MAC, 0x86dd, &asked));
        expect_frame(&ran, XDP_TX, &[Reason::ndp_answered], &answer);
        // Unicast, to see whether we are still there.
        let asked = solicitation(client, vip, vip, with_option);
        let ran = world.ingress(&frame(&asked));
        expect_frame(&ran, XDP_TX, &[Reason::ndp_answered], &answer);
    }
}

#[test]
fn duplicate_address_detection_is_answered_to_all_nodes() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let vip = Family::V6.vip(0).ip();
    let (group, group_mac) = solicited_node(vip);
    let asked = solicitation(Ipv6Addr::UNSPECIFIED.into(), group, vip, false);
    let ran = world.ingress(&ethernet(group_mac, ROUTER_MAC, 0x86dd, &asked));
    let all_nodes = "ff02::1".parse().expect("an address");
    let answer = advertisement([0x33, 0x33, 0, 0, 0, 1], all_nodes, vip, 0x20);
    expect_frame(&ran, XDP_TX, &[Reason::ndp_answered], &answer);
}

#[test]
fn nobody_else_answers_neighbour_solicitations_for_a_vip() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let client = Family::V6.client().ip();
    let mut ask = |target| {
        let (group, group_mac) = solicited_node(target);
        let asked = solicitation(client, group, target, true);
        world.ingress(&ethernet(group_mac, ROUTER_MAC, 0x86dd, &asked))
    };
    let ran = ask(Family::V6.others_vip());
    expect(&ran, XDP_DROP, &[Reason::ndp_not_owner]);
    let ran = ask(Family::V6.expired_vip());
    expect(&ran, XDP_DROP, &[Reason::vip_expired]);
    let ran = ask(Family::V6.own());
    expect(&ran, XDP_PASS, &[Reason::not_for_us]);
}

#[test]
fn echo_requests_are_answered() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client().ip(), family.vip(port::HERE).ip());
        let (request, reply) = match family {
            Family::V4 => (8, 0),
            Family::V6 => (128, 129),
        };
        let message = |kind| vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5];
        let ran = world.ingress(&frame(&icmp(client, vip, &message(request))));
        let answer = icmp(vip, client, &message(reply));
        let answer = ethernet(ROUTER_MAC, UPLINK_MAC, 0, &answer);
        expect(&ran, XDP_TX, &[Reason::echo_answered]);
        let seen = Seen::of(&ran.frame).expect("well-formed");
        assert_eq!((seen.src, seen.dst, seen.ttl), (vip, client, 64));
        assert_eq!(ran.frame[14..], answer[14..]);
        assert!(matches!(seen.transport, Transport::Icmp { kind, .. } if kind == reply));
    }
}

#[test]
fn echo_requests_have_a_budget() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    world
        .configure(|config| config.rates = [2; 4])
        .expect("written");
    let (client, vip) = (Family::V4.client().ip(), Family::V4.vip(0).ip());
    let asked = frame(&icmp(client, vip, &[8, 0, 0, 0, 0, 1, 0, 1]));
    let answered = (0..50)
        .filter(|_| world.ingress(&asked).action == XDP_TX)
        .count();
    // A budget a CPU and period; the test may see two of each.
    assert!((2..=8).contains(&answered), "{answered} answers");
}
