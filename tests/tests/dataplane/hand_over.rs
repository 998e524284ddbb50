//! To the pod's node: on the same link, behind a router, once more and marked.

use std::net::IpAddr;

use lb_common::flow::TCP;
use lb_common::frontend::{FrontendKey, place};
use lb_common::tunnel::{DEFAULT_PORT, MARKED_ETHERTYPE, Shim};
use lb_common::verdict::Reason;
use lb_tests::object::Ran;
use lb_tests::object::action::{XDP_DROP, XDP_TX};
use lb_tests::object::world::{
    BOTH, Family, NODE_MAC, ROUTER_MAC, UPLINK_MAC, World, frame, from_node, marked_from_node,
    port, tunnelled,
};
use lb_tests::packet::{Seen, Segment, Transport, ethernet, ethertype, tagged};

use crate::{expect, expect_frame};

/// A segment of each kind that an ingress node hands over alike.
fn segments(family: Family, vip_port: u16) -> Vec<Segment> {
    let (client, vip) = (family.client(), family.vip(vip_port));
    vec![
        Segment::tcp(client, vip, "S"),
        Segment::tcp(client, vip, "A"),
        Segment::tcp(client, vip, "PA").payload(b"GET / HTTP/1.1\r\n\r\n"),
        Segment::tcp(client, vip, "FA"),
        Segment::tcp(client, vip, "R"),
        Segment::udp(client, vip),
    ]
}

fn to_same_link(packet: &[u8]) -> Vec<u8> {
    ethernet(NODE_MAC, UPLINK_MAC, ethertype(packet), packet)
}

#[test]
fn on_the_same_link_only_macs_and_ttl_change() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for segment in segments(family, port::SAME_LINK) {
            let sent = frame(&segment.packet());
            let out = to_same_link(&segment.ttl(63).packet());
            let ran = world.ingress(&sent);
            expect_frame(&ran, XDP_TX, &[Reason::handed_over], &out);
            for tags in [1, 2] {
                let ran = world.ingress(&tagged(&sent, tags));
                expect_frame(&ran, XDP_TX, &[Reason::handed_over], &tagged(&out, tags));
            }
        }
        assert!(world.embryos().is_empty(), "an ingress node keeps nothing");
    }
}

#[test]
fn a_frontend_is_found_without_a_way_of_its_own_in_the_index() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let vip = family.vip(port::SAME_LINK);
        let sent = frame(&Segment::tcp(family.client(), vip, "A").packet());
        let key = FrontendKey::new(vip.ip().into(), vip.port(), TCP);
        // None, one that leads to another frontend, one that leads nowhere.
        for astray in [None, Some(place(0, 0)), Some(place(u32::MAX >> 1, 0))] {
            world
                .index(&key, |bucket, tag| {
                    bucket.remove(tag);
                    if let Some(astray) = astray {
                        bucket.put(tag, astray);
                    }
                })
                .unwrap();
            expect(&world.ingress(&sent), XDP_TX, &[Reason::handed_over]);
        }
    }
}

/// Our outer header: from, to, and around what.
#[track_caller]
fn expect_tunnel(ran: &Ran, reason: Reason, outer: Family, marked: bool, inner: &[u8]) {
    expect(ran, XDP_TX, &[reason]);
    let seen = Seen::of(&ran.frame).expect("well-formed");
    assert_eq!((seen.dst_mac, seen.src_mac), (ROUTER_MAC, UPLINK_MAC));
    assert_eq!((seen.src, seen.dst), (outer.own(), outer.routed()));
    assert_eq!(seen.destination().port(), DEFAULT_PORT);
    assert!(seen.source().port() >= 0xc000, "{seen:?}");
    let around = 14 + if outer == Family::V4 { 20 } else { 40 } + 8;
    let shim = Shim::new(marked);
    let expected = [shim.magic[0], shim.magic[1], shim.version, shim.flags];
    assert_eq!(ran.frame[around..around + 4], expected);
    assert_eq!(ran.frame[around + 4..], *inner);
}

#[test]
fn behind_a_router_the_packet_travels_whole() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for (vip_port, outer) in [(port::ROUTED, Family::V4), (port::ROUTED_V6, Family::V6)] {
            for segment in segments(family, vip_port) {
                let ran = world.ingress(&frame(&segment.packet()));
                let inner = segment.ttl(63).packet();
                expect_tunnel(&ran, Reason::handed_over_routed, outer, false, &inner);
            }
        }
    }
}

#[test]
fn flows_spread_over_source_ports_of_the_outer_header() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let mut ports = std::collections::BTreeSet::new();
    for client_port in 40000..40032 {
        let client = (Family::V4.client().ip(), client_port).into();
        let syn = Segment::tcp(client, Family::V4.vip(port::ROUTED), "S");
        let ran = world.ingress(&frame(&syn.packet()));
        let seen = Seen::of(&ran.frame).expect("well-formed");
        ports.insert(seen.source().port());
    }
    assert!(ports.len() >= 28, "{} ports for 32 flows", ports.len());
}

#[test]
fn what_was_handed_over_and_belongs_elsewhere_is_handed_on_marked() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for segment in segments(family, port::AWAY_NEXT_HERE) {
            let sent = segment.packet();
            let out = segment.ttl(63).packet();
            let out = ethernet(NODE_MAC, UPLINK_MAC, MARKED_ETHERTYPE, &out);
            let sent = tunnelled(family.routed(), family.own(), false, &sent);
            let ran = world.ingress(&sent);
            expect_frame(&ran, XDP_TX, &[Reason::handed_on], &out);
        }
    }
}

#[test]
fn a_marked_packet_is_never_handed_on() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for vip_port in [port::SAME_LINK, port::ROUTED, port::ROUTED_V6] {
            for segment in segments(family, vip_port) {
                let packet = segment.packet();
                let ran = world.ingress(&marked_from_node(&packet));
                expect(&ran, XDP_DROP, &[Reason::stranded]);
                let sent = tunnelled(family.routed(), family.own(), true, &packet);
                let ran = world.ingress(&sent);
                expect(&ran, XDP_DROP, &[Reason::stranded]);
            }
        }
    }
}

#[test]
fn after_a_change_unknown_flows_are_offered_to_the_owner_before() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE_NEXT_AWAY));
        let ack = Segment::tcp(client, vip, "A");
        let ran = world.ingress(&frame(&ack.packet()));
        let out = ack.ttl(63).packet();
        let out = ethernet(NODE_MAC, UPLINK_MAC, MARKED_ETHERTYPE, &out);
        expect_frame(&ran, XDP_TX, &[Reason::handed_on], &out);
        let ack = Segment::tcp(client, family.vip(port::HERE_NEXT_ROUTED), "A");
        let ran = world.ingress(&frame(&ack.packet()));
        let inner = ack.ttl(63).packet();
        expect_tunnel(&ran, Reason::handed_on_routed, Family::V4, true, &inner);
        // A new flow begins here all the same.
        let syn = Segment::tcp(client, vip, "S").packet();
        let ran = world.ingress(&frame(&syn));
        assert_eq!(ran.counted, [Reason::delivered_new]);
    }
}

#[test]
fn a_client_that_lives_on_a_node_is_a_client() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let client = (family.same_link(), 40000).into();
        let syn = Segment::tcp(client, family.vip(port::SAME_LINK), "S");
        let ran = world.ingress(&from_node(&syn.packet()));
        let out = to_same_link(&syn.ttl(63).packet());
        expect_frame(&ran, XDP_TX, &[Reason::handed_over], &out);
    }
}

#[test]
fn without_a_way_to_the_node_the_packet_is_dropped_and_counted() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for segment in segments(family, port::NO_WAY) {
            let ran = world.ingress(&frame(&segment.packet()));
            expect(&ran, XDP_DROP, &[Reason::no_next_hop]);
        }
    }
}

#[test]
fn a_hop_limit_that_ends_here_is_answered() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for vip_port in [port::SAME_LINK, port::ROUTED, port::DIRECT] {
            let sent = Segment::tcp(family.client(), family.vip(vip_port), "A").ttl(1);
            let ran = world.ingress(&frame(&sent.packet()));
            expect(&ran, XDP_TX, &[Reason::time_exceeded_answered]);
            let kind = if family == Family::V4 { 11 } else { 3 };
            expect_error(&ran, family, (kind, 0), 0, &sent.packet());
        }
    }
}

/// An ICMP error from the VIP to the client, about what it sent.
#[track_caller]
fn expect_error(ran: &Ran, family: Family, (kind, code): (u8, u8), rest: u32, sent: &[u8]) {
    let seen = Seen::of(&ran.frame).expect("well-formed");
    let (client, vip): (IpAddr, IpAddr) = (family.client().ip(), family.vip(0).ip());
    assert_eq!((seen.src, seen.dst), (vip, client));
    assert_eq!((seen.dst_mac, seen.src_mac), (ROUTER_MAC, UPLINK_MAC));
    let Transport::Icmp {
        kind: got,
        code: got_code,
        rest: message,
    } = seen.transport
    else {
        panic!("not ICMP: {seen:?}");
    };
    assert_eq!((got, got_code), (kind, code));
    assert_eq!(message[..4], rest.to_be_bytes());
    assert!(sent.starts_with(&message[4..]), "it quotes what came");
    assert!(message.len() >= 4 + 28, "with its ports");
}

#[test]
fn what_does_not_fit_the_tunnel_is_answered_with_the_mtu() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let error = if family == Family::V4 { (3, 4) } else { (2, 0) };
        for (vip_port, room) in [(port::ROUTED, 1500 - 32), (port::ROUTED_V6, 1500 - 52)] {
            let headers = if family == Family::V4 { 40 } else { 60 };
            let of_len = |len: usize| {
                Segment::tcp(family.client(), family.vip(vip_port), "A")
                    .payload(&vec![b'x'; len - headers])
                    .packet()
            };
            let ran = world.ingress(&frame(&of_len(room)));
            expect(&ran, XDP_TX, &[Reason::handed_over_routed]);
            let sent = of_len(room + 1);
            let ran = world.ingress(&frame(&sent));
            expect(&ran, XDP_TX, &[Reason::too_big_answered]);
            let mtu = u32::try_from(room).expect("small");
            expect_error(&ran, family, error, mtu, &sent);
        }
    }
}
