use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::time::Duration;

use proptest::prelude::*;

use super::session::{Output, Session, To};
use super::wire::{ADVERTISEMENT, Flaw, HOP_LIMIT, Message, SOLICITATION};
use crate::time::Timestamp;

const ONE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

fn at(millis: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(millis))
}

fn advertisement() -> Vec<u8> {
    Message::Advertisement { lifetime_s: 1800 }.encode()
}

fn hear(session: &mut Session, from: Ipv6Addr, in_use: bool, now: Timestamp) {
    let heard = session.handle_message(&advertisement(), (from, HOP_LIMIT), in_use, now);
    heard.unwrap();
}

fn outputs(session: &mut Session) -> Vec<Output> {
    core::iter::from_fn(|| session.poll_output()).collect()
}

/// What is sent until then, with its times, in milliseconds.
fn run(session: &mut Session, from: u64, until: u64) -> Vec<(u64, To)> {
    let mut now = at(from);
    let mut all = Vec::new();
    while now <= at(until) {
        session.handle_timeout(now);
        for output in outputs(session) {
            if let Output::Send(to, _) = output {
                all.push((now.micros() / 1000, to));
            }
        }
        match session.deadline() {
            Some(deadline) => now = deadline,
            None => break,
        }
    }
    all
}

fn count(sent: &[(u64, To)], to: To) -> usize {
    sent.iter().filter(|(_, group)| *group == to).count()
}

/// As FRR 8.4 sends it to a peer of a link: hop limit 64, lifetime 1800 s,
/// the interval and its address on the link.
#[test]
fn what_routers_send_is_read() {
    let mut bytes = vec![134, 0, 0x12, 0x34, 64, 0, 0x07, 0x08];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[7, 1, 0, 0, 0, 0, 0x27, 0x10]);
    bytes.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 9]);
    let read = Message::decode(&bytes, ONE, HOP_LIMIT);
    assert_eq!(read, Ok(Message::Advertisement { lifetime_s: 1800 }));
    let solicitation = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9];
    let read = Message::decode(&solicitation, ONE, HOP_LIMIT);
    assert_eq!(read, Ok(Message::Solicitation));
    // Of nobody: without an address, and then without this option.
    let nobody = Ipv6Addr::UNSPECIFIED;
    let read = |bytes| Message::decode(bytes, nobody, HOP_LIMIT);
    assert_eq!(read(&solicitation[..8]), Ok(Message::Solicitation));
    assert_eq!(read(&solicitation[..]), Err(Flaw::Source));
}

/// RFC 4861 section 6.1.2, one by one.
#[test]
fn what_counts_for_nothing_is_told_apart() {
    let good = advertisement();
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let with = |option: &[u8]| [&good[..], option].concat();
    let cases: [(&[u8], Ipv6Addr, u8, Flaw); 9] = [
        (&good, ONE, 254, Flaw::HopLimit),
        (&good, GLOBAL, HOP_LIMIT, Flaw::Source),
        (&change(1, 1), ONE, HOP_LIMIT, Flaw::Code),
        (&change(0, 136), ONE, HOP_LIMIT, Flaw::Type),
        (&good[..15], ONE, HOP_LIMIT, Flaw::Truncated),
        (&good[..1], ONE, HOP_LIMIT, Flaw::Truncated),
        (
            &with(&[1, 0, 0, 0, 0, 0, 0, 0]),
            ONE,
            HOP_LIMIT,
            Flaw::Options,
        ),
        (
            &with(&[1, 2, 0, 0, 0, 0, 0, 0]),
            ONE,
            HOP_LIMIT,
            Flaw::Options,
        ),
        (&with(&[1]), ONE, HOP_LIMIT, Flaw::Options),
    ];
    for (bytes, from, hop_limit, flaw) in cases {
        let read = Message::decode(bytes, from, hop_limit);
        assert_eq!(read, Err(flaw), "{bytes:?}");
    }
}

/// Nobody is to send anything this way because of it.
#[test]
fn this_node_is_no_default_router() {
    let mut session = Session::new(1);
    session.handle_up(at(0));
    session.handle_timeout(at(0));
    let sent = outputs(&mut session);
    let advertised = sent.iter().find_map(|output| match output {
        Output::Send(To::AllNodes, bytes) => Some(bytes.clone()),
        _ => None,
    });
    let read = Message::decode(&advertised.unwrap(), ONE, HOP_LIMIT);
    assert_eq!(read, Ok(Message::Advertisement { lifetime_s: 0 }));
}

#[test]
fn a_link_that_comes_up_is_asked_and_told_at_once_and_then_at_leisure() {
    let mut session = Session::new(7);
    assert_eq!(session.deadline(), None);
    session.handle_up(at(0));
    let sent = run(&mut session, 0, 60_000);
    assert_eq!(sent[..2], [(0, To::AllRouters), (0, To::AllNodes)]);
    // Three within 4 s, then one every 7.5 to 10 s.
    let advertised = count(&sent, To::AllNodes);
    assert!((3 + 5..=3 + 8).contains(&advertised), "{sent:?}");
    // Three, and then two a minute, as nobody answers.
    let asked = count(&sent, To::AllRouters);
    assert!((4..=6).contains(&asked), "{sent:?}");
    // Who is found is not asked for.
    hear(&mut session, ONE, false, at(60_000));
    assert_eq!(outputs(&mut session), [Output::Found(ONE)]);
    let sent = run(&mut session, 60_000, 120_000);
    assert_eq!(count(&sent, To::AllRouters), 0, "{sent:?}");
    session.handle_down(false);
    assert_eq!((session.deadline(), session.neighbour()), (None, None));
}

#[test]
fn whoever_asks_is_answered_within_half_a_second_and_no_oftener_than_every_three() {
    let mut session = Session::new(3);
    session.handle_up(at(0));
    hear(&mut session, ONE, false, at(0));
    let _first = run(&mut session, 0, 20_000);
    let solicitation = Message::Solicitation.encode();
    let mut times = Vec::new();
    for millis in (20_000..30_000).step_by(100) {
        let heard = session.handle_message(&solicitation, (OTHER, HOP_LIMIT), false, at(millis));
        heard.unwrap();
        let sent = run(&mut session, millis, millis + 99);
        times.extend(sent.iter().map(|(at, _)| *at));
    }
    assert!((3..=4).contains(&times.len()), "{times:?}");
    let mut apart = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        apart.all(|apart| (3000..=3600).contains(&apart)),
        "{times:?}"
    );
    // A link that is down answers nobody.
    session.handle_down(false);
    let heard = session.handle_message(&solicitation, (OTHER, HOP_LIMIT), false, at(40_000));
    heard.unwrap();
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_neighbour_stays_until_it_is_silent_and_not_in_use() {
    let mut session = Session::new(1);
    session.handle_up(at(0));
    hear(&mut session, ONE, false, at(0));
    hear(&mut session, OTHER, false, at(1_000));
    assert_eq!(session.neighbour(), Some(ONE));
    assert_eq!(session.others().collect::<Vec<_>>(), [OTHER]);
    // Silent, but its session of BGP is there.
    hear(&mut session, OTHER, true, at(40_000));
    assert_eq!(session.neighbour(), Some(ONE));
    hear(&mut session, OTHER, false, at(40_000));
    assert_eq!(session.neighbour(), Some(OTHER));
    let found = outputs(&mut session);
    assert_eq!(found, [Output::Found(ONE), Output::Found(OTHER)]);
    // A link without a carrier for a moment.
    session.handle_down(true);
    assert_eq!(session.neighbour(), Some(OTHER));
}

#[test]
fn many_who_advertise_themselves_take_no_more_room_than_some() {
    let mut session = Session::new(1);
    session.handle_up(at(0));
    for number in 1..1000 {
        let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number);
        hear(&mut session, from, false, at(number.into()));
    }
    assert_eq!(session.neighbour(), Some(ONE));
    assert_eq!(session.others().count(), 15);
    // They were of a moment: a later one is heard.
    let late = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 0);
    hear(&mut session, late, false, at(100_000));
    assert_eq!(session.neighbour(), Some(late));
}

/// Anything, and what begins like a good one.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = prop::collection::vec(any::<u8>(), 0..128);
    let options = prop::collection::vec(any::<u8>(), 0..64);
    let near = (prop::bool::ANY, any::<u16>(), options).prop_map(|(asks, lifetime_s, rest)| {
        let message = if asks {
            Message::Solicitation
        } else {
            Message::Advertisement { lifetime_s }
        };
        [message.encode(), rest].concat()
    });
    prop_oneof![any_bytes, near]
}

proptest! {
    /// Whatever comes is read or named, never more than is there, and what is
    /// read is what RFC 4861 lets be read.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in bytes(),
        from in any::<u128>().prop_map(Ipv6Addr::from_bits),
        near in any::<bool>(),
        hop_limit in prop_oneof![Just(HOP_LIMIT), any::<u8>()],
    ) {
        let from = if near { ONE } else { from };
        match Message::decode(&bytes, from, hop_limit) {
            Ok(message) => {
                prop_assert_eq!(hop_limit, HOP_LIMIT);
                prop_assert_eq!(bytes[1], 0);
                let (kind, length) = match message {
                    Message::Solicitation => (SOLICITATION, 8),
                    Message::Advertisement { lifetime_s } => {
                        prop_assert!(from.is_unicast_link_local());
                        prop_assert_eq!(lifetime_s.to_be_bytes(), [bytes[6], bytes[7]]);
                        (ADVERTISEMENT, 16)
                    }
                };
                prop_assert_eq!(bytes[0], kind);
                prop_assert!(bytes.len() >= length && bytes.len() % 8 == 0);
                // Without its end it is refused, wherever it is cut.
                for end in 0..bytes.len() {
                    let cut = Message::decode(&bytes[..end], from, hop_limit);
                    prop_assert!(end % 8 == 0 || cut.is_err());
                    prop_assert!(end >= length || cut.is_err());
                }
            }
            Err(Flaw::HopLimit) => prop_assert_ne!(hop_limit, HOP_LIMIT),
            Err(_) => {}
        }
    }

    /// What is written is read as it was.
    #[test]
    fn what_is_written_is_read(lifetime_s in any::<u16>()) {
        let message = Message::Advertisement { lifetime_s };
        prop_assert_eq!(Message::decode(&message.encode(), ONE, HOP_LIMIT), Ok(message));
    }

    /// Whatever is heard, and whenever: two advertisements are never less than
    /// a second and a half apart, and a neighbour in use does not change.
    #[test]
    fn no_traffic_makes_a_session_talkative(
        seed in any::<u64>(),
        events in prop::collection::vec((0u64..4000, bytes(), 1u16..40, any::<bool>()), 0..200),
    ) {
        let mut session = Session::new(seed);
        session.handle_up(at(0));
        let mut now = 0;
        let mut sent = Vec::new();
        for (after, bytes, from, in_use) in events {
            sent.extend(run(&mut session, now, now + after));
            now += after;
            let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, from);
            let before = session.neighbour();
            let heard = session.handle_message(&bytes, (from, HOP_LIMIT), in_use, at(now));
            prop_assert_eq!(heard.is_ok(), Message::decode(&bytes, from, HOP_LIMIT).is_ok());
            if in_use && before.is_some() {
                prop_assert_eq!(session.neighbour(), before);
            }
            prop_assert!(session.others().count() <= 16);
        }
        let told: Vec<u64> = sent
            .iter()
            .filter(|(_, to)| *to == To::AllNodes)
            .map(|(at, _)| *at)
            .collect();
        prop_assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= 1499), "{:?}", told);
    }
}
