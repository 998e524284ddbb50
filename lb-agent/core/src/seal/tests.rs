use alloc::vec;

use proptest::prelude::*;

use super::*;

fn keys(secrets: &[&str]) -> Keys {
    let secrets: Vec<Vec<u8>> = secrets.iter().map(|s| s.as_bytes().to_vec()).collect();
    Keys::of(&secrets)
}

fn id(name: &str) -> NodeId {
    NodeId::of(&NodeName::new(name))
}

/// The agent of a node in a cluster of `a`, `b` and `c`.
fn agent(name: &str, boot: u64, secrets: &[&str]) -> Seal {
    let mut seal = Seal::new(keys(secrets), &NodeName::new(name), boot);
    seal.set_peers(&["a", "b", "c"].map(id).into());
    seal
}

fn pair() -> (Seal, Seal) {
    (agent("a", 1, &["one"]), agent("b", 2, &["one"]))
}

/// One of `a`'s that `b` has confirmed.
fn confirmed() -> (Seal, Seal) {
    let (mut a, mut b) = pair();
    let first = a.seal(Kind::Gossip, id("b"), b"first").unwrap();
    let opened = b.open(&first).unwrap();
    assert!(b.confirm(opened.sender, opened.boot, opened.counter));
    (a, b)
}

#[test]
fn what_is_sealed_for_a_node_is_opened_by_it() {
    let (mut a, mut b) = pair();
    let datagram = a.seal(Kind::Channel, id("b"), b"hello").unwrap();
    assert_eq!(datagram.len(), 5 + OVERHEAD);
    let opened = b.open(&datagram).unwrap();
    assert_eq!(opened.kind, Kind::Channel);
    assert_eq!(opened.sender, id("a"));
    assert_eq!((opened.boot, opened.counter), (1, 1));
    assert_eq!(opened.payload, b"hello");
    assert_eq!(opened.standing, Standing::New);
}

/// By another implementation (PyCryptodome). Agents of two versions talk to each
/// other during an upgrade.
#[test]
fn the_form_is_the_same_in_every_version() {
    let mut a = agent("a", 0x0102_0304_0506_0708, &["one"]);
    let datagram = a.seal(Kind::Gossip, id("b"), b"hello").unwrap();
    let text: alloc::string::String = datagram
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    assert_eq!(text, KNOWN);
}

const KNOWN: &str = "\
    01d0c15c6601020304050607080000000000000001\
    1bf87884ed2e2928cbb623588813e4c90154f72316dc84a4b097359dface";

#[test]
fn a_datagram_is_taken_once() {
    let (mut a, mut b) = confirmed();
    let datagram = a.seal(Kind::Gossip, id("b"), b"again").unwrap();
    assert_eq!(b.open(&datagram).unwrap().standing, Standing::Confirmed);
    assert_eq!(b.open(&datagram), Err(OpenError::Replayed));
}

#[test]
fn datagrams_may_overtake_each_other() {
    let (mut a, mut b) = confirmed();
    let datagrams: Vec<_> = (0..100)
        .map(|n| a.seal(Kind::Gossip, id("b"), &[n]).unwrap())
        .collect();
    for datagram in datagrams.iter().rev() {
        assert!(b.open(datagram).is_ok());
    }
    for datagram in &datagrams {
        assert_eq!(b.open(datagram), Err(OpenError::Replayed));
    }
}

#[test]
fn one_that_comes_after_128_others_is_too_old() {
    let (mut a, mut b) = confirmed();
    let late = a.seal(Kind::Gossip, id("b"), b"late").unwrap();
    for _ in 0..128 {
        let datagram = a.seal(Kind::Gossip, id("b"), b"").unwrap();
        assert!(b.open(&datagram).is_ok());
    }
    assert_eq!(b.open(&late), Err(OpenError::TooOld));
}

#[test]
fn what_a_run_before_had_said_is_refused_once_the_next_is_confirmed() {
    let (mut before, mut b) = confirmed();
    let old = before.seal(Kind::Gossip, id("b"), b"old").unwrap();
    let mut after = agent("a", 9, &["one"]);
    let new = after.seal(Kind::Gossip, id("b"), b"new").unwrap();
    let opened = b.open(&new).unwrap();
    assert_eq!(opened.standing, Standing::New);
    assert!(b.confirm(opened.sender, opened.boot, opened.counter));
    assert_eq!(b.open(&old), Err(OpenError::OldBoot));
    assert!(!b.confirm(id("a"), 1, 1));
    assert_eq!(b.open(&new), Err(OpenError::Replayed));
}

#[test]
fn an_agent_that_restarted_believes_nothing_that_is_repeated_to_it() {
    let (mut a, _) = confirmed();
    let old = a.seal(Kind::Gossip, id("b"), b"old").unwrap();
    let mut b = agent("b", 7, &["one"]);
    assert_eq!(b.open(&old).unwrap().standing, Standing::New);
    assert_eq!(b.open(&old).unwrap().standing, Standing::New);
}

#[test]
fn another_node_cannot_open_it() {
    let (mut a, _) = pair();
    let mut c = agent("c", 3, &["one"]);
    let datagram = a.seal(Kind::Gossip, id("b"), b"for b").unwrap();
    assert_eq!(c.open(&datagram), Err(OpenError::Altered));
}

#[test]
fn another_cluster_has_another_secret() {
    let (mut a, _) = pair();
    let mut b = agent("b", 2, &["another"]);
    let datagram = a.seal(Kind::Gossip, id("b"), b"").unwrap();
    assert_eq!(b.open(&datagram), Err(OpenError::OtherSecret));
    let mut none = agent("b", 2, &[]);
    assert_eq!(none.open(&datagram), Err(OpenError::OtherSecret));
}

#[test]
fn without_a_secret_agents_still_talk() {
    let mut a = agent("a", 1, &[]);
    let mut b = agent("b", 2, &[""]);
    let datagram = a.seal(Kind::Gossip, id("b"), b"open").unwrap();
    assert_eq!(b.open(&datagram).unwrap().payload, b"open");
}

#[test]
fn a_node_that_is_not_known_is_not_talked_with() {
    let mut a = agent("a", 1, &["one"]);
    let mut b = Seal::new(keys(&["one"]), &NodeName::new("b"), 2);
    let datagram = a.seal(Kind::Gossip, id("b"), b"").unwrap();
    assert_eq!(b.open(&datagram), Err(OpenError::UnknownSender(id("a"))));
    let refused = b.seal(Kind::Gossip, id("a"), b"");
    assert_eq!(refused, Err(SealError::UnknownReceiver(id("a"))));
}

#[test]
fn what_comes_back_to_its_sender_is_dropped() {
    // Two agents that were given the same name.
    let (mut a, mut twin) = (agent("b", 1, &["one"]), agent("b", 2, &["one"]));
    a.peers.insert(id("b"), Peer::default());
    let datagram = a.seal(Kind::Gossip, id("b"), b"").unwrap();
    assert_eq!(twin.open(&datagram), Err(OpenError::FromOurselves));
}

/// Each step on one agent while the others have not made it yet.
#[test]
fn a_secret_is_rotated_without_losing_a_datagram() {
    let steps: [&[&str]; 4] = [&["old"], &["old", "new"], &["new", "old"], &["new"]];
    let (mut a, mut b) = (agent("a", 1, steps[0]), agent("b", 2, steps[0]));
    let both_ways = |a: &mut Seal, b: &mut Seal| {
        let to_b = a.seal(Kind::Gossip, id("b"), b"").unwrap();
        assert!(b.open(&to_b).is_ok());
        let to_a = b.seal(Kind::Gossip, id("a"), b"").unwrap();
        assert!(a.open(&to_a).is_ok());
    };
    for step in steps {
        a.set_keys(keys(step));
        both_ways(&mut a, &mut b);
        b.set_keys(keys(step));
        both_ways(&mut a, &mut b);
    }
}

#[test]
fn a_counter_goes_on_when_a_node_comes_back() {
    let (mut a, _) = pair();
    let first = a.seal(Kind::Gossip, id("b"), b"x").unwrap();
    a.set_peers(&BTreeSet::new());
    a.set_peers(&[id("b")].into());
    let second = a.seal(Kind::Gossip, id("b"), b"x").unwrap();
    assert_ne!(first, second);
}

#[test]
fn a_payload_that_is_too_long_is_not_sealed() {
    let (mut a, mut b) = pair();
    let longest = a.seal(Kind::Channel, id("b"), &[0; PAYLOAD_MAX]).unwrap();
    assert_eq!(longest.len(), 1232);
    assert_eq!(b.open(&longest).unwrap().payload.len(), PAYLOAD_MAX);
    let refused = a.seal(Kind::Channel, id("b"), &[0; PAYLOAD_MAX + 1]);
    assert_eq!(refused, Err(SealError::TooLong(PAYLOAD_MAX + 1)));
    let mut longer = longest;
    longer.push(0);
    assert_eq!(b.open(&longer), Err(OpenError::TooLong(1233)));
}

#[test]
fn every_truncation_is_refused() {
    let (mut a, mut b) = confirmed();
    let datagram = a.seal(Kind::Gossip, id("b"), b"some payload").unwrap();
    for length in 0..datagram.len() {
        let error = b.open(&datagram[..length]).unwrap_err();
        let expected = if length < OVERHEAD {
            OpenError::TooShort(length)
        } else {
            OpenError::Altered
        };
        assert_eq!(error, expected, "{length}");
    }
    assert!(b.open(&datagram).is_ok(), "none of them had an effect");
}

#[test]
fn every_flipped_bit_is_refused() {
    let (mut a, mut b) = confirmed();
    let datagram = a.seal(Kind::Gossip, id("b"), b"some payload").unwrap();
    for bit in 0..datagram.len() * 8 {
        let mut altered = datagram.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0 => OpenError::Version(altered[0]),
            1..=4 => OpenError::OtherSecret,
            _ => OpenError::Altered,
        };
        assert_eq!(b.open(&altered), Err(expected), "bit {bit}");
    }
    assert!(b.open(&datagram).is_ok(), "none of them had an effect");
}

proptest! {
    // Ciphers are slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
        let (_, mut b) = confirmed();
        prop_assert!(b.open(&bytes).is_err());
    }

    #[test]
    fn whatever_is_behind_a_good_header_is_answered(
        rest in prop::collection::vec(any::<u8>(), 0..200),
        keep in 0_usize..60,
    ) {
        let (mut a, mut b) = confirmed();
        let datagram = a.seal(Kind::Gossip, id("b"), b"some payload").unwrap();
        let mut mixed = datagram[..keep.min(datagram.len())].to_vec();
        mixed.extend(rest);
        prop_assume!(mixed != datagram);
        prop_assert!(b.open(&mixed).is_err());
        prop_assert!(b.open(&datagram).is_ok());
    }

    /// However datagrams are lost, repeated and mixed up, none is believed twice.
    #[test]
    fn nothing_is_believed_twice(order in prop::collection::vec(0_usize..60, 1..300)) {
        let (mut a, mut b) = confirmed();
        let datagrams: Vec<_> = (0..60)
            .map(|_| a.seal(Kind::Gossip, id("b"), b"x").unwrap())
            .collect();
        let mut taken = vec![false; datagrams.len()];
        for at in order {
            match b.open(&datagrams[at]) {
                Ok(opened) => {
                    prop_assert_eq!(opened.standing, Standing::Confirmed);
                    prop_assert!(!taken[at]);
                    taken[at] = true;
                }
                Err(error) => {
                    prop_assert_eq!(error, OpenError::Replayed);
                    prop_assert!(taken[at]);
                }
            }
        }
    }

    #[test]
    fn payloads_come_out_as_they_went_in(
        payload in prop::collection::vec(any::<u8>(), 0..PAYLOAD_MAX),
    ) {
        let (mut a, mut b) = confirmed();
        let datagram = a.seal(Kind::Channel, id("b"), &payload).unwrap();
        prop_assert_eq!(b.open(&datagram).unwrap().payload, payload);
    }
}
