//! What only several objects together can get wrong.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::bgp_advertisement::length_field;
use super::declared::{BgpAdvertisementSpec, Declared, Object, PeerSpec};
use super::refused::Refusals;
use super::{
    AddressRange, BgpAdvertisement, Configuration, LabelSelector, Labels, Peer, Place, Pool, Reason,
};

type Nodes<'a> = [&'a Labels];

pub(super) fn check(
    declared: &Declared,
    nodes: &Nodes<'_>,
    configuration: &Configuration,
    refusals: &mut Refusals,
) {
    overlaps(declared, refusals);
    for object in &declared.bgp_advertisements {
        if let Some(advertisement) = configuration.bgp_advertisements.get(&object.name) {
            aggregation(object, advertisement, declared, refusals);
        }
    }
    local_prefs(declared, nodes, configuration, refusals);
    peers(declared, nodes, configuration, refusals);
    echo(declared, configuration, refusals);
}

/// No address is in two places, in one pool or in two.
fn overlaps(declared: &Declared, refusals: &mut Refusals) {
    let mut seen: Vec<(AddressRange, &str, &str)> = Vec::new();
    for pool in &declared.pools {
        for (index, text) in pool.spec.addresses.iter().enumerate() {
            let Ok(range) = text.parse::<AddressRange>() else {
                continue;
            };
            let other = seen.iter().find(|(other, ..)| other.overlaps(&range));
            if let Some((_, other, pool_of_other)) = other {
                let reason = Reason::Overlap {
                    addresses: text.clone(),
                    other: (*other).to_string(),
                    pool: (*pool_of_other).to_string(),
                };
                refusals.refuse(&pool.place, &format!("addresses[{index}]"), reason);
            }
            seen.push((range, text, &pool.name));
        }
    }
}

/// An aggregate must not reach beyond what its pools have.
fn aggregation(
    object: &Object<BgpAdvertisementSpec>,
    advertisement: &BgpAdvertisement,
    declared: &Declared,
    refusals: &mut Refusals,
) {
    let pools = declared.pools.iter();
    for pool in pools.filter(|pool| advertisement.pools.contains(&pool.name)) {
        for text in &pool.spec.addresses {
            let Ok(range) = text.parse::<AddressRange>() else {
                continue;
            };
            let length = advertisement.length(range.is_ipv4());
            let prefix = range.shortest_prefix();
            if length < prefix {
                let reason = Reason::AggregationTooShort {
                    length,
                    prefix,
                    pool: pool.name.clone(),
                    addresses: text.clone(),
                };
                let field = length_field(range.is_ipv4());
                refusals.refuse(&object.place, field, reason);
            }
        }
    }
}

/// One prefix, one peer, one node: one preference.
fn local_prefs(
    declared: &Declared,
    nodes: &Nodes<'_>,
    configuration: &Configuration,
    refusals: &mut Refusals,
) {
    let all = declared.bgp_advertisements.iter().filter_map(|object| {
        let advertisement = configuration.bgp_advertisements.get(&object.name)?;
        Some((&object.place, advertisement))
    });
    let all: Vec<_> = all.collect();
    for (index, (place, one)) in all.iter().enumerate() {
        let conflict = all[..index].iter().find(|(_, other)| {
            one.local_pref != other.local_pref && may_meet(one, other, nodes, &configuration.pools)
        });
        if let Some((other, advertisement)) = conflict {
            let reason = Reason::LocalPrefConflict {
                local_pref: one.local_pref,
                other: (*other).clone(),
                other_local_pref: advertisement.local_pref,
            };
            refusals.refuse(place, "localPref", reason);
        }
    }
}

/// Whether both can advertise the same prefix to the same peer from the same
/// node. Where Services are selected, that is seen only with them.
fn may_meet(
    one: &BgpAdvertisement,
    other: &BgpAdvertisement,
    nodes: &Nodes<'_>,
    pools: &BTreeMap<String, Pool>,
) -> bool {
    let of_all_services = one.service_selectors.is_empty() && other.service_selectors.is_empty();
    let peers = one.peers.is_empty() || other.peers.is_empty() || {
        one.peers.intersection(&other.peers).next().is_some()
    };
    let mut common = one.pools.intersection(&other.pools);
    let pool = common.any(|name| {
        let ranges = pools.get(name).map_or(&[][..], |pool| &pool.ranges);
        let mut ipv4s = ranges.iter().map(AddressRange::is_ipv4);
        ipv4s.any(|ipv4| one.length(ipv4) == other.length(ipv4))
    });
    let node = share_a_node(&one.node_selectors, &other.node_selectors, nodes);
    of_all_services && peers && pool && node
}

/// Whether a node fits both. As long as no node is known, there may be one.
fn share_a_node(one: &[LabelSelector], other: &[LabelSelector], nodes: &Nodes<'_>) -> bool {
    let fits = |selectors: &[LabelSelector], labels| {
        selectors.is_empty() || LabelSelector::any(selectors, labels)
    };
    nodes.is_empty() || {
        let mut nodes = nodes.iter();
        nodes.any(|labels| fits(one, labels) && fits(other, labels))
    }
}

/// No node has two sessions with one end.
fn peers(
    declared: &Declared,
    nodes: &Nodes<'_>,
    configuration: &Configuration,
    refusals: &mut Refusals,
) {
    let all = declared.peers.iter().filter_map(|object| {
        let peer = configuration.peers.get(&object.name)?;
        Some((object, peer))
    });
    let all: Vec<(&Object<PeerSpec>, &Peer)> = all.collect();
    for (index, (object, peer)) in all.iter().enumerate() {
        let same = |other: &Peer| {
            (&other.end, &other.vrf, other.port) == (&peer.end, &peer.vrf, peer.port)
                && share_a_node(&peer.node_selectors, &other.node_selectors, nodes)
        };
        if let Some((other, _)) = all[..index].iter().find(|(_, other)| same(other)) {
            let field = if object.spec.interface.is_empty() {
                "peerAddress"
            } else {
                "interface"
            };
            let other = other.place.clone();
            refusals.refuse(&object.place, field, Reason::PeerExists { other });
        }
        let profile = peer.bfd_profile.as_ref();
        let missing = profile.filter(|name| !configuration.bfd_profiles.contains_key(*name));
        if let Some(profile) = missing {
            let profile = profile.clone();
            let reason = Reason::BfdProfileMissing { profile };
            refusals.refuse(&object.place, "bfdProfile", reason);
        }
    }
}

/// BFD's echo packets are IPv4 only in what MetalLB runs: a peer that is told
/// IPv6 addresses cannot have them.
fn echo(declared: &Declared, configuration: &Configuration, refusals: &mut Refusals) {
    let has_echo = |peer: &Peer| {
        let profile = peer.bfd_profile.as_ref();
        profile.is_some_and(|name| {
            let profile = configuration.bfd_profiles.get(name);
            profile.is_some_and(|profile| profile.echo_mode)
        })
    };
    let has_ipv6 = |name: &&String| {
        let pool = configuration.pools.get(*name);
        pool.is_some_and(|pool| pool.ranges.iter().any(|range| !range.is_ipv4()))
    };
    for advertisement in configuration.bgp_advertisements.values() {
        let Some(pool) = advertisement.pools.iter().find(has_ipv6) else {
            continue;
        };
        let of_peer = |name| advertisement.peers.is_empty() || advertisement.peers.contains(name);
        for peer in configuration.peers.values() {
            if of_peer(&peer.name) && has_echo(peer) {
                let reason = Reason::EchoWithIpv6 {
                    pool: pool.clone(),
                    advertisement: advertisement.name.clone(),
                    peer: peer.name.clone(),
                };
                let place = place_of(declared, &peer.name);
                if let Some(place) = place {
                    refusals.refuse(place, "bfdProfile", reason);
                }
            }
        }
    }
}

fn place_of<'a>(declared: &'a Declared, peer: &str) -> Option<&'a Place> {
    let mut peers = declared.peers.iter();
    let object = peers.find(|object| object.name == peer)?;
    Some(&object.place)
}
