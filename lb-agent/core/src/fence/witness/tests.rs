use super::*;

fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(ms))
}

fn doubts(unheard: &[&str]) -> Doubts {
    Doubts {
        unheard: unheard.iter().map(|node| NodeName::new(node)).collect(),
        decides: true,
    }
}

fn record(holder: &str, version: u64) -> Record {
    Record {
        version: alloc::format!("{version}"),
        holder: Some(identity(&NodeName::new(holder), 7)),
        transitions: 0,
    }
}

/// Node a, and what each of these looks, in milliseconds, saw of the Lease.
fn looks(unheard: &[&str], looks: &[(u64, &str, u64)]) -> Arbiter {
    let mut witness = Witness::new(NodeName::new("a"));
    witness.read(Some(&record("b", 1)), at(500), at(510));
    assert!(witness.doubt(doubts(unheard), at(1000)), "it looks at once");
    for (ms, holder, version) in looks {
        witness.read(Some(&record(holder, *version)), at(*ms), at(ms + 10));
    }
    witness.finding()
}

#[test]
fn who_renews_the_lease_lives() {
    let until = at(1360) + THEIRS;
    let seen = looks(&["b"], &[(1000, "b", 1), (1350, "b", 2)]);
    assert_eq!(seen, Arbiter::Theirs { until });
}

#[test]
fn who_has_renewed_it_before_it_fell_silent_may_be_dead() {
    // Written at some time since 500, and b was heard until 1000.
    assert_eq!(looks(&["b"], &[(1000, "b", 2)]), Arbiter::Unknown);
    let again = looks(&["b"], &[(1000, "b", 2), (1350, "b", 2), (1700, "b", 2)]);
    assert_eq!(again, Arbiter::Unknown, "nobody renews it");
}

#[test]
fn a_renewal_of_one_that_is_heard_is_good_from_the_look_before_it() {
    let until = at(1000) + OURS;
    let seen = looks(&["c", "d"], &[(1000, "b", 1), (1350, "b", 2)]);
    assert_eq!(seen, Arbiter::Ours { until });
}

#[test]
fn the_holder_counts_from_when_it_began_to_write() {
    let mut witness = Witness::new(NodeName::new("a"));
    witness.renewed("1", at(900));
    assert_eq!(witness.finding(), Arbiter::Unknown);
    witness.doubt(doubts(&["b"]), at(1000));
    assert_eq!(witness.pause(true), Some(RENEW));
    witness.renewed("2", at(990));
    assert_eq!(witness.finding(), Arbiter::Unknown, "it began before");
    witness.renewed("3", at(1010));
    let until = at(1010) + OURS;
    assert_eq!(witness.finding(), Arbiter::Ours { until });
    // b is back, and gone again.
    witness.doubt(doubts(&[]), at(2000));
    assert_eq!(witness.finding(), Arbiter::Unknown);
    assert_eq!(witness.pause(true), None);
    witness.doubt(doubts(&["b"]), at(2500));
    assert_eq!(witness.finding(), Arbiter::Unknown);
}

#[test]
fn who_else_falls_silent_has_to_be_found_out_anew() {
    let mut witness = Witness::new(NodeName::new("a"));
    witness.doubt(doubts(&["b"]), at(1000));
    witness.read(Some(&record("b", 1)), at(1000), at(1010));
    witness.read(Some(&record("b", 2)), at(1350), at(1360));
    assert!(matches!(witness.finding(), Arbiter::Theirs { .. }));
    assert!(!witness.doubt(doubts(&["b"]), at(1400)), "nothing new");
    assert!(witness.doubt(doubts(&["b", "c"]), at(1500)));
    assert_eq!(witness.finding(), Arbiter::Unknown);
}

#[test]
fn who_has_a_majority_only_renews() {
    let mut witness = Witness::new(NodeName::new("a"));
    let decided = Doubts {
        decides: false,
        ..doubts(&["b"])
    };
    witness.doubt(decided, at(1000));
    assert_eq!(witness.pause(true), Some(RENEW));
    assert_eq!(witness.pause(false), None);
}

#[test]
fn a_lease_that_is_gone_or_of_nobody_says_nothing() {
    let mut witness = Witness::new(NodeName::new("a"));
    witness.doubt(doubts(&["b"]), at(1000));
    witness.read(Some(&record("b", 1)), at(1000), at(1010));
    witness.read(None, at(1350), at(1360));
    witness.read(Some(&record("b", 2)), at(1700), at(1710));
    assert_eq!(witness.finding(), Arbiter::Unknown);
    for holder in [None, Some(String::new()), Some("somebody".into())] {
        let record = Record {
            holder,
            ..record("b", 3)
        };
        witness.read(Some(&record), at(2050), at(2060));
        assert_eq!(witness.finding(), Arbiter::Unknown);
    }
}
