//! Silence is never the answer to a mistake.

use lb_common::flow::{ICMP, ICMPV6};
use lb_common::verdict::Reason;
use lb_tests::object::Ran;
use lb_tests::object::action::{XDP_DROP, XDP_TX};
use lb_tests::object::world::{BOTH, Family, ROUTER_MAC, UPLINK_MAC, World, frame, port};
use lb_tests::packet::{Seen, Segment, Transport, ip, tagged, with_extensions};

use crate::expect;

/// From the VIP to the client, back by the way it came.
#[track_caller]
fn answer(ran: &Ran, family: Family) -> Seen {
    let seen = Seen::of(&ran.frame).expect("well-formed");
    assert_eq!((seen.dst_mac, seen.src_mac), (ROUTER_MAC, UPLINK_MAC));
    let (client, vip) = (family.client().ip(), family.vip(0).ip());
    assert_eq!((seen.src, seen.dst), (vip, client));
    seen
}

#[test]
fn tcp_to_a_port_without_endpoints_or_service_is_reset() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for (vip_port, reason) in [
            (port::EMPTY, Reason::rejected_no_backend),
            (port::UNUSED, Reason::rejected_no_frontend),
        ] {
            let (client, vip) = (family.client(), family.vip(vip_port));
            // RFC 9293 §3.10.7.1: without ACK, the reset acknowledges.
            let syn = Segment::tcp(client, vip, "S").seq(77).payload(b"early");
            let ran = world.ingress(&frame(&syn.packet()));
            expect(&ran, XDP_TX, &[reason]);
            let tcp = answer(&ran, family).transport;
            assert_eq!(tcp, reset(vip_port, "RA", 0, 83));
            // With ACK, it takes the sender's number.
            let ack = Segment::tcp(client, vip, "PA").ack(99).payload(b"x");
            let ran = world.ingress(&tagged(&frame(&ack.packet()), 1));
            expect(&ran, XDP_TX, &[reason]);
            assert_eq!(answer(&ran, family).transport, reset(vip_port, "R", 99, 0));
        }
    }
}

fn reset(src: u16, flags: &str, seq: u32, ack: u32) -> Transport {
    Transport::Tcp {
        src,
        dst: 40000,
        flags: flags.into(),
        seq,
        ack,
        mss: 0,
    }
}

#[test]
fn resets_are_not_answered() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for vip_port in [port::EMPTY, port::UNUSED] {
            for flags in ["R", "RA"] {
                let sent = Segment::tcp(family.client(), family.vip(vip_port), flags);
                let ran = world.ingress(&frame(&sent.packet()));
                expect(&ran, XDP_DROP, &[Reason::not_answerable]);
            }
        }
    }
}

#[test]
fn udp_to_a_port_without_endpoints_or_service_is_port_unreachable() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for (vip_port, reason) in [
            (port::EMPTY, Reason::rejected_no_backend),
            (port::UNUSED, Reason::rejected_no_frontend),
        ] {
            for len in [0, 1, 2, 60, 61, 1000, 1400] {
                let sent = Segment::udp(family.client(), family.vip(vip_port));
                let sent = sent.payload(&vec![b'x'; len]).packet();
                let ran = world.ingress(&frame(&sent));
                expect(&ran, XDP_TX, &[reason]);
                let error = if family == Family::V4 { (3, 3) } else { (1, 4) };
                expect_quote(&answer(&ran, family), error, 0, &sent);
            }
        }
    }
}

#[track_caller]
fn expect_quote(seen: &Seen, error: (u8, u8), rest: u32, sent: &[u8]) {
    let Transport::Icmp {
        kind,
        code,
        rest: message,
    } = &seen.transport
    else {
        panic!("not ICMP: {seen:?}");
    };
    assert_eq!((*kind, *code), error);
    assert_eq!(message[..4], rest.to_be_bytes());
    assert!(sent.starts_with(&message[4..]), "it quotes what came");
}

#[test]
fn other_protocols_are_protocol_unreachable() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client().ip(), family.vip(0).ip());
        let (error, rest) = match family {
            Family::V4 => ((3, 2), 0),
            Family::V6 => ((4, 1), 6),
        };
        let foreign = if family == Family::V4 { ICMPV6 } else { ICMP };
        for protocol in [2, 47, 50, 89, 132, 253, foreign] {
            let sent = ip(client, vip, 64, protocol, &[5; 40]);
            let ran = world.ingress(&frame(&sent));
            expect(&ran, XDP_TX, &[Reason::rejected_protocol]);
            expect_quote(&answer(&ran, family), error, rest, &sent);
        }
    }
}

#[test]
fn more_extension_headers_than_are_walked_are_dropped_and_counted() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let family = Family::V6;
    let packet = Segment::tcp(family.client(), family.vip(port::HERE), "S").packet();
    for count in 7..=9 {
        let ran = world.ingress(&frame(&with_extensions(&packet, count)));
        expect(&ran, XDP_DROP, &[Reason::extension_headers]);
    }
}

#[test]
fn answers_have_a_budget() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    world
        .configure(|config| config.rates = [2; 4])
        .expect("written");
    let syn = Segment::tcp(Family::V4.client(), Family::V4.vip(port::EMPTY), "S");
    let syn = frame(&syn.packet());
    let actions: Vec<_> = (0..50).map(|_| world.ingress(&syn)).collect();
    let answered = actions.iter().filter(|ran| ran.action == XDP_TX).count();
    assert!((2..=8).contains(&answered), "{answered} answers");
    let silent = actions.iter().find(|ran| ran.action == XDP_DROP);
    assert_eq!(silent.expect("one").counted, [Reason::rate_limited]);
}
