//! Manifests, which nobody writes a status into.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString as _;

use super::{World, files};
use crate::ipam::served;
use crate::model::sample::name;
use crate::model::{Family, FamilyPolicy, Origin};

/// Without cluster IPs, as people write them.
fn bare(world: World, service: &str) -> World {
    world
        .service(service)
        .edit(service, |s| s.request.cluster_ips.clear())
}

fn many(number: usize) -> World {
    let pools = files().pool("a", "198.51.100.0/23");
    (0..number).fold(pools, |world, n| bare(world, &format!("s{n}")))
}

#[test]
fn without_pools_manifests_say_themselves() {
    let world = ["status", "asks", "neither", "wrong"]
        .iter()
        .fold(files(), |world, name| bare(world, name))
        .has("status", "203.0.113.1,2001:db8::1")
        .asks_for("status", "203.0.113.9")
        .asks_for("asks", "203.0.113.2")
        .asks_for("wrong", "here");
    let expected = [
        ("status", "203.0.113.1 2001:db8::1 of nothing"),
        ("asks", "203.0.113.2 of nothing"),
        ("neither", " of nothing"),
        (
            "wrong",
            r#"nothing: invalid metallb.io/loadBalancerIPs: "here""#,
        ),
    ];
    let mut unread = world.clone();
    unread.facts.config.good = None;
    world.check(&expected);
    unread.check(&expected);
}

#[test]
fn what_is_assigned_is_served_and_in_a_cluster_what_is_written() {
    let world = many(1);
    let assignment = world.assign();
    let service = &world.facts.services[&name("s0")];
    let given = &assignment.allocations[&name("s0")].addresses;
    assert_eq!(given.len(), 1);
    assert_eq!(served(Origin::Files, service, &assignment), given);
    assert!(served(Origin::Cluster, service, &assignment).is_empty());
}

#[test]
fn the_families_are_those_that_it_says() {
    let of = |edit: fn(&mut crate::model::Service)| {
        let world = files().pool("a", "192.0.2.0/24,2001:db8::/64");
        let addresses = bare(world, "web").edit("web", edit).allocation("web");
        let families = addresses.addresses.into_iter().map(Family::of);
        families.collect::<alloc::vec::Vec<_>>()
    };
    assert_eq!(of(|_| ()), [Family::V4]);
    assert_eq!(
        of(|s| s.request.families = [Family::V6].into()),
        [Family::V6]
    );
    let both = [Family::V4, Family::V6];
    assert_eq!(
        of(|s| s.request.family_policy = FamilyPolicy::RequireDualStack),
        both
    );
    assert_eq!(
        of(|s| s.request.family_policy = FamilyPolicy::PreferDualStack),
        both
    );
    let asks =
        |s: &mut crate::model::Service| s.request.addresses = Some("2001:db8::7".to_string());
    assert_eq!(of(asks), [Family::V6]);
    let six = bare(files().pool("a", "2001:db8::/64"), "web");
    assert_eq!(
        six.allocation("web").addresses.len(),
        1,
        "there is no other"
    );
}

#[test]
fn all_get_addresses_of_their_own_until_the_pool_is_empty() {
    let world = (0..5).fold(files().pool("a", "192.0.2.0/30"), |world, n| {
        bare(world, &format!("s{n}"))
    });
    let assignment = world.assign();
    let mut addresses: alloc::vec::Vec<_> = assignment.allocations.values().collect();
    addresses.retain(|allocation| !allocation.addresses.is_empty());
    let distinct: alloc::collections::BTreeSet<_> =
        addresses.iter().map(|a| &a.addresses).collect();
    assert_eq!((addresses.len(), distinct.len()), (4, 4));
    let refused = assignment
        .allocations
        .values()
        .find_map(|a| a.refusal.clone());
    assert_eq!(refused.unwrap().to_string(), "no available IPs");
}

#[test]
fn another_service_moves_hardly_anybody() {
    let addresses = |world: &World| -> BTreeMap<_, _> {
        let allocations = world.assign().allocations.into_iter();
        allocations
            .map(|(name, allocation)| (name, allocation.addresses))
            .collect()
    };
    let world = many(100);
    let before = addresses(&world);
    let mut moved = 0;
    for n in 0..100 {
        let with = addresses(&bare(world.clone(), &format!("another{n}")));
        moved += before
            .iter()
            .filter(|(name, at)| with[*name] != **at)
            .count();
        let service = format!("s{n}");
        let without = addresses(&world.clone().no_service(&service));
        let stayed = before.iter().filter(|(at, _)| **at != name(&service));
        moved += stayed.filter(|(name, at)| without[*name] != **at).count();
    }
    // 200 changes of 100 Services in 512 addresses: with the lowest free
    // address it would be about 10,000.
    assert!(moved < 60, "{moved}");
}

#[test]
fn a_younger_service_moves_nobody() {
    let world = (0..100).fold(many(100), |world, n| world.created(&format!("s{n}"), 10));
    let before = world.assign().allocations;
    let after = bare(world, "another")
        .created("another", 11)
        .assign()
        .allocations;
    assert!(
        before
            .iter()
            .all(|(name, allocation)| after[name] == *allocation)
    );
}

#[test]
fn those_that_share_find_each_other() {
    let world = (0..10).fold(many(50), |world, n| {
        let name = format!("s{n}");
        world.shares(&name, "key", &format!("{}", 80 + n % 5))
    });
    let addresses = (0..10).map(|n| world.allocation(&format!("s{n}")).addresses);
    let addresses: alloc::collections::BTreeSet<_> = addresses.collect();
    assert_eq!(addresses.len(), 2, "two for each port");
}
