//! What is taken, and what becomes of it.

use core::num::NonZeroU32;

use super::*;
use crate::config::declared::{PoolsSpec, PreferenceSpec, Secret};
use crate::config::{Community, Password, PeerEnd, RemoteAs, Timers};

#[test]
fn one_of_each() {
    let all = read(&good()).unwrap();
    let bgp = &all.bgp_advertisements["bgp"];
    assert_eq!(
        (bgp.aggregation_length, bgp.aggregation_length_v6),
        (32, 128)
    );
    assert!(bgp.pools.contains("pool"), "an empty list is all of them");
    assert!(all.l2_advertisements["l2"].pools.contains("pool"));
    let peer = &all.peers["peer"];
    assert_eq!(peer.port, 179);
    assert_eq!(peer.timers, None);
    let asn = NonZeroU32::new(64_512).unwrap();
    assert_eq!(peer.remote_as, RemoteAs::Number(asn));
    let no_export = Community::Standard(65_535, 65_281);
    assert_eq!(all.communities["no-export"], no_export);
    let fast = &all.bfd_profiles["fast"];
    assert_eq!((fast.receive_interval_ms, fast.detect_multiplier), (300, 3));
}

#[test]
fn nothing_at_all_is_a_configuration() {
    assert_eq!(read(&Declared::default()), Ok(Configuration::default()));
}

#[test]
fn advertisements_find_their_pools_by_name_and_by_label_together() {
    let mut all = good();
    for (name, addresses) in [("a", "203.0.113.0/25"), ("b", "203.0.113.128/25")] {
        all.pool(name, &[addresses]);
        let pool = all.pools.last_mut().unwrap();
        pool.labels.insert("zone".to_string(), name.to_string());
    }
    let pools = |spec: PoolsSpec, all: &mut Declared| {
        all.l2_advertisements[0].spec.pools = spec;
        let names = read(all).unwrap().l2_advertisements["l2"].pools.clone();
        names.into_iter().collect::<Vec<_>>()
    };
    let by = |names: &[&str], selectors: Vec<SelectorSpec>| PoolsSpec {
        names: texts(names),
        selectors,
    };
    assert_eq!(pools(by(&[], vec![]), &mut all), ["a", "b", "pool"]);
    assert_eq!(pools(by(&["pool", "gone"], vec![]), &mut all), ["pool"]);
    let zone_a = vec![selector("zone", "a")];
    assert_eq!(pools(by(&[], zone_a.clone()), &mut all), ["a"]);
    assert_eq!(pools(by(&["b"], zone_a), &mut all), ["a", "b"]);
    let elsewhere = vec![selector("zone", "c")];
    assert!(pools(by(&[], elsewhere), &mut all).is_empty());
}

#[test]
fn preferences_are_taken() {
    let all = edited(|all| {
        all.l2_advertisements[0].spec.preferred_node_selectors = vec![PreferenceSpec {
            weight: 100,
            preference: SelectorSpec::default(),
        }];
    });
    let preferences = &all.unwrap().l2_advertisements["l2"].preferences;
    assert_eq!(preferences[0].weight, 100);
    assert!(preferences[0].selector.matches(&Labels::new()));
}

#[test]
fn times_that_are_missing_follow_from_those_that_are_there() {
    for (hold, keepalive, expected) in [
        (Some("90s"), None, (90, 30)),
        (None, Some("20s"), (60, 20)),
        (Some("1m30s"), Some("90s"), (90, 90)),
        (Some("3999ms"), Some("1s"), (3, 1)),
        (Some("0s"), None, (0, 0)),
        (Some("0s"), Some("0s"), (0, 0)),
        (Some("65535s"), Some("500ms"), (65_535, 0)),
    ] {
        let all = edited(|all| {
            all.peers[0].spec.hold_time = hold.map(ToString::to_string);
            all.peers[0].spec.keepalive_time = keepalive.map(ToString::to_string);
            all.peers[0].spec.connect_time = Some("10s".to_string());
        });
        let peer = all.unwrap().peers.remove("peer").unwrap();
        let (hold_s, keepalive_s) = expected;
        let expected = Timers {
            hold_s,
            keepalive_s,
        };
        assert_eq!(peer.timers, Some(expected), "{hold:?} {keepalive:?}");
        assert_eq!(peer.connect_s, Some(10));
    }
}

#[test]
fn aggregates_may_be_as_long_as_the_largest_block_of_a_range() {
    let all = edited(|all| {
        all.pools[0].spec.addresses = texts(&["192.0.2.10-192.0.2.20", "2001:db8::/64"]);
        all.bgp_advertisements[0].spec.aggregation_length = Some(30);
        all.bgp_advertisements[0].spec.aggregation_length_v6 = Some(64);
    });
    assert_eq!(all.unwrap().bgp_advertisements["bgp"].length(true), 30);
}

#[test]
fn an_alias_comes_before_a_value() {
    let all = edited(|all| {
        let aliases = &mut all.communities[0].spec.aliases;
        aliases.push(("1:2".to_string(), "large:1:2:4294967295".to_string()));
        all.bgp_advertisements[0].spec.communities = texts(&["1:2", "3:4", "no-export"]);
    });
    let communities = all.unwrap().bgp_advertisements["bgp"].communities.clone();
    let expected = [
        Community::Standard(3, 4),
        Community::Standard(65_535, 65_281),
        Community::Large(1, 2, u32::MAX),
    ];
    assert_eq!(communities.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_password_stands_in_the_peer_or_in_a_secret_and_shows_itself_nowhere() {
    let all = edited(|all| {
        all.peers[0].spec.password_secret = "bgp".to_string();
        let secret = Secret {
            kind: "kubernetes.io/basic-auth".to_string(),
            password: Some(Password::new("hunter2".to_string())),
        };
        all.secrets.insert("bgp".to_string(), secret);
        all.peer("inline", "198.51.100.2").password = Password::new("hunter3".to_string());
    });
    let all = all.unwrap();
    let password = |name| all.peers[name].password.as_ref().unwrap().reveal();
    assert_eq!(
        [password("peer"), password("inline")],
        ["hunter2", "hunter3"]
    );
    assert!(!std::format!("{all:?}").contains("hunter"));
}

/// FRR can have one router id, one ASN and no second session to a router; what
/// MetalLB's own speaker took beside that must stay possible.
#[test]
fn limits_of_one_speaker_are_none_here() {
    let all = edited(|all| {
        let spec = all.peer("other-id", "198.51.100.2");
        spec.router_id = "198.51.100.99".to_string();
        spec.my_asn = 65_000;
        all.peer("other-port", "198.51.100.1").peer_port = 1179;
        all.peer("other-vrf", "198.51.100.1").vrf = "red".to_string();
        let spec = all.peer("unnumbered", "");
        spec.interface = "eth1".to_string();
        spec.peer_asn = 0;
        spec.dynamic_asn = "external".to_string();
        spec.dual_stack_address_family = true;
    });
    let all = all.unwrap();
    assert_eq!(all.peers.len(), 5);
    let unnumbered = &all.peers["unnumbered"];
    assert_eq!(unnumbered.end, PeerEnd::Interface("eth1".to_string()));
    assert_eq!(unnumbered.remote_as, RemoteAs::External);
}

#[test]
fn one_router_may_be_two_peers_of_different_nodes() {
    let all = edited(|all| {
        let of = |name| vec![selector("kubernetes.io/hostname", name)];
        all.peers[0].spec.node_selectors = of("node1");
        all.peer("twin", "198.51.100.1").node_selectors = of("node2");
    });
    assert_eq!(all.unwrap().peers.len(), 2);
}

#[test]
fn echo_is_possible_where_no_peer_is_told_ipv6() {
    let all = edited(|all| {
        all.bfd_profiles[0].spec.echo_mode = true;
        all.peers[0].spec.bfd_profile = "fast".to_string();
        all.pool("second", &["2001:db8::/64"]);
        all.bgp_advertisements[0].spec.pools.names = texts(&["pool"]);
    });
    assert!(all.is_ok());
}
