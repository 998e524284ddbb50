//! ICMP errors to a VIP go to the pod whose answer they are about.

use std::net::SocketAddr;

use lb_common::verdict::Reason;
use lb_tests::object::action::{XDP_DROP, XDP_PASS, XDP_TX};
use lb_tests::object::world::{BOTH, Family, NODE_MAC, UPLINK_MAC, World, frame, icmp_error, port};
use lb_tests::packet::{Seen, Segment, ethernet, ethertype, icmp};

use crate::{expect, expect_frame};

/// Too big, of the family.
fn too_big(family: Family, to: SocketAddr, quoted: &[u8]) -> Vec<u8> {
    let (kind, code) = if family == Family::V4 { (3, 4) } else { (2, 0) };
    icmp_error(to.ip(), kind, code, 1400, quoted)
}

#[test]
fn an_error_about_an_established_flow_reaches_its_pod() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip, pod) = (family.client(), family.vip(port::HERE), family.pod());
        world.establish(client, vip);
        let reply = |from| Segment::tcp(from, client, "PA").payload(b"0123456789");
        let sent = too_big(family, vip, &reply(vip).packet());
        let ran = world.ingress(&frame(&sent));
        let out = too_big(family, pod, &reply(pod).packet());
        let reasons = [Reason::icmp_error_delivered];
        expect_frame(&ran, XDP_PASS, &reasons, &frame(&out));
        Seen::of(&ran.frame).expect("checksums are right");
    }
}

#[test]
fn an_error_that_quotes_eight_bytes_of_transport_is_enough() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip, pod) = (family.client(), family.vip(port::HERE), family.pod());
        world.establish(client, vip);
        let headers = if family == Family::V4 { 20 } else { 40 };
        let reply = |from| Segment::tcp(from, client, "A").packet()[..headers + 8].to_vec();
        let ran = world.ingress(&frame(&too_big(family, vip, &reply(vip))));
        let out = too_big(family, pod, &reply(pod));
        let reasons = [Reason::icmp_error_delivered];
        expect_frame(&ran, XDP_PASS, &reasons, &frame(&out));
    }
}

#[test]
fn an_error_about_a_flow_elsewhere_is_handed_over() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::SAME_LINK));
        let reply = Segment::tcp(vip, client, "A").packet();
        let mut out = too_big(family, vip, &reply);
        let ran = world.ingress(&frame(&out));
        assert_eq!(ran.action, XDP_TX, "{:?}", ran.counted);
        assert_eq!(ran.counted.len(), 1);
        let (ttl, sum) = if family == Family::V4 {
            (8, 10..12)
        } else {
            (7, 0..0)
        };
        out[ttl] -= 1;
        if family == Family::V4 {
            let (header, _) = etherparse::Ipv4Header::from_slice(&out).expect("IPv4");
            out[sum].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        let out = ethernet(NODE_MAC, UPLINK_MAC, ethertype(&out), &out);
        assert_eq!(crate::hex(&ran.frame), crate::hex(&out));
    }
}

#[test]
fn errors_about_nothing_of_ours_are_dropped() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let unknown_flow = Segment::tcp(vip, client, "A").packet();
        let from_other = Segment::tcp(family.stranger(80), client, "A").packet();
        let not_ours = Segment::tcp(family.vip(port::UNUSED), client, "A").packet();
        for quoted in [&unknown_flow[..], &from_other, &not_ours, &[0x45; 12], &[]] {
            let ran = world.ingress(&frame(&too_big(family, vip, quoted)));
            expect(&ran, XDP_DROP, &[Reason::icmp_unrelated]);
        }
        let reply_kind = if family == Family::V4 { 0 } else { 129 };
        let stray = icmp(client.ip(), vip.ip(), &[reply_kind, 0, 0, 0, 0, 1, 0, 1]);
        let ran = world.ingress(&frame(&stray));
        expect(&ran, XDP_DROP, &[Reason::icmp_unrelated]);
    }
}
