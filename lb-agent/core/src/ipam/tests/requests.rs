//! Services that ask for certain addresses, or a pool.

use alloc::string::ToString as _;

use super::{World, cluster};

fn web() -> World {
    cluster()
        .pool("a", "192.0.2.0/29,2001:db8::/125")
        .pool("b", "198.51.100.0/29")
        .service("web")
}

#[test]
fn an_address_may_be_asked_for_by_annotation_or_by_field() {
    web()
        .asks_for("web", "198.51.100.7")
        .check(&[("web", "198.51.100.7 of b")])
        .asks_for("web", "")
        .edit("web", |s| {
            s.request.load_balancer_ip = Some("192.0.2.3".to_string());
        })
        .check(&[("web", "192.0.2.3 of a")]);
}

#[test]
fn an_address_that_cannot_be_given_is_refused_and_no_other_one_given() {
    for (asked, why) in [
        ("203.0.113.1", r#"["203.0.113.1"] is not allowed in config"#),
        (
            "2001:db8::1",
            r#"requested loadBalancer IP(s) ["2001:db8::1"] does not match the ipFamily of the service"#,
        ),
        (
            "192.0.2.1,192.0.2.2",
            r#"IPFamilyForAddresses: same address family ["192.0.2.1" "192.0.2.2"]"#,
        ),
        (
            "192.0.2.1,2001:db8::1",
            r#"requested loadBalancer IP(s) ["192.0.2.1" "2001:db8::1"] does not match the ipFamily of the service"#,
        ),
        ("here", r#"invalid metallb.io/loadBalancerIPs: "here""#),
    ] {
        let world = web().asks_for("web", asked);
        let event = alloc::format!(
            "Warning AllocationFailed: Failed to allocate IP for \"default/web\": {why}"
        );
        assert_eq!(world.events("web"), [event]);
        world.check(&[("web", alloc::format!("nothing: {why}").as_str())]);
    }
}

#[test]
fn one_address_may_be_asked_for_in_one_place_only() {
    let world = web().asks_for("web", "192.0.2.1").edit("web", |s| {
        s.request.load_balancer_ip = Some("192.0.2.1".to_string());
    });
    world.check(&[(
        "web",
        "nothing: service can not have both metallb.io/loadBalancerIPs and \
         svc.Spec.LoadBalancerIP",
    )]);
}

#[test]
fn who_asks_goes_before_who_takes_anything() {
    web()
        .service("any")
        .asks_for("web", "192.0.2.0")
        .check(&[("web", "192.0.2.0 of a"), ("any", "192.0.2.1 of a")]);
}

#[test]
fn an_address_in_use_is_refused_and_its_holder_keeps_it() {
    web()
        .service("holder")
        .has("holder", "192.0.2.1")
        .asks_for("web", "192.0.2.1")
        .check(&[
            (
                "web",
                r#"nothing: can't change sharing key for "default/web", address also in use by default/holder"#,
            ),
            ("holder", "192.0.2.1 of a"),
        ]);
}

#[test]
fn a_pool_may_be_asked_for() {
    web()
        .asks_for_pool("web", "b")
        .check(&[("web", "198.51.100.0 of b")])
        .asks_for_pool("web", "")
        .check(&[("web", "192.0.2.0 of a")])
        .asks_for_pool("web", "none")
        .check(&[("web", r#"nothing: unknown pool "none""#)]);
}

#[test]
fn a_pool_that_is_full_or_for_others_is_refused_and_no_other_one_tried() {
    let full = cluster()
        .pool("a", "192.0.2.0/32")
        .pool("b", "198.51.100.0/29")
        .services(&["holder", "web"])
        .has("holder", "192.0.2.0")
        .asks_for_pool("web", "a");
    full.check(&[(
        "web",
        "nothing: no available IPs in pool a for ipv4 IPFamily",
    )]);
    let others = web()
        .pinned("b", |b| b.namespaces = ["shop".to_string()].into())
        .asks_for_pool("web", "b");
    let others = others.check(&[("web", "nothing: pool b not compatible for ip assignment")]);
    // Nor by address.
    others
        .asks_for_pool("web", "")
        .asks_for("web", "198.51.100.1")
        .check(&[("web", "nothing: pool b not compatible for ip assignment")]);
}

#[test]
fn an_address_and_a_pool_must_go_together() {
    web()
        .asks_for("web", "192.0.2.1")
        .asks_for_pool("web", "a")
        .check(&[("web", "192.0.2.1 of a")])
        .asks_for_pool("web", "b")
        .check(&[(
            "web",
            r#"nothing: requested loadBalancer IP(s) ["192.0.2.1"] is not compatible with requested address pool b"#,
        )]);
}

#[test]
fn asking_for_another_address_or_pool_moves_a_service() {
    let settled = web().settle().check(&[("web", "192.0.2.0 of a")]);
    let moved = settled.clone().asks_for("web", "192.0.2.5");
    let expected = [r#"Normal IPAllocated: Assigned IP ["192.0.2.5"]"#];
    assert_eq!(moved.events("web"), expected);
    moved.settle().check(&[("web", "192.0.2.5 of a")]);
    settled
        .asks_for_pool("web", "b")
        .check(&[("web", "198.51.100.0 of b")]);
}

#[test]
fn a_request_that_cannot_be_read_leaves_the_address_that_is_there() {
    let world = web().settle().asks_for("web", "there");
    let world = world.check(&[(
        "web",
        r#"192.0.2.0 of a, but invalid metallb.io/loadBalancerIPs: "there""#,
    )]);
    let why = r#"invalid metallb.io/loadBalancerIPs: "there""#;
    let event =
        alloc::format!("Warning LoadBalancerFailed: invalid requested loadbalancer IPs: {why}");
    assert_eq!(world.events("web"), [event]);
}

#[test]
fn an_annotation_of_the_old_prefix_is_pointed_out_when_something_is_written() {
    let old = "metallb.universe.tf/address-pool";
    let world = web()
        .asks_for_pool("web", "a")
        .edit("web", |s| s.request.deprecated = [old.to_string()].into());
    let said = "Warning deprecatedAnnotation: Service uses deprecated annotation \
                metallb.universe.tf/address-pool";
    let expected = [r#"Normal IPAllocated: Assigned IP ["192.0.2.0"]"#, said];
    assert_eq!(world.events("web"), expected);
    assert!(world.settle().events("web").is_empty());
}
