//! Services that share an address.

use alloc::string::ToString as _;

use super::{World, cluster};
use crate::model::TrafficPolicy;

/// Two Services that would share.
fn two() -> World {
    cluster()
        .pool("a", "192.0.2.0/29")
        .services(&["s1", "s2"])
        .shares("s1", "key", "80")
        .shares("s2", "key", "443")
}

fn local(world: World, service: &str, selector: &str) -> World {
    world.edit(service, |s| {
        s.traffic_policy = TrafficPolicy::Local;
        s.request.selector = selector.to_string();
    })
}

const TOGETHER: [(&str, &str); 2] = [("s1", "192.0.2.0 of a"), ("s2", "192.0.2.0 of a")];
const APART: [(&str, &str); 2] = [("s1", "192.0.2.0 of a"), ("s2", "192.0.2.1 of a")];

#[test]
fn with_one_key_and_different_ports_they_share() {
    two().check(&TOGETHER).settle().check(&TOGETHER);
}

#[test]
fn namespaces_do_not_matter() {
    two()
        .no_service("s2")
        .service("other/s2")
        .shares("other/s2", "key", "443")
        .check(&[("s1", "192.0.2.0 of a"), ("other/s2", "192.0.2.0 of a")]);
}

#[test]
fn one_port_in_two_protocols_is_two_ports() {
    two().shares("s2", "key", "80/udp").check(&TOGETHER);
}

#[test]
fn with_a_port_in_common_they_do_not_share() {
    two().shares("s2", "key", "443,80").check(&APART);
}

#[test]
fn with_other_keys_or_none_they_do_not_share() {
    two().shares("s2", "other", "443").check(&APART);
    two().shares("s2", "", "443").check(&APART);
    two().shares("s1", "", "80").check(&APART);
    let none = two().shares("s1", "", "80").shares("s2", "", "443");
    none.check(&APART);
}

#[test]
fn with_policy_local_they_share_if_they_have_the_same_pods() {
    let both = |a: &str, b: &str| local(local(two(), "s1", a), "s2", b);
    both("app=web", "app=web").check(&TOGETHER);
    both("app=web", "app=db").check(&APART);
    local(two(), "s2", "app=web").check(&APART);
    local(two(), "s1", "app=web").check(&APART);
}

#[test]
fn the_first_address_that_will_do_is_shared_or_free_whichever_is_lower() {
    two()
        .has("s1", "192.0.2.3")
        .check(&[("s1", "192.0.2.3 of a"), ("s2", "192.0.2.0 of a")]);
    let low = two().service("low").has("low", "192.0.2.0");
    low.has("s1", "192.0.2.1")
        .check(&[("s1", "192.0.2.1 of a"), ("s2", "192.0.2.1 of a")]);
}

#[test]
fn a_shared_address_may_be_asked_for() {
    two()
        .asks_for("s1", "192.0.2.5")
        .asks_for("s2", "192.0.2.5")
        .check(&[("s1", "192.0.2.5 of a"), ("s2", "192.0.2.5 of a")])
        .shares("s2", "key", "80")
        .check(&[
            ("s1", "192.0.2.5 of a"),
            ("s2", r#"nothing: port TCP/80 is already in use on "192.0.2.5""#),
        ])
        .shares("s2", "other", "443")
        .check(&[(
            "s2",
            r#"nothing: can't change sharing key for "default/s2", address also in use by default/s1"#,
        )]);
}

#[test]
fn the_only_one_on_an_address_may_change_its_key() {
    let world = two().no_service("s2").settle();
    world
        .shares("s1", "other", "80")
        .check(&[("s1", "192.0.2.0 of a")])
        .shares("s1", "", "80")
        .check(&[("s1", "192.0.2.0 of a")]);
}

#[test]
fn one_of_many_that_changes_its_key_moves_also_if_it_is_the_oldest() {
    let world = two()
        .service("s3")
        .shares("s3", "key", "8080")
        .created("s1", 1)
        .settle()
        .shares("s1", "other", "80");
    let events = [
        r#"Normal ClearAssignment: current IP for "default/s1" not allowed by config, will attempt for new IP assignment: can't change sharing key for "default/s1", address also in use by default/s2,default/s3"#,
        r#"Normal IPAllocated: Assigned IP ["192.0.2.1"]"#,
    ];
    assert_eq!(world.events("s1"), events);
    world.settle().check(&[
        ("s1", "192.0.2.1 of a"),
        ("s2", "192.0.2.0 of a"),
        ("s3", "192.0.2.0 of a"),
    ]);
}

#[test]
fn of_two_that_do_not_go_together_any_more_the_older_stays() {
    let world = two().created("s2", 1).created("s1", 2).settle();
    let apart = [("s1", "192.0.2.1 of a"), ("s2", "192.0.2.0 of a")];
    world
        .clone()
        .shares("s1", "other", "80")
        .settle()
        .check(&apart);
    world
        .clone()
        .shares("s2", "other", "443")
        .settle()
        .check(&apart);
    world.shares("s1", "key", "443").settle().check(&apart);
}

#[test]
fn a_service_that_waits_for_a_port_gets_the_address_when_the_port_is_free() {
    let world = cluster()
        .pool("a", "192.0.2.0/32")
        .services(&["s1", "s2"])
        .shares("s1", "key", "80")
        .shares("s2", "key", "80")
        .settle()
        .check(&[("s2", "nothing: no available IPs")]);
    world.shares("s1", "key", "81").settle().check(&TOGETHER);
}

#[test]
fn many_with_one_key_fill_address_after_address() {
    let names: alloc::vec::Vec<_> = (0..12).map(|n| alloc::format!("s{n:02}")).collect();
    let world =
        names
            .iter()
            .enumerate()
            .fold(cluster().pool("a", "192.0.2.0/29"), |world, (n, name)| {
                let port = (80 + n % 3).to_string();
                world.service(name).shares(name, "key", &port)
            });
    for (n, name) in names.iter().enumerate() {
        let expected = alloc::format!("192.0.2.{} of a", n / 3);
        assert_eq!(world.of(name), expected, "{name}");
    }
}

#[test]
fn a_port_on_a_shared_address_is_free_only_when_the_status_is_written() {
    let world = two().settle().asks_for("s1", "192.0.2.7");
    let world = world.service("s3").shares("s3", "key", "80");
    let world = world.check(&[("s1", "192.0.2.7 of a"), ("s3", "192.0.2.1 of a")]);
    let asks = world.asks_for("s3", "192.0.2.0");
    asks.check(&[(
        "s3",
        r#"nothing: "192.0.2.0" is still in the status of default/s1"#,
    )])
    .settle()
    .check(&[("s3", "192.0.2.0 of a")]);
}

/// What is remembered of full addresses must not hide one that came later.
#[test]
fn an_address_that_is_shared_later_is_found_too() {
    two()
        .has("s1", "192.0.2.5")
        .service("a-dual")
        .shares("a-dual", "key", "80")
        .edit("a-dual", |s| {
            s.request.cluster_ips.push("2001:db8:9::1".parse().unwrap());
            s.request.family_policy = crate::model::FamilyPolicy::RequireDualStack;
        })
        .service("s3")
        .shares("s3", "key", "80")
        .check(&[
            ("a-dual", "nothing: no available IPs"),
            ("s2", "192.0.2.0 of a"),
            ("s3", "192.0.2.0 of a"),
        ]);
}
