use super::{Candidate, ENDPOINTS_PER_FRONTEND_MAX, Table, build, slots_for};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

/// The `n`-th backend: neighbours in one subnet, as pods are.
fn backend(n: u32) -> Candidate {
    Candidate {
        address: IpAddr::V4(Ipv4Addr::from(0x0a01_0002 + n)),
        port: 8080,
        usable: true,
    }
}

fn backends(count: u32) -> Vec<Candidate> {
    (0..count).map(backend).collect()
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap()
}

/// What changed from one table to another, both named by candidate.
#[derive(Debug, Default)]
struct Moves {
    moved: usize,
    /// Between two backends that were usable before and after.
    needless: usize,
    /// The new table's `next` is the old owner.
    known: usize,
    slots: usize,
}

fn moves((old, before): (&Table, &[Candidate]), (new, after): (&Table, &[Candidate])) -> Moves {
    let place = |c: Candidate| (c.address, c.port);
    let usable = |set: &[Candidate], who| set.iter().any(|c| c.usable && place(*c) == who);
    let mut moves = Moves {
        slots: new.len(),
        ..Moves::default()
    };
    assert_eq!(old.len(), new.len(), "same class");
    for (from, to) in old.slots().zip(new.slots()) {
        let was = place(before[from.now().unwrap()]);
        let is = place(after[to.now().unwrap()]);
        if was == is {
            continue;
        }
        moves.moved += 1;
        if usable(after, was) && usable(before, is) {
            moves.needless += 1;
        }
        if to.next().map(|next| place(after[next])) == Some(was) {
            moves.known += 1;
        }
    }
    moves
}

fn loads(table: &Table, count: usize) -> Vec<usize> {
    let mut loads = vec![0; count];
    for slot in table.slots() {
        loads[slot.now().expect("somebody is usable")] += 1;
    }
    loads
}

/// No backend has more than `percent` of its fair share.
#[track_caller]
fn check_balance(table: &Table, count: usize, percent: usize) {
    let most = loads(table, count).into_iter().max().unwrap();
    let slots = table.len();
    assert!(
        most * count * 100 <= slots * percent,
        "{most} of {slots} slots for one of {count}"
    );
}

#[test]
fn no_backend_of_a_few_has_more_than_1_2_times_its_share() {
    for count in 1..=16 {
        for seed in 0..20 {
            check_balance(&build(seed, &backends(count)), index(count), 120);
        }
    }
}

#[test]
fn no_backend_of_many_has_more_than_1_3_times_its_share() {
    for count in [17, 33, 64, 65, 150, 256] {
        check_balance(&build(7, &backends(count)), index(count), 130);
    }
}

#[test]
fn the_bound_holds_at_the_limit_of_backends() {
    // The scan of 65,536 slots by 4,096 backends is for release builds; what
    // bounds the load is the capacity.
    let slots = slots_for(ENDPOINTS_PER_FRONTEND_MAX);
    for usable in 257..=ENDPOINTS_PER_FRONTEND_MAX {
        let capacity = super::capacity(slots, usable);
        assert!(
            capacity * usable >= index(slots),
            "{usable}: a place for each"
        );
        assert!(capacity * usable * 10 <= index(slots) * 13, "{usable}");
    }
}

/// Sums over seeds, so that a criterion in per cent has slots to count.
fn sum_moves(seeds: u64, before: &[Candidate], after: &[Candidate]) -> Moves {
    let mut sum = Moves::default();
    for seed in 0..seeds {
        let (old, new) = (build(seed, before), build(seed, after));
        let one = moves((&old, before), (&new, after));
        assert!(one.needless * 50 <= one.slots, "seed {seed}: {one:?}");
        sum.moved += one.moved;
        sum.needless += one.needless;
        sum.known += one.known;
        sum.slots += one.slots;
    }
    sum
}

#[track_caller]
fn check_moves(moves: &Moves, what: &str) {
    assert!(moves.moved > 0, "{what}: something moves");
    assert!(moves.needless * 50 <= moves.slots, "{what}: {moves:?}");
    assert!(moves.known * 100 >= moves.moved * 98, "{what}: {moves:?}");
}

const COUNTS: [u32; 12] = [1, 2, 3, 5, 6, 8, 10, 13, 15, 17, 40, 63];

#[test]
fn after_an_addition_little_moves_and_next_is_the_old_owner() {
    for count in COUNTS {
        let moves = sum_moves(20, &backends(count), &backends(count + 1));
        check_moves(&moves, &format!("{count} and one more"));
    }
}

#[test]
fn after_a_drain_little_moves_and_next_is_the_old_owner() {
    for count in COUNTS.into_iter().filter(|count| *count > 1) {
        let mut after = backends(count);
        after[0].usable = false;
        let moves = sum_moves(20, &backends(count), &after);
        check_moves(&moves, &format!("one of {count} drains"));
    }
}

#[test]
fn after_a_removal_little_moves() {
    for count in COUNTS {
        let moves = sum_moves(20, &backends(count + 1), &backends(count));
        assert!(moves.needless * 50 <= moves.slots, "{count}: {moves:?}");
    }
}

#[test]
fn what_drained_leaves_without_moving_anything() {
    // All its slots had moved when it drained; the set of the usable is what
    // `now` depends on.
    let mut draining = backends(9);
    draining[8].usable = false;
    let (with, without) = (build(3, &draining), build(3, &backends(8)));
    let now = |table: &Table| table.slots().map(|s| s.now()).collect::<Vec<_>>();
    assert_eq!(now(&with), now(&without));
}

#[test]
fn a_frontend_without_usable_backends_has_a_table_of_nobody() {
    for count in [0, 1, 20] {
        let mut none = backends(count);
        none.iter_mut().for_each(|c| c.usable = false);
        let table = build(1, &none);
        assert_eq!(table.len(), index(slots_for(index(count))));
        for slot in table.slots() {
            assert_eq!(slot.now(), None);
            assert_eq!(slot.next().is_some(), count > 0, "who has the old flows");
        }
    }
}

#[test]
fn when_nobody_is_usable_any_more_next_has_the_old_flows() {
    let all = backends(10);
    let mut none = all.clone();
    none.iter_mut().for_each(|c| c.usable = false);
    let (before, after) = (build(1, &all), build(1, &none));
    let pairs = before.slots().zip(after.slots());
    let known = pairs.filter(|(b, a)| b.now() == a.next()).count();
    assert!(known * 100 >= after.len() * 95, "{known}");
}

#[test]
fn a_lone_backend_has_all_slots_and_nobody_is_next() {
    let table = build(1, &backends(1));
    assert!(
        table
            .slots()
            .all(|s| s.now() == Some(0) && s.next().is_none())
    );
}

#[test]
fn frontends_with_the_same_backends_differ_by_their_seed() {
    let (one, other) = (build(1, &backends(10)), build(2, &backends(10)));
    let same = one
        .slots()
        .zip(other.slots())
        .filter(|(a, b)| a.now() == b.now());
    let share = same.count() * 100 / one.len();
    assert!((7..=13).contains(&share), "{share} % alike, 10 % by chance");
}

#[test]
fn pairs_of_now_and_next_are_spread_too() {
    // What a lost backend had must not all fall on one neighbour.
    let table = build(5, &backends(8));
    let mut after = vec![0; 8];
    for slot in table.slots().filter(|slot| slot.now() == Some(0)) {
        after[slot.next().unwrap()] += 1;
    }
    assert_eq!(after[0], 0);
    let (low, high) = (after[1..].iter().min(), after[1..].iter().max());
    assert!(low >= Some(&8) && high <= Some(&40), "{after:?}");
}

/// The answer must not change between versions: nodes of both work together
/// during an upgrade.
#[test]
fn the_table_is_the_same_in_every_version() {
    let table = build(0x0123_4567_89ab_cdef, &backends(3));
    let first: Vec<_> = table.slots().take(12).map(|s| (s.now, s.next)).collect();
    assert_eq!(first, PINNED);
    let mapped = Candidate {
        address: "::ffff:10.1.0.2".parse().unwrap(),
        ..backend(0)
    };
    let table_of_mapped = build(0x0123_4567_89ab_cdef, &[mapped, backend(1), backend(2)]);
    assert_eq!(table, table_of_mapped);
}

const PINNED: [(u16, u16); 12] = [
    (1, 2),
    (2, 1),
    (1, 0),
    (0, 2),
    (2, 0),
    (2, 1),
    (0, 1),
    (2, 0),
    (2, 1),
    (2, 0),
    (0, 2),
    (2, 1),
];

prop_compose! {
    fn candidates()(list in prop::collection::btree_map(
        (any::<[u8; 16]>(), 1..3u16), any::<bool>(), 0..40,
    )) -> Vec<Candidate> {
        list.into_iter().map(|((bytes, port), usable)| Candidate {
            address: IpAddr::V6(Ipv6Addr::from(bytes)), port, usable,
        }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_the_backends_does_not_matter(
        seed: u64,
        (sorted, shuffled) in candidates().prop_flat_map(|list| {
            (Just(list.clone()), Just(list).prop_shuffle())
        }),
    ) {
        let named = |list: &[Candidate]| -> Vec<_> {
            let table = build(seed, list);
            let name = |slot: Option<usize>| slot.map(|index| list[index]);
            table.slots().map(|s| (name(s.now()), name(s.next()))).collect()
        };
        prop_assert_eq!(named(&sorted), named(&shuffled));
    }

    #[test]
    fn now_is_usable_and_next_is_another(seed: u64, list in candidates()) {
        let usable = list.iter().filter(|c| c.usable).count();
        for slot in build(seed, &list).slots() {
            prop_assert_eq!(slot.now().is_some(), usable > 0);
            let others = list.len() - slot.now().iter().count();
            prop_assert_eq!(slot.next().is_some(), others > 0);
            prop_assert!(slot.now().is_none_or(|now| list[now].usable));
            prop_assert!(slot.now().is_none() || slot.now() != slot.next());
        }
    }
}
