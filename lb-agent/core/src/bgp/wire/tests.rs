//! Vectors as bytes, round trips, and anything at all.
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// A message of a type, with the right header.
fn message(kind: u8, body: &str) -> Vec<u8> {
    whole(kind, &hex(body))
}

fn external() -> Context {
    Context {
        as4: true,
        internal: false,
        families: vec![Family::IPV4, Family::IPV6],
        extended: false,
    }
}

fn internal() -> Context {
    Context {
        internal: true,
        ..external()
    }
}

fn decode(bytes: &[u8]) -> Result<Message, Notification> {
    Message::decode(bytes, &external())
}

fn open() -> Open {
    Open {
        as2: AS_TRANS,
        hold_s: 90,
        id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: vec![
            Capability::MultiProtocol(Family::IPV4),
            Capability::RouteRefresh,
            Capability::As4(4_200_000_000),
        ],
    }
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn update() -> Update {
    Update {
        attributes: Attributes {
            origin: Some(Origin::Igp),
            as_path: Some(vec![Segment::Sequence(vec![64512])]),
            next_hop: Some(Ipv4Addr::new(192, 0, 2, 1)),
            communities: vec![(65535, 0)],
            ..Attributes::default()
        },
        announced: vec![net("198.51.100.7/32")],
        ..Update::default()
    }
}

#[test]
fn an_open_has_these_bytes() {
    let expected = hex("ffffffffffffffffffffffffffffffff 002d 01
         04 5ba0 005a c0000201 10 02 0e 01040001 0001 0200 4104 fa56ea00");
    assert_eq!(open().encode(), expected);
    assert_eq!(decode(&expected), Ok(Message::Open(open())));
    assert_eq!(open().asn(), 4_200_000_000);
}

#[test]
fn an_update_has_these_bytes() {
    let expected = hex("ffffffffffffffffffffffffffffffff 0037 02
         0000 001b 40010100 40020602010000fc00 400304c0000201 c00804ffff0000
         20c6336407");
    assert_eq!(update().encode(true), expected);
    let received = Received {
        update: update(),
        flaw: None,
    };
    assert_eq!(decode(&expected), Ok(Message::Update(received.into())));
}

#[test]
fn an_old_peer_is_told_large_as_numbers_twice() {
    let mut update = update();
    update.attributes.as_path = Some(vec![Segment::Sequence(vec![4_200_000_000])]);
    let bytes = update.encode(false);
    let path = hex("4002040201 5ba0");
    let as4_path = hex("c0110602 01 fa56ea00");
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(contains(&path) && contains(&as4_path), "{bytes:02x?}");
}

#[test]
fn the_end_of_a_rib_has_these_bytes() {
    assert_eq!(
        Update::end_of_rib(Family::IPV4).encode(true),
        message(UPDATE, "0000 0000")
    );
    let ipv6 = Update::end_of_rib(Family::IPV6);
    assert_eq!(
        ipv6.encode(true),
        message(UPDATE, "0000 0006 800f03 0002 01")
    );
    assert_eq!(ipv6.ends_rib_of(), Some(Family::IPV6));
    assert_eq!(update().ends_rib_of(), None);
}

#[test]
fn a_shutdown_says_why() {
    let notification = Notification::communicating(Kind::SHUTDOWN, "maintenance");
    assert_eq!(
        notification.encode(),
        message(NOTIFICATION, "06 02 0b 6d61696e74656e616e6365")
    );
    assert_eq!(
        notification.to_string(),
        "Cease/Administrative Shutdown (6/2): \"maintenance\""
    );
    let long = "ä".repeat(200);
    let notification = Notification::communicating(Kind::SHUTDOWN, &long);
    assert_eq!(notification.communication(), Some("ä".repeat(127)));
}

#[test]
fn errors_have_their_names() {
    for (kind, expected) in [
        (Kind::HOLD_TIMER, "Hold Timer Expired (4/0)"),
        (Kind::BAD_PEER_AS, "OPEN Message Error/Bad Peer AS (2/2)"),
        (
            Kind {
                code: 6,
                subcode: 99,
            },
            "Cease (6/99)",
        ),
        (
            Kind {
                code: 99,
                subcode: 1,
            },
            "unknown error (99/1)",
        ),
    ] {
        assert_eq!(kind.to_string(), expected);
    }
}

#[test]
fn a_wrong_header_is_answered_as_the_rfc_says() {
    let mut unsynchronized = keepalive();
    unsynchronized[3] = 0;
    let short_open = message(OPEN, "04");
    let mut long = keepalive();
    long[16..18].copy_from_slice(&4097_u16.to_be_bytes());
    long[18] = UPDATE;
    for (bytes, expected) in [
        (unsynchronized, Notification::new(Kind::NOT_SYNCHRONIZED)),
        (message(9, ""), Notification::with(Kind::BAD_TYPE, &[9])),
        (short_open, Notification::with(Kind::BAD_LENGTH, &[0, 20])),
        (long, Notification::with(Kind::BAD_LENGTH, &[0x10, 1])),
        (
            message(KEEPALIVE, "00"),
            Notification::with(Kind::BAD_LENGTH, &[0, 20]),
        ),
    ] {
        assert_eq!(frame(&bytes, &external()), Err(expected), "{bytes:02x?}");
    }
    let whole = keepalive();
    assert_eq!(frame(&whole[..18], &external()), Ok(None));
    assert_eq!(frame(&whole, &external()), Ok(Some(whole)));
}

#[test]
fn a_wrong_open_is_answered_as_the_rfc_says() {
    for (body, expected) in [
        (
            "05 fc00 005a c0000201 00",
            Notification::with(Kind::VERSION, &[0, 4]),
        ),
        (
            "04 fc00 0002 c0000201 00",
            Notification::new(Kind::HOLD_TIME),
        ),
        (
            "04 0000 005a c0000201 00",
            Notification::new(Kind::BAD_PEER_AS),
        ),
        (
            "04 fc00 005a 00000000 00",
            Notification::new(Kind::BAD_IDENTIFIER),
        ),
        (
            "04 fc00 005a c0000201 03 010100",
            Notification::new(Kind::OPTIONAL_PARAMETER),
        ),
        (
            "04 fc00 005a c0000201 04 020200",
            Notification::new(Kind::OPEN),
        ),
        ("04 fc00 005a c0000201 00 00", Notification::new(Kind::OPEN)),
    ] {
        assert_eq!(decode(&message(OPEN, body)), Err(expected), "{body}");
    }
}

#[test]
fn an_open_with_long_parameters_is_read_and_written() {
    let mut open = open();
    let value = vec![7; 200];
    open.capabilities = vec![Capability::Other { code: 250, value }; 3];
    let bytes = open.encode();
    assert_eq!(bytes[28..30], [255, 255]);
    assert_eq!(decode(&bytes), Ok(Message::Open(open)));
}

/// Attributes of one route, and what becomes of it: RFC 7606 section 7.
#[test]
fn a_wrong_attribute_is_treated_as_the_rfc_says() {
    const GOOD: &str = "40010100 40020602010000fc00 400304c0000201";
    use Treatment::{Discard, Withdraw};
    for (context, attributes, expected) in [
        (external(), GOOD, None),
        (
            external(),
            "40020602010000fc00 400304c0000201",
            Some((1, Withdraw)),
        ),
        (
            external(),
            "40010103 40020602010000fc00 400304c0000201",
            Some((1, Withdraw)),
        ),
        (
            external(),
            "c0010100 40020602010000fc00 400304c0000201",
            Some((1, Withdraw)),
        ),
        (
            external(),
            "40010100 40020602020000fc00 400304c0000201",
            Some((2, Withdraw)),
        ),
        (
            external(),
            "40010100 400206 05010000fc00 400304c0000201",
            Some((2, Withdraw)),
        ),
        (
            external(),
            "40010100 40020602010000fc00 400303c00002",
            Some((3, Withdraw)),
        ),
        (
            external(),
            &[GOOD, "800403000000"].concat(),
            Some((4, Withdraw)),
        ),
        (
            external(),
            &[GOOD, "40050400000064"].concat(),
            Some((5, Discard)),
        ),
        (internal(), &[GOOD, "40050400000064"].concat(), None),
        (
            internal(),
            &[GOOD, "400503000064"].concat(),
            Some((5, Withdraw)),
        ),
        (external(), &[GOOD, "40060101"].concat(), Some((6, Discard))),
        (
            external(),
            &[GOOD, "c00703000000"].concat(),
            Some((7, Discard)),
        ),
        (
            external(),
            &[GOOD, "c00803000000"].concat(),
            Some((8, Withdraw)),
        ),
        (external(), &[GOOD, "c00800"].concat(), Some((8, Withdraw))),
        (
            external(),
            &[GOOD, "c0200b0000000000000000000000"].concat(),
            Some((32, Withdraw)),
        ),
        (external(), &[GOOD, "40010100"].concat(), Some((1, Discard))),
        (external(), &[GOOD, "c0630100"].concat(), None),
        // The last one says that it is longer than all of them.
        (
            external(),
            &[GOOD, "c00820ffff"].concat(),
            Some((0, Withdraw)),
        ),
    ] {
        let attributes = hex(attributes);
        let mut body = vec![0, 0];
        put_u16(&mut body, attributes.len());
        body.extend(&attributes);
        body.extend(hex("18c63364"));
        let decoded = Message::decode(&whole(UPDATE, &body), &context);
        let Ok(Message::Update(received)) = decoded else {
            panic!("{attributes:02x?}: {decoded:?}");
        };
        let flaw = received.flaw.map(|flaw| (flaw.attribute, flaw.treatment));
        assert_eq!(flaw, expected, "{attributes:02x?}");
        assert_eq!(received.update.announced, [net("198.51.100.0/24")]);
    }
}

#[test]
fn what_cannot_be_taken_apart_ends_the_session() {
    let quoted = |kind, text: &str| Notification::with(kind, &hex(text));
    for (body, expected) in [
        ("0001", Notification::new(Kind::ATTRIBUTE_LIST)),
        ("0000 0005 40", Notification::new(Kind::ATTRIBUTE_LIST)),
        ("0002 21c6 0000", Notification::new(Kind::NETWORK_FIELD)),
        (
            "0000 0000 21c6336401",
            Notification::new(Kind::NETWORK_FIELD),
        ),
        ("0000 0004 4063 0100", quoted(Kind::WELL_KNOWN, "40630100")),
        (
            "0000 0008 800e05 0002010300",
            quoted(Kind::OPTIONAL_ATTRIBUTE, "800e05 0002010300"),
        ),
        (
            "0000 000c 800f03 000201 800f03 000201",
            Notification::new(Kind::ATTRIBUTE_LIST),
        ),
    ] {
        assert_eq!(decode(&message(UPDATE, body)), Err(expected), "{body}");
    }
}

#[test]
fn families_that_were_not_agreed_on_are_read_over() {
    // L2VPN EVPN, with a next hop of its own kind.
    let bytes = message(UPDATE, "0000 000c 800e09 001946 02 0000 00 ffff");
    let Ok(Message::Update(received)) = decode(&bytes) else {
        panic!("it is read");
    };
    assert_eq!(received.update.counts(), (0, 0));
}

#[test]
fn a_refresh_of_a_wrong_length_is_quoted() {
    let good = RouteRefresh {
        family: Family::IPV6,
        kind: RefreshKind::Begin,
    };
    assert_eq!(good.encode(), message(ROUTE_REFRESH, "0002 01 01"));
    assert_eq!(decode(&good.encode()), Ok(Message::RouteRefresh(good)));
    let bad = message(ROUTE_REFRESH, "0002 01");
    let expected = Notification::with(Kind::REFRESH_LENGTH, &bad);
    assert_eq!(decode(&bad), Err(expected));
}

fn families() -> impl Strategy<Value = Family> {
    (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| Family { afi, safi })
}

fn capabilities() -> impl Strategy<Value = Capability> {
    let graceful = (families(), any::<bool>())
        .prop_map(|(family, preserved)| GracefulFamily { family, preserved });
    prop_oneof![
        families().prop_map(Capability::MultiProtocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        any::<u32>().prop_map(|number| Capability::As4(number.max(1))),
        prop::collection::vec((families(), any::<u16>()), 0..4)
            .prop_map(Capability::ExtendedNextHop),
        (
            any::<bool>(),
            any::<bool>(),
            0..4096_u16,
            prop::collection::vec(graceful, 0..4)
        )
            .prop_map(|(restarted, notification, time_s, families)| {
                Capability::GracefulRestart(GracefulRestart {
                    restarted,
                    notification,
                    time_s,
                    families,
                })
            }),
        (100..200_u8, prop::collection::vec(any::<u8>(), 0..90))
            .prop_map(|(code, value)| Capability::Other { code, value }),
    ]
}

fn v4_nets() -> impl Strategy<Value = ipnet::IpNet> {
    (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| {
        let net = ipnet::Ipv4Net::new(Ipv4Addr::from(bits), length).unwrap();
        net.trunc().into()
    })
}

fn v6_nets() -> impl Strategy<Value = ipnet::IpNet> {
    (any::<u128>(), 0..=128_u8).prop_map(|(bits, length)| {
        let net = ipnet::Ipv6Net::new(Ipv6Addr::from(bits), length).unwrap();
        net.trunc().into()
    })
}

prop_compose! {
    fn attributes()(
        path in prop::collection::vec(any::<u32>(), 1..5),
        med in any::<Option<u32>>(),
        local_pref in any::<Option<u32>>(),
        communities in prop::collection::vec(any::<(u16, u16)>(), 0..80),
        large_communities in prop::collection::vec(any::<(u32, u32, u32)>(), 0..40),
        next_hop in any::<u128>(),
        link_local in any::<Option<u128>>(),
        reach in prop::option::of(prop::collection::vec(v6_nets(), 0..20)),
        unreach in prop::option::of(prop::collection::vec(v6_nets(), 0..20)),
    ) -> Attributes {
        Attributes {
            origin: Some(Origin::Igp),
            as_path: Some(vec![Segment::Sequence(path)]),
            next_hop: Some(Ipv4Addr::new(192, 0, 2, 1)),
            med,
            local_pref,
            communities,
            large_communities,
            reach: reach.map(|prefixes| MpReach {
                family: Family::IPV6,
                next_hop: IpAddr::V6(next_hop.into()),
                link_local: link_local.map(Ipv6Addr::from),
                prefixes,
            }),
            unreach: unreach.map(|prefixes| MpUnreach {
                family: Family::IPV6,
                prefixes,
            }),
        }
    }
}

proptest! {
    #[test]
    fn opens_come_back(capabilities in prop::collection::vec(capabilities(), 0..8)) {
        let open = Open { capabilities, ..open() };
        prop_assert_eq!(decode(&open.encode()), Ok(Message::Open(open)));
    }

    #[test]
    fn updates_come_back(
        attributes in attributes(),
        withdrawn in prop::collection::vec(v4_nets(), 0..20),
        announced in prop::collection::vec(v4_nets(), 0..20),
    ) {
        let update = Update { withdrawn, attributes, announced };
        let bytes = update.encode(true);
        prop_assert_eq!(frame(&bytes, &external()), Ok(Some(bytes.clone())));
        let expected = Received { update, flaw: None };
        let decoded = Message::decode(&bytes, &internal());
        prop_assert_eq!(decoded, Ok(Message::Update(expected.into())));
    }

    #[test]
    fn anything_has_an_answer(kind in 0..8_u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = whole(kind, &body);
        let _any = frame(&bytes, &external());
        let _any = frame(&body, &external());
        let _any = Message::decode(&bytes, &external());
        let _any = Message::decode(&body, &internal());
    }

    /// Whatever is cut off, or changed in one place.
    #[test]
    fn damaged_updates_have_an_answer(
        attributes in attributes(),
        announced in prop::collection::vec(v4_nets(), 0..5),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let update = Update { attributes, announced, ..Update::default() };
        let mut bytes = update.encode(true);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _any = Message::decode(&bytes, &external());
        bytes.truncate(cut.index(bytes.len()));
        let _any = frame(&bytes, &external());
        let _any = Message::decode(&bytes, &external());
    }
}
