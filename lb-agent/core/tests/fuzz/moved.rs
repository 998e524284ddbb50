//! What agents say about flows, over a real session: whatever a peer with the
//! secret says, the maps stay within their bounds and hold only what it said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::addr::Addr;
use lb_common::flow::FlowKey;
use lb_common::frontend::FrontendKey;
use lb_core::channel::{MESSAGE_MAX, Output as Heard, Session};
use lb_core::moved::{Act, Living, Output, Presence, Set, Sets, Talk};
use lb_core::time::Timestamp;

use crate::engine::Target;

const WEB: FrontendKey = FrontendKey::new(Addr::from_v4_word(80), 443, 6);
const PEER: u16 = 2;
/// As much as `MOVED` has room for here.
const HELD_MAX: usize = 4;
/// More are not said in one go; the session's queue has room for them.
const SAID_MAX: usize = 200;

/// Messages, each after its length.
pub(crate) const TALK: Target = Target {
    name: "moved-talk",
    seeds: || {
        let messages = said();
        let mut seeds: Vec<Vec<u8>> = messages.iter().map(|one| with_length(one)).collect();
        seeds.push(seeds.concat());
        seeds
    },
    repair: |_| {},
    run: |bytes| {
        let mut ends = Ends::new();
        let mut rest = bytes;
        let mut count = 0;
        while let Some((length, after)) = rest.split_first().filter(|_| count < SAID_MAX) {
            let (message, after) = after.split_at(usize::from(*length).min(after.len()));
            rest = after;
            assert!(ends.peer.queue(message), "there is room");
            count += 1;
        }
        ends.run();
        let counts = ends.talk.counts();
        let heard = counts.moved_heard + counts.told_heard + counts.malformed;
        assert!(heard <= count as u64, "{counts:?} of {count}");
        assert!(ends.holds.len() <= HELD_MAX);
        assert_eq!(ends.holds.len(), ends.talk.moved().held());
        let kinds = (counts.malformed > 0, counts.no_room > 0);
        format!("{kinds:?} {} {}", ends.holds.len(), counts.told_heard > 0)
    },
};

fn with_length(message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len().min(MESSAGE_MAX)).unwrap();
    [&[length], message].concat()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(1_000_000 + millis))
}

fn flow(client: Addr, port: u16) -> FlowKey {
    FlowKey {
        client,
        vip: WEB.vip,
        client_port: port,
        vip_port: WEB.port,
        protocol: WEB.protocol.into(),
    }
}

/// A frontend with endpoints here and with the peer, which changed just now.
fn sets(now: Timestamp) -> Sets {
    let set = Set {
        id: 7,
        hash: 1,
        changed_s: u32::try_from(now.since(Timestamp::default()).as_secs()).unwrap(),
        serving: [PEER].into(),
        nodes: [PEER].into(),
        here: true,
    };
    [(WEB, Arc::new(set))].into()
}

/// An agent, and the session of a peer that says anything.
struct Ends {
    talk: Talk,
    peer: Session,
    now_ms: u64,
    /// What the map holds.
    holds: BTreeSet<FlowKey>,
    /// What the peer heard.
    heard: Vec<Vec<u8>>,
}

impl Ends {
    /// They have begun; the agent has a flow that comes to the peer.
    fn new() -> Self {
        let mut talk = Talk::new(1, [], HELD_MAX);
        let (now, sets) = (at(0), sets(at(0)));
        talk.set_peers(&BTreeMap::from([(PEER, Presence::There)]), now);
        talk.set_tables(&sets, now);
        let v4 = Addr::from(Ipv4Addr::new(192, 0, 2, 1));
        let flows = [flow(v4, 40_000), flow(v4, 40_001)];
        let living = flows.map(|flow| Living {
            flow,
            idle_ms: 10,
            elsewhere: Some(PEER),
        });
        talk.walked(&sets, living, now);
        let mut ends = Self {
            talk,
            peer: Session::new(2, now),
            now_ms: 0,
            holds: BTreeSet::new(),
            heard: Vec::new(),
        };
        ends.run();
        ends
    }

    /// Until nothing is under way.
    fn run(&mut self) {
        for _ in 0..50 {
            self.now_ms += 20;
            let now = at(self.now_ms);
            self.peer.flush(now);
            self.peer.handle_timeout(now);
            while let Some(output) = self.peer.poll_output() {
                match output {
                    Heard::Transmit(datagram) => self.talk.handle_datagram(PEER, &datagram, now),
                    Heard::Received(message) => self.heard.push(message),
                    _ => {}
                }
            }
            self.talk.handle_timeout(now);
            while let Some(act) = self.talk.poll_act() {
                self.act(act, now);
            }
        }
    }

    fn act(&mut self, act: Act, now: Timestamp) {
        match act {
            Act::Transmit { datagram, .. } => {
                let taken = self.peer.handle_datagram(&datagram, now);
                assert_eq!(taken, Ok(()), "the agent is in its right mind");
            }
            Act::Map(Output::Hold { flow, node }) => {
                assert_eq!(node, PEER, "nobody else said anything");
                self.holds.insert(flow);
            }
            Act::Map(Output::Release { flow }) => {
                assert!(self.holds.remove(&flow), "it was held");
            }
            Act::Map(Output::Compare {
                peer,
                flow,
                idle_ms,
            }) => {
                assert_eq!(peer, PEER);
                // It was heard later here.
                self.talk.kept(peer, flow, idle_ms.saturating_sub(1), now);
            }
        }
    }
}

/// What an agent says itself, and the same of IPv6.
fn said() -> Vec<Vec<u8>> {
    let mut said = Ends::new().heard;
    assert!(
        said.len() >= 3,
        "flows, that this is all, and told: {said:?}"
    );
    // A question, a dispute and a withdrawal are like told, moved and moved, but for
    // so many bytes at the end.
    for (like, kind, fewer) in [(1, 2, 4), (4, 5, 8), (1, 6, 0)] {
        let one = said.iter().find(|message| message.first() == Some(&like));
        if let Some(mut one) = one.cloned() {
            one.truncate(one.len() - fewer);
            one[0] = kind;
            said.push(one);
        }
    }
    said
}
