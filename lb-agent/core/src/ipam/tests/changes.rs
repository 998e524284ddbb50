//! What stays and what moves when something changes.

use alloc::string::ToString as _;
use alloc::sync::Arc;

use super::{World, cluster, files};
use crate::ipam::Allocation;
use crate::model::sample::{ip, name};

fn three() -> World {
    cluster()
        .pool("a", "192.0.2.0/30")
        .services(&["s1", "s2", "s3"])
        .has("s1", "192.0.2.3")
        .has("s2", "192.0.2.1")
}

#[test]
fn what_a_status_says_stays_and_nobody_who_waits_gets_it() {
    let world = three().service("a-first").created("a-first", 0);
    let settled = world.settle();
    settled.clone().check(&[
        ("a-first", "192.0.2.0 of a"),
        ("s1", "192.0.2.3 of a"),
        ("s2", "192.0.2.1 of a"),
        ("s3", "192.0.2.2 of a"),
    ]);
    for service in ["a-first", "s1", "s2", "s3"] {
        assert!(settled.events(service).is_empty(), "nothing new");
    }
}

#[test]
fn taking_over_from_another_implementation_moves_no_address() {
    let world = three()
        .shares("s1", "key", "80")
        .service("s4")
        .shares("s4", "key", "443")
        .has("s4", "192.0.2.3")
        .has("s3", "192.0.2.0");
    let before = world.statuses();
    assert!(world.events("s1").is_empty());
    let settled = world.settle();
    assert_eq!(settled.statuses(), before);
    let pool = &settled.facts.services[&name("s1")].request.allocated_from;
    assert_eq!(pool.as_deref(), Some("a"), "but says the pool");
}

#[test]
fn an_address_that_two_have_stays_with_the_older() {
    let world = three().has("s3", "192.0.2.3");
    world.clone().check(&[("s1", "192.0.2.3 of a")]);
    world
        .created("s3", 7)
        .check(&[("s3", "192.0.2.3 of a"), ("s1", "192.0.2.0 of a")]);
}

#[test]
fn a_freed_address_is_given_to_one_who_waits() {
    let full = cluster()
        .pool("a", "192.0.2.0/32")
        .services(&["s1", "s2"])
        .settle()
        .check(&[("s2", "nothing: no available IPs")]);
    full.no_service("s1").check(&[("s2", "192.0.2.0 of a")]);
}

#[test]
fn an_address_is_free_only_when_the_status_is_written() {
    let moving = cluster()
        .pool("a", "192.0.2.0/32")
        .pool("b", "198.51.100.0/32")
        .services(&["s1", "s2"])
        .settle()
        .asks_for_pool("s1", "b")
        .asks_for("s2", "192.0.2.0");
    let moving = moving.check(&[
        (
            "s1",
            r#"nothing: no available IPs in pool b for ipv4 IPFamily"#,
        ),
        (
            "s2",
            r#"nothing: "192.0.2.0" is still in the status of default/s1"#,
        ),
    ]);
    assert!(moving.events("s2").is_empty(), "it passes by itself");
    moving
        .settle()
        .check(&[("s1", "198.51.100.0 of b"), ("s2", "192.0.2.0 of a")]);
}

#[test]
fn a_service_of_another_type_gives_its_address_back_when_that_is_written() {
    let mut world = cluster().pool("a", "192.0.2.0/32").service("s1");
    let status = Arc::new([ip("192.0.2.0")].into());
    world.facts.released.insert(name("gone"), status);
    assert_eq!(world.allocation("gone"), Allocation::default());
    let world = world.check(&[("s1", "nothing: no available IPs")]);
    world.settle().check(&[("s1", "192.0.2.0 of a")]);
}

#[test]
fn addresses_of_services_that_others_serve_are_not_given_away() {
    let mut world = cluster()
        .pool("a", "192.0.2.0/30")
        .services(&["s1", "s2", "s3"]);
    let theirs = ["192.0.2.0", "192.0.2.2", "203.0.113.1"].map(ip);
    let foreign = &mut world.facts.foreign;
    foreign.insert(name("theirs"), Arc::new(theirs.into()));
    let world = world.has("s3", "192.0.2.2").check(&[
        ("s1", "192.0.2.1 of a"),
        ("s2", "192.0.2.3 of a"),
        ("s3", "192.0.2.2 of a"),
    ]);
    let why = r#""192.0.2.0" is in use by default/theirs, which is of another load balancer class"#;
    let world = world.asks_for("s1", "192.0.2.0");
    world
        .clone()
        .check(&[("s1", alloc::format!("nothing: {why}").as_str())]);
    assert!(world.events("s1")[0].ends_with(why), "said to its owner");
    let full = world.asks_for("s1", "").service("s4").settle();
    full.check(&[("s4", "nothing: no available IPs")]);
}

#[test]
fn a_service_that_is_being_deleted_keeps_its_address_and_gets_no_other() {
    let world = three()
        .edit("s1", |s| s.request.deleting = true)
        .edit("s3", |s| s.request.deleting = true)
        .pool("a", "192.0.2.0/31");
    assert!(world.events("s1").is_empty());
    world.check(&[("s1", "192.0.2.3 of nothing"), ("s3", " of nothing")]);
}

#[test]
fn a_service_that_is_being_deleted_leaves_what_another_one_keeps() {
    let world = files()
        .pool("a", "192.0.2.0/30")
        .services(&["s1", "s2"])
        .has("s1", "192.0.2.3")
        .has("s2", "192.0.2.3");
    let world = world.edit("s2", |s| s.request.deleting = true);
    world.check(&[("s1", "192.0.2.3 of a"), ("s2", " of nothing")]);
}

#[test]
fn a_pool_that_shrinks_takes_addresses_away() {
    let world = three().pool("a", "192.0.2.0/31");
    let events = [
        r#"Normal ClearAssignment: current IP for "default/s1" not allowed by config, will attempt for new IP assignment: ["192.0.2.3"] is not allowed in config"#,
        r#"Normal IPAllocated: Assigned IP ["192.0.2.0"]"#,
    ];
    assert_eq!(world.events("s1"), events);
    world.settle().check(&[
        ("s1", "192.0.2.0 of a"),
        ("s2", "192.0.2.1 of a"),
        ("s3", "nothing: no available IPs"),
    ]);
}

#[test]
fn a_pool_that_goes_leaves_its_services_to_the_others() {
    let world = three().pool("b", "198.51.100.0/29").no_pool("a").settle();
    world.check(&[
        ("s1", "198.51.100.0 of b"),
        ("s2", "198.51.100.1 of b"),
        ("s3", "198.51.100.2 of b"),
    ]);
}

#[test]
fn a_pool_with_another_name_has_the_addresses_without_a_word() {
    let world = three().settle().pool("z", "192.0.2.0/30").no_pool("a");
    assert!(world.events("s1").is_empty());
    world.check(&[("s1", "192.0.2.3 of z")]);
}

#[test]
fn a_pool_that_is_for_others_by_now_takes_addresses_away() {
    let world = three()
        .pool("b", "198.51.100.0/29")
        .pinned("a", |a| a.namespaces = ["shop".to_string()].into());
    let why = "pool a not compatible for ip assignment";
    assert!(
        world.events("s1")[0].ends_with(why),
        "{:?}",
        world.events("s1")
    );
    world.check(&[("s1", "198.51.100.0 of b")]);
}

#[test]
fn a_pool_that_is_not_for_everybody_any_more_keeps_those_it_has() {
    three().edit_pool("a", |a| a.auto_assign = false).check(&[
        ("s1", "192.0.2.3 of a"),
        ("s2", "192.0.2.1 of a"),
        ("s3", "nothing: no available IPs"),
    ]);
}

#[test]
fn without_any_pool_nobody_has_an_address() {
    let world = three().no_pool("a");
    assert!(world.events("s1").is_empty());
    world.check(&[
        ("s1", "nothing: there is no IPAddressPool"),
        ("s3", "nothing: there is no IPAddressPool"),
    ]);
}

#[test]
fn before_pools_are_known_everything_stays() {
    let mut world = three();
    world.facts.config.good = None;
    let before = world.statuses();
    assert!(world.events("s1").is_empty());
    assert_eq!(world.settle().statuses(), before);
}

#[test]
fn addresses_are_given_whether_or_not_anybody_announces_them() {
    let world = three();
    let config = world.facts.config.good.clone().unwrap();
    assert!(config.l2_advertisements.is_empty() && config.bgp_advertisements.is_empty());
    world.check(&[("s3", "192.0.2.0 of a")]);
}
