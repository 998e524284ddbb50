//! Whatever comes: nothing crashes, everything has one reason, and what is
//! not for us or not understood is not changed.

use lb_common::verdict::{Reason, Verdict};
use lb_tests::object::Ran;
use lb_tests::object::action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use lb_tests::object::world::{
    BOTH, Family, World, frame, icmp_error, marked_from_node, port, tunnelled,
};
use lb_tests::packet::{Seen, Segment, icmp, tagged, with_extensions, with_options};
use proptest::prelude::*;

/// A frame of every kind that the programs understand.
fn corpus() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for family in BOTH {
        let client = family.client();
        for vip_port in [
            port::HERE,
            port::SAME_LINK,
            port::ROUTED,
            port::ROUTED_V6,
            port::EMPTY,
            port::HERE_NEXT_AWAY,
            port::DIRECT,
            port::UNUSED,
        ] {
            let vip = family.vip(vip_port);
            let syn = Segment::tcp(client, vip, "S").mss(1460).packet();
            let udp = Segment::udp(client, vip).packet();
            let long = Segment::udp(client, vip).payload(&[1; 200]);
            let extended = match family {
                Family::V4 => with_options(&syn, 3),
                Family::V6 => with_extensions(&syn, 3),
            };
            let reply = Segment::tcp(vip, client, "A").packet();
            frames.extend([
                frame(&syn),
                frame(&udp),
                tagged(&frame(&syn), 2),
                frame(&extended),
                tunnelled(family.routed(), family.own(), false, &syn),
                tunnelled(family.routed(), family.own(), true, &udp),
                marked_from_node(&syn),
                frame(&icmp_error(vip.ip(), 3, 4, 1400, &reply)),
                frame(&icmp_error(vip.ip(), 2, 0, 1400, &reply)),
            ]);
            frames.extend(long.fragments(64).iter().map(|part| frame(part)));
        }
        let other = Segment::tcp(client, family.stranger(80), "S").packet();
        let echo = icmp(
            client.ip(),
            family.vip(0).ip(),
            &[8, 0, 0, 0, 0, 1, 0, 1, 2, 3],
        );
        frames.extend([frame(&other), frame(&echo)]);
    }
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend_from_slice(&[2, 0, 0, 0, 0, 0xfe, 192, 0, 2, 100]);
    arp.extend_from_slice(&[0, 0, 0, 0, 0, 0, 203, 0, 113, 80]);
    frames.push(lb_tests::packet::ethernet(
        [0xff; 6],
        [2, 0, 0, 0, 0, 0xfe],
        0x0806,
        &arp,
    ));
    frames
}

/// What must hold of any packet.
fn sound(sent: &[u8], ran: &Ran) -> Result<(), String> {
    let verdicts: Vec<&Reason> = ran
        .counted
        .iter()
        .filter(|reason| reason.verdict() != Verdict::Event)
        .collect();
    let [reason] = verdicts[..] else {
        return Err(format!("not one reason: {:?}", ran.counted));
    };
    let allowed: &[u32] = match reason.verdict() {
        Verdict::Pass => &[XDP_PASS],
        Verdict::Forward => &[XDP_TX, XDP_REDIRECT],
        Verdict::Drop => &[XDP_DROP],
        Verdict::Event => &[],
    };
    if !allowed.contains(&ran.action) {
        return Err(format!("{reason:?} with action {}", ran.action));
    }
    let untouched = matches!(
        reason,
        Reason::not_for_us
            | Reason::not_ip
            | Reason::other_mac
            | Reason::arp_not_for_us
            | Reason::arp_foreign_answer
            | Reason::malformed
    );
    if untouched && sent != ran.frame {
        return Err(format!("{reason:?}, and changed"));
    }
    let was_right = Seen::of(sent).is_ok();
    let by_checksum = ran.action != XDP_DROP && !untouched && *reason != Reason::arp_answered;
    // Direct delivery puts a note in front.
    let out = ran
        .frame
        .strip_prefix(b"ntrC")
        .map_or(&ran.frame[..], |rest| &rest[4..]);
    let marked = out.get(12..14) == Some(&[0x88, 0xb5]);
    if was_right && by_checksum && !marked && !is_tagged(out) {
        Seen::of(out).map_err(|error| format!("{reason:?}: {error}"))?;
    }
    Ok(())
}

fn is_tagged(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]))
}

#[test]
fn every_truncation_of_every_kind_of_frame_is_handled() {
    let Some(mut world) = World::fresh() else {
        return;
    };
    for sent in corpus() {
        for len in 14..=sent.len() {
            let ran = world.ingress(&sent[..len]);
            if let Err(error) = sound(&sent[..len], &ran) {
                panic!("{error}, {len} bytes of {}", crate::hex(&sent));
            }
            if len < 14 + 20 {
                assert_ne!(ran.action, XDP_TX, "{} bytes of {}", len, crate::hex(&sent));
            }
        }
    }
}

#[test]
fn corrupted_frames_are_handled() {
    let Some(world) = World::fresh() else {
        return;
    };
    let frames = corpus();
    let changes = prop::collection::vec((0_usize..120, any::<u8>()), 1..6);
    let cases = (0..frames.len(), changes);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4000));
    let world = std::cell::RefCell::new(world);
    runner
        .run(&cases, |(index, changes)| {
            let mut sent = frames[index].clone();
            for (at, byte) in changes {
                let at = at % sent.len();
                sent[at] = byte;
            }
            let ran = world.borrow_mut().ingress(&sent);
            sound(&sent, &ran)
                .map_err(|error| TestCaseError::fail(format!("{error}: {}", crate::hex(&sent))))
        })
        .expect("all are handled");
}
