//! Families, and what `ipFamilyPolicy` makes of them.

use super::{World, cluster};
use crate::model::sample::ip;
use crate::model::{Family, FamilyPolicy};
use FamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};

fn of_families(world: World, service: &str, cluster_ips: &str, policy: FamilyPolicy) -> World {
    world.edit(service, |s| {
        s.request.cluster_ips = cluster_ips.split(',').map(ip).collect();
        s.request.family_policy = policy;
    })
}

const V4: &str = "10.96.0.1";
const V6: &str = "2001:db8:9::1";
const BOTH: &str = "10.96.0.1,2001:db8:9::1";

fn pools() -> World {
    cluster()
        .pool("a-four", "192.0.2.0/31")
        .pool("b-six", "2001:db8::/127")
        .pool("c-both", "198.51.100.0/31,2001:db8:1::/127")
        .service("web")
}

fn web(cluster_ips: &str, policy: FamilyPolicy) -> World {
    of_families(pools(), "web", cluster_ips, policy)
}

#[test]
fn a_service_of_one_family_gets_one_address_of_it() {
    web(V4, SingleStack).check(&[("web", "192.0.2.0 of a-four")]);
    web(V6, SingleStack).check(&[("web", "2001:db8:: of b-six")]);
    web(V4, PreferDualStack).check(&[("web", "192.0.2.0 of a-four")]);
    web(V6, PreferDualStack).check(&[("web", "2001:db8:: of b-six")]);
}

#[test]
fn a_service_of_both_gets_both_of_one_pool_ipv4_first() {
    let both = "198.51.100.0 2001:db8:1:: of c-both";
    for policy in [PreferDualStack, RequireDualStack] {
        let world = web(BOTH, policy);
        let event = r#"Normal IPAllocated: Assigned IP ["198.51.100.0" "2001:db8:1::"]"#;
        assert_eq!(world.events("web"), [event]);
        let world = world.check(&[("web", both)]).settle();
        world.check(&[("web", both)]);
    }
}

#[test]
fn who_requires_both_gets_none_without_both_and_who_prefers_them_gets_one() {
    let without = |policy| web(BOTH, policy).no_pool("c-both");
    without(RequireDualStack).check(&[("web", "nothing: no available IPs")]);
    without(PreferDualStack).check(&[("web", "192.0.2.0 of a-four")]);
    let six_first = without(PreferDualStack).edit("web", |s| {
        s.request.families = [Family::V6, Family::V4].into();
    });
    six_first.check(&[("web", "2001:db8:: of b-six")]);
    let secondary = without(PreferDualStack).no_pool("a-four");
    secondary.check(&[("web", "2001:db8:: of b-six")]);
}

#[test]
fn who_requires_both_must_have_two_cluster_ips() {
    let world = web(V4, RequireDualStack).has("web", "192.0.2.0");
    let said = "Service requires dual stack but not enough clusterips [10.96.0.1]";
    let event = alloc::format!("Warning not enough clusterips: {said}");
    assert_eq!(world.events("web"), [event]);
    world.check(&[("web", alloc::format!("nothing: {said}").as_str())]);
}

#[test]
fn without_cluster_ips_there_is_no_address() {
    let world = pools()
        .edit("web", |s| s.request.cluster_ips.clear())
        .has("web", "192.0.2.0");
    assert!(world.events("web").is_empty());
    world.check(&[("web", "nothing: it has no cluster IP")]);
}

#[test]
fn a_service_with_two_cluster_ips_of_one_family_keeps_what_it_has() {
    let world = web("10.96.0.1,10.96.0.2", SingleStack).has("web", "192.0.2.1");
    let why = r#"IPFamilyForAddresses: same address family ["10.96.0.1" "10.96.0.2"]"#;
    let said = r#"Failed to retrieve ClusterIPs IPFamily for ["10.96.0.1" "10.96.0.2"]"#;
    let event = alloc::format!("Warning noclusterIPsIPFamily: {said}: {why}");
    assert_eq!(world.events("web"), [event]);
    let expected = alloc::format!("192.0.2.1 of a-four, but {why}");
    world.check(&[("web", expected.as_str())]);
    let new = web("10.96.0.1,10.96.0.2", SingleStack);
    new.check(&[("web", alloc::format!("nothing: {why}").as_str())]);
}

#[test]
fn both_may_be_asked_for_in_one_pool_only() {
    let asks = |addresses: &str| web(BOTH, RequireDualStack).asks_for("web", addresses);
    asks("2001:db8:1::1,198.51.100.1").check(&[("web", "198.51.100.1 2001:db8:1::1 of c-both")]);
    asks("192.0.2.0,2001:db8::").check(&[(
        "web",
        r#"nothing: ["192.0.2.0" "2001:db8::"] is not allowed in config"#,
    )]);
    asks("198.51.100.1").check(&[(
        "web",
        r#"nothing: requested loadBalancer IP(s) ["198.51.100.1"] does not match the ipFamily of the service"#,
    )]);
}

#[test]
fn both_may_be_asked_for_by_pool() {
    let of = |pool: &str, policy| web(BOTH, policy).asks_for_pool("web", pool);
    let both = "198.51.100.0 2001:db8:1:: of c-both";
    of("c-both", RequireDualStack).check(&[("web", both)]);
    of("a-four", PreferDualStack).check(&[("web", "192.0.2.0 of a-four")]);
    of("a-four", RequireDualStack).check(&[(
        "web",
        "nothing: no available IPs in pool a-four for dual IPFamily",
    )]);
}

#[test]
fn who_came_to_prefer_both_keeps_its_address_and_gets_another_of_the_same_pool() {
    let single = web(V4, SingleStack).asks_for_pool("web", "c-both").settle();
    let single = single.check(&[("web", "198.51.100.0 of c-both")]);
    let both = of_families(single, "web", BOTH, PreferDualStack);
    let event = r#"Normal IPAllocated: Assigned additional IP "2001:db8:1::""#;
    assert_eq!(both.events("web"), [event]);
    let both = both.settle();
    both.check(&[("web", "198.51.100.0 2001:db8:1:: of c-both")]);
}

#[test]
fn who_came_to_require_both_keeps_its_address_if_its_pool_has_another() {
    let single = web(V4, SingleStack).asks_for_pool("web", "c-both");
    let single = single.service("other").settle().asks_for_pool("web", "");
    let both = of_families(single, "web", BOTH, RequireDualStack);
    both.check(&[("web", "198.51.100.0 2001:db8:1:: of c-both")]);
    let single = web(V4, SingleStack).settle();
    let moved = of_families(single, "web", BOTH, RequireDualStack).settle();
    moved.check(&[("web", "198.51.100.0 2001:db8:1:: of c-both")]);
}

#[test]
fn who_keeps_an_address_leaves_the_others_to_others() {
    let single = web(V4, SingleStack).asks_for_pool("web", "c-both").settle();
    let both = of_families(single, "web", BOTH, RequireDualStack);
    both.service("zzz")
        .asks_for_pool("zzz", "c-both")
        .check(&[("zzz", "198.51.100.1 of c-both")]);
}

#[test]
fn where_the_pool_has_no_other_family_the_address_stays_and_a_better_pool_does_not_move_it() {
    let single = web(V4, SingleStack).settle();
    let both = of_families(single, "web", BOTH, PreferDualStack);
    let said = "cannot assign additional IP in PreferDualStack: no available IPs in pool a-four \
                for ipv6 IPFamily";
    let event = alloc::format!("Normal AdditionalAssignFailed: {said}");
    assert_eq!(both.events("web"), [event]);
    both.check(&[("web", "192.0.2.0 of a-four")]);
}

#[test]
fn who_comes_to_be_of_one_family_keeps_the_address_of_it() {
    let both = web(BOTH, RequireDualStack);
    let both = both.asks_for("web", "198.51.100.1,2001:db8:1::1").settle();
    let both = both.asks_for("web", "");
    for policy in [SingleStack, PreferDualStack] {
        let four = of_families(both.clone(), "web", V4, policy);
        four.settle().check(&[("web", "198.51.100.1 of c-both")]);
        let six = of_families(both.clone(), "web", V6, policy);
        six.settle().check(&[("web", "2001:db8:1::1 of c-both")]);
    }
}

#[test]
fn an_address_of_the_wrong_family_is_replaced() {
    let world = web(V6, SingleStack).has("web", "192.0.2.1");
    world.check(&[("web", "2001:db8:: of b-six")]);
}

#[test]
fn a_status_that_nobody_could_have_given_is_replaced() {
    let world = web(V4, SingleStack).has("web", "192.0.2.1,198.51.100.1");
    let why = r#"IPFamilyForAddresses: same address family ["192.0.2.1" "198.51.100.1"]"#;
    let said = r#"Failed to retrieve LBIPs IPFamily for ["192.0.2.1" "198.51.100.1"]"#;
    let expected = [
        alloc::format!("Warning nolbIPsIPFamily: {said}: {why}"),
        r#"Normal IPAllocated: Assigned IP ["192.0.2.0"]"#.into(),
    ];
    assert_eq!(world.events("web"), expected);
}
