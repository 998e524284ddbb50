//! Two speakers over a network that delays, cuts, loses connections and goes
//! silent, in virtual time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::{config, endpoints, routes};

/// What arrives, and where.
#[derive(Clone, Debug)]
enum Arrival {
    /// A connection that speaker `from` made.
    Connection,
    Bytes(Vec<u8>),
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tcp {
    /// Who made it: 0 or 1.
    from: usize,
    number: u64,
}

struct World {
    now: Timestamp,
    speakers: [Peer; 2],
    /// The connection behind each side of each speaker.
    sockets: [[Option<Tcp>; 2]; 2],
    /// What is under way, by when it arrives and in what order it was sent.
    under_way: BTreeMap<(Timestamp, u64), (usize, Tcp, Arrival)>,
    /// When the last byte to each end of a connection arrives: TCP keeps order.
    last: BTreeMap<(Tcp, usize), Timestamp>,
    counter: u64,
    jitter: Jitter,
    /// Nothing arrives.
    silent: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = super::at(0);
        let mut world = Self {
            now,
            speakers: [
                Peer::new(config(1), seed, now),
                Peer::new(config(2), !seed, now),
            ],
            sockets: [[None; 2]; 2],
            under_way: BTreeMap::new(),
            last: BTreeMap::new(),
            counter: 0,
            jitter: Jitter::new(seed),
            silent: false,
        };
        world.speakers[0].advertise(routes(20), false, now);
        world
    }

    /// On its way to speaker `to`.
    fn send(&mut self, to: usize, tcp: Tcp, arrival: Arrival) {
        self.counter += 1;
        let delay = self.jitter.percent(Duration::from_millis(20), 5, 100);
        let last = self.last.entry((tcp, to)).or_insert(self.now);
        *last = (*last).max(self.now + delay);
        self.under_way
            .insert((*last, self.counter), (to, tcp, arrival));
    }

    fn drain(&mut self, who: usize) {
        while let Some(output) = self.speakers[who].poll_output() {
            match output {
                Output::Connect => {
                    self.counter += 1;
                    let number = self.counter;
                    let tcp = Tcp { from: who, number };
                    self.send(1 - who, tcp, Arrival::Connection);
                }
                Output::Send(side, bytes) => {
                    let tcp = self.sockets[who][side as usize].expect("there is one");
                    // In two pieces, cut anywhere.
                    let cut = usize::try_from(self.jitter.number()).unwrap_or(0) % bytes.len();
                    for piece in [&bytes[..cut], &bytes[cut..]] {
                        self.send(1 - who, tcp, Arrival::Bytes(piece.to_vec()));
                    }
                }
                Output::Close(side) => {
                    if let Some(tcp) = self.sockets[who][side as usize].take() {
                        self.send(1 - who, tcp, Arrival::Closed);
                    }
                }
                Output::Up | Output::Down(_) => {}
            }
        }
    }

    fn side_of(&self, who: usize, tcp: Tcp) -> Option<Side> {
        let sides = Side::BOTH.into_iter();
        let mut sides = sides.filter(|side| self.sockets[who][*side as usize] == Some(tcp));
        sides.next()
    }

    fn connected(&mut self, to: usize, tcp: Tcp) {
        let (maker, taker) = (tcp.from, to);
        let ends = [endpoints(1, 2), endpoints(2, 1)];
        let accepted = self.speakers[taker].may_accept();
        if accepted {
            // Its own end of the old one.
            let old = self.sockets[taker][Side::Passive as usize].take();
            if let Some(old) = old {
                self.send(maker, old, Arrival::Closed);
            }
            self.sockets[taker][Side::Passive as usize] = Some(tcp);
        } else {
            self.send(maker, tcp, Arrival::Bytes(Peer::collision()));
            self.send(maker, tcp, Arrival::Closed);
        }
        self.sockets[maker][Side::Active as usize] = Some(tcp);
        self.speakers[maker].handle_connected(Side::Active, ends[maker], self.now);
        self.drain(maker);
        if accepted {
            self.speakers[taker].handle_connected(Side::Passive, ends[taker], self.now);
            self.drain(taker);
        }
    }

    /// The next thing that happens, if it is before `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let arrives = self.under_way.keys().next().map(|(at, _)| *at);
        let timers = self.speakers.iter().filter_map(Peer::deadline).min();
        let Some(next) = arrives.into_iter().chain(timers).min() else {
            return false;
        };
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        if arrives == Some(next) {
            let (_, (to, tcp, arrival)) = self.under_way.pop_first().expect("seen");
            if self.silent {
                if matches!(arrival, Arrival::Connection) {
                    self.speakers[tcp.from].handle_connect_failed("timed out", self.now);
                    self.drain(tcp.from);
                }
                return true;
            }
            let side = self.side_of(to, tcp);
            match (arrival, side) {
                (Arrival::Connection, _) => self.connected(to, tcp),
                (Arrival::Bytes(bytes), Some(side)) => {
                    self.speakers[to].handle_bytes(side, &bytes, self.now);
                }
                (Arrival::Closed, Some(side)) => {
                    self.sockets[to][side as usize] = None;
                    self.speakers[to].handle_closed(side, self.now);
                }
                (_, None) => {}
            }
            self.drain(to);
        } else {
            for who in 0..2 {
                self.speakers[who].handle_timeout(self.now);
                self.drain(who);
            }
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Cuts a connection at both ends.
    fn cut(&mut self, who: usize, side: Side) {
        if let Some(tcp) = self.sockets[who][side as usize] {
            self.send(who, tcp, Arrival::Closed);
            self.send(1 - who, tcp, Arrival::Closed);
        }
    }

    fn assert_one_session(&self) {
        let states = self.speakers.each_ref().map(Peer::state);
        assert_eq!(states, [State::Established; 2], "{:?}", self.now);
        let connections: Vec<_> = self.sockets.as_flattened().iter().flatten().collect();
        assert_eq!(connections.len(), 2, "one, seen from both ends");
        assert_eq!(connections[0], connections[1]);
        let received = self.speakers[1].status().counters;
        let now = received.prefixes_received - received.prefixes_withdrawn;
        assert!(now > 0 && now.is_multiple_of(20), "{received:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn opened_from_both_sides_at_once_one_session_stays(seed: u64) {
        let mut world = World::new(seed);
        world.run(Duration::from_secs(60));
        world.assert_one_session();
        // It stays the same one.
        let sockets = world.sockets;
        world.run(Duration::from_secs(600));
        world.assert_one_session();
        prop_assert_eq!(world.sockets, sockets);
    }

    #[test]
    fn whatever_is_cut_the_session_comes_back(
        seed: u64,
        cuts in prop::collection::vec((0..2_usize, any::<bool>(), 0..5000_u64), 0..20),
    ) {
        let mut world = World::new(seed);
        for (who, active, after) in cuts {
            world.run(Duration::from_millis(after));
            world.cut(who, if active { Side::Active } else { Side::Passive });
        }
        world.run(Duration::from_secs(120));
        world.assert_one_session();
    }

    #[test]
    fn after_silence_the_session_comes_back(seed: u64, silence in 1..300_u64) {
        let mut world = World::new(seed);
        world.run(Duration::from_secs(10));
        world.silent = true;
        world.run(Duration::from_secs(silence));
        if silence > 95 {
            let states = world.speakers.each_ref().map(Peer::state);
            prop_assert!(!states.contains(&State::Established), "{states:?}");
        }
        world.silent = false;
        world.run(Duration::from_secs(300));
        // Bytes were lost in it, which TCP would have sent again: what counts
        // is that both ends agree on a session.
        let states = world.speakers.each_ref().map(Peer::state);
        prop_assert_eq!(states, [State::Established; 2]);
    }

    /// Hostile bytes end a session or are survived, and the next one opens.
    #[test]
    fn anything_from_the_peer_is_survived(
        seed: u64,
        garbage in prop::collection::vec(any::<u8>(), 0..100),
        header: bool,
        after in 0..100_u64,
    ) {
        let mut world = World::new(seed);
        world.run(Duration::from_millis(after));
        let mut bytes = Vec::new();
        if header {
            let length = u16::try_from(garbage.len() + 18).unwrap();
            bytes.extend([0xff; 16]);
            bytes.extend(length.to_be_bytes());
        }
        bytes.extend(&garbage);
        for side in Side::BOTH {
            if let Some(tcp) = world.sockets[0][side as usize] {
                world.send(0, tcp, Arrival::Bytes(bytes.clone()));
            }
        }
        world.run(Duration::from_secs(400));
        let states = world.speakers.each_ref().map(Peer::state);
        prop_assert_eq!(states, [State::Established; 2]);
    }
}
