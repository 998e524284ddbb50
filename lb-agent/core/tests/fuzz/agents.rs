//! What agents send each other: beats, renewals, the channel, and the seal
//! around all of them.

use std::time::Duration;

use lb_core::channel::{Output, Session};
use lb_core::fence::{Renewal, Stamp};
use lb_core::gossip::Beat;
use lb_core::gossip::wire::Echo;
use lb_core::model::NodeName;
use lb_core::seal::{Keys, Kind, NodeId, Seal};
use lb_core::time::Timestamp;

use crate::engine::Target;

/// More names than an agent says itself, or names twice, are read but not said
/// again.
const GONE_SAID: usize = 16;

pub(crate) const BEAT: Target = Target {
    name: "gossip-beat",
    seeds: || {
        let beat = Beat {
            answer: true,
            programmed: true,
            sent_us: 7_000_000,
            patience_ms: 800,
            echo: Some(Echo {
                boot: 3,
                sent_us: 6_000_000,
                held_us: 12,
            }),
            ..Beat::default()
        };
        vec![beat.encode(), Beat::default().encode()]
    },
    repair: |input| {
        if let Some(form) = input.first_mut() {
            *form = 1;
        }
    },
    run: |bytes| match Beat::decode(bytes) {
        Err(error) => format!("{error:?}").chars().take(8).collect(),
        Ok(beat) => {
            assert_eq!(Beat::decode(&beat.encode()).as_ref(), Ok(&beat));
            format!("{} {}", beat.answer, beat.echo.is_some())
        }
    },
};

pub(crate) const RENEWAL: Target = Target {
    name: "fence-renewal",
    seeds: || {
        let stamp = |boot| Stamp {
            boot,
            sent: at(7_000),
        };
        let renewal = Renewal {
            stamp: stamp(1),
            echo: Some(stamp(2)),
            acknowledges: true,
            gone: ["node1", "node2"].map(NodeName::new).into(),
        };
        vec![renewal.encode()]
    },
    repair: |_| {},
    run: |bytes| match Renewal::decode(bytes) {
        Err(error) => format!("{error:?}"),
        Ok(renewal) => {
            if renewal.gone.len() <= GONE_SAID {
                assert_eq!(Renewal::decode(&renewal.encode()).as_ref(), Ok(&renewal));
            }
            format!("{} {}", renewal.gone.len(), renewal.acknowledges)
        }
    },
};

/// Datagrams, each after its length; two ends that had a talk.
pub(crate) const CHANNEL: Target = Target {
    name: "channel-session",
    seeds: || {
        let (_, _, heard) = talk();
        let row: Vec<u8> = heard.iter().flat_map(|one| with_length(one)).collect();
        vec![row]
    },
    repair: |_| {},
    run: |bytes| {
        let (mut one, mut other, _) = talk();
        let mut rest = bytes;
        let mut kinds = String::new();
        while let Some((length, after)) = rest.split_first() {
            let (datagram, after) = after.split_at(usize::from(*length).min(after.len()));
            rest = after;
            match one.handle_datagram(datagram, at(500)) {
                Ok(()) => kinds.push('+'),
                Err(refused) => kinds += &format!("{refused:?}"),
            }
            for bytes in sent(&mut one) {
                // The other end is in its right mind.
                let _refused = other.handle_datagram(&bytes, at(500));
            }
        }
        one.handle_timeout(one.deadline().unwrap_or(at(600)));
        sent(&mut one);
        kinds.truncate(40);
        format!("{kinds} {}", one.is_up())
    },
};

fn with_length(datagram: &[u8]) -> Vec<u8> {
    let length = u8::try_from(datagram.len()).unwrap();
    [&[length], datagram].concat()
}

fn sent(session: &mut Session) -> Vec<Vec<u8>> {
    let outputs = std::iter::from_fn(|| session.poll_output());
    let datagrams = outputs.filter_map(|output| match output {
        Output::Transmit(bytes) => Some(bytes),
        _ => None,
    });
    datagrams.collect()
}

/// Two ends that have begun, and what the first one heard.
fn talk() -> (Session, Session, Vec<Vec<u8>>) {
    let (mut one, mut other) = (Session::new(11, at(0)), Session::new(22, at(0)));
    let mut heard = Vec::new();
    for round in 1..=4 {
        let now = at(100 * round);
        for (from, to, is_one) in [(true, false, false), (false, true, true)] {
            let (from, to) = if from && !to {
                (&mut one, &mut other)
            } else {
                (&mut other, &mut one)
            };
            from.queue(b"something");
            from.flush(now);
            from.handle_timeout(now);
            for datagram in sent(from) {
                let _refused = to.handle_datagram(&datagram, now);
                if is_one {
                    heard.push(datagram);
                }
            }
        }
    }
    sent(&mut one);
    sent(&mut other);
    (one, other, heard)
}

pub(crate) const SEAL: Target = Target {
    name: "seal",
    seeds: || {
        let (_, datagrams) = sealed();
        datagrams
    },
    repair: |input| {
        if let Some(version) = input.first_mut() {
            *version = 1;
        }
    },
    run: |bytes| {
        let (mut b, datagrams) = sealed();
        match b.open(bytes) {
            Ok(opened) => {
                assert!(datagrams.iter().any(|d| d == bytes), "sealed by nobody");
                format!("{:?}", opened.kind)
            }
            Err(error) => format!("{error:?}").chars().take(8).collect(),
        }
    },
};

/// An agent, and what another one has sealed for it.
fn sealed() -> (Seal, Vec<Vec<u8>>) {
    let keys = || Keys::of(&[b"one".to_vec()]);
    let ids = ["a", "b"].map(|name| NodeId::of(&NodeName::new(name)));
    let mut a = Seal::new(keys(), &NodeName::new("a"), 1);
    let mut b = Seal::new(keys(), &NodeName::new("b"), 2);
    a.set_peers(&ids.into());
    b.set_peers(&ids.into());
    let kinds = [Kind::Gossip, Kind::Channel];
    let datagrams = kinds.map(|kind| a.seal(kind, ids[1], b"some payload").unwrap());
    (b, datagrams.into())
}

fn at(millis: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(millis))
}
