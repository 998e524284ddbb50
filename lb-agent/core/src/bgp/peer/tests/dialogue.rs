//! What is said, line by line. `<` comes from the peer, `>` goes to it.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::super::super::config::{Graceful, RemoteAs};
use super::super::super::connection::Counters;
use super::super::super::rib::{Route, Withheld};
use super::super::super::wire::{
    self, Attributes, Capability, Context, GracefulRestart, Message, Notification, RefreshKind,
    RouteRefresh, Update,
};
use super::super::*;
use super::{at, config, endpoints, routes};

/// What came out, in words.
fn said(peer: &mut Peer) -> Vec<String> {
    let context = Context {
        as4: true,
        families: vec![Family::IPV4, Family::IPV6],
        extended: true,
        internal: false,
    };
    let mut all = Vec::new();
    while let Some(output) = peer.poll_output() {
        all.push(match output {
            Output::Send(side, bytes) => {
                let message = Message::decode(&bytes, &context).expect("what we say is right");
                format!("{side:?} > {}", words(&message))
            }
            other => format!("{other:?}"),
        });
    }
    all
}

fn words(message: &Message) -> String {
    match message {
        Message::Open(open) => format!("open {} {}", open.asn(), open.id),
        Message::Keepalive => "keepalive".into(),
        Message::Notification(notification) => format!("{notification}"),
        Message::RouteRefresh(refresh) => format!("refresh {} {:?}", refresh.family, refresh.kind),
        Message::Update(received) => {
            let update = &received.update;
            if let Some(family) = update.ends_rib_of() {
                return format!("end of {family}");
            }
            let Attributes {
                local_pref,
                communities,
                ..
            } = &update.attributes;
            let (announced, withdrawn) = update.counts();
            match (announced, withdrawn) {
                (0, withdrawn) => format!("withdraw {withdrawn}"),
                (announced, _) => format!("announce {announced} {local_pref:?} {communities:?}"),
            }
        }
    }
}

/// An OPEN of the router.
fn open() -> Vec<u8> {
    config(2).open().encode()
}

/// Connected from this side, and established.
fn established(config: Config, open: &[u8]) -> Peer {
    let mut peer = Peer::new(config, 1, at(0));
    peer.handle_timeout(at(0));
    peer.handle_connected(Side::Active, endpoints(1, 2), at(10));
    peer.handle_bytes(Side::Active, open, at(20));
    peer.handle_bytes(Side::Active, &wire::keepalive(), at(30));
    assert_eq!(peer.state(), State::Established, "{:?}", said(&mut peer));
    said(&mut peer);
    peer
}

#[test]
fn a_session_opens_and_routes_are_told() {
    let mut peer = Peer::new(config(1), 1, at(0));
    assert_eq!(peer.deadline(), Some(at(0)));
    peer.advertise(routes(3), false, at(0));
    peer.handle_timeout(at(0));
    assert_eq!(said(&mut peer), ["Connect"]);
    assert_eq!(peer.state(), State::Connect);
    peer.handle_connected(Side::Active, endpoints(1, 2), at(10));
    assert_eq!(said(&mut peer), ["Active > open 64501 192.0.2.1"]);
    // In pieces, as TCP may bring it.
    let open = open();
    let (first, second) = open.split_at(20);
    peer.handle_bytes(Side::Active, first, at(20));
    assert_eq!(said(&mut peer), [""; 0]);
    peer.handle_bytes(Side::Active, second, at(20));
    assert_eq!(said(&mut peer), ["Active > keepalive"]);
    peer.handle_bytes(Side::Active, &wire::keepalive(), at(30));
    let expected = [
        "Up",
        "Active > announce 3 None []",
        "Active > end of ipv4",
        "Active > end of ipv6",
    ];
    assert_eq!(said(&mut peer), expected);
    let status = peer.status();
    assert_eq!(status.rib.sent_count(), 3);
    assert_eq!(status.remote, Some((64502, "192.0.2.2".parse().unwrap())));
    assert_eq!(status.counters.total().sent, 5);
}

#[test]
fn only_what_changes_is_told() {
    let mut peer = established(config(1), &open());
    peer.advertise(routes(1000), false, at(100));
    let expected = ["Active > announce 1000 None []"];
    assert_eq!(said(&mut peer), expected);
    peer.advertise(routes(999), false, at(200));
    assert_eq!(said(&mut peer), ["Active > withdraw 1"]);
    peer.advertise(routes(1000), false, at(300));
    assert_eq!(said(&mut peer), ["Active > announce 1 None []"]);
    peer.advertise(routes(1000), false, at(400));
    assert_eq!(said(&mut peer), [""; 0]);
}

#[test]
fn messages_are_no_longer_than_agreed() {
    let mut other = config(2).open();
    other
        .capabilities
        .retain(|capability| *capability != Capability::ExtendedMessage);
    let mut peer = established(config(1), &other.encode());
    peer.advertise(routes(2000), false, at(100));
    let mut lengths = Vec::new();
    while let Some(Output::Send(_, bytes)) = peer.poll_output() {
        lengths.push(bytes.len());
    }
    assert_eq!(lengths.len(), 3, "{lengths:?}");
    assert!(lengths.iter().all(|length| *length <= wire::MESSAGE_MAX));
    assert!(lengths[0] > wire::MESSAGE_MAX - 6, "{lengths:?}");
    peer.advertise(routes(0), false, at(200));
    assert_eq!(said(&mut peer).len(), 3);
}

#[test]
fn a_peer_that_is_silent_is_given_up() {
    let mut peer = established(config(1), &open());
    peer.handle_timeout(at(90_000));
    assert_eq!(said(&mut peer).len(), 1, "a keepalive");
    peer.handle_timeout(at(90_030));
    let notification = Notification::new(Kind::HOLD_TIMER);
    let expected = [
        format!("Active > {notification}"),
        "Close(Active)".into(),
        format!("Down({:?})", format!("sent {notification}")),
    ];
    assert_eq!(said(&mut peer), expected);
    let retry = peer.deadline().unwrap();
    assert!((at(90_780)..at(91_030)).contains(&retry), "{retry:?}");
    peer.handle_timeout(retry);
    assert_eq!(said(&mut peer), ["Connect"]);
}

#[test]
fn keepalives_come_before_the_hold_time_is_over() {
    let mut peer = established(config(1), &open());
    let mut now = at(30);
    for _ in 0..5 {
        let next = peer.deadline().unwrap();
        let after = next.since(now);
        assert!((Duration::from_millis(22_400)..=Duration::from_secs(30)).contains(&after));
        now = next;
        peer.handle_bytes(Side::Active, &wire::keepalive(), now);
        peer.handle_timeout(now);
        assert_eq!(said(&mut peer), ["Active > keepalive"]);
    }
}

#[test]
fn who_is_not_expected_is_told_so() {
    for (edit, expected) in [
        (
            (|config| config.remote_as = RemoteAs::Number(64599)) as fn(&mut Config),
            "OPEN Message Error/Bad Peer AS (2/2)",
        ),
        (
            |config| config.remote_as = RemoteAs::Internal,
            "OPEN Message Error/Bad Peer AS (2/2)",
        ),
        (
            |config| config.families = vec![],
            "OPEN Message Error/Unsupported Capability (2/7)",
        ),
        (
            |config| {
                config.local_as = 64502;
                config.remote_as = RemoteAs::Internal;
                config.id = [192, 0, 2, 2].into();
            },
            "OPEN Message Error/Bad BGP Identifier (2/3)",
        ),
    ] {
        let mut config = config(1);
        edit(&mut config);
        let mut peer = Peer::new(config, 1, at(0));
        peer.handle_connected(Side::Passive, endpoints(1, 2), at(10));
        said(&mut peer);
        peer.handle_bytes(Side::Passive, &open(), at(20));
        let lines = said(&mut peer);
        assert_eq!(
            lines,
            [format!("Passive > {expected}"), "Close(Passive)".into()]
        );
        let error = peer.status().last_error.unwrap();
        assert_eq!(error.text, format!("sent {expected}"));
    }
}

#[test]
fn what_is_out_of_order_ends_the_session() {
    let mut early = Peer::new(config(1), 1, at(0));
    early.handle_connected(Side::Active, endpoints(1, 2), at(0));
    said(&mut early);
    early.handle_bytes(Side::Active, &wire::keepalive(), at(1));
    let lines = said(&mut early);
    assert!(lines[0].contains("Unexpected Message in OpenSent State (5/1)"));
    let mut late = established(config(1), &open());
    late.handle_bytes(Side::Active, &open(), at(50));
    let lines = said(&mut late);
    assert!(lines[0].contains("Unexpected Message in Established State (5/3)"));
    // And nothing after it counts.
    late.handle_bytes(Side::Active, &wire::keepalive(), at(51));
    assert_eq!(said(&mut late), [""; 0]);
}

#[test]
fn attempts_become_rarer_and_a_fixed_time_is_kept() {
    let mut peer = Peer::new(config(1), 1, at(0));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..8 {
        peer.handle_timeout(now);
        assert_eq!(said(&mut peer), ["Connect"]);
        peer.handle_connect_failed("connection refused", now);
        let next = peer.deadline().unwrap();
        waits.push(next.since(now));
        now = next;
    }
    assert!(
        waits[0] <= Duration::from_secs(1) && waits[7] > Duration::from_secs(20),
        "{waits:?}"
    );
    let fixed = Config {
        connect_retry: Some(Duration::from_secs(10)),
        ..config(1)
    };
    let mut peer = Peer::new(fixed, 1, at(0));
    peer.handle_timeout(at(0));
    peer.handle_connect_failed("connection refused", at(0));
    let next = peer.deadline().unwrap();
    assert!((at(7_500)..=at(10_000)).contains(&next));
}

#[test]
fn routes_are_told_again_when_asked_for() {
    let mut peer = established(config(1), &open());
    peer.advertise(routes(2), false, at(100));
    said(&mut peer);
    let refresh = RouteRefresh {
        family: Family::IPV4,
        kind: RefreshKind::Request,
    };
    peer.handle_bytes(Side::Active, &refresh.encode(), at(200));
    let expected = [
        "Active > refresh ipv4 Begin",
        "Active > announce 2 None []",
        "Active > refresh ipv4 End",
    ];
    assert_eq!(said(&mut peer), expected);
}

#[test]
fn a_node_that_is_drained_says_so_before_its_routes_go() {
    let mut peer = established(config(1), &open());
    peer.advertise(routes(2), false, at(100));
    said(&mut peer);
    peer.advertise(routes(0), true, at(1000));
    assert_eq!(said(&mut peer), ["Active > announce 2 None [(65535, 0)]"]);
    // Whatever else happens meanwhile.
    peer.advertise(routes(0), true, at(2000));
    assert_eq!(said(&mut peer), [""; 0]);
    assert_eq!(peer.deadline(), Some(at(6000)));
    peer.handle_timeout(at(6000));
    assert_eq!(said(&mut peer), ["Active > withdraw 2"]);
    peer.advertise(routes(0), true, at(7000));
    assert_eq!(said(&mut peer), [""; 0]);
    peer.advertise(routes(2), false, at(8000));
    assert_eq!(said(&mut peer), ["Active > announce 2 None []"]);
}

#[test]
fn an_agent_that_restarts_says_nothing_and_comes_back_saying_so() {
    let graceful = Graceful {
        time_s: 120,
        restarted: true,
        preserved: true,
    };
    let config = Config {
        graceful: Some(graceful),
        ..config(1)
    };
    let restart = |config: &Config| {
        let open = config.open();
        let mut all = open.capabilities.into_iter();
        all.find_map(|capability| match capability {
            Capability::GracefulRestart(GracefulRestart {
                restarted,
                families,
                ..
            }) => Some((restarted, families.iter().all(|family| family.preserved))),
            _ => None,
        })
    };
    assert_eq!(restart(&config), Some((true, true)));
    let mut peer = established(config, &open());
    assert_eq!(restart(&peer.config), Some((false, true)));
    peer.advertise(routes(1), false, at(100));
    said(&mut peer);
    peer.stop(&Stop::Restart, at(200));
    let lines = said(&mut peer);
    assert_eq!(lines[0], "Close(Active)");
    assert!(!lines.iter().any(|line| line.contains('>')), "{lines:?}");
    assert_eq!(peer.deadline(), None);
}

#[test]
fn a_peer_is_left_with_words() {
    let mut peer = established(config(1), &open());
    peer.stop(&Stop::Shutdown("the agent ends".into()), at(100));
    let lines = said(&mut peer);
    let expected = "Active > Cease/Administrative Shutdown (6/2): \"the agent ends\"";
    assert_eq!(lines[..2], [expected, "Close(Active)"]);
    peer.handle_timeout(at(1_000_000));
    assert_eq!(said(&mut peer), [""; 0]);
}

#[test]
fn a_peer_that_bfd_lost_is_left_and_called_when_it_is_found() {
    let mut peer = established(config(1), &open());
    peer.handle_bfd(Reach::Up, at(50));
    assert_eq!(said(&mut peer), [""; 0]);
    peer.handle_bfd(Reach::Down, at(100));
    let lines = said(&mut peer);
    assert_eq!(
        lines[..2],
        ["Active > Cease/BFD Down (6/10)", "Close(Active)"]
    );
    assert_eq!(peer.state(), State::Idle);
    peer.handle_timeout(at(4000));
    peer.handle_bfd(Reach::Up, at(5000));
    assert_eq!(said(&mut peer), ["Connect"]);
    // One that speaks no BFD any more is not lost for ever.
    let mut peer = established(config(1), &open());
    peer.handle_bfd(Reach::Up, at(50));
    peer.handle_bfd(Reach::Down, at(100));
    said(&mut peer);
    assert_eq!(peer.deadline(), Some(at(30_100)));
    peer.handle_timeout(at(30_100));
    assert_eq!(said(&mut peer), ["Connect"]);
}

#[test]
fn a_peer_is_called_when_bfd_is_up_and_after_a_while_without() {
    let new = || {
        let mut peer = Peer::new(config(1), 1, at(0));
        peer.handle_bfd(Reach::Awaited, at(0));
        assert_eq!(said(&mut peer), [""; 0]);
        assert_eq!(peer.deadline(), Some(at(3000)));
        peer
    };
    let mut peer = new();
    peer.handle_bfd(Reach::Up, at(1200));
    assert_eq!(said(&mut peer), ["Connect"]);
    let mut peer = new();
    peer.handle_timeout(at(3000));
    assert_eq!(said(&mut peer), ["Connect"]);
    let mut peer = new();
    peer.handle_bfd(Reach::Unwatched, at(100));
    assert_eq!(said(&mut peer), ["Connect"]);
}

#[test]
fn of_two_connections_the_one_of_the_higher_identifier_stays() {
    for (router, stays, goes) in [(2, "Passive", "Active"), (0, "Active", "Passive")] {
        let mut other = config(2);
        other.id = [192, 0, 2, router].into();
        let open = other.open().encode();
        let mut peer = Peer::new(config(1), 1, at(0));
        peer.handle_timeout(at(0));
        peer.handle_connected(Side::Passive, endpoints(1, 2), at(10));
        peer.handle_connected(Side::Active, endpoints(1, 2), at(10));
        peer.handle_bytes(Side::Active, &open, at(20));
        said(&mut peer);
        peer.handle_bytes(Side::Passive, &open, at(30));
        let lines = said(&mut peer);
        let cease = "Cease/Connection Collision Resolution (6/7)";
        assert!(lines.contains(&format!("{goes} > {cease}")), "{lines:?}");
        assert!(lines.contains(&format!("Close({goes})")), "{lines:?}");
        assert!(!lines.contains(&format!("Close({stays})")), "{lines:?}");
    }
}

#[test]
fn an_open_session_takes_no_other_connection_unless_the_peer_restarts_gracefully() {
    let peer = established(config(1), &open());
    assert!(!peer.may_accept());
    let mut graceful = config(2);
    graceful.graceful = Some(Graceful {
        time_s: 120,
        restarted: false,
        preserved: true,
    });
    let mut peer = established(config(1), &graceful.open().encode());
    assert!(peer.may_accept());
    peer.handle_connected(Side::Passive, endpoints(1, 2), at(100));
    let lines = said(&mut peer);
    assert_eq!(lines[0], "Close(Active)");
    assert_eq!(lines.last().unwrap(), "Passive > open 64501 192.0.2.1");
}

#[test]
fn routes_of_the_peer_are_counted_and_wrong_ones_survived() {
    let mut peer = established(config(1), &open());
    let mut update = Update {
        announced: routes(3).keys().copied().collect(),
        ..Update::default()
    };
    // Without attributes.
    peer.handle_bytes(Side::Active, &update.encode(true), at(100));
    update.attributes.origin = Some(wire::Origin::Igp);
    update.attributes.as_path = Some(vec![]);
    update.attributes.next_hop = Some([192, 0, 2, 2].into());
    peer.handle_bytes(Side::Active, &update.encode(true), at(100));
    assert_eq!(said(&mut peer), [""; 0]);
    let Counters {
        prefixes_received,
        prefixes_withdrawn,
        treated_as_withdraw,
        ..
    } = peer.status().counters;
    assert_eq!(
        (prefixes_received, prefixes_withdrawn, treated_as_withdraw),
        (3, 3, 1)
    );
}

#[test]
fn routes_that_cannot_be_told_are_withheld_with_a_reason() {
    let mut ipv4_only = config(2);
    ipv4_only.families = vec![Family::IPV4];
    let mut peer = established(config(1), &ipv4_only.open().encode());
    let mut mixed = routes(1);
    mixed.insert("2001:db8::80/128".parse().unwrap(), Arc::default());
    let huge = Route {
        large_communities: (0..6000).map(|n| (64500, 1, n)).collect(),
        ..Route::default()
    };
    mixed.insert("203.0.113.1/32".parse().unwrap(), huge.into());
    peer.advertise(mixed, false, at(100));
    assert_eq!(said(&mut peer), ["Active > announce 1 None []"]);
    let rib = peer.status().rib;
    let withheld: Vec<_> = rib.withheld().values().copied().collect();
    assert_eq!(withheld, [Withheld::TooLong, Withheld::FamilyNotAgreed]);
}
