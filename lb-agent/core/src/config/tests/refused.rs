//! Each rule, broken once: what is said, and that nothing else is.

use super::*;
use crate::config::declared::{PreferenceSpec, Secret, ServiceAllocationSpec};
use crate::config::{Kept, Password};

/// What is changed, and the beginning of what is said.
type Case = (fn(&mut Declared), &'static str);

fn check(cases: &[Case]) {
    for (edit, expected) in cases {
        let refused = edited(edit).expect_err(expected);
        let said: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert!(
            said.len() == 1 && said[0].starts_with(expected),
            "{expected}: {said:#?}"
        );
    }
}

fn allocation(all: &mut Declared) -> &mut ServiceAllocationSpec {
    all.pools[0].spec.service_allocation.get_or_insert_default()
}

#[test]
fn pools() {
    check(&[
        (
            |all| all.pools[0].name.clear(),
            "IPAddressPool pool: metadata.name: missing name",
        ),
        (
            |all| all.pool("pool", &["203.0.113.0/24"]),
            "IPAddressPool pool: metadata.name: duplicate definition",
        ),
        (
            |all| all.pools[0].spec.addresses.clear(),
            "IPAddressPool pool: spec.addresses: pool has no prefixes defined",
        ),
        (
            |all| all.pool("second", &["203.0.113.0/24", "203.0.113.7"]),
            "IPAddressPool second: spec.addresses[1]: invalid CIDR or IP range: \"203.0.113.7\" is \
             neither",
        ),
        (
            |all| all.pool("second", &["203.0.113.0/33"]),
            "IPAddressPool second: spec.addresses[0]: invalid CIDR or IP range: the prefix length",
        ),
        (
            |all| all.pool("second", &["203.0.113.1-203.0.113.256"]),
            "IPAddressPool second: spec.addresses[0]: invalid CIDR or IP range: \"203.0.113.256\" \
             is not an IP address",
        ),
        (
            |all| all.pool("second", &["203.0.113.9-203.0.113.8"]),
            "IPAddressPool second: spec.addresses[0]: invalid CIDR or IP range: the start \
             203.0.113.9 is after the end 203.0.113.8",
        ),
        (
            |all| all.pool("second", &["203.0.113.9-2001:db8::1"]),
            "IPAddressPool second: spec.addresses[0]: invalid CIDR or IP range: 203.0.113.9 and \
             2001:db8::1 are of different families",
        ),
        (
            |all| all.pool("second", &["192.0.2.200-192.0.3.1"]),
            "IPAddressPool second: spec.addresses[0]: \"192.0.2.200-192.0.3.1\" overlaps with \
             already defined \"192.0.2.0/24\" of pool \"pool\"",
        ),
        (
            |all| all.pool("second", &["2001:db8::/64", "2001:db8::7/128"]),
            "IPAddressPool second: spec.addresses[1]: \"2001:db8::7/128\" overlaps with already \
             defined \"2001:db8::/64\" of pool \"second\"",
        ),
    ]);
}

#[test]
fn which_services_a_pool_is_for() {
    check(&[
        (
            |all| allocation(all).namespaces = texts(&["a", "b", "a"]),
            "IPAddressPool pool: spec.serviceAllocation.namespaces[2]: duplicate definition of \"a\"",
        ),
        (
            |all| {
                allocation(all).namespace_selectors = vec![selector("a", "b"), selector("a", "b")];
            },
            "IPAddressPool pool: spec.serviceAllocation.namespaceSelectors[1]: duplicate definition \
             of a=b",
        ),
        (
            |all| allocation(all).service_selectors = vec![requirement("a", "In", &[])],
            "IPAddressPool pool: spec.serviceAllocation.serviceSelectors[0]: invalid label \
             selector: In for a needs values",
        ),
        (
            |all| allocation(all).namespace_selectors = vec![selector("a b", "c")],
            "IPAddressPool pool: spec.serviceAllocation.namespaceSelectors[0]: invalid label \
             selector: \"a b\" cannot be the key of a label",
        ),
    ]);
}

fn l2(all: &mut Declared) -> &mut L2AdvertisementSpec {
    &mut all.l2_advertisements[0].spec
}

#[test]
fn l2_advertisements() {
    check(&[
        (
            |all| l2(all).pools.names = texts(&["pool", "pool"]),
            "L2Advertisement l2: spec.ipAddressPools[1]: duplicate definition of \"pool\"",
        ),
        (
            |all| l2(all).pools.selectors = vec![requirement("a", "Equals", &["b"])],
            "L2Advertisement l2: spec.ipAddressPoolSelectors[0]: invalid label selector: the \
             operator for a is \"Equals\"",
        ),
        (
            |all| l2(all).pools.selectors = vec![selector("a", "b"), selector("a", "b")],
            "L2Advertisement l2: spec.ipAddressPoolSelectors[1]: duplicate definition of a=b",
        ),
        (
            |all| l2(all).node_selectors = vec![selector("a", "b"), selector("a", "b")],
            "L2Advertisement l2: spec.nodeSelectors[1]: duplicate definition of a=b",
        ),
        (
            |all| l2(all).node_selectors = vec![requirement("a", "Exists", &["b"])],
            "L2Advertisement l2: spec.nodeSelectors[0]: invalid label selector: Exists for a takes \
             no values",
        ),
        (
            |all| l2(all).service_selectors = vec![selector("a", "-")],
            "L2Advertisement l2: spec.serviceSelectors[0]: invalid label selector: \"-\" cannot",
        ),
        (
            |all| {
                l2(all).preferred_node_selectors = vec![PreferenceSpec {
                    weight: 101,
                    preference: selector("a", "b"),
                }];
            },
            "L2Advertisement l2: spec.preferredNodeSelectors[0].weight: invalid weight 101, must \
             be in 1-100 range",
        ),
    ]);
}

fn bgp(all: &mut Declared) -> &mut BgpAdvertisementSpec {
    &mut all.bgp_advertisements[0].spec
}

#[test]
fn bgp_advertisements() {
    check(&[
        (
            |all| bgp(all).aggregation_length = Some(33),
            "BGPAdvertisement bgp: spec.aggregationLength: invalid aggregation length 33 for IPv4",
        ),
        (
            |all| bgp(all).aggregation_length = Some(0),
            "BGPAdvertisement bgp: spec.aggregationLength: invalid aggregation length 0 for IPv4",
        ),
        (
            |all| bgp(all).aggregation_length_v6 = Some(129),
            "BGPAdvertisement bgp: spec.aggregationLengthV6: invalid aggregation length 129 for IPv6",
        ),
        (
            |all| bgp(all).aggregation_length = Some(23),
            "BGPAdvertisement bgp: spec.aggregationLength: invalid aggregation length 23: prefix \
             24 in pool \"pool\" is more specific",
        ),
        (
            |all| {
                all.pool("second", &["2001:db8::/64"]);
                bgp(all).aggregation_length_v6 = Some(63);
            },
            "BGPAdvertisement bgp: spec.aggregationLengthV6: invalid aggregation length 63: prefix 64",
        ),
        (
            |all| {
                bgp(all).aggregation_length = Some(24);
                bgp(all).service_selectors = vec![selector("a", "b")];
            },
            "BGPAdvertisement bgp: spec.serviceSelectors: serviceSelectors and aggregationLength \
             are mutually exclusive",
        ),
        (
            |all| bgp(all).peers = texts(&["peer", "peer"]),
            "BGPAdvertisement bgp: spec.peers[1]: duplicate definition of \"peer\"",
        ),
        (
            |all| bgp(all).pools.names = texts(&["pool", "pool"]),
            "BGPAdvertisement bgp: spec.ipAddressPools[1]: duplicate definition of \"pool\"",
        ),
        (
            |all| bgp(all).node_selectors = vec![selector("a", "b"), selector("a", "b")],
            "BGPAdvertisement bgp: spec.nodeSelectors[1]: duplicate definition of a=b",
        ),
    ]);
}

#[test]
fn communities() {
    check(&[
        (
            |all| bgp(all).communities = texts(&["65536:1"]),
            "BGPAdvertisement bgp: spec.communities[0]: invalid community value \"65536:1\"",
        ),
        (
            |all| bgp(all).communities = texts(&["1:2:3"]),
            "BGPAdvertisement bgp: spec.communities[0]: invalid community value \"1:2:3\"",
        ),
        (
            |all| bgp(all).communities = texts(&["large:1:2"]),
            "BGPAdvertisement bgp: spec.communities[0]: invalid community value \"large:1:2\"",
        ),
        (
            |all| bgp(all).communities = texts(&["large:1:2:+3"]),
            "BGPAdvertisement bgp: spec.communities[0]: invalid community value \"large:1:2:+3\"",
        ),
        (
            |all| bgp(all).communities = texts(&["no-such"]),
            "BGPAdvertisement bgp: spec.communities[0]: invalid community format \"no-such\": it \
             is no community, and no Community object defines",
        ),
        (
            |all| bgp(all).communities = texts(&["65535:65281", "no-export"]),
            "BGPAdvertisement bgp: spec.communities[1]: duplicate definition of community \
             \"no-export\"",
        ),
        (
            |all| {
                let again = all.communities[0].spec.clone();
                let again = object(Kind::Community, "more", again);
                all.communities.push(again);
            },
            "Community names: spec.communities[0].name: duplicate definition of community \
             \"no-export\": Community more has it too",
        ),
        (
            |all| all.communities[0].spec.aliases[0].1 = "no-export".to_string(),
            "Community names: spec.communities[0].value: invalid community value \"no-export\"",
        ),
    ]);
}

/// A second advertisement with another preference.
fn rival(all: &mut Declared) -> &mut BgpAdvertisementSpec {
    bgp(all).local_pref = 100;
    let rival = all.bgp("rival");
    rival.local_pref = 200;
    rival
}

#[test]
fn two_preferences_for_one_prefix() {
    let said = "BGPAdvertisement rival: spec.localPref: invalid local preference 200: local \
                preference 100 was already set for the same type of BGP update by \
                BGPAdvertisement bgp";
    check(&[
        (|all| rival(all).local_pref = 200, said),
        (|all| rival(all).peers = texts(&["peer"]), said),
        (|all| rival(all).pools.names = texts(&["pool"]), said),
        // Pools of IPv4 alone do not care for the other length.
        (|all| rival(all).aggregation_length_v6 = Some(64), said),
        (
            |all| rival(all).node_selectors = vec![selector("kubernetes.io/hostname", "node2")],
            said,
        ),
    ]);
    let apart: [fn(&mut Declared); 5] = [
        |all| {
            bgp(all).peers = texts(&["other"]);
            rival(all).peers = texts(&["peer"]);
        },
        |all| rival(all).aggregation_length = Some(24),
        |all| rival(all).service_selectors = vec![selector("a", "b")],
        |all| rival(all).node_selectors = vec![selector("kubernetes.io/hostname", "no-such-node")],
        |all| {
            all.pool("second", &["203.0.113.0/24"]);
            bgp(all).pools.names = texts(&["pool"]);
            rival(all).pools.names = texts(&["second"]);
        },
    ];
    for (index, edit) in apart.into_iter().enumerate() {
        assert!(edited(edit).is_ok(), "{index}");
    }
}

fn peer(all: &mut Declared) -> &mut PeerSpec {
    &mut all.peers[0].spec
}

#[test]
fn peers() {
    check(&[
        (
            |all| peer(all).my_asn = 0,
            "BGPPeer peer: spec.myASN: missing local ASN",
        ),
        (
            |all| peer(all).peer_asn = 0,
            "BGPPeer peer: spec.peerASN: missing peer ASN and dynamicASN",
        ),
        (
            |all| peer(all).dynamic_asn = "external".to_string(),
            "BGPPeer peer: spec.dynamicASN: both peer ASN and dynamicASN specified",
        ),
        (
            |all| {
                peer(all).peer_asn = 0;
                peer(all).dynamic_asn = "auto".to_string();
            },
            "BGPPeer peer: spec.dynamicASN: invalid dynamicASN \"auto\"",
        ),
        (
            |all| {
                peer(all).peer_asn = peer(all).my_asn;
                peer(all).ebgp_multi_hop = true;
            },
            "BGPPeer peer: spec.ebgpMultiHop: invalid ebgp-multihop parameter set for an ibgp peer",
        ),
        (
            |all| peer(all).peer_address.clear(),
            "BGPPeer peer: spec.peerAddress: peer has no Address or Interface specified",
        ),
        (
            |all| peer(all).interface = "eth0".to_string(),
            "BGPPeer peer: spec.interface: peer has both Address and Interface specified",
        ),
        (
            |all| peer(all).peer_address = "router.example".to_string(),
            "BGPPeer peer: spec.peerAddress: \"router.example\" is not an IP address",
        ),
        (
            |all| peer(all).source_address = "192.0.2".to_string(),
            "BGPPeer peer: spec.sourceAddress: \"192.0.2\" is not an IP address",
        ),
        (
            |all| peer(all).router_id = "7".to_string(),
            "BGPPeer peer: spec.routerID: \"7\" is not an IP address",
        ),
        (
            |all| peer(all).router_id = "2001:db8::7".to_string(),
            "BGPPeer peer: spec.routerID: invalid router ID 2001:db8::7",
        ),
        (
            |all| peer(all).node_selectors = vec![selector("a", "b"), selector("a", "b")],
            "BGPPeer peer: spec.nodeSelectors[1]: duplicate definition of a=b",
        ),
        (
            |all| peer(all).bfd_profile = "slow".to_string(),
            "BGPPeer peer: spec.bfdProfile: peer is referencing non existing bfd profile \"slow\"",
        ),
        (
            |all| all.peer("twin", "198.51.100.1").my_asn = 64_513,
            "BGPPeer twin: spec.peerAddress: peer already exists: BGPPeer peer has the same",
        ),
        (
            |all| {
                let selectors = vec![selector("kubernetes.io/hostname", "node1")];
                all.peer("twin", "198.51.100.1").node_selectors = selectors;
            },
            "BGPPeer twin: spec.peerAddress: peer already exists: BGPPeer peer has the same",
        ),
    ]);
}

#[test]
fn times_of_peers() {
    fn times(all: &mut Declared, hold: &str, keepalive: &str) {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_string());
        peer(all).hold_time = said(hold);
        peer(all).keepalive_time = said(keepalive);
    }
    check(&[
        (
            |all| times(all, "2s", ""),
            "BGPPeer peer: spec.holdTime: invalid hold time \"2s\": must be 0 or >=3s",
        ),
        (
            |all| times(all, "2999ms", ""),
            "BGPPeer peer: spec.holdTime: invalid hold time \"2999ms\"",
        ),
        (
            |all| times(all, "19h", ""),
            "BGPPeer peer: spec.holdTime: invalid hold time \"19h\"",
        ),
        (
            |all| times(all, "90", ""),
            "BGPPeer peer: spec.holdTime: \"90\" is not a duration",
        ),
        (
            |all| times(all, "-3s", ""),
            "BGPPeer peer: spec.holdTime: \"-3s\" is not a duration",
        ),
        (
            |all| times(all, "9s", "10s"),
            "BGPPeer peer: spec.keepaliveTime: invalid keepaliveTime \"10s\", must be lower than \
             holdTime \"9s\"",
        ),
        (
            |all| times(all, "", "500ms"),
            "BGPPeer peer: spec.keepaliveTime: invalid hold time \"500ms\"",
        ),
        (
            |all| peer(all).connect_time = Some("0s".to_string()),
            "BGPPeer peer: spec.connectTime: invalid connect time \"0s\"",
        ),
        (
            |all| peer(all).connect_time = Some("1500ms".to_string()),
            "BGPPeer peer: spec.connectTime: invalid connect time \"1500ms\"",
        ),
        (
            |all| peer(all).connect_time = Some("65536s".to_string()),
            "BGPPeer peer: spec.connectTime: invalid connect time \"65536s\"",
        ),
    ]);
}

/// The peer has a Secret, of this type and with this password.
fn secret(all: &mut Declared, kind: &str, password: Option<&str>) {
    peer(all).password_secret = "bgp".to_string();
    let secret = Secret {
        kind: kind.to_string(),
        password: password.map(|text| Password::new(text.to_string())),
    };
    all.secrets.insert("bgp".to_string(), secret);
}

#[test]
fn passwords_of_peers() {
    check(&[
        (
            |all| peer(all).password_secret = "bgp".to_string(),
            "BGPPeer peer: spec.passwordSecret: secret ref not found: there is no Secret \"bgp\"",
        ),
        (
            |all| secret(all, "Opaque", Some("x")),
            "BGPPeer peer: spec.passwordSecret: secret type mismatch on \"bgp\": type \"Opaque\", \
             but \"kubernetes.io/basic-auth\" is expected",
        ),
        (
            |all| secret(all, "kubernetes.io/basic-auth", None),
            "BGPPeer peer: spec.passwordSecret: password not specified in the secret \"bgp\"",
        ),
        (
            |all| {
                secret(all, "kubernetes.io/basic-auth", Some("x"));
                peer(all).password = Password::new("y".to_string());
            },
            "BGPPeer peer: spec.passwordSecret: can not have both password and secret ref",
        ),
    ]);
}

#[test]
fn bfd_profiles() {
    fn profile(all: &mut Declared) -> &mut BfdProfileSpec {
        &mut all.bfd_profiles[0].spec
    }
    let said = "BFDProfile fast: spec.receiveInterval: invalid value 9, must be in 10-60000 range";
    check(&[
        (|all| profile(all).receive_interval = Some(9), said),
        (
            |all| profile(all).transmit_interval = Some(60_001),
            "BFDProfile fast: spec.transmitInterval: invalid value 60001, must be in 10-60000 range",
        ),
        (
            |all| profile(all).echo_interval = Some(0),
            "BFDProfile fast: spec.echoInterval: invalid value 0, must be in 10-60000 range",
        ),
        (
            |all| profile(all).detect_multiplier = Some(256),
            "BFDProfile fast: spec.detectMultiplier: invalid value 256, must be in 2-255 range",
        ),
        (
            |all| profile(all).minimum_ttl = Some(255),
            "BFDProfile fast: spec.minimumTtl: invalid value 255, must be in 1-254 range",
        ),
        (
            |all| {
                profile(all).echo_mode = true;
                peer(all).bfd_profile = "fast".to_string();
                all.pool("second", &["2001:db8::/64"]);
            },
            "BGPPeer peer: spec.bfdProfile: pool \"second\" has bgpadvertisement \"bgp\" which \
             references peer \"peer\" which has bfd echo enabled",
        ),
    ]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let refused = edited(|all| {
        all.pool("second", &["x", "y-z"]);
        peer(all).my_asn = 0;
        bgp(all).communities = texts(&["no-such"]);
    });
    let refused = refused.expect_err("four mistakes");
    let names: Vec<_> = refused.iter().map(|r| r.reason.name()).collect();
    assert_eq!(names, ["Range", "Range", "CommunityUnknown", "NoLocalAsn"]);
    let may_pass: Vec<_> = refused.iter().map(|r| r.reason.may_pass()).collect();
    assert_eq!(may_pass, [false, false, true, false]);
}

#[test]
fn the_last_good_configuration_is_kept_as_a_whole() {
    let none = Kept::default();
    let mut declared = good();
    let first = none.with(&declared, &[]);
    assert!(first.good.is_some() && first.refused.is_empty());
    // Good by itself, but with something that is not.
    declared.pool("second", &["203.0.113.0/24"]);
    peer(&mut declared).my_asn = 0;
    let stale = first.with(&declared, &[]);
    assert_eq!(stale.good, first.good);
    assert_eq!(stale.refused.len(), 1);
    peer(&mut declared).my_asn = 64_513;
    let second = stale.with(&declared, &[]);
    let pools = second.good.expect("it is good again").pools.len();
    assert_eq!((pools, second.refused.len()), (2, 0));
    // Before there was a good one there is none, not an empty one.
    peer(&mut declared).my_asn = 0;
    assert_eq!(none.with(&declared, &[]).good, None);
}
