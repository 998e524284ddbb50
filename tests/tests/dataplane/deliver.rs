//! To a pod here: translated, and remembered once both sides have proved that
//! they take part.

use lb_common::config::Config;
use lb_common::flow::{EMBRYO_WAYS, Embryo, EmbryoSet, TCP, UDP, state};
use lb_common::verdict::Reason;
use lb_tests::object::action::XDP_PASS;
use lb_tests::object::world::{
    BOTH, POD_IFINDEX, World, frame, from_node, marked_from_node, port, tunnelled,
};
use lb_tests::packet::{Seen, Segment, tagged, with_extensions, with_options};

use crate::{expect, expect_frame};

#[test]
fn a_syn_is_translated_and_begins_a_flow() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for (before, family) in BOTH.into_iter().enumerate() {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let ran = world.ingress(&frame(&Segment::tcp(client, vip, "S").mss(1460).packet()));
        let out = Segment::tcp(client, family.pod(), "S").mss(1460);
        let out = frame(&out.packet());
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_new], &out);
        assert_eq!(world.embryos().len(), before + 1);
        assert_eq!(world.flow(client, vip, TCP), None, "nothing is proved yet");
        let ran = world.ingress(&frame(&Segment::tcp(client, vip, "S").mss(1460).packet()));
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_embryonic], &out);
    }
}

/// The client's ports of the flows in the only set of embryos, by their ways.
fn ways(world: &mut World) -> [u16; EMBRYO_WAYS] {
    let set = world.array::<EmbryoSet>("EMBRYONIC").expect("a map");
    let set = set.get(&0, 0).expect("readable");
    set.ways.map(|way| way.pod_client_port)
}

fn change_ways(world: &mut World, change: impl FnOnce(&mut [Embryo; EMBRYO_WAYS])) {
    let mut sets = world.array::<EmbryoSet>("EMBRYONIC").expect("a map");
    let mut set = sets.get(&0, 0).expect("readable");
    change(&mut set.ways);
    sets.set(0, set, 0).expect("writable");
}

#[test]
fn a_new_flow_takes_a_free_place_or_that_of_the_oldest() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let one_set = |config: &mut Config| config.embryo_sets = 1;
    world.configure(one_set).expect("configured");
    let mut port = 2000;
    for family in BOTH {
        let vip = family.vip(port::HERE);
        let of = |port: u16| (family.client().ip(), port).into();
        let syn = |port| Segment::tcp(of(port), vip, "S");
        let datagram = |port| Segment::udp(of(port), vip);
        change_ways(&mut world, |ways| *ways = Default::default());
        for begin in [&syn as &dyn Fn(u16) -> Segment, &datagram] {
            let mut expected = ways(&mut world);
            for way in [2, 0, 3, 1] {
                change_ways(&mut world, |ways| {
                    ways.iter_mut().for_each(|way| way.tag |= 1);
                    ways[way].seen = ways[way].seen.wrapping_sub(1000);
                });
                port += 1;
                let ran = world.ingress(&frame(&begin(port).packet()));
                expect(&ran, XDP_PASS, &[Reason::delivered_new]);
                expected[way] = port;
                assert_eq!(ways(&mut world), expected, "{family:?}");
            }
            change_ways(&mut world, |ways| {
                ways[1].tag = 0;
                ways[3].seen = ways[3].seen.wrapping_sub(500);
            });
            port += 1;
            world.ingress(&frame(&begin(port).packet()));
            expected[1] = port;
            assert_eq!(ways(&mut world), expected, "{family:?}");
        }
    }
}

#[test]
fn an_ack_that_fits_the_syn_ack_establishes_the_flow() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        world.answer_embryos(5000);
        let ack = |to| Segment::tcp(client, to, "A").seq(1001).ack(5001).packet();
        let ran = world.ingress(&frame(&ack(vip)));
        let reasons = [Reason::delivered_embryonic, Reason::flow_established];
        expect_frame(&ran, XDP_PASS, &reasons, &frame(&ack(family.pod())));
        assert!(world.flow(client, vip, TCP).is_some());
        assert!(world.embryos().is_empty(), "it has grown up");
        let ran = world.ingress(&frame(&ack(vip)));
        expect(&ran, XDP_PASS, &[Reason::delivered_established]);
    }
}

#[test]
fn an_ack_that_does_not_fit_proves_nothing() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        let guess = Segment::tcp(client, vip, "A").seq(1001).ack(5001);
        // The pod has not answered; then it has, with another number.
        let ran = world.ingress(&frame(&guess.packet()));
        expect(&ran, XDP_PASS, &[Reason::delivered_pick]);
        world.answer_embryos(7000);
        let ran = world.ingress(&frame(&guess.packet()));
        expect(&ran, XDP_PASS, &[Reason::delivered_pick]);
        assert_eq!(world.flow(client, vip, TCP), None);
    }
}

#[test]
fn both_fins_close_a_flow() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.establish(client, vip);
        let fin = Segment::tcp(client, vip, "FA").seq(1001).ack(5001);
        let ran = world.ingress(&frame(&fin.payload(b"bye").packet()));
        expect(&ran, XDP_PASS, &[Reason::delivered_established]);
        let flow = world.flow(client, vip, TCP).expect("still there");
        assert_eq!((flow.state, flow.client_fin), (state::CLIENT_FIN, 1005));
    }
}

#[test]
fn a_reset_is_noted_and_left_to_the_pod() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.establish(client, vip);
        let reset = |to| Segment::tcp(client, to, "R").seq(1001).packet();
        let ran = world.ingress(&frame(&reset(vip)));
        let out = frame(&reset(family.pod()));
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_established], &out);
        let flow = world.flow(client, vip, TCP).expect("still there");
        assert_eq!(flow.state, state::CLIENT_RESET);
    }
}

#[test]
fn a_stray_ack_goes_to_the_pick_and_a_stray_reset_leaves_no_trace() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let before = world.embryos().len();
        let reset = Segment::tcp(client, vip, "R").packet();
        let ran = world.ingress(&frame(&reset));
        expect(&ran, XDP_PASS, &[Reason::delivered_pick]);
        assert_eq!(world.embryos().len(), before);
        let stray = |to| Segment::tcp(client, to, "PA").payload(b"who am I");
        let ran = world.ingress(&frame(&stray(vip).packet()));
        let out = frame(&stray(family.pod()).packet());
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_pick], &out);
        assert_eq!(world.flow(client, vip, TCP), None);
    }
}

#[test]
fn udp_is_translated_and_established_once_the_pod_has_answered() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let sent = frame(&Segment::udp(client, vip).packet());
        let out = frame(&Segment::udp(client, family.pod()).packet());
        let ran = world.ingress(&sent);
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_new], &out);
        let ran = world.ingress(&sent);
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_embryonic], &out);
        assert_eq!(
            world.flow(client, vip, UDP),
            None,
            "the pod has said nothing"
        );
        world.answer_embryos(0);
        let reasons = [Reason::delivered_embryonic, Reason::flow_established];
        expect_frame(&world.ingress(&sent), XDP_PASS, &reasons, &out);
        let reasons = [Reason::delivered_established];
        expect_frame(&world.ingress(&sent), XDP_PASS, &reasons, &out);
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let family = lb_tests::object::world::Family::V4;
    let mut sent = frame(&Segment::udp(family.client(), family.vip(port::HERE)).packet());
    let mut out = frame(&Segment::udp(family.client(), family.pod()).packet());
    sent[40..42].fill(0);
    out[40..42].fill(0);
    let ran = world.ingress(&sent);
    expect_frame(&ran, XDP_PASS, &[Reason::delivered_new], &out);
}

#[test]
fn tags_options_and_extension_headers_are_walked() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let packets = |to| Segment::tcp(client, to, "R").packet();
        let (sent, out) = (packets(vip), packets(family.pod()));
        for tags in 0..=2 {
            let ran = world.ingress(&tagged(&frame(&sent), tags));
            let out = tagged(&frame(&out), tags);
            expect_frame(&ran, XDP_PASS, &[Reason::delivered_pick], &out);
        }
        for count in 1..=6 {
            let wrap = |packet: &[u8]| match family {
                lb_tests::object::world::Family::V4 => with_options(packet, count),
                lb_tests::object::world::Family::V6 => with_extensions(packet, count),
            };
            let ran = world.ingress(&frame(&wrap(&sent)));
            let out = frame(&wrap(&out));
            expect_frame(&ran, XDP_PASS, &[Reason::delivered_pick], &out);
        }
    }
}

#[test]
fn what_a_node_handed_over_is_delivered_bare() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let packet = |to| Segment::tcp(client, to, "R").packet();
        let (sent, out) = (packet(vip), packet(family.pod()));
        let reasons = [Reason::delivered_pick];
        expect_frame(
            &world.ingress(&from_node(&sent)),
            XDP_PASS,
            &reasons,
            &from_node(&out),
        );
        let ran = world.ingress(&marked_from_node(&sent));
        expect_frame(&ran, XDP_PASS, &reasons, &from_node(&out));
        for outer in BOTH {
            for marked in [false, true] {
                let sent = tunnelled(outer.routed(), outer.own(), marked, &sent);
                let ran = world.ingress(&sent);
                expect_frame(&ran, XDP_PASS, &reasons, &frame(&out));
            }
        }
    }
}

#[test]
fn direct_delivery_leaves_a_note_for_the_next_program() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::DIRECT));
        let ran = world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        let out = Segment::tcp(client, family.pod(), "S").ttl(63);
        let mut expected = u32::from_be_bytes(*b"Crtn").to_ne_bytes().to_vec();
        expected.extend_from_slice(&POD_IFINDEX.to_ne_bytes());
        expected.extend_from_slice(&frame(&out.packet()));
        expect_frame(&ran, XDP_PASS, &[Reason::delivered_new], &expected);
    }
}

#[test]
fn one_client_port_two_vips_one_pod() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let client = family.client();
        world.establish(client, family.vip(port::HERE));
        let syn = Segment::tcp(client, family.other_vip(port::HERE), "S").packet();
        let ran = world.ingress(&frame(&syn));
        let reasons = [
            Reason::delivered_established,
            Reason::source_port_changed,
            Reason::flow_established,
        ];
        expect(&ran, XDP_PASS, &reasons);
        let seen = Seen::of(&ran.frame).expect("well-formed");
        assert_eq!(seen.destination(), family.pod());
        assert_eq!(seen.src, client.ip());
        let port = seen.source().port();
        assert_ne!(port, client.port());
        // And so do all that follow.
        let data = Segment::tcp(client, family.other_vip(port::HERE), "PA");
        let ran = world.ingress(&frame(&data.payload(b"data").packet()));
        expect(&ran, XDP_PASS, &[Reason::delivered_established]);
        let seen = Seen::of(&ran.frame).expect("well-formed");
        assert_eq!(seen.source().port(), port);
    }
}
