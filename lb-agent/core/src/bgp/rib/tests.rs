//! What the messages make of the peer's table.

use alloc::vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use proptest::prelude::*;

use super::super::wire::Context;
use super::*;

/// Both families, but the peer speaks of IPv4 alone where `ipv4_only`.
fn agreed(ipv4_only: bool) -> Agreed {
    let mut families = vec![Family::IPV4, Family::IPV6];
    families.truncate(if ipv4_only { 1 } else { 2 });
    Agreed {
        context: Context {
            as4: true,
            internal: false,
            families,
            extended: false,
        },
        remote_as: 64502,
        remote_id: Ipv4Addr::new(192, 0, 2, 2),
        hold: Duration::from_secs(90),
        keepalive: Duration::from_secs(30),
        refresh: true,
        enhanced_refresh: true,
        extended_next_hop: false,
        graceful: None,
    }
}

fn net(number: u8) -> IpNet {
    if number.is_multiple_of(3) {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
        return IpAddr::V6(v6).into();
    }
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)).into()
}

/// Four of them can be told, and one is too long for any message.
fn route(number: u8) -> Route {
    let many = if number == 4 { 6000 } else { number.into() };
    Route {
        communities: (0..many).map(|n| (64512, n)).collect(),
        ..Route::default()
    }
}

/// What a peer knows who heard these.
fn hear(table: &mut BTreeMap<IpNet, usize>, updates: &[Update]) {
    for update in updates {
        let attributes = &update.attributes;
        let unreach = attributes.unreach.iter().flat_map(|u| &u.prefixes);
        for prefix in update.withdrawn.iter().chain(unreach) {
            assert!(table.remove(prefix).is_some(), "{prefix} was never told");
        }
        let reach = attributes.reach.iter().flat_map(|r| &r.prefixes);
        for prefix in update.announced.iter().chain(reach) {
            table.insert(*prefix, attributes.communities.len());
        }
    }
}

fn wanted() -> impl Strategy<Value = Routes> {
    let routes = prop::collection::btree_map(0..200_u8, 0..5_u8, 0..200);
    routes.prop_map(|routes| {
        let routes = routes.into_iter();
        routes.map(|(n, r)| (net(n), Arc::new(route(r)))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_peer_knows_what_is_wanted_but_for_what_is_withheld(
        times in prop::collection::vec((wanted(), any::<bool>(), any::<bool>()), 1..8),
        ipv4_only in any::<bool>(),
    ) {
        let agreed = agreed(ipv4_only);
        let endpoints = Endpoints {
            local: Ipv4Addr::new(192, 0, 2, 1).into(),
            remote: Ipv4Addr::new(192, 0, 2, 2).into(),
            v4: None,
            v6: "2001:db8::1".parse().ok(),
            link_local: None,
        };
        let session = Session {
            local_as: 64501,
            agreed: &agreed,
            endpoints: &endpoints,
        };
        let (mut rib, mut table) = (RibOut::default(), BTreeMap::new());
        for (wanted, refreshes, forgets_v6) in times {
            if refreshes {
                let family = if forgets_v6 { Family::IPV6 } else { Family::IPV4 };
                rib.forget(family);
                table.retain(|prefix, _| Family::of(prefix) != family);
            }
            hear(&mut table, &rib.update(&wanted, &session));
            let mut expected = BTreeMap::new();
            for (prefix, route) in &wanted {
                let reason = if ipv4_only && Family::of(prefix) == Family::IPV6 {
                    Some(Withheld::FamilyNotAgreed)
                } else {
                    (route.communities.len() > 100).then_some(Withheld::TooLong)
                };
                prop_assert_eq!(rib.withheld().get(prefix).copied(), reason);
                prop_assert_eq!(rib.sent(prefix).is_some(), reason.is_none());
                if reason.is_none() {
                    expected.insert(*prefix, route.communities.len());
                }
            }
            prop_assert_eq!(&table, &expected);
            prop_assert_eq!(rib.sent_count(), expected.len());
            prop_assert!(rib.update(&wanted, &session).is_empty());
        }
    }
}
