//! What holds whatever is asked for, and in whatever order it is written.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::{World, cluster, files};
use crate::ipam::Assignment;
use crate::ipam::sharing::{Claim, Key, Port};
use crate::model::sample::{ip, name};
use crate::model::{Facts, FamilyPolicy, TrafficPolicy};

/// Something that happens in a small world with hardly enough addresses.
#[derive(Clone, Debug)]
enum Change {
    Service(u8),
    NoService(u8),
    AsksFor(u8, u8),
    AsksForPool(u8, u8),
    Key(u8, u8, u8),
    Local(u8, bool),
    Families(u8, u8),
    Age(u8, u8),
    Deleting(u8),
    /// A pool has this many addresses of each family.
    Pool(u8, u8, u8),
    NoPool(u8),
    /// Another load balancer has an address.
    Foreign(u8),
    Write(u8),
    WriteAll,
}

fn service(n: u8) -> alloc::string::String {
    format!("s{}", n % 6)
}

fn apply(world: World, change: &Change) -> World {
    let known = |world: &World, n: u8| world.facts.services.contains_key(&name(&service(n)));
    match *change {
        Change::Service(n) if known(&world, n) => world,
        Change::Service(n) => world.service(&service(n)),
        Change::NoService(n) => world.no_service(&service(n)),
        Change::Pool(n, v4, v6) => {
            let n = n % 3;
            let (v4, v6) = (v4 % 3, v6 % 3);
            let ranges = format!("192.0.2.{}-192.0.2.{}", n * 16, n * 16 + v4);
            let ranges = format!("{ranges},2001:db8::{n}:0-2001:db8::{n}:{v6}");
            let world = world.pool(&format!("p{n}"), &ranges);
            match n {
                2 => world.pinned("p2", |_| ()),
                _ => world,
            }
        }
        Change::Foreign(n) => {
            let mut world = world;
            let address = ip(&format!("192.0.2.{}", n % 3 * 16 + 1));
            let foreign = &mut world.facts.foreign;
            foreign.insert(name("other/theirs"), alloc::sync::Arc::new(vec![address]));
            world
        }
        Change::NoPool(n) => world.no_pool(&format!("p{}", n % 3)),
        Change::Write(n) if known(&world, n) => {
            let assignment = world.assign();
            world.write_one(&service(n), &assignment)
        }
        Change::WriteAll => world.settle(),
        ref other => match *other {
            Change::AsksFor(n, _)
            | Change::AsksForPool(n, _)
            | Change::Key(n, _, _)
            | Change::Local(n, _)
            | Change::Families(n, _)
            | Change::Age(n, _)
            | Change::Deleting(n)
                if known(&world, n) =>
            {
                edit(world, n, other)
            }
            _ => world,
        },
    }
}

fn edit(world: World, n: u8, change: &Change) -> World {
    world.edit(&service(n), |s| match *change {
        Change::AsksFor(_, what) => {
            let choices = ["", "192.0.2.1", "192.0.2.16", "2001:db8::1:0", "here"];
            let choice = choices[usize::from(what) % choices.len()];
            s.request.addresses = Some(choice.to_string());
        }
        Change::AsksForPool(_, pool) => {
            let choices = ["", "", "p0", "p1", "p2", "none"];
            let choice = choices[usize::from(pool) % choices.len()];
            s.request.pool = Some(choice.to_string());
        }
        Change::Key(_, key, port) => {
            let key = ["", "k", "k", "l"][usize::from(key % 4)];
            s.request.sharing_key = Some(key.to_string());
            s.ports[0].port = 80 + u16::from(port % 3);
        }
        Change::Local(_, local) => {
            s.traffic_policy = match local {
                true => TrafficPolicy::Local,
                false => TrafficPolicy::Cluster,
            };
            s.request.selector = "app=web".to_string();
        }
        Change::Families(_, which) => {
            let (ips, policy) = [
                ("10.96.0.1", FamilyPolicy::SingleStack),
                ("2001:db8:9::1", FamilyPolicy::SingleStack),
                ("10.96.0.1,2001:db8:9::1", FamilyPolicy::PreferDualStack),
                ("2001:db8:9::1,10.96.0.1", FamilyPolicy::RequireDualStack),
                ("10.96.0.1", FamilyPolicy::PreferDualStack),
            ][usize::from(which % 5)];
            s.request.cluster_ips = ips.split(',').map(ip).collect();
            s.request.family_policy = policy;
        }
        Change::Age(_, at_s) => s.created_s = Some(at_s.into()),
        Change::Deleting(_) => s.request.deleting = true,
        _ => unreachable!("not of a Service"),
    })
}

fn change() -> impl Strategy<Value = Change> {
    let n = any::<u8>;
    prop_oneof![
        5 => n().prop_map(Change::Service),
        1 => n().prop_map(Change::NoService),
        2 => (n(), n()).prop_map(|(a, b)| Change::AsksFor(a, b)),
        2 => (n(), n()).prop_map(|(a, b)| Change::AsksForPool(a, b)),
        3 => (n(), n(), n()).prop_map(|(a, b, c)| Change::Key(a, b, c)),
        1 => (n(), any::<bool>()).prop_map(|(a, b)| Change::Local(a, b)),
        3 => (n(), n()).prop_map(|(a, b)| Change::Families(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Change::Age(a, b)),
        1 => n().prop_map(Change::Deleting),
        4 => (n(), n(), n()).prop_map(|(a, b, c)| Change::Pool(a, b, c)),
        1 => n().prop_map(Change::NoPool),
        1 => n().prop_map(Change::Foreign),
        4 => n().prop_map(Change::Write),
        2 => Just(Change::WriteAll),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 1..40)
}

/// That no two have an address that they do not share, by these addresses.
#[track_caller]
fn no_conflict(facts: &Facts, has: impl Fn(&crate::model::Service) -> Vec<core::net::IpAddr>) {
    let mut keys: BTreeMap<_, Key<'_>> = BTreeMap::new();
    let mut ports: BTreeMap<(_, Port), _> = BTreeMap::new();
    for service in facts.services.values() {
        let claim = Claim::of(service);
        for address in has(service) {
            if let Some(key) = keys.insert(address, claim.key) {
                assert!(
                    claim.shares() && key == claim.key,
                    "{address}: {}",
                    service.name
                );
            }
            for port in claim.ports() {
                let other = ports.insert((address, port), &service.name);
                assert_eq!(other, None, "{address} {port:?} {}", service.name);
            }
        }
    }
}

fn assigned(assignment: &Assignment) -> impl Fn(&crate::model::Service) -> Vec<core::net::IpAddr> {
    |service| assignment.allocations[&service.name].addresses.clone()
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_computed_again(changes in changes()) {
        for world in [cluster(), files()] {
            let world = changes.iter().fold(world, apply);
            let settled = world.settle();
            for (name, allocation) in settled.assign().allocations {
                prop_assert_eq!(&settled.facts.services[&name].status, &allocation.addresses);
            }
        }
    }

    #[test]
    fn no_address_is_given_twice_unless_it_is_shared(changes in changes()) {
        for world in [cluster(), files()] {
            let mut world = world;
            for change in &changes {
                world = apply(world, change);
                let assignment = world.assign();
                // Manifests without pools say themselves what they have.
                if !assignment.pools.is_empty() {
                    no_conflict(&world.facts, assigned(&assignment));
                }
            }
        }
    }

    #[test]
    fn an_address_of_others_is_never_given_anew(changes in changes()) {
        let mut world = cluster();
        for change in &changes {
            world = apply(world, change);
            let foreign: Vec<_> = world.facts.foreign.values().flat_map(|a| a.iter()).collect();
            for (name, allocation) in world.assign().allocations {
                let has = &world.facts.services[&name].status;
                let mut given = allocation.addresses.iter().filter(|a| !has.contains(a));
                prop_assert!(!given.any(|address| foreign.contains(&address)), "{}", name);
            }
        }
    }

    /// The agent that writes may die after any of them, and another one goes
    /// on from there.
    #[test]
    fn whichever_statuses_are_written_first_no_two_say_one_address(
        changes in changes(),
        order in Just((0..6_u8).collect::<Vec<_>>()).prop_shuffle(),
        written in 0..6_usize,
    ) {
        // Services change while others are written: they may then conflict
        // until they are moved. Here, all that changes, changes first.
        let world = changes.iter().fold(cluster(), apply).settle();
        let world = changes.iter().filter(|change| {
            matches!(change, Change::AsksFor(..) | Change::AsksForPool(..)
                | Change::Families(..) | Change::Pool(..) | Change::NoPool(..))
        }).rev().fold(world, apply);
        let assignment = world.assign();
        let mut world = world;
        for n in order.iter().take(written) {
            if world.facts.services.contains_key(&name(&service(*n))) {
                world = world.write_one(&service(*n), &assignment);
                no_conflict(&world.facts, |s| s.status.clone());
            }
        }
        no_conflict(&world.settle().facts, |s| s.status.clone());
    }

    #[test]
    fn taking_over_moves_nothing(changes in changes()) {
        let world = changes.iter().fold(cluster(), apply).settle();
        let mut anew = world.clone();
        for service in anew.facts.services.values_mut() {
            alloc::sync::Arc::make_mut(service).request.allocated_from = None;
        }
        prop_assert_eq!(anew.settle().facts, world.facts);
    }

    #[test]
    fn counters_add_up(changes in changes()) {
        let world = changes.iter().fold(cluster(), apply);
        let config = world.facts.config.good.clone().unwrap();
        for (name, used) in world.assign().pools {
            let all = config.pools[&name].addresses().count();
            let sum = used.assigned_v4 + used.assigned_v6 + used.available_v4 + used.available_v6;
            prop_assert_eq!(usize::try_from(sum).unwrap(), all);
        }
    }

    #[test]
    fn the_memo_does_not_show(changes in changes()) {
        let mut memo = crate::ipam::Memo::default();
        let mut world = cluster();
        for change in &changes {
            world = apply(world, change);
            memo.update(&world.facts);
            prop_assert_eq!(&*memo.assignment(), &world.assign());
        }
    }
}
