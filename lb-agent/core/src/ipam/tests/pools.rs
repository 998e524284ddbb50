//! Which pool, and which address of it.

use alloc::string::ToString as _;
use core::num::NonZeroU64;

use super::world::labels;
use super::{World, cluster};
use crate::config::LabelSelector;
use crate::ipam::PoolUse;

fn selector(text: &str) -> LabelSelector {
    LabelSelector::of_labels(labels(text)).unwrap()
}

fn priority(number: u64) -> impl FnOnce(&mut crate::config::ServiceAllocation) {
    move |allocation| allocation.priority = NonZeroU64::new(number)
}

#[test]
fn addresses_are_given_in_the_order_of_the_list_and_then_ascending() {
    cluster()
        .pool("a", "192.0.2.8/31,192.0.2.1-192.0.2.2,2001:db8::/64")
        .services(&["s1", "s2", "s3", "s4", "s5"])
        .check(&[
            ("s1", "192.0.2.8 of a"),
            ("s2", "192.0.2.9 of a"),
            ("s3", "192.0.2.1 of a"),
            ("s4", "192.0.2.2 of a"),
            ("s5", "nothing: no available IPs"),
        ]);
}

#[test]
fn the_first_and_the_last_of_256_are_given_too() {
    let world = cluster()
        .pool("a", "192.0.2.255-192.0.3.1")
        .services(&["s1", "s2", "s3"]);
    world.check(&[
        ("s1", "192.0.2.255 of a"),
        ("s2", "192.0.3.0 of a"),
        ("s3", "192.0.3.1 of a"),
    ]);
}

#[test]
fn a_pool_that_avoids_buggy_addresses_does_not_have_them() {
    let world = cluster()
        .pool("a", "192.0.2.254-192.0.3.1")
        .edit_pool("a", |pool| pool.avoid_buggy_ips = true)
        .services(&["had", "wants", "s1", "s2", "s3"])
        .has("had", "192.0.2.255")
        .asks_for("wants", "192.0.3.0");
    let world = world.check(&[
        ("had", "192.0.2.254 of a"),
        ("s1", "192.0.3.1 of a"),
        ("s2", "nothing: no available IPs"),
        ("s3", "nothing: no available IPs"),
        (
            "wants",
            r#"nothing: ["192.0.3.0"] is not allowed in config"#,
        ),
    ]);
    let expected = PoolUse {
        assigned_v4: 2,
        ..PoolUse::default()
    };
    assert_eq!(world.usage("a"), expected);
}

#[test]
fn pools_are_tried_in_the_order_of_their_names() {
    cluster()
        .pool("b", "198.51.100.0/31")
        .pool("a", "192.0.2.0/32")
        .services(&["s1", "s2", "s3", "s4"])
        .check(&[
            ("s1", "192.0.2.0 of a"),
            ("s2", "198.51.100.0 of b"),
            ("s3", "198.51.100.1 of b"),
            ("s4", "nothing: no available IPs"),
        ]);
}

#[test]
fn a_pool_without_auto_assign_is_given_only_to_those_who_ask() {
    let quiet = |pool: &mut crate::config::Pool| pool.auto_assign = false;
    let world = cluster()
        .pool("a", "192.0.2.0/29")
        .edit_pool("a", quiet)
        .pool("pinned", "198.51.100.0/29")
        .pinned("pinned", |_| ())
        .edit_pool("pinned", quiet)
        .services(&["plain", "by-address", "by-pool", "by-pinned"])
        .asks_for("by-address", "192.0.2.5")
        .asks_for_pool("by-pool", "a")
        .asks_for_pool("by-pinned", "pinned");
    world.check(&[
        ("plain", "nothing: no available IPs"),
        ("by-address", "192.0.2.5 of a"),
        ("by-pool", "192.0.2.0 of a"),
        ("by-pinned", "198.51.100.0 of pinned"),
    ]);
}

/// Two pools, one for certain Services.
fn pinned(edit: impl FnOnce(&mut crate::config::ServiceAllocation)) -> World {
    cluster()
        .pool("all", "192.0.2.0/29")
        .pool("some", "198.51.100.0/29")
        .pinned("some", edit)
        .namespace("shop", "team=a")
        .service("shop/web")
        .service("default/web")
        .edit("shop/web", |s| s.labels = labels("app=web"))
        .edit("default/web", |s| s.labels = labels("app=web"))
        .service("shop/db")
}

const ALL: [&str; 3] = ["192.0.2.0 of all", "192.0.2.1 of all", "192.0.2.2 of all"];
const SOME: [&str; 3] = [
    "198.51.100.0 of some",
    "198.51.100.1 of some",
    "198.51.100.2 of some",
];

#[test]
fn a_pool_may_be_for_a_namespace() {
    pinned(|some| some.namespaces = ["shop".to_string()].into()).check(&[
        ("default/web", ALL[0]),
        ("shop/db", SOME[0]),
        ("shop/web", SOME[1]),
    ]);
}

#[test]
fn a_pool_may_be_for_namespaces_with_labels_and_namespaces_with_names() {
    pinned(|some| {
        some.namespaces = ["elsewhere".to_string()].into();
        some.namespace_selectors = [selector("team=a")].into();
    })
    .service("elsewhere/web")
    .check(&[
        ("default/web", ALL[0]),
        ("elsewhere/web", SOME[0]),
        ("shop/db", SOME[1]),
        ("shop/web", SOME[2]),
    ]);
}

#[test]
fn a_pool_may_be_for_services_with_labels() {
    pinned(|some| some.service_selectors = [selector("app=web")].into()).check(&[
        ("default/web", SOME[0]),
        ("shop/db", ALL[0]),
        ("shop/web", SOME[1]),
    ]);
}

#[test]
fn a_pool_may_be_for_services_with_labels_in_a_namespace() {
    pinned(|some| {
        some.namespaces = ["shop".to_string()].into();
        some.service_selectors = [selector("app=web")].into();
    })
    .check(&[
        ("default/web", ALL[0]),
        ("shop/db", ALL[1]),
        ("shop/web", SOME[0]),
    ]);
}

#[test]
fn a_namespace_that_nobody_described_has_the_label_with_its_name() {
    let named = "kubernetes.io/metadata.name=default";
    pinned(|some| some.namespace_selectors = [selector(named)].into()).check(&[
        ("default/web", SOME[0]),
        ("shop/db", ALL[0]),
        ("shop/web", ALL[1]),
    ]);
}

#[test]
fn a_pool_with_a_priority_alone_is_for_everybody_and_comes_first() {
    pinned(priority(100)).check(&[
        ("default/web", SOME[0]),
        ("shop/db", SOME[1]),
        ("shop/web", SOME[2]),
    ]);
}

#[test]
fn the_lowest_priority_comes_first_none_last_and_of_equal_ones_the_name_decides() {
    cluster()
        .pool("a-none", "192.0.2.1-192.0.2.1")
        .pinned("a-none", |_| ())
        .pool("b-nine", "192.0.2.2-192.0.2.2")
        .pinned("b-nine", priority(9))
        .pool("d-one", "192.0.2.4-192.0.2.4")
        .pinned("d-one", priority(1))
        .pool("c-one", "192.0.2.3-192.0.2.3")
        .pinned("c-one", priority(1))
        .pool("all", "192.0.2.5-192.0.2.5")
        .services(&["s1", "s2", "s3", "s4", "s5", "s6"])
        .check(&[
            ("s1", "192.0.2.3 of c-one"),
            ("s2", "192.0.2.4 of d-one"),
            ("s3", "192.0.2.2 of b-nine"),
            ("s4", "192.0.2.1 of a-none"),
            ("s5", "192.0.2.5 of all"),
            ("s6", "nothing: no available IPs"),
        ]);
}

#[test]
fn a_pool_for_others_is_not_a_reserve() {
    cluster()
        .pool("some", "198.51.100.0/29")
        .pinned("some", |some| some.namespaces = ["shop".to_string()].into())
        .service("web")
        .check(&[("web", "nothing: no available IPs")]);
}

#[test]
fn counters_count_addresses_not_services() {
    let world = cluster()
        .pool("a", "192.0.2.0/30,2001:db8::/126")
        .services(&["s1", "s2", "s3"])
        .shares("s1", "key", "80")
        .shares("s2", "key", "81")
        .settle();
    let expected = PoolUse {
        assigned_v4: 2,
        assigned_v6: 0,
        available_v4: 2,
        available_v6: 4,
    };
    assert_eq!(world.usage("a"), expected);
}

#[test]
fn huge_pools_have_as_many_addresses_as_the_counter_holds() {
    let most = u64::MAX / 2;
    let world = cluster()
        .pool("huge", "2001:db8::/64,192.0.2.0/30")
        .pool("large", "2001:db8:1::/67")
        .pool("many", "2001:db8:2::/66");
    assert_eq!(world.usage("huge").available_v6, most);
    assert_eq!(world.usage("huge").available_v4, 4);
    assert_eq!(world.usage("large").available_v6, 1 << 61);
    assert_eq!(world.usage("many").available_v6, most, "from 62 bits on");
}
