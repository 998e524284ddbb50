//! Hostile bytes for everything that reads a network: valid messages, changed
//! in random ways, against what every reader promises. Nothing may panic, what
//! is understood must come back as it was, and what is answered must itself be
//! a message.
//!
//! Each target runs a few thousand times here; `cargo xtask fuzz [TARGET]
//! --seconds N` runs it for longer, optimised, with overflow checks. The same
//! seed makes the same inputs. One that fails is saved, and `cargo xtask fuzz
//! TARGET --input FILE` runs it again.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]
#![expect(clippy::print_stdout, reason = "how much was tried, for people")]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Limit, Target, fuzz};

mod agents;
mod bfd;
mod bgp;
mod engine;
mod moved;

const SHORT: Limit = Limit::Executions(3_000);

const ALL: [Target; 9] = [
    bgp::MESSAGE,
    bgp::PEER,
    bfd::PACKET,
    bfd::SESSION,
    agents::BEAT,
    agents::RENEWAL,
    agents::CHANNEL,
    agents::SEAL,
    moved::TALK,
];

#[track_caller]
fn run(target: &Target, seed: u64, limit: Limit) {
    let ran = fuzz(target, seed, limit, &folder());
    match ran {
        Ok(ran) => println!(
            "{}: {} executions, {} kinds of outcome, seed {seed}",
            target.name, ran.executions, ran.kinds
        ),
        Err(failure) => panic!("{failure}"),
    }
}

fn folder() -> PathBuf {
    let named = env::var_os("LB_FUZZ_FOLDER").map(PathBuf::from);
    named.unwrap_or_else(|| env::temp_dir().join("corten-fuzz"))
}

#[test]
fn messages_of_bgp_have_an_answer() {
    run(&bgp::MESSAGE, 1, SHORT);
}

#[test]
fn a_peer_of_bgp_answers_in_messages_and_is_closed_once() {
    run(&bgp::PEER, 1, SHORT);
}

#[test]
fn packets_of_bfd_have_an_answer() {
    run(&bfd::PACKET, 1, SHORT);
}

#[test]
fn a_session_of_bfd_survives_any_packets() {
    run(&bfd::SESSION, 1, SHORT);
}

#[test]
fn what_agents_say_to_each_other_has_an_answer() {
    run(&agents::BEAT, 1, SHORT);
    run(&agents::RENEWAL, 1, SHORT);
    run(&agents::CHANNEL, 1, SHORT);
}

#[test]
fn what_is_said_about_flows_stays_within_bounds() {
    run(&moved::TALK, 1, Limit::Executions(1_000));
}

#[test]
fn nothing_that_was_changed_is_opened() {
    // Ciphers are slow without optimisation.
    run(&agents::SEAL, 1, Limit::Executions(300));
}

/// As long as `LB_FUZZ_SECONDS` says; all, or the one that `LB_FUZZ_TARGET`
/// names.
#[test]
#[ignore = "as long as one likes: cargo xtask fuzz"]
fn for_long() {
    let number = |name: &str, unless_said: u64| {
        let said = env::var(name).ok();
        said.map_or(unless_said, |text| text.parse().unwrap())
    };
    let wanted = env::var("LB_FUZZ_TARGET").ok();
    let fits = |target: &&Target| wanted.as_deref().is_none_or(|name| name == target.name);
    let targets: Vec<&Target> = ALL.iter().filter(fits).collect();
    let names = ALL.map(|target| target.name).join(", ");
    assert!(!targets.is_empty(), "there is no such target, but {names}");
    if let Some(file) = env::var_os("LB_FUZZ_INPUT") {
        let input = fs::read(&file).unwrap();
        for target in targets {
            println!("{}: {}", target.name, (target.run)(&input));
        }
        return;
    }
    let limit = Limit::Time(Duration::from_secs(number("LB_FUZZ_SECONDS", 60)));
    for target in targets {
        run(target, number("LB_FUZZ_SEED", 1), limit);
    }
}

/// A reader with a mistake that hides behind a length.
const MISTAKEN: Target = Target {
    name: "mistaken",
    seeds: || vec![vec![3, 1, 2, 3]],
    repair: |_| {},
    run: |bytes| {
        let length = usize::from(*bytes.first().unwrap_or(&0));
        assert!(length < 200 || bytes.len() < 3, "a mistake");
        "read".to_owned()
    },
};

#[test]
fn a_mistake_is_found_and_saved() {
    let folder = env::temp_dir().join("corten-fuzz-mistaken");
    let failure = fuzz(&MISTAKEN, 1, Limit::Executions(100_000), &folder).unwrap_err();
    assert!(failure.text.contains("a mistake"), "{failure}");
    let saved = fs::read(&failure.saved).unwrap();
    assert!(saved[0] >= 200, "{saved:?}");
    let again = fuzz(&MISTAKEN, 1, Limit::Executions(100_000), &folder).unwrap_err();
    assert_eq!(again, failure, "the same seed");
    fs::remove_dir_all(folder).unwrap();
}
