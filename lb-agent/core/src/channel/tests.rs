//! Two ends and a bad network, in virtual time.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::datagram::Datagram;
use super::*;
use crate::time::Timestamp;

fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(ms))
}

/// One process of an agent: its session, and what it has heard since it began.
struct End {
    session: Session,
    to_say: VecDeque<u32>,
    heard: Vec<u32>,
    ups: usize,
    silent: bool,
}

impl End {
    fn new(boot: u64, now: u64) -> Self {
        Self {
            session: Session::new(boot, at(now)),
            to_say: VecDeque::new(),
            heard: Vec::new(),
            ups: 0,
            silent: false,
        }
    }

    fn say(&mut self, count: u32) {
        self.to_say.extend(0..count);
    }

    /// Drains; what leaves is returned.
    fn drain(&mut self, said: u32, now: u64) -> Vec<Vec<u8>> {
        let mut leaving = Vec::new();
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Transmit(bytes) => {
                        assert!(bytes.len() <= DATAGRAM_MAX);
                        leaving.push(bytes);
                    }
                    Output::Up => {
                        // Everything is said again, from the beginning.
                        self.ups += 1;
                        self.heard.clear();
                        self.to_say = (0..said).collect();
                    }
                    Output::Received(message) => {
                        self.heard
                            .push(u32::from_be_bytes(message[..4].try_into().unwrap()));
                    }
                    Output::Silent => self.silent = true,
                    Output::Answers => self.silent = false,
                }
            }
            let mut queued = false;
            while let Some(next) = self.to_say.front() {
                let mut message = vec![7; 20];
                message[..4].copy_from_slice(&next.to_be_bytes());
                if !self.session.queue(&message) {
                    break;
                }
                self.to_say.pop_front();
                queued = true;
            }
            self.session.flush(at(now));
            if !queued {
                return leaving;
            }
        }
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Arrives(u64),
    Twice(u64, u64),
    Lost,
}

fn luck() -> impl Strategy<Value = Vec<Luck>> {
    let one = prop_oneof![
        6 => (1..30_u64).prop_map(Luck::Arrives),
        1 => (1..300_u64).prop_map(Luck::Arrives),
        1 => (1..200_u64, 1..900_u64).prop_map(|(a, b)| Luck::Twice(a, b)),
        2 => Just(Luck::Lost),
    ];
    proptest::collection::vec(one, 1..60).prop_filter("too much is lost", |luck| {
        let lost = luck.iter().filter(|one| matches!(one, Luck::Lost)).count();
        2 * lost <= luck.len()
    })
}

/// Forever, in an order that does not fall into step with what is sent.
fn dice(luck: Vec<Luck>) -> impl Iterator<Item = Luck> {
    (0_u64..).map(move |n| {
        let length = u64::try_from(luck.len()).unwrap();
        luck[usize::try_from(lb_common::hash::mix(n) % length).unwrap()]
    })
}

/// Two ends; the second of them restarts at these moments.
struct World {
    ends: [End; 2],
    said: [u32; 2],
    /// By when: to whom, what.
    network: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    now: u64,
}

impl World {
    fn new(said: [u32; 2]) -> Self {
        let mut ends = [End::new(11, 0), End::new(22, 0)];
        for (end, said) in ends.iter_mut().zip(said) {
            end.say(said);
        }
        Self {
            ends,
            said,
            network: BTreeMap::new(),
            sent: 0,
            now: 0,
        }
    }

    fn drain(&mut self, who: usize, dice: &mut impl Iterator<Item = Luck>) {
        for bytes in self.ends[who].drain(self.said[who], self.now) {
            let to = 1 - who;
            let mut put = |after: u64| {
                self.sent += 1;
                self.network
                    .insert((self.now + after, self.sent), (to, bytes.clone()));
            };
            match dice.next().unwrap() {
                Luck::Arrives(after) => put(after),
                Luck::Twice(first, second) => {
                    put(first);
                    put(second);
                }
                Luck::Lost => {}
            }
        }
    }

    /// Goes on until nothing is left to do, or until that moment.
    fn run(&mut self, until: u64, dice: &mut impl Iterator<Item = Luck>) {
        loop {
            for who in 0..2 {
                self.drain(who, dice);
            }
            let arrives = self.network.keys().next().map(|(at, _)| *at);
            let deadlines = self.ends.iter().filter_map(|end| end.session.deadline());
            let timer = deadlines
                .min()
                .map(|moment| u64::try_from(moment.since(at(0)).as_millis()).unwrap());
            let Some(next) = arrives.into_iter().chain(timer).min() else {
                self.now = until;
                return;
            };
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.network.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to, bytes) = entry.remove();
                // From a life before: refused, and that is all.
                let _refused = self.ends[to].session.handle_datagram(&bytes, at(self.now));
                self.drain(to, dice);
            }
            for who in 0..2 {
                self.ends[who].session.handle_timeout(at(self.now));
            }
        }
    }

    fn check_heard(&self) {
        for who in 0..2 {
            let expected: Vec<u32> = (0..self.said[1 - who]).collect();
            assert_eq!(self.ends[who].heard, expected);
            assert!(self.ends[who].session.is_up());
        }
    }
}

proptest! {
    #[test]
    fn everything_arrives_once_and_in_order(
        luck in luck(),
        said in [0..3000_u32, 0..300_u32],
    ) {
        let mut world = World::new(said);
        let mut dice = dice(luck);
        world.run(600_000, &mut dice);
        world.check_heard();
        prop_assert!(world.ends.iter().all(|end| !end.silent));
        prop_assert!(world.network.is_empty(), "it is quiet in the end");
    }

    #[test]
    fn after_restarts_everything_is_said_again(
        luck in luck(),
        said in [0..500_u32, 0..500_u32],
        restarts in prop::collection::vec((0..2_usize, 1..3000_u64), 1..6),
    ) {
        let mut world = World::new(said);
        let mut dice = dice(luck);
        let mut boot = 100;
        for (who, after) in restarts {
            let until = world.now + after;
            world.run(until, &mut dice);
            boot += 1;
            world.ends[who] = End::new(boot, world.now);
            let said = world.said[who];
            world.ends[who].say(said);
        }
        let until = world.now + 600_000;
        world.run(until, &mut dice);
        world.check_heard();
        prop_assert!(world.network.is_empty(), "it is quiet in the end");
    }

    #[test]
    fn no_bytes_do_harm(
        hostile in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20),
        numbers in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..20),
    ) {
        let mut world = World::new([50, 50]);
        let mut dice = core::iter::repeat(Luck::Arrives(3));
        world.run(5_000, &mut dice);
        for bytes in hostile {
            let _refused = world.ends[0].session.handle_datagram(&bytes, at(world.now));
            world.drain(0, &mut dice);
        }
        // With the right boots, as a far end that has lost its way.
        for (next, beyond, number, noise) in numbers {
            let content = noise.to_be_bytes();
            let number = number.saturating_add(65);
            let datagram = Datagram {
                from: 22, to: 11, known: true, next, beyond, content: Some((number, &content)),
            };
            let refused = world.ends[0].session.handle_datagram(&datagram.encode(), at(world.now));
            prop_assert!(refused.is_err() || number < 200);
            world.drain(0, &mut dice);
        }
        world.run(60_000, &mut dice);
        prop_assert!(world.ends[0].heard.starts_with(&(0..50).collect::<Vec<_>>()));
    }
}

#[test]
fn a_session_begins_once_and_costs_a_few_datagrams() {
    let mut world = World::new([3, 3]);
    let mut dice = core::iter::repeat(Luck::Arrives(1));
    world.run(60_000, &mut dice);
    world.check_heard();
    assert!(world.ends.iter().all(|end| end.ups == 1));
    assert!(world.sent <= 12, "{}", world.sent);
}

#[test]
fn a_far_end_that_does_not_take_anything_costs_a_bounded_amount() {
    let mut world = World::new([0, 0]);
    let mut dice = core::iter::repeat(Luck::Arrives(1));
    world.run(1_000, &mut dice);
    let session = &mut world.ends[0].session;
    let mut queued = 0;
    while session.queue(&[1; 99]) {
        queued += 1;
        session.flush(at(1_000));
    }
    assert_eq!(session.room() / 100, 0);
    let most = (QUEUE_MAX + WINDOW * DATAGRAM_MAX) / 100;
    assert!((QUEUE_MAX / 100..=most).contains(&queued), "{queued}");
    assert!(!session.queue(&[1; MESSAGE_MAX + 1]), "too long");
    // It is sent again, ever more rarely, and silence is told once.
    let (mut sent, mut silent, mut now) = (0, 0, 1_000);
    while now < 61_000 {
        while let Some(output) = session.poll_output() {
            sent += usize::from(matches!(output, Output::Transmit(_)));
            silent += usize::from(output == Output::Silent);
        }
        let deadline = session.deadline().unwrap();
        now = u64::try_from(deadline.since(at(0)).as_millis()).unwrap();
        session.handle_timeout(deadline);
    }
    assert_eq!(silent, 1);
    assert!((WINDOW..WINDOW + 9 * 40).contains(&sent), "{sent}");
}

#[test]
fn a_recorded_datagram_of_an_earlier_life_opens_nothing() {
    let mut world = World::new([3, 3]);
    let mut dice = core::iter::repeat(Luck::Arrives(1));
    world.run(500, &mut dice);
    let recorded = Datagram {
        from: 22,
        to: 11,
        known: true,
        next: 0,
        beyond: 0,
        content: None,
    };
    let recorded = recorded.encode();
    world.ends[1] = End::new(33, world.now);
    world.ends[1].say(3);
    world.run(1_000, &mut dice);
    world.check_heard();
    let refused = world.ends[0].session.handle_datagram(&recorded, at(1_000));
    assert_eq!(refused, Err(Refused::Stale));
    assert_eq!(world.ends[0].ups, 2);
}

#[test]
fn what_is_lost_in_a_full_window_is_sent_again_before_the_timer() {
    let mut world = World::new([3000, 0]);
    // The fifth of all datagrams is lost.
    let mut number = 0;
    let mut dice = core::iter::from_fn(|| {
        number += 1;
        Some(if number == 9 {
            Luck::Lost
        } else {
            Luck::Arrives(1)
        })
    });
    world.run(90, &mut dice);
    assert_eq!(world.ends[1].heard.len(), 3000);
}

/// A process answered, and died before its answer arrived, which then comes
/// after its successor's.
#[test]
fn a_late_answer_of_a_process_that_is_gone_locks_nobody_out() {
    let mut world = World::new([3, 3]);
    let late = Datagram {
        from: 22,
        to: 11,
        known: true,
        next: 0,
        beyond: 0,
        content: None,
    };
    world.ends[1] = End::new(33, 0);
    world.ends[1].say(3);
    let mut dice = core::iter::repeat(Luck::Arrives(1));
    world.run(500, &mut dice);
    let _refused = world.ends[0]
        .session
        .handle_datagram(&late.encode(), at(500));
    world.run(1_000, &mut dice);
    world.check_heard();
    assert_eq!(world.ends[0].ups, 1);
}

/// A datagram that is long under way tells the third life of an end the name
/// that the other end had in a session before.
#[test]
fn an_end_that_hears_a_name_of_long_ago_is_heard_itself() {
    let mut world = World::new([1, 1]);
    let mut dice = core::iter::repeat(Luck::Arrives(1));
    let late = world.ends[0].session.poll_output();
    let Some(Output::Transmit(late)) = late else {
        panic!("{late:?}");
    };
    for boot in [33, 44] {
        let until = world.now + 10_000;
        world.run(until, &mut dice);
        world.ends[1] = End::new(boot, world.now);
        world.ends[1].say(1);
    }
    let late = world.ends[1].session.handle_datagram(&late, at(world.now));
    assert_eq!(late, Ok(()));
    let until = world.now + 60_000;
    world.run(until, &mut dice);
    world.check_heard();
}
