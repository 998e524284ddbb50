//! Fragments go where their first went; what overlaps or has no head does not.

use lb_common::flow::UDP;
use lb_common::verdict::Reason;
use lb_tests::object::action::{XDP_DROP, XDP_PASS, XDP_TX};
use lb_tests::object::world::{BOTH, Family, NODE_MAC, UPLINK_MAC, World, frame, port};
use lb_tests::packet::{Segment, ethernet, ethertype, fragment};

use crate::{expect, expect_frame};

fn datagram(family: Family, to: std::net::SocketAddr) -> Segment {
    Segment::udp(family.client(), to).payload(&[b'f'; 300])
}

#[test]
fn all_fragments_reach_the_pod() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let sent = datagram(family, family.vip(port::HERE)).fragments(128);
        let out = datagram(family, family.pod()).fragments(128);
        assert_eq!(sent.len(), 3);
        for (index, (sent, out)) in sent.iter().zip(&out).enumerate() {
            let reason = if index == 0 {
                Reason::delivered_new
            } else {
                Reason::delivered_fragment
            };
            let ran = world.ingress(&frame(sent));
            expect_frame(&ran, XDP_PASS, &[reason], &frame(out));
        }
    }
}

#[test]
fn all_fragments_are_handed_over() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for sent in datagram(family, family.vip(port::SAME_LINK)).fragments(128) {
            let ran = world.ingress(&frame(&sent));
            assert_eq!(ran.action, XDP_TX, "{:?}", ran.counted);
            let mut out = sent.clone();
            let ttl = if family == Family::V4 { 8 } else { 7 };
            out[ttl] -= 1;
            if family == Family::V4 {
                let (header, _) = etherparse::Ipv4Header::from_slice(&out).expect("IPv4");
                let sum = header.calc_header_checksum().to_be_bytes();
                out[10..12].copy_from_slice(&sum);
            }
            let out = ethernet(NODE_MAC, UPLINK_MAC, ethertype(&out), &out);
            assert_eq!(crate::hex(&ran.frame), crate::hex(&out));
        }
    }
}

#[test]
fn a_fragment_without_its_head_is_dropped() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (src, dst) = (family.client().ip(), family.vip(0).ip());
        let later = fragment(src, dst, UDP, 128, false, &[1; 64]);
        let ran = world.ingress(&frame(&later));
        expect(&ran, XDP_DROP, &[Reason::fragment_unknown]);
    }
}

#[test]
fn fragments_that_overlap_or_leave_a_gap_are_dropped() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let first = &datagram(family, family.vip(port::HERE)).fragments(128)[0];
        let (src, dst) = (family.client().ip(), family.vip(0).ip());
        for offset in [8, 120, 136] {
            world.ingress(&frame(first));
            let later = fragment(src, dst, UDP, offset, false, &[1; 64]);
            let ran = world.ingress(&frame(&later));
            expect(&ran, XDP_DROP, &[Reason::fragment_overlap]);
        }
    }
}
