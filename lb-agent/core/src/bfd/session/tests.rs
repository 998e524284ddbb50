//! Two sessions over a link that delays and loses, in virtual time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(millis))
}

fn config(millis: u64) -> Config {
    Config {
        desired_tx: Duration::from_millis(millis),
        required_rx: Duration::from_millis(millis),
        multiplier: 3,
        passive: false,
        resumes: false,
    }
}

struct Link {
    now: Timestamp,
    ends: [Session; 2],
    under_way: BTreeMap<(Timestamp, u64), (usize, [u8; LEN])>,
    counter: u64,
    jitter: Jitter,
    /// Of 100 packets, so many are lost on the way to that end.
    loss: [u64; 2],
    /// What the ends found, with when.
    found: Vec<(usize, Timestamp, Output)>,
    /// When each end sent.
    sent: [Vec<Timestamp>; 2],
}

impl Link {
    fn new(configs: [Config; 2], seed: u64) -> Self {
        let now = at(0);
        let [a, b] = configs;
        Self {
            now,
            ends: [
                Session::new(a, 11, seed, now),
                Session::new(b, 22, !seed, now),
            ],
            under_way: BTreeMap::new(),
            counter: 0,
            jitter: Jitter::new(seed),
            loss: [0; 2],
            found: Vec::new(),
            sent: [Vec::new(), Vec::new()],
        }
    }

    fn drain(&mut self) {
        for who in 0..2 {
            while let Some(output) = self.ends[who].poll_output() {
                let Output::Send(bytes) = output else {
                    self.found.push((who, self.now, output));
                    continue;
                };
                self.sent[who].push(self.now);
                if self.jitter.number() % 100 >= self.loss[1 - who] {
                    self.counter += 1;
                    let delay = self.jitter.percent(Duration::from_millis(2), 10, 100);
                    let arrival = (1 - who, bytes);
                    self.under_way
                        .insert((self.now + delay, self.counter), arrival);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let arrives = self.under_way.keys().next().map(|(at, _)| *at);
            let timers = self.ends.iter().filter_map(Session::deadline);
            let next = timers.chain(arrives).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrives == Some(next) {
                let (_, (to, bytes)) = self.under_way.pop_first().unwrap();
                let packet = Packet::decode(&bytes).expect("what is sent is right");
                self.ends[to].handle_packet(&packet, self.now);
            } else {
                self.ends
                    .iter_mut()
                    .for_each(|end| end.handle_timeout(self.now));
            }
        }
    }

    fn states(&self) -> [State; 2] {
        self.ends.each_ref().map(|end| end.status().state)
    }
}

#[test]
fn both_come_up_at_once_and_speak_as_fast_as_agreed() {
    let mut link = Link::new([config(100), config(300)], 1);
    link.run(Duration::from_millis(50));
    assert_eq!(link.states(), [State::Up; 2]);
    link.run(Duration::from_secs(3));
    link.sent.iter_mut().for_each(Vec::clear);
    link.run(Duration::from_secs(30));
    // Each no faster than the other can take, less up to a quarter.
    for sent in &link.sent {
        assert!((100..=134).contains(&sent.len()), "{}", sent.len());
    }
    let status = link.ends[0].status();
    assert_eq!(status.detection, Duration::from_millis(900));
    assert_eq!((status.ups, status.downs), (1, 0));
}

#[test]
fn silence_is_noticed_in_time_and_both_sides_know() {
    for seed in 0..50 {
        let mut link = Link::new([config(100), config(100)], seed);
        link.run(Duration::from_secs(2));
        link.found.clear();
        link.loss = [100, 0];
        let began = link.now;
        link.run(Duration::from_secs(1));
        let expected = [
            Output::Down(Diagnostic::DetectionTimeExpired),
            Output::Down(Diagnostic::NeighborSignaledDown),
        ];
        let found: Vec<_> = link
            .found
            .iter()
            .map(|(_, _, output)| output.clone())
            .collect();
        assert_eq!(found, expected);
        let took = link.found[0].1.since(began);
        assert!(took <= Duration::from_millis(303), "{took:?}");
        assert!(took >= Duration::from_millis(200), "{took:?}");
        link.loss = [0, 0];
        link.run(Duration::from_millis(2500));
        assert_eq!(link.states(), [State::Up; 2]);
    }
}

#[test]
fn a_passive_side_waits_until_it_is_spoken_to() {
    let passive = Config {
        passive: true,
        ..config(100)
    };
    let mut link = Link::new([passive, passive], 1);
    link.run(Duration::from_secs(10));
    assert_eq!(link.sent.concat(), []);
    let mut link = Link::new([config(100), passive], 1);
    link.run(Duration::from_millis(50));
    assert_eq!(link.states(), [State::Up; 2]);
}

#[test]
fn other_intervals_are_agreed_on_without_a_failure() {
    let mut link = Link::new([config(100), config(100)], 3);
    link.run(Duration::from_secs(2));
    let now = link.now;
    link.ends[0].configure(config(1000), now);
    // As fast as before until the other side knows.
    link.sent[0].clear();
    assert!(!link.ends[0].is_agreed());
    link.run(Duration::from_millis(5));
    assert!(link.ends[0].is_agreed());
    link.run(Duration::from_secs(10));
    assert!(link.sent[0].len() <= 16, "{}", link.sent[0].len());
    assert_eq!(
        link.ends[1].status().detection,
        Duration::from_secs(3),
        "by what the slow side wants"
    );
    let now = link.now;
    link.ends[0].configure(config(50), now);
    link.run(Duration::from_secs(10));
    let detection = link.ends[1].status().detection;
    assert_eq!(detection, Duration::from_millis(300));
    assert_eq!(link.ends.each_ref().map(|end| end.status().downs), [0, 0]);
}

/// One that is started anew while the peer still has the session goes on with
/// it, and the peer sees nothing.
#[test]
fn a_session_is_taken_up_again_by_the_next_one() {
    let resumes = Config {
        resumes: true,
        ..config(100)
    };
    for (away, downs) in [(5, 0), (40, 1)] {
        let mut link = Link::new([resumes, config(100)], 5);
        link.run(Duration::from_secs(4));
        let slow = Config {
            desired_tx: Duration::from_secs(10),
            ..resumes
        };
        let now = link.now;
        link.ends[0].configure(slow, now);
        link.run(Duration::from_millis(20));
        assert!(link.ends[0].is_agreed());
        // Nobody is there.
        link.loss = [100, 100];
        link.run(Duration::from_secs(away));
        link.loss = [0, 0];
        link.ends[0] = Session::new(resumes, 11, 9, link.now);
        link.run(Duration::from_secs(5));
        assert_eq!(link.states(), [State::Up; 2]);
        assert_eq!(link.ends[1].status().downs, downs, "away {away} s");
        let detection = link.ends[1].status().detection;
        assert_eq!(detection, Duration::from_millis(300));
    }
}

#[test]
fn a_session_that_is_ended_on_purpose_is_no_failure() {
    let mut link = Link::new([config(100), config(100)], 1);
    link.run(Duration::from_secs(2));
    link.found.clear();
    let now = link.now;
    link.ends[0].stop(now);
    link.run(Duration::from_secs(5));
    let found: Vec<_> = link
        .found
        .iter()
        .map(|(who, _, output)| (*who, output))
        .collect();
    assert_eq!(found, [(1, &Output::AdminDown)]);
    assert_eq!(link.states(), [State::AdminDown, State::Down]);
}

#[test]
fn packets_for_another_session_count_for_nothing() {
    let mut session = Session::new(config(100), 11, 1, at(0));
    let mut other = Session::new(config(100), 22, 1, at(0));
    other.handle_timeout(at(0));
    let Some(Output::Send(bytes)) = other.poll_output() else {
        panic!("it speaks first");
    };
    let mut packet = Packet::decode(&bytes).unwrap();
    packet.your_discriminator = 12;
    session.handle_packet(&packet, at(1));
    assert_eq!(session.status().received, 0);
    assert_eq!(session.status().state, State::Down);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn little_loss_is_borne_and_after_any_the_session_comes_back(
        seed: u64,
        loss in 0..100_u64,
        one in 10..500_u64,
        other in 10..500_u64,
    ) {
        let mut link = Link::new([config(one), config(other)], seed);
        link.loss = [loss, loss / 2];
        link.run(Duration::from_secs(20));
        link.loss = [0, 0];
        link.run(Duration::from_secs(8));
        prop_assert_eq!(link.states(), [State::Up; 2]);
        let downs = link.ends[0].status().downs;
        link.run(Duration::from_secs(20));
        prop_assert_eq!(link.ends[0].status().downs, downs);
    }

    #[test]
    fn anything_that_decodes_is_survived(
        packets in prop::collection::vec((any::<[u8; LEN]>(), 0..2000_u64), 0..50),
    ) {
        let mut session = Session::new(config(100), 11, 1, at(0));
        let mut now = at(0);
        for (mut bytes, wait) in packets {
            (bytes[0], bytes[3]) = (0x20 | bytes[0] & 0x1f, 24);
            bytes[1] &= !0x05;
            now = now + Duration::from_millis(wait);
            session.handle_timeout(now);
            if let Ok(packet) = Packet::decode(&bytes) {
                session.handle_packet(&packet, now);
            }
            while session.poll_output().is_some() {}
            prop_assert!(session.deadline().is_none_or(|at| at >= now));
        }
    }
}
