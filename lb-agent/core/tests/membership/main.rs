//! Membership in clusters of simulated agents: how soon who is gone is noticed,
//! and that nobody is given up who is there.
//!
//! `CORTEN_SIM_SEEDS=1000` for more runs of each.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::time::Duration;

use lb_core::gossip::{Status, Timing};
use lb_core::model::{MemberState, NodeName};
use lb_core::time::Timestamp;
use network::{Network, Rng, Weather, ms};

mod network;

/// Fifty take a minute without optimisation.
const LARGE: usize = if cfg!(debug_assertions) { 20 } else { 50 };
const BOTH: [Timing; 2] = [Timing::NORMAL, Timing::FAST];

fn seeds(unless_asked: u64) -> impl Iterator<Item = u64> {
    let asked = std::env::var("CORTEN_SIM_SEEDS").ok();
    let count = asked.map_or(unless_asked, |text| text.parse().unwrap());
    1..=count
}

fn lossy(per_mille: u64) -> Weather {
    Weather {
        loss_per_mille: per_mille,
        delay_us: (100, 5000),
    }
}

/// Alive, or nearly so.
fn there(network: &Network, node: usize, of: usize) -> bool {
    let state = network.state(node, of);
    matches!(state, Some(MemberState::Alive | MemberState::Suspect))
}

/// How long after it was killed everybody has given it up.
fn time_to_notice(network: &mut Network, victim: usize) -> Duration {
    let killed = network.now;
    network.kill(victim);
    network.run(network.timing.patience * 4);
    let noticed = network.seen_by_all(victim, MemberState::Down);
    noticed.expect("it is noticed").since(killed)
}

#[test]
fn a_dead_agent_is_given_up_after_the_patience_of_its_peers_and_no_later() {
    for timing in BOTH {
        for nodes in 2..=9 {
            for seed in seeds(5) {
                let mut network = Network::settled(nodes, timing, seed);
                let pause = network.rng.between(0, 400);
                network.run(ms(pause));
                let time = time_to_notice(&mut network, 0);
                let bound = timing.patience + ms(10);
                assert!(time <= bound, "{nodes} nodes, seed {seed}: {time:?}");
                assert!(time + timing.period * 2 >= timing.patience);
            }
        }
    }
}

#[test]
fn loss_makes_it_no_later_by_more_than_a_period() {
    for timing in BOTH {
        for nodes in 2..=9 {
            for seed in seeds(5) {
                let mut network = Network::settled(nodes, timing, seed);
                network.weather = lossy(50);
                network.run(ms(500));
                let time = time_to_notice(&mut network, 1);
                let bound = timing.patience + timing.period;
                assert!(time <= bound, "{nodes} nodes, seed {seed}: {time:?}");
            }
        }
    }
}

#[test]
fn many_nodes_notice_as_soon_as_two() {
    let timing = Timing::NORMAL;
    let mut network = Network::settled(LARGE, timing, 1);
    let time = time_to_notice(&mut network, 7);
    assert_eq!(timing.among(LARGE - 1), timing);
    assert!(time <= timing.patience + ms(10), "{time:?}");
}

#[test]
fn nobody_is_given_up_for_lost_datagrams() {
    for timing in BOTH {
        for nodes in [2, 3, 5, 9] {
            for seed in seeds(1) {
                let mut network = Network::settled(nodes, timing, seed);
                network.weather = lossy(50);
                network.run(Duration::from_secs(10));
                let given_up =
                    |said: &&(Timestamp, usize, usize, MemberState)| said.3 == MemberState::Down;
                let first = network.said.iter().find(given_up);
                assert_eq!(first, None, "{nodes} nodes, seed {seed}");
            }
        }
    }
}

#[test]
fn an_agent_that_restarts_is_back_at_once() {
    for timing in BOTH {
        for seed in seeds(10) {
            let mut network = Network::settled(4, timing, seed);
            time_to_notice(&mut network, 2);
            let started = network.now;
            network.start(2);
            network.run(ms(200));
            let back = network.seen_by_all(2, MemberState::Alive).unwrap();
            let time = back.since(started);
            assert!(time <= timing.period + ms(5), "seed {seed}: {time:?}");
            assert!(network.members(2).settled);
            for other in 0..4 {
                assert_eq!(network.state(2, other), Some(MemberState::Alive));
            }
        }
    }
}

#[test]
fn an_agent_that_restarts_quickly_was_never_away() {
    for seed in seeds(10) {
        let mut network = Network::settled(3, Timing::NORMAL, seed);
        network.kill(0);
        network.run(ms(150));
        network.start(0);
        network.run(ms(2000));
        assert!(network.said.iter().all(|said| said.3 != MemberState::Down));
    }
}

#[test]
fn after_a_partition_all_find_each_other_within_a_second() {
    for timing in BOTH {
        for seed in seeds(10) {
            let mut network = Network::settled(5, timing, seed);
            network.part(&[0, 1], &[2, 3, 4]);
            let time = network.rng.between(1000, 4000);
            network.run(ms(time));
            for (node, other) in [(0, 2), (1, 4), (3, 0)] {
                assert_eq!(network.state(node, other), Some(MemberState::Down));
            }
            assert_eq!(network.state(0, 1), Some(MemberState::Alive));
            assert_eq!(network.state(2, 4), Some(MemberState::Alive));
            network.heal();
            network.run(ms(600));
            for node in 0..5 {
                for other in 0..5 {
                    let state = network.state(node, other);
                    assert_eq!(state, Some(MemberState::Alive), "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn one_that_others_still_hear_is_not_given_up() {
    for timing in BOTH {
        for seed in seeds(5) {
            let mut network = Network::settled(4, timing, seed);
            network.weather = lossy(30);
            network.part(&[0], &[1]);
            network.run(Duration::from_secs(5));
            let down = network.said.iter().find(|said| said.3 == MemberState::Down);
            assert_eq!(down, None, "seed {seed}");
            let killed = network.now;
            network.kill(1);
            network.run(timing.patience * 2);
            let noticed = network.seen_by_all(1, MemberState::Down).unwrap();
            // Through others it is heard of a little later.
            let bound = timing.patience + timing.period;
            assert!(noticed.since(killed) <= bound, "seed {seed}");
        }
    }
}

#[test]
fn an_agent_that_did_not_run_gives_up_nobody_when_it_does() {
    for timing in BOTH {
        for seed in seeds(10) {
            let mut network = Network::settled(3, timing, seed);
            network.weather = lossy(20);
            let time = network.rng.between(500, 5000);
            network.pause(0, ms(time));
            network.run(ms(time + 2000));
            let by_it = network.said.iter().filter(|said| said.1 == 0);
            let mut given_up = by_it.filter(|said| said.3 == MemberState::Down);
            assert_eq!(given_up.next(), None, "seed {seed}");
            assert!(
                there(&network, 1, 0) && there(&network, 2, 0),
                "seed {seed}"
            );
        }
    }
}

/// As long as half of the patience, again and again.
#[test]
fn slow_agents_are_not_given_up() {
    for timing in BOTH {
        for seed in seeds(10) {
            let mut network = Network::settled(4, timing, seed);
            network.weather = lossy(20);
            for _ in 0..40 {
                let node = usize::try_from(network.rng.between(0, 3)).unwrap();
                network.pause(node, timing.patience / 2);
                network.run(timing.patience);
            }
            let down = network.said.iter().find(|said| said.3 == MemberState::Down);
            assert_eq!(down, None, "seed {seed}");
        }
    }
}

#[test]
fn who_leaves_is_released_when_all_have_acted() {
    for seed in seeds(10) {
        let mut network = Network::settled(4, Timing::NORMAL, seed);
        network.weather = lossy(50);
        network.with(0, |agent, now| agent.leave(None, now));
        network.run(ms(300));
        for node in 1..4 {
            assert_eq!(network.state(node, 0), Some(MemberState::Leaving));
            assert!(!network.counts(node, 0));
        }
        assert!(!network.released(0), "nobody has acted yet");
        let leaving = [NodeName::new("node0")].into();
        for node in 1..4 {
            network.with(node, |agent, now| agent.acted(&leaving, now));
        }
        network.run(ms(400));
        assert!(network.released(0), "seed {seed}");
        network.kill(0);
        network.run(ms(600));
        assert_eq!(network.state(1, 0), Some(MemberState::Down));
        assert!(network.has_left(1, 0), "that is no news");
        network.start(0);
        network.run(ms(300));
        assert!(network.counts(1, 0));
        assert!(!network.has_left(1, 0));
    }
}

#[test]
fn the_last_one_leaves_without_waiting() {
    let mut network = Network::settled(2, Timing::NORMAL, 1);
    time_to_notice(&mut network, 1);
    network.with(0, |agent, now| agent.leave(None, now));
    assert!(network.released(0));
}

#[test]
fn who_says_that_it_comes_back_is_counted_with_until_it_should_have() {
    for seed in seeds(10) {
        let mut network = Network::settled(3, Timing::NORMAL, seed);
        let time = Some(Duration::from_secs(10));
        network.with(0, |agent, now| agent.leave(time, now));
        network.run(ms(50));
        assert!(network.released(0), "all have been told");
        network.kill(0);
        network.run(Duration::from_secs(9));
        assert!(network.counts(1, 0) && network.counts(2, 0));
        assert_eq!(network.state(1, 0), Some(MemberState::Leaving));
        network.run(Duration::from_secs(2));
        assert!(!network.counts(1, 0), "it is late");
        assert_eq!(network.state(1, 0), Some(MemberState::Down));
    }
}

#[test]
fn one_that_came_back_is_waited_for_until_it_is_whole() {
    let mut network = Network::settled(3, Timing::NORMAL, 1);
    let time = Some(Duration::from_secs(10));
    network.with(0, |agent, now| agent.leave(time, now));
    network.run(ms(50));
    network.kill(0);
    network.run(ms(2000));
    network.start(0);
    let empty = Status {
        programmed: false,
        uplinks_up: true,
    };
    network.with(0, |agent, now| agent.set_status(empty, now));
    network.run(ms(500));
    assert_eq!(network.state(1, 0), Some(MemberState::Alive));
    assert!(network.counts(1, 0));
    let whole = Status {
        programmed: true,
        uplinks_up: true,
    };
    network.with(0, |agent, now| agent.set_status(whole, now));
    network.run(Duration::from_secs(12));
    assert!(network.counts(1, 0));
    network.with(0, |agent, now| agent.set_status(empty, now));
    network.run(ms(50));
    assert!(!network.counts(1, 0), "the promise was for that once");
}

#[test]
fn a_lost_carrier_is_told_at_once() {
    let mut network = Network::settled(3, Timing::NORMAL, 1);
    let down = Status {
        programmed: true,
        uplinks_up: false,
    };
    network.with(0, |agent, now| agent.set_status(down, now));
    network.run(ms(2));
    assert!(!network.counts(1, 0) && !network.counts(2, 0));
}

#[test]
fn nodes_without_an_agent_do_not_count_after_a_moment() {
    let mut network = Network::new(3, Timing::NORMAL, 1);
    network.kill(2);
    network.run(ms(5));
    assert!(network.counts(0, 2) && !network.members(0).settled);
    network.run(ms(1000));
    assert!(!network.counts(0, 2) && network.members(0).settled);
    assert_eq!(network.state(0, 2), None);
}

/// Kills, restarts, pauses and partitions, one after the other; what must hold
/// at any time is asserted by the network.
#[test]
fn whatever_happens_all_agree_in_the_end() {
    for seed in seeds(30) {
        let timing = BOTH[usize::from(seed % 2 == 0)];
        let mut rng = Rng(seed);
        let nodes = usize::try_from(rng.between(2, 9)).unwrap();
        let mut network = Network::new(nodes, timing, seed);
        network.weather = lossy(rng.between(0, 100));
        let node = |rng: &mut Rng| usize::try_from(rng.next() % 1000).unwrap() % nodes;
        for _ in 0..12 {
            match rng.between(0, 5) {
                0 => network.kill(node(&mut rng)),
                1 => network.start(node(&mut rng)),
                2 => network.pause(node(&mut rng), ms(rng.between(10, 2000))),
                3 => network.part(&[node(&mut rng)], &[node(&mut rng), node(&mut rng)]),
                4 => network.heal(),
                _ => {}
            }
            network.run(ms(rng.between(1, 1500)));
        }
        network.heal();
        for node in 0..nodes {
            network.start(node);
        }
        network.run(ms(3000));
        for node in 0..network.len() {
            for other in 0..nodes {
                let state = network.state(node, other);
                assert!(there(&network, node, other), "seed {seed}: {state:?}");
            }
        }
    }
}

/// What the README says. `--nocapture` prints it.
#[test]
fn what_it_costs_on_the_wire() {
    let mut table = Vec::new();
    for (name, timing) in [("normal", Timing::NORMAL), ("fast", Timing::FAST)] {
        for nodes in [3, 9, LARGE] {
            let mut network = Network::settled(nodes, timing, 1);
            (network.sent, network.sent_bytes) = (0, 0);
            network.run(Duration::from_secs(2));
            let all = u64::try_from(nodes).unwrap() * 2;
            let (datagrams, bytes) = (network.sent / all, network.sent_bytes / all);
            println!("{name}, {nodes} nodes: {datagrams} datagrams/s, {bytes} bytes/s each sends");
            table.push(bytes);
        }
    }
    let [normal, _, normal_most, fast, _, fast_most] = table[..] else {
        panic!("six of them");
    };
    assert!(normal < 2_500 && normal_most < 60_000, "{table:?}");
    assert!(fast < 6_000 && fast_most < 150_000, "{table:?}");
}
