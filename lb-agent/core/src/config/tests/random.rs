//! Whatever objects say: an answer, the same one in any order of them.

use alloc::collections::BTreeMap;

use proptest::collection::vec as many;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::config::Password;
use crate::config::declared::{PoolsSpec, PreferenceSpec, Secret, ServiceAllocationSpec};

/// Right ones, wrong ones, and anything.
fn text(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(of).prop_map(ToString::to_string),
        1 => ".{0,12}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    text(&["a", "b", "c", ""])
}

fn selectors() -> impl Strategy<Value = Vec<SelectorSpec>> {
    let labels = many((name(), name()), 0..2).prop_map(|all| all.into_iter().collect());
    let operator = text(&["In", "NotIn", "Exists", "DoesNotExist"]);
    let requirement = (name(), operator, many(name(), 0..2));
    let requirement = requirement.prop_map(|(key, operator, values)| RequirementSpec {
        key,
        operator,
        values,
    });
    let selector = (labels, many(requirement, 0..2));
    let selector = selector.prop_map(|(match_labels, match_expressions)| SelectorSpec {
        match_labels,
        match_expressions,
    });
    many(selector, 0..3)
}

fn pools_of() -> impl Strategy<Value = PoolsSpec> {
    (many(name(), 0..3), selectors()).prop_map(|(names, selectors)| PoolsSpec { names, selectors })
}

fn pool() -> impl Strategy<Value = PoolSpec> {
    let addresses = text(&[
        "192.0.2.0/24",
        "203.0.113.7-203.0.113.90",
        "0.0.0.0/0",
        "255.255.255.255/32",
        "::/0",
        "2001:db8::-2001:db8::ffff",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        "::ffff:192.0.2.1/120",
        "1-2-3",
        "/",
    ]);
    let allocation = (any::<i64>(), many(name(), 0..3), selectors(), selectors());
    let allocation = allocation.prop_map(|(priority, namespaces, of_namespaces, of_services)| {
        ServiceAllocationSpec {
            priority,
            namespaces,
            namespace_selectors: of_namespaces,
            service_selectors: of_services,
        }
    });
    (
        many(addresses, 0..4),
        any::<Option<bool>>(),
        any::<bool>(),
        option::of(allocation),
    )
        .prop_map(
            |(addresses, auto_assign, avoid_buggy_ips, allocation)| PoolSpec {
                addresses,
                auto_assign,
                avoid_buggy_ips,
                service_allocation: allocation,
            },
        )
}

fn l2() -> impl Strategy<Value = L2AdvertisementSpec> {
    let preferences = (any::<i32>(), selectors()).prop_map(|(weight, mut selectors)| {
        let preference = selectors.pop().unwrap_or_default();
        PreferenceSpec { weight, preference }
    });
    let lists = (selectors(), many(name(), 0..3), selectors());
    (pools_of(), lists, many(preferences, 0..3)).prop_map(
        |(pools, (node_selectors, interfaces, service_selectors), preferences)| {
            L2AdvertisementSpec {
                pools,
                node_selectors,
                interfaces,
                service_selectors,
                preferred_node_selectors: preferences,
            }
        },
    )
}

fn bgp() -> impl Strategy<Value = BgpAdvertisementSpec> {
    let length = || prop_oneof![-1..130, any::<i32>()];
    let community = text(&["1:2", "a", "large:1:2:3", "large:", ":", "65536:0"]);
    (
        pools_of(),
        option::of(length()),
        option::of(length()),
        0_u32..3,
        many(community, 0..3),
        (many(name(), 0..3), selectors(), selectors()),
    )
        .prop_map(|(pools, v4, v6, local_pref, communities, lists)| {
            let (peers, node_selectors, service_selectors) = lists;
            BgpAdvertisementSpec {
                pools,
                aggregation_length: v4,
                aggregation_length_v6: v6,
                local_pref,
                communities,
                peers,
                node_selectors,
                service_selectors,
            }
        })
}

fn peer() -> impl Strategy<Value = PeerSpec> {
    let time = || {
        option::of(text(&[
            "0s",
            "3s",
            "90s",
            "1m30.5s",
            "-1s",
            "99999999999h",
            "1",
            "",
        ]))
    };
    let address = || text(&["", "198.51.100.1", "2001:db8::1", "::ffff:1.2.3.4", "x"]);
    (
        (
            0_u32..3,
            0_u32..3,
            any::<u32>(),
            text(&["", "internal", "x"]),
        ),
        (address(), name(), address(), any::<u16>(), address()),
        (time(), time(), time(), selectors()),
        (name(), name(), name(), name()),
        any::<[bool; 3]>(),
    )
        .prop_map(|(asns, places, times, names, flags)| PeerSpec {
            my_asn: asns.0,
            peer_asn: asns.1,
            local_asn: asns.2,
            dynamic_asn: asns.3,
            peer_address: places.0,
            interface: places.1,
            source_address: places.2,
            peer_port: places.3,
            router_id: places.4,
            hold_time: times.0,
            keepalive_time: times.1,
            connect_time: times.2,
            node_selectors: times.3,
            password: Password::new(names.0),
            password_secret: names.1,
            bfd_profile: names.2,
            vrf: names.3,
            graceful_restart: flags[0],
            ebgp_multi_hop: flags[1],
            dual_stack_address_family: flags[2],
        })
}

fn bfd() -> impl Strategy<Value = BfdProfileSpec> {
    let number = || option::of(prop_oneof![0_u32..300, any::<u32>()]);
    let numbers = (number(), number(), number(), number(), number());
    (numbers, any::<[bool; 2]>()).prop_map(|(numbers, flags)| BfdProfileSpec {
        receive_interval: numbers.0,
        transmit_interval: numbers.1,
        detect_multiplier: numbers.2,
        echo_interval: numbers.3,
        minimum_ttl: numbers.4,
        echo_mode: flags[0],
        passive_mode: flags[1],
    })
}

fn objects<T: core::fmt::Debug + Clone>(
    kind: Kind,
    spec: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<Object<T>>> {
    let named = (name(), spec).prop_map(move |(name, spec)| object(kind, &name, spec));
    many(named, 0..4)
}

fn declared() -> impl Strategy<Value = Declared> {
    let aliases = many((name(), text(&["1:2", "a", "large:1:2:3"])), 0..3);
    let aliases = aliases.prop_map(|aliases| CommunitySpec { aliases });
    let secret = (name(), option::of(name())).prop_map(|(kind, password)| Secret {
        kind,
        password: password.map(Password::new),
    });
    (
        objects(Kind::IpAddressPool, pool()),
        objects(Kind::L2Advertisement, l2()),
        objects(Kind::BgpAdvertisement, bgp()),
        objects(Kind::BgpPeer, peer()),
        objects(Kind::Community, aliases),
        objects(Kind::BfdProfile, bfd()),
        many((name(), secret), 0..3),
    )
        .prop_map(
            |(pools, l2, bgp, peers, communities, bfd, secrets)| Declared {
                pools,
                l2_advertisements: l2,
                bgp_advertisements: bgp,
                peers,
                communities,
                bfd_profiles: bfd,
                secrets: secrets.into_iter().collect::<BTreeMap<_, _>>(),
                refused: Vec::new(),
            },
        )
}

proptest! {
    #[test]
    fn anything_has_an_answer(declared in declared()) {
        match read(&declared) {
            Ok(all) => {
                for pool in all.pools.values() {
                    prop_assert!(!pool.ranges.is_empty());
                    let first = pool.ranges[0].first();
                    let elsewhere = all.pools.values().filter(|other| other.name != pool.name);
                    for other in elsewhere {
                        prop_assert!(!other.contains(first), "{} is in two pools", first);
                    }
                }
            }
            Err(refused) => {
                prop_assert!(!refused.is_empty());
                for refused in refused {
                    prop_assert!(!refused.to_string().is_empty());
                    prop_assert!(!refused.reason.name().is_empty());
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_objects_does_not_matter(declared in declared()) {
        let mut turned = declared.clone();
        turned.pools.reverse();
        turned.l2_advertisements.reverse();
        turned.bgp_advertisements.reverse();
        turned.peers.reverse();
        turned.communities.reverse();
        turned.bfd_profiles.reverse();
        let unique = |names: Vec<&String>| {
            let mut sorted = names.clone();
            sorted.sort();
            sorted.dedup();
            sorted.len() == names.len()
        };
        // Of two with one name, either may be the second.
        prop_assume!(unique(declared.pools.iter().map(|o| &o.name).collect()));
        prop_assume!(unique(declared.l2_advertisements.iter().map(|o| &o.name).collect()));
        prop_assume!(unique(declared.bgp_advertisements.iter().map(|o| &o.name).collect()));
        prop_assume!(unique(declared.peers.iter().map(|o| &o.name).collect()));
        prop_assume!(unique(declared.communities.iter().map(|o| &o.name).collect()));
        prop_assume!(unique(declared.bfd_profiles.iter().map(|o| &o.name).collect()));
        prop_assert_eq!(read(&declared), read(&turned));
    }
}
