//! Several candidates and a server, in virtual time, with everything that may
//! go wrong between them.

use std::format;
use std::string::{String, ToString as _};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    duration: Duration::from_millis(1500),
    trust: Duration::from_millis(1000),
    period: Duration::from_millis(500),
    retry: Duration::from_millis(200),
};

/// The API server, as far as one Lease goes.
#[derive(Default)]
struct Server {
    version: u64,
    lease: Option<Record>,
}

impl Server {
    fn write(&mut self, write: &Write) -> Outcome {
        let there = self.lease.as_ref().map(|lease| lease.version.clone());
        if there != write.replaces {
            return Outcome::Conflict;
        }
        self.version += 1;
        let version = self.version.to_string();
        self.lease = Some(Record {
            version: version.clone(),
            holder: Some(write.holder.clone()),
            transitions: write.transitions,
        });
        Outcome::Written(version)
    }
}

/// One agent, whose clock began whenever it did.
struct Candidate {
    election: Election,
    offset: u64,
    /// Its next look, in milliseconds of the world.
    next: u64,
    /// Until then it does nothing: paused, or cut off.
    stopped: u64,
}

impl Candidate {
    fn new(name: &str, offset: u64) -> Self {
        Self {
            election: Election::new(name, TIMING),
            offset,
            next: 0,
            stopped: 0,
        }
    }

    fn clock(&self, world: u64) -> Timestamp {
        Timestamp::since_boot(Duration::from_millis(self.offset + world))
    }

    fn holds(&self, world: u64) -> bool {
        self.election.holds(self.clock(world)).is_some()
    }

    /// Looks and writes, with what the network makes of both.
    fn step(&mut self, server: &mut Server, world: u64, luck: Luck) {
        let began = self.clock(world);
        if luck == Luck::Lost {
            let pause = self.election.pause(true, began);
            self.next = world + millis(pause);
            return;
        }
        self.election.saw(server.lease.clone(), began);
        let mut failed = false;
        if let Some(write) = self.election.attempt(began) {
            let outcome = match (server.write(&write), luck) {
                (_, Luck::AnswerLost) => Outcome::Failed,
                (outcome, _) => outcome,
            };
            failed = !matches!(outcome, Outcome::Written(_));
            self.election.wrote(&write, outcome, began, began);
        }
        self.next = world + millis(self.election.pause(failed, began));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Good,
    Lost,
    AnswerLost,
}

#[derive(Clone, Debug)]
struct Fault {
    at: u64,
    who: usize,
    lasts: u64,
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = (0..20_000_u64, 0..3_usize, 0..6_000_u64);
    let fault = fault.prop_map(|(at, who, lasts)| Fault { at, who, lasts });
    proptest::collection::vec(fault, 0..12)
}

fn luck() -> impl Strategy<Value = Vec<Luck>> {
    let luck = prop_oneof![
        6 => Just(Luck::Good),
        1 => Just(Luck::Lost),
        1 => Just(Luck::AnswerLost),
    ];
    proptest::collection::vec(luck, 1..50)
}

proptest! {
    #[test]
    fn there_are_never_two_holders_and_always_one_again(
        offsets in proptest::array::uniform3(0..1_000_000_u64),
        faults in faults(),
        luck in luck(),
    ) {
        let mut server = Server::default();
        let mut agents: Vec<_> = offsets
            .iter()
            .enumerate()
            .map(|(n, offset)| Candidate::new(&format!("node{n}"), *offset))
            .collect();
        let mut dice = luck.iter().cycle();
        for world in 0..30_000_u64 {
            // All is well in the end.
            let calm = world >= 27_000;
            for fault in faults.iter().filter(|fault| fault.at == world) {
                agents[fault.who].stopped = world + fault.lasts;
            }
            for agent in &mut agents {
                if world >= agent.next && (calm || world >= agent.stopped) {
                    let luck = if calm { Luck::Good } else { *dice.next().unwrap() };
                    agent.step(&mut server, world, luck);
                }
            }
            let holders = agents.iter().filter(|agent| agent.holds(world)).count();
            prop_assert!(holders <= 1, "{holders} holders after {world} ms");
        }
        let holders = agents.iter().filter(|agent| agent.holds(29_999)).count();
        prop_assert_eq!(holders, 1);
    }
}

#[test]
fn a_lease_that_is_given_up_is_taken_at_once() {
    let mut server = Server::default();
    let [mut first, mut second] = [Candidate::new("a", 0), Candidate::new("b", 77_000)];
    first.step(&mut server, 0, Luck::Good);
    second.step(&mut server, 1, Luck::Good);
    assert!(first.holds(1) && !second.holds(1));
    let release = first.election.release().expect("it holds it");
    let outcome = server.write(&release);
    first
        .election
        .wrote(&release, outcome, first.clock(2), first.clock(2));
    assert!(!first.holds(2));
    assert_eq!(
        first.election.release(),
        None,
        "there is nothing to give up"
    );
    second.step(&mut server, 3, Luck::Good);
    assert!(second.holds(3));
    assert_eq!(server.lease.expect("there").transitions, 1);
}

#[test]
fn a_holder_that_is_gone_is_followed_after_the_duration_and_no_sooner() {
    let mut server = Server::default();
    let [mut first, mut second] = [Candidate::new("a", 0), Candidate::new("b", 0)];
    first.step(&mut server, 0, Luck::Good);
    let mut world = 100;
    while !second.holds(world) {
        second.step(&mut server, world, Luck::Good);
        if !second.holds(world) {
            world = second.next;
        }
    }
    assert_eq!(world, 100 + 1500, "from when it was first seen");
    assert!(!first.holds(world));
}

#[test]
fn a_process_that_comes_after_another_of_its_name_is_not_taken_for_it() {
    let mut server = Server::default();
    let mut first: Candidate = Candidate::new("node1-aa", 0);
    first.step(&mut server, 0, Luck::Good);
    let mut again = Candidate::new("node1-bb", 0);
    again.step(&mut server, 1, Luck::Good);
    assert!(!again.holds(1));
    let holder: Option<String> = server.lease.and_then(|lease| lease.holder);
    assert_eq!(holder.as_deref(), Some("node1-aa"));
}
