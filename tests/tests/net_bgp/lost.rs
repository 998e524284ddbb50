//! A node that is lost, and comes back: how long clients of pods elsewhere are
//! in the dark, and that none of their connections is reset, although the
//! router spreads them anew both times.

#![expect(clippy::print_stdout, reason = "what was measured")]

use std::time::Duration;

use lb_tests::lab::{Lab, Loss};
use lb_tests::load::{Load, Tally, longest_gap};
use lb_tests::require;

use super::{CONNECTIONS, logs, probe_udp, spec, wait_bfd, wait_next_hops};

const LOST: u8 = 2;

#[test]
fn a_silent_node_is_missed_by_bfd() {
    let Some(dark) = lose("bgplost", Loss::Silent, None) else {
        return;
    };
    // The time depends on the machine; by the hold time it would be 9 s.
    assert!(dark < Duration::from_secs(2), "{dark:?}");
}

#[test]
fn a_node_without_a_link_is_missed_at_once() {
    let Some(dark) = lose("bgplink", Loss::LinkDown, None) else {
        return;
    };
    assert!(dark < Duration::from_secs(2), "{dark:?}");
}

#[test]
fn without_bfd_a_silent_node_is_missed_after_the_hold_time() {
    let Some(dark) = lose("bgphold", Loss::Silent, Some(3)) else {
        return;
    };
    assert!(dark > Duration::from_secs(1), "{dark:?}");
}

/// The longest time that a flow of a pod elsewhere had no answer. `hold_s`:
/// without BFD, with that hold time.
fn lose(prefix: &str, loss: Loss, hold_s: Option<u16>) -> Option<Duration> {
    if !require::root("net") {
        return None;
    }
    let mut spec = spec(prefix);
    spec.bfd = hold_s.is_none();
    spec.bgp_hold_s = hold_s;
    let lab = Lab::up(spec).expect("the lab comes up");
    wait_next_hops(&lab, &[1, 2, 3]);
    if hold_s.is_none() {
        wait_bfd(&lab);
    }
    let load = Load::open(&lab, CONNECTIONS, 0).expect("flows open");
    let probes = probe_udp(&lab);
    load.wait_for_answers(10).expect("answers");

    lab.lose(LOST, loss).expect("lost");
    wait_next_hops(&lab, &[1, 3]);
    assert_elsewhere_lives(&lab, &load, "the loss");
    let tracks = probes.finish().expect("probes run");
    let dark = longest_gap(&tracks, is_elsewhere);

    lab.find(LOST, loss).expect("found");
    wait_next_hops(&lab, &[1, 2, 3]);
    assert_elsewhere_lives(&lab, &load, "the return");
    let flows = load.finish().expect("traffic ends");
    let elsewhere = Tally::of(flows.iter().filter(|flow| is_elsewhere(&flow.pod)));
    println!(
        "{loss:?}, BFD {}: flows of pods elsewhere were dark for {dark:.2?} at most; of {} \
         connections to pods elsewhere {} were reset, and {} moved, by the loss and the return",
        if hold_s.is_none() {
            "3 x 100 ms"
        } else {
            "none"
        },
        elsewhere.flows,
        elsewhere.reset,
        elsewhere.moved
    );
    lab.down().expect("the lab goes");
    Some(dark)
}

fn is_elsewhere(pod: &str) -> bool {
    !pod.is_empty() && !pod.starts_with(&format!("node{LOST}-"))
}

/// Every connection of a pod elsewhere has new answers, of the same pod.
fn assert_elsewhere_lives(lab: &Lab, load: &Load, what: &str) {
    let flows = load.look().expect("traffic runs");
    let elsewhere = flows.iter().filter(|flow| is_elsewhere(&flow.pod));
    assert!(elsewhere.count() > CONNECTIONS);
    let waited = load.wait_well(|flow| is_elsewhere(&flow.pod));
    waited.unwrap_or_else(|error| panic!("after {what}: {error:#}\n{}", logs(lab)));
}
