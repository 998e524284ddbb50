//! BGP: single messages, and a peer that hears a stream of them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_core::bgp::config::{Config, Endpoints, Graceful, RemoteAs};
use lb_core::bgp::peer::{Output, Peer, Side};
use lb_core::bgp::wire::{
    Attributes, Context, Family, HEADER_LEN, Kind, MESSAGE_MAX, Message, MpReach, MpUnreach,
    Notification, Origin, RefreshKind, RouteRefresh, Segment, Update, frame, keepalive,
};
use lb_core::time::Timestamp;

use crate::engine::Target;

pub(crate) const MESSAGE: Target = Target {
    name: "bgp-message",
    seeds: messages,
    repair: |input| set_length(input),
    run: read,
};

pub(crate) const PEER: Target = Target {
    name: "bgp-peer",
    seeds: streams,
    repair: |input| set_length(input),
    run: listen,
};

/// The header's length, of the first message.
fn set_length(input: &mut [u8]) {
    let length = u16::try_from(input.len()).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(header) = input.get_mut(..HEADER_LEN) {
        header[..16].fill(0xff);
        header[16..18].copy_from_slice(&length);
    }
}

fn config(number: u8) -> Config {
    Config {
        local_as: 64500 + u32::from(number),
        remote_as: RemoteAs::External,
        id: Ipv4Addr::new(192, 0, 2, number),
        hold_s: 90,
        keepalive_s: None,
        connect_retry: None,
        families: vec![Family::IPV4, Family::IPV6],
        graceful: Some(Graceful {
            time_s: 120,
            restarted: true,
            preserved: true,
        }),
        drain: Duration::from_secs(5),
    }
}

fn context(internal: bool, as4: bool, extended: bool) -> Context {
    Context {
        as4,
        internal,
        families: vec![Family::IPV4, Family::IPV6],
        extended,
    }
}

fn update() -> Update {
    let v4 = |text: &str| text.parse().unwrap();
    Update {
        withdrawn: vec![v4("192.0.2.0/24"), v4("0.0.0.0/0")],
        announced: vec![v4("198.51.100.7/32"), v4("203.0.113.0/25")],
        attributes: Attributes {
            origin: Some(Origin::Igp),
            as_path: Some(vec![Segment::Sequence(vec![64502, 4_200_000_000])]),
            next_hop: Some(Ipv4Addr::new(192, 0, 2, 2)),
            med: Some(7),
            local_pref: None,
            communities: vec![(64512, 1), (65535, 0)],
            large_communities: vec![(64512, 1, 2)],
            reach: Some(MpReach {
                family: Family::IPV6,
                next_hop: "2001:db8::2".parse().unwrap(),
                link_local: "fe80::2".parse().ok(),
                prefixes: vec!["2001:db8:1::/48".parse().unwrap()],
            }),
            unreach: Some(MpUnreach {
                family: Family::IPV6,
                prefixes: vec!["2001:db8:2::7/128".parse().unwrap()],
            }),
        },
    }
}

fn messages() -> Vec<Vec<u8>> {
    let refresh = |kind| {
        let family = Family::IPV4;
        RouteRefresh { family, kind }.encode()
    };
    vec![
        config(2).open().encode(),
        keepalive(),
        update().encode(true),
        update().encode(false),
        Update::end_of_rib(Family::IPV4).encode(true),
        Update::end_of_rib(Family::IPV6).encode(true),
        Notification::communicating(Kind::SHUTDOWN, "until noon").encode(),
        Notification::lacking([Family::IPV6].into_iter()).encode(),
        refresh(RefreshKind::Request),
        refresh(RefreshKind::Begin),
        refresh(RefreshKind::End),
    ]
}

/// One message, by whatever was agreed on.
fn read(bytes: &[u8]) -> String {
    let mut kinds = String::new();
    for number in 0..8 {
        let context = context(number & 1 != 0, number & 2 != 0, number & 4 != 0);
        match frame(bytes, &context) {
            Err(answer) => kinds += &check_answer(&answer),
            Ok(None) => kinds += "short ",
            Ok(Some(message)) => {
                assert!(bytes.starts_with(&message), "not what came in");
                kinds += &decode(&message, &context);
            }
        }
        // Whoever takes them by another way.
        let _any = Message::decode(bytes, &context);
    }
    kinds
}

fn decode(message: &[u8], context: &Context) -> String {
    let again = |bytes: &[u8]| Message::decode(bytes, context);
    let decoded = again(message);
    let bytes = match &decoded {
        Err(answer) => return check_answer(answer),
        Ok(Message::Open(open)) => open.encode(),
        Ok(Message::Notification(notification)) => notification.encode(),
        Ok(Message::RouteRefresh(refresh)) => refresh.encode(),
        Ok(Message::Keepalive) => keepalive(),
        Ok(Message::Update(received)) => {
            let (announced, withdrawn) = received.update.counts();
            assert!(announced + withdrawn <= 2 * message.len(), "out of nothing");
            return format!("{:?} ", received.flaw);
        }
    };
    assert_eq!(again(&bytes), decoded, "it comes back");
    let number = decoded.map_or(0, |message| message.number());
    format!("{number} ")
}

/// It can be sent, and be understood.
fn check_answer(answer: &Notification) -> String {
    let bytes = answer.encode();
    assert!(bytes.len() <= MESSAGE_MAX, "{} bytes", bytes.len());
    let whole = frame(&bytes, &Context::default());
    assert_eq!(whole, Ok(Some(bytes.clone())), "an answer is a message");
    let read = Message::decode(&bytes, &Context::default());
    assert_eq!(read, Ok(Message::Notification(answer.clone())));
    format!("{:?} ", answer.kind)
}

/// Beginning with the peer's OPEN, or with what comes after it.
fn streams() -> Vec<Vec<u8>> {
    let open = config(2).open().encode();
    let after = [keepalive(), update().encode(true), keepalive()].concat();
    let mut streams = vec![[open, after.clone()].concat(), after];
    streams.extend(messages());
    streams
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_secs(seconds))
}

fn listen(bytes: &[u8]) -> String {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let address = |number| IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
    let endpoints = Endpoints {
        local: address(1),
        remote: address(2),
        v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        v6: None,
        link_local: None,
    };
    let mut peer = Peer::new(config(1), 1, at(0));
    let mut said = Said::default();
    peer.handle_timeout(at(0));
    said.drain(&mut peer);
    peer.handle_connected(Side::Active, endpoints, at(1));
    said.drain(&mut peer);
    // Half of them meet a session that is open.
    if first & 1 == 0 {
        let opened = [config(2).open().encode(), keepalive()].concat();
        peer.handle_bytes(Side::Active, &opened, at(1));
        said.drain(&mut peer);
    }
    let chunk = usize::from(first >> 1).max(1);
    let stream = if bytes.starts_with(&[0xff]) {
        bytes
    } else {
        rest
    };
    for part in stream.chunks(chunk) {
        peer.handle_bytes(Side::Active, part, at(2));
        said.drain(&mut peer);
    }
    for _ in 0..4 {
        let Some(deadline) = peer.deadline() else {
            break;
        };
        peer.handle_timeout(deadline.max(at(2)));
        said.drain(&mut peer);
        assert!(
            peer.deadline().is_none_or(|next| next > deadline),
            "time goes on"
        );
    }
    let text = peer.status().last_error.map_or(String::new(), |e| e.text);
    format!("{} {:?} {text}", said.kinds, peer.state())
}

/// What came out, as it should be.
#[derive(Default)]
struct Said {
    kinds: String,
    closed: bool,
}

impl Said {
    fn drain(&mut self, peer: &mut Peer) {
        while let Some(output) = peer.poll_output() {
            match output {
                Output::Connect => self.closed = false,
                Output::Send(_, bytes) => {
                    assert!(!self.closed, "nothing is sent after the end");
                    let whole = frame(&bytes, &context(false, true, true));
                    assert_eq!(whole, Ok(Some(bytes.clone())), "whole messages");
                    self.kinds += &format!("{} ", bytes[18]);
                }
                Output::Close(_) => {
                    assert!(!self.closed, "closed once");
                    self.closed = true;
                }
                Output::Up => self.kinds += "up ",
                Output::Down(_) => self.kinds += "down ",
            }
        }
    }
}
