//! Clusters of 2 to 9 agents in virtual time, with loss, delay, partitions,
//! restarts, pauses, slow agents and agents that are asked to end, around the
//! real gossip, fence, questions to the gateway, and Lease.
//!
//! What is held against every run, at every moment:
//! - no two nodes with a majority answer for one VIP, ever (in every other run
//!   agents are also asked to end, and start while the network is parted, when
//!   parts count differently: there, the next holds);
//! - no two nodes on one piece of the wire do for longer than 1.6 s;
//! - once all is well again, each VIP has exactly one owner within
//!   [`HEALED_MS`], which stays the only one.
//!
//! `FENCE_SEEDS=10000 cargo test --release -p lb-core --test fence` runs more
//! than usual; `FENCE_SEEDS=7-7` one of them.
//!
//! All of the first 10,000 seeds hold.
#![expect(
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod agent;
mod api;
mod world;

use std::ops::RangeInclusive;

use world::{Random, START_MS, STEP_MS, World};

const TROUBLE_MS: std::ops::Range<u64> = 1500..6500;
const HEALED_MS: u64 = 3000;
const RUN_MS: u64 = 10_000;
const USUALLY: u64 = if cfg!(debug_assertions) { 40 } else { 200 };

/// One run; the error says when and who.
fn run(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    let mut when = Random::new(!seed);
    while world.now_ms < RUN_MS + START_MS {
        let ms = world.now_ms - START_MS;
        if TROUBLE_MS.contains(&ms) && when.below(1000) < 6 {
            world.trouble();
        }
        if ms == TROUBLE_MS.end {
            world.heal();
        }
        world.step();
        world.check()?;
        // With losses, one of two may be without an acknowledgement for a moment.
        let settled = ms == TROUBLE_MS.start - STEP_MS && world.loss_percent == 0;
        if settled || ms >= TROUBLE_MS.end + HEALED_MS - STEP_MS {
            world.check_healed()?;
        }
    }
    Ok(world.longest_ms)
}

fn seeds() -> RangeInclusive<u64> {
    let Ok(text) = std::env::var("FENCE_SEEDS") else {
        return 1..=USUALLY;
    };
    let number = |text: &str| text.parse().expect("FENCE_SEEDS is a number, or FROM-TO");
    match text.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None => 1..=number(&text),
    }
}

#[test]
fn there_are_never_two_owners_and_always_one_again() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..threads)
        .map(|first| {
            let seeds = seeds().skip(first).step_by(threads);
            std::thread::spawn(move || seeds.map(|seed| (seed, run(seed))).collect::<Vec<_>>())
        })
        .collect();
    let runs = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"));
    let (mut failed, mut longest_ms) = (Vec::new(), 0);
    for (seed, result) in runs {
        match result {
            Ok(ms) => longest_ms = longest_ms.max(ms),
            Err(why) => failed.push((seed, why)),
        }
    }
    println!("two owners on one piece of the wire: {longest_ms} ms at most");
    failed.sort_unstable();
    let first: Vec<_> = failed.iter().take(5).collect();
    let numbers: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    let all = seeds().count();
    assert!(
        failed.is_empty(),
        "{} of {all} seeds, {numbers:?}: {first:#?}",
        failed.len()
    );
}
