//! Answers of pods: they leave as the VIP's, and prove and end flows.

use lb_common::flow::{TCP, UDP, state};
use lb_common::verdict::Reason;
use lb_tests::object::action::{TC_REDIRECT, TC_SHOT, TC_UNSPEC, XDP_PASS};
use lb_tests::object::world::{BOTH, Family, World, frame, leaving, port};
use lb_tests::packet::{Segment, fragment, icmp, ip, tagged};

use crate::{expect, expect_frame};

/// On with the next program.
const NEXT: u32 = TC_UNSPEC;
const REPLY: &[Reason] = &[Reason::reply_translated];
const UNTOUCHED: &[Reason] = &[Reason::egress_untouched];
const PROVES: &[Reason] = &[Reason::reply_translated, Reason::flow_established];

/// A segment of the pod to the client, and the same as it is to leave.
fn answer(family: Family, vip_port: u16, change: impl Fn(Segment) -> Segment) -> [Vec<u8>; 2] {
    [family.pod(), family.vip(vip_port)].map(|from| {
        let segment = change(Segment::tcp(from, family.client(), "A"));
        leaving(&segment.packet())
    })
}

#[test]
fn answers_of_an_established_flow_leave_as_the_vips() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        world.establish(family.client(), family.vip(port::HERE));
        for size in [0, 1, 2, 100, 1400] {
            let [sent, out] = answer(family, port::HERE, |data| data.payload(&vec![b'd'; size]));
            expect_frame(&world.egress(&sent), NEXT, REPLY, &out);
            let ran = world.egress(&tagged(&sent, 1));
            expect_frame(&ran, NEXT, REPLY, &tagged(&out, 1));
        }
    }
}

#[test]
fn a_handshake_proves_a_flow_by_both_programs() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        let syn_ack = |from| {
            Segment::tcp(from, client, "SA")
                .seq(5000)
                .ack(1001)
                .mss(1460)
        };
        let ran = world.egress(&leaving(&syn_ack(family.pod()).packet()));
        expect_frame(&ran, NEXT, REPLY, &leaving(&syn_ack(vip).packet()));
        assert_eq!(world.flow(client, vip, TCP), None);
        let ack = Segment::tcp(client, vip, "A").seq(1001).ack(5001);
        let ran = world.ingress(&frame(&ack.packet()));
        let reasons = [Reason::delivered_embryonic, Reason::flow_established];
        expect(&ran, XDP_PASS, &reasons);
        assert!(world.flow(client, vip, TCP).is_some());
    }
}

#[test]
fn a_syn_ack_to_another_syn_is_left_alone() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        let direct = Segment::tcp(family.pod(), client, "SA").seq(1).ack(4711);
        let sent = leaving(&direct.packet());
        expect_frame(&world.egress(&sent), NEXT, UNTOUCHED, &sent);
    }
}

#[test]
fn the_pod_proves_a_flow_by_payload() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        world.answer_embryos(5000);
        // A bare ACK of the SYN proves nothing.
        let [bare, out] = answer(family, port::HERE, |ack| ack.seq(5001).ack(1001));
        expect_frame(&world.egress(&bare), NEXT, REPLY, &out);
        assert_eq!(world.flow(client, vip, TCP), None);
        let [data, out] = answer(family, port::HERE, |data| {
            data.seq(5001).ack(1001).payload(b"220 hello")
        });
        expect_frame(&world.egress(&data), NEXT, PROVES, &out);
        assert!(world.flow(client, vip, TCP).is_some());
    }
}

#[test]
fn an_adopted_flow_is_entered_again_when_the_pod_goes_on() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let stray = Segment::tcp(client, vip, "PA").payload(b"go on").packet();
        world.ingress(&frame(&stray));
        let [data, out] = answer(family, port::HERE, |ack| ack.seq(9001).ack(1005));
        expect_frame(&world.egress(&data), NEXT, PROVES, &out);
        assert!(world.flow(client, vip, TCP).is_some());
    }
}

#[test]
fn both_fins_acknowledged_end_a_flow() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.establish(client, vip);
        let fin = Segment::tcp(client, vip, "FA").seq(1001).ack(5001);
        world.ingress(&frame(&fin.packet()));
        let fin = Segment::tcp(family.pod(), client, "FA").seq(5001).ack(1002);
        expect(&world.egress(&leaving(&fin.packet())), NEXT, REPLY);
        let last = Segment::tcp(client, vip, "A").seq(1002).ack(5002);
        world.ingress(&frame(&last.packet()));
        let flow = world.flow(client, vip, TCP).expect("not swept yet");
        assert!(flow.is_closed(), "{flow:?}");
        // The same ports again are a new flow.
        let syn = Segment::tcp(client, vip, "S").seq(77).packet();
        let ran = world.ingress(&frame(&syn));
        expect(&ran, XDP_PASS, &[Reason::delivered_new]);
        let syn_ack = Segment::tcp(family.pod(), client, "SA").seq(900).ack(78);
        expect(&world.egress(&leaving(&syn_ack.packet())), NEXT, REPLY);
        let proof = Segment::tcp(client, vip, "A").seq(78).ack(901);
        let ran = world.ingress(&frame(&proof.packet()));
        let proven = [Reason::delivered_embryonic, Reason::flow_established];
        expect(&ran, XDP_PASS, &proven);
        let flow = world.flow(client, vip, TCP).expect("entered anew");
        assert_eq!(flow.state, 0);
    }
}

#[test]
fn a_reset_of_the_pod_ends_a_flow_at_once() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.establish(client, vip);
        let reset = |from| leaving(&Segment::tcp(from, client, "R").seq(5001).packet());
        let ran = world.egress(&reset(family.pod()));
        expect_frame(&ran, NEXT, REPLY, &reset(vip));
        let flow = world.flow(client, vip, TCP).expect("not swept yet");
        assert_eq!(flow.state, state::POD_RESET);
        assert!(flow.is_closed());
    }
}

#[test]
fn udp_answers_leave_as_the_vips_and_the_next_datagram_proves_the_flow() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let question = frame(&Segment::udp(client, vip).packet());
        let answer = |from| leaving(&Segment::udp(from, client).packet());
        world.ingress(&question);
        let ran = world.egress(&answer(family.pod()));
        expect_frame(&ran, NEXT, REPLY, &answer(vip));
        let reasons = [Reason::delivered_embryonic, Reason::flow_established];
        expect(&world.ingress(&question), XDP_PASS, &reasons);
        assert!(world.flow(client, vip, UDP).is_some());
        let ran = world.egress(&answer(family.pod()));
        expect_frame(&ran, NEXT, REPLY, &answer(vip));
    }
}

#[test]
fn udp_answers_without_a_checksum_stay_without() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let family = Family::V4;
    let (client, vip) = (family.client(), family.vip(port::HERE));
    world.ingress(&frame(&Segment::udp(client, vip).packet()));
    let answer = |from| {
        let mut bytes = leaving(&Segment::udp(from, client).packet());
        bytes[40..42].fill(0);
        bytes
    };
    let ran = world.egress(&answer(family.pod()));
    expect_frame(&ran, NEXT, REPLY, &answer(vip));
}

#[test]
fn the_mss_of_a_syn_ack_is_clamped() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    world
        .configure(|config| (config.mss_v4, config.mss_v6) = (1400, 1380))
        .expect("written");
    for (family, limit) in [(Family::V4, 1400), (Family::V6, 1380)] {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        for offered in [1460, 1401, 1400, 536] {
            let syn_ack = |from, mss| {
                let segment = Segment::tcp(from, client, "SA").seq(5000).ack(1001);
                leaving(&segment.mss(mss).packet())
            };
            let ran = world.egress(&syn_ack(family.pod(), offered));
            let out = syn_ack(vip, offered.min(limit));
            expect_frame(&ran, NEXT, REPLY, &out);
        }
    }
}

#[test]
fn a_changed_source_port_is_changed_back() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.other_vip(port::HERE));
        world.establish(client, family.vip(port::HERE));
        let ran = world.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        let seen = lb_tests::packet::Seen::of(&ran.frame).expect("well-formed");
        let syn_ack = |from, to| {
            let segment = Segment::tcp(from, to, "SA").seq(5000).ack(1001);
            leaving(&segment.packet())
        };
        let ran = world.egress(&syn_ack(family.pod(), seen.source()));
        expect_frame(&ran, NEXT, REPLY, &syn_ack(vip, client));
    }
}

#[test]
fn fragments_of_an_answer_leave_alike() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        world.ingress(&frame(&Segment::udp(client, vip).packet()));
        let parts = |from| {
            Segment::udp(from, client)
                .payload(&[b'f'; 300])
                .fragments(128)
        };
        let (sent, out) = (parts(family.pod()), parts(vip));
        for (index, (sent, out)) in sent.iter().zip(&out).enumerate() {
            let reason = if index == 0 {
                Reason::reply_translated
            } else {
                Reason::reply_fragment_translated
            };
            let ran = world.egress(&leaving(sent));
            expect_frame(&ran, NEXT, &[reason], &leaving(out));
        }
        let again = fragment(family.pod().ip(), client.ip(), UDP, 8, false, &[1; 64]);
        let ran = world.egress(&leaving(&again));
        expect(&ran, TC_SHOT, &[Reason::reply_fragment_overlap]);
    }
}

#[test]
fn what_is_no_answer_of_a_flow_leaves_untouched() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        world.establish(family.client(), family.vip(port::HERE));
        let (pod, client) = (family.pod(), family.client());
        let other_client = (client.ip(), 40001).into();
        let other_port = (pod.ip(), 8081).into();
        for packet in [
            Segment::tcp(pod, other_client, "A").packet(),
            Segment::tcp(other_port, client, "A").packet(),
            Segment::udp(pod, client).packet(),
            Segment::tcp(family.stranger(8080), client, "SA").packet(),
            fragment(pod.ip(), client.ip(), UDP, 64, false, &[1; 64]),
            icmp(pod.ip(), client.ip(), &[8, 0, 0, 0, 0, 1, 0, 1]),
            ip(pod.ip(), client.ip(), 64, 132, &[1; 40]),
        ] {
            let sent = leaving(&packet);
            expect_frame(&world.egress(&sent), NEXT, UNTOUCHED, &sent);
        }
    }
}

#[test]
fn truncated_answers_are_handled() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        world.establish(family.client(), family.vip(port::HERE));
        let [sent, _] = answer(family, port::HERE, |data| data.payload(b"0123456789"));
        for len in 14..sent.len() {
            // The kernel itself refuses frames without a whole IP header.
            let Ok(ran) = world.run("lb_egress", &sent[..len]) else {
                continue;
            };
            assert_eq!(ran.action, NEXT, "{len} bytes");
            assert_eq!(ran.counted.len(), 1, "{len} bytes: {:?}", ran.counted);
        }
    }
}

#[test]
fn an_error_of_a_pod_about_a_flow_comes_from_the_vip_and_quotes_it() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let reasons = [Reason::icmp_error_translated];
    for family in BOTH {
        let (client, vip) = (family.client(), family.vip(port::HERE));
        let unreachable = if family == Family::V4 { [3, 3] } else { [1, 4] };
        let error = |from: std::net::SocketAddr, about: Segment| {
            let mut message = unreachable.to_vec();
            message.extend([0; 6]);
            message.extend(about.packet());
            leaving(&icmp(from.ip(), client.ip(), &message))
        };
        let syn = |to| Segment::tcp(client, to, "S");
        let data = |to| Segment::tcp(client, to, "PA").payload(b"0123456789");
        let unknown = error(family.pod(), syn(family.pod()));
        expect_frame(&world.egress(&unknown), NEXT, UNTOUCHED, &unknown);
        world.ingress(&frame(&syn(vip).packet()));
        let ran = world.egress(&unknown);
        expect_frame(&ran, NEXT, &reasons, &error(vip, syn(vip)));
        world.establish(client, vip);
        let ran = world.egress(&error(family.pod(), data(family.pod())));
        expect_frame(&ran, NEXT, &reasons, &error(vip, data(vip)));
    }
}

#[test]
fn answers_of_flows_past_the_stack_leave_past_it() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        world.establish(family.client(), family.vip(port::DIRECT));
        for size in [0, 1, 1400] {
            let [sent, out] = answer(family, port::DIRECT, |data| data.payload(&vec![b'd'; size]));
            let ran = world.run("lb_return", &sent).expect("taken");
            expect_frame(&ran, TC_REDIRECT, REPLY, &out);
        }
    }
}

#[test]
fn what_else_a_pod_sends_takes_its_usual_way() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        // This flow goes through the stack, and so do its answers.
        world.establish(family.client(), family.vip(port::HERE));
        let [of_the_flow, _] = answer(family, port::HERE, |data| data.payload(b"data"));
        let mut other = family.client();
        other.set_port(7);
        let of_none = Segment::tcp(family.pod(), other, "PA").payload(b"data");
        for sent in [of_the_flow, leaving(&of_none.packet())] {
            let ran = world.run("lb_return", &sent).expect("taken");
            expect_frame(&ran, NEXT, &[], &sent);
        }
    }
}

#[test]
fn what_has_no_note_is_not_delivered_past_the_stack() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for family in BOTH {
        for to in [family.pod(), family.vip(port::DIRECT), family.stranger(80)] {
            let sent = frame(&Segment::tcp(family.client(), to, "A").packet());
            let ran = world.run("lb_deliver", &sent).expect("taken");
            expect_frame(&ran, NEXT, &[], &sent);
        }
    }
}

#[test]
fn with_fresh_maps_what_may_be_of_a_lost_flow_waits_for_its_client() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    let early = &[Reason::reply_too_early];
    for family in BOTH {
        let of = |from, to, flags| leaving(&Segment::tcp(from, to, flags).packet());
        let (pod, client) = (family.pod(), family.client());
        let fresh_until = |world: &mut World, until| {
            let set = world.configure(|config| config.fresh_until_s = until);
            set.expect("configured");
        };
        fresh_until(&mut world, u32::MAX);
        let data = of(pod, client, "PA");
        expect(&world.egress(&data), TC_SHOT, early);
        expect(&world.egress(&of(pod, client, "FA")), TC_SHOT, early);
        // What is of no flow that was lost, or does it no harm.
        let same_port = family.stranger(pod.port());
        let udp = leaving(&Segment::udp(pod, client).packet());
        for sent in [
            of(pod, client, "SA"),
            of(pod, client, "R"),
            of(same_port, client, "A"),
            udp,
        ] {
            expect_frame(&world.egress(&sent), NEXT, UNTOUCHED, &sent);
        }
        // The client goes on: from then on the flow is known.
        let vip = family.vip(port::HERE);
        let stray = Segment::tcp(client, vip, "PA").payload(b"go on").packet();
        world.ingress(&frame(&stray));
        let [data, out] = answer(family, port::HERE, |ack| ack.seq(9001).ack(1005));
        expect_frame(&world.egress(&data), NEXT, PROVES, &out);
        // Long ago.
        fresh_until(&mut world, 1);
        let other = (family.client().ip(), 4711).into();
        let data = of(pod, other, "PA");
        expect_frame(&world.egress(&data), NEXT, UNTOUCHED, &data);
        // Nodes and pods come by no VIP from here.
        fresh_until(&mut world, u32::MAX);
        expect(&world.egress(&data), TC_SHOT, early);
        let data = of(pod, (family.same_link(), 4711).into(), "PA");
        expect_frame(&world.egress(&data), NEXT, UNTOUCHED, &data);
    }
}
