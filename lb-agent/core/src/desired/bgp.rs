//! Which prefixes which routers are told by this node: MetalLB's decision
//! (`speaker/bgp_controller.go`).
//!
//! A Service's addresses are told by a node if an advertisement for their pool
//! selects the node and the Service, the node's network is up, it is not
//! excluded, and an endpoint can be used: anywhere, or, with
//! `externalTrafficPolicy: Local`, on this node.

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::Vip;
use crate::bgp::rib::{Route, Routes};
use crate::bgp::wire::Family;
use crate::bgp::{self, Graceful, RemoteAs};
use crate::config::{
    self, BfdProfile, BgpAdvertisement, Community, Configuration, LabelSelector, PeerEnd,
};
use crate::ipam::{Assignment, served};
use crate::model::{Inputs, Node, Service, ServiceName, Slice, TrafficPolicy};
use crate::problem::Problem;
use crate::shared::SharedMap;

/// MetalLB's own default (RFC 4271 suggests the same).
const HOLD_S: u16 = 90;
/// FRR's, behind MetalLB: how long a router keeps our routes.
const RESTART_S: u16 = 120;
/// Routers need a moment to take another way.
const DRAIN: Duration = Duration::from_secs(5);

/// A router that this node has a session with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    pub peer: config::Peer,
    pub bfd: Option<BfdProfile>,
    /// What is to be agreed on; the shell knows whether it was started anew.
    pub session: bgp::Config,
    pub prefixes: BTreeMap<IpNet, Prefix>,
    /// This node is to be left alone.
    pub leaving: bool,
}

/// What a router is told, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    pub route: Route,
    pub vips: BTreeSet<IpAddr>,
    pub services: BTreeSet<ServiceName>,
}

/// By the peers' names.
pub type BgpPeers = BTreeMap<String, Arc<BgpPeer>>;

impl BgpPeer {
    /// The routes of those prefixes of which a VIP is ready.
    #[must_use]
    pub fn routes(&self, ready: impl Fn(IpAddr) -> bool) -> Routes {
        let prefixes = self.prefixes.iter();
        let ready = prefixes.filter(|(_, prefix)| prefix.vips.iter().any(|vip| ready(*vip)));
        ready
            .map(|(net, prefix)| (*net, prefix.route.clone()))
            .collect()
    }
}

pub(super) fn peers(
    inputs: &Inputs,
    assignment: &Assignment,
    vips: &SharedMap<IpAddr, Arc<Vip>>,
    problems: &mut Vec<Problem>,
) -> BgpPeers {
    let node = inputs.facts.nodes.get(&inputs.this_node);
    let (Some(config), Some(node)) = (&inputs.facts.config.good, node) else {
        return BgpPeers::new();
    };
    let selected = |selectors: &[LabelSelector]| {
        selectors.is_empty() || LabelSelector::any(selectors, &node.labels)
    };
    let peers = config.peers.values();
    let peers = peers.filter(|peer| selected(&peer.node_selectors));
    let mut peers: BTreeMap<String, BgpPeer> = peers
        .map(|peer| (peer.name.clone(), BgpPeer::of(peer, node, config)))
        .collect();
    if peers.is_empty() || !node.may_own() {
        return peers
            .into_iter()
            .map(|(name, p)| (name, p.into()))
            .collect();
    }
    let advertisements = config.bgp_advertisements.values();
    let advertisements = advertisements.filter(|a| selected(&a.node_selectors));
    let advertisements: Vec<_> = advertisements.collect();
    for service in inputs.facts.services.values() {
        let served = served(inputs.facts.origin, service, assignment);
        let served = served.iter().map(IpAddr::to_canonical);
        let served: Vec<_> = served.filter(|vip| vips.contains_key(vip)).collect();
        let offer = Offer {
            service,
            served: &served,
            advertisements: fitting(service, &served, &advertisements, config),
        };
        let slices = inputs.facts.slices.get(&service.name);
        if offer.advertisements.is_empty() || !usable(service, slices.map(|s| &***s), node) {
            continue;
        }
        if offer.conflicts() {
            let service = service.name.clone();
            problems.push(Problem::LocalPrefsDiffer { service });
            continue;
        }
        offer.add_to(&mut peers);
    }
    peers
        .into_iter()
        .map(|(name, p)| (name, p.into()))
        .collect()
}

/// The advertisements for a Service's addresses, which must be of one pool.
fn fitting<'a>(
    service: &Service,
    served: &[IpAddr],
    all: &[&'a BgpAdvertisement],
    config: &Configuration,
) -> Vec<&'a BgpAdvertisement> {
    let has = |pool: &&config::Pool, vip| pool.ranges.iter().any(|range| range.contains(vip));
    let mut pools = config.pools.values();
    let pool = pools.find(|pool| served.iter().all(|vip| has(pool, *vip)));
    let Some(pool) = pool.filter(|_| !served.is_empty()) else {
        return Vec::new();
    };
    let fits = |advertisement: &&&BgpAdvertisement| {
        let selectors = &advertisement.service_selectors;
        advertisement.pools.contains(&pool.name)
            && (selectors.is_empty() || LabelSelector::any(selectors, &service.labels))
    };
    all.iter().filter(fits).copied().collect()
}

/// Whether there is an endpoint that new flows or old ones may go to.
fn usable(service: &Service, slices: Option<&[Slice]>, node: &Node) -> bool {
    let endpoints = slices
        .into_iter()
        .flatten()
        .flat_map(|slice| &slice.endpoints);
    let mut usable = endpoints.filter(|e| e.conditions.ready || e.conditions.serving);
    match service.traffic_policy {
        TrafficPolicy::Cluster => usable.next().is_some(),
        TrafficPolicy::Local => usable.any(|e| e.node.as_ref() == Some(&node.name)),
    }
}

/// A Service's addresses, with what is to be said of them.
struct Offer<'a> {
    service: &'a Service,
    served: &'a [IpAddr],
    advertisements: Vec<&'a BgpAdvertisement>,
}

impl Offer<'_> {
    /// Whether two would say different preferences of one prefix to one peer.
    /// Those that select no Services are compared when they are read.
    fn conflicts(&self) -> bool {
        let all = self.advertisements.iter().enumerate();
        all.into_iter().any(|(index, one)| {
            self.advertisements[..index].iter().any(|other| {
                let families = self.served.iter().map(IpAddr::is_ipv4);
                let mut families = families.map(|ipv4| one.length(ipv4) == other.length(ipv4));
                let peers = one.peers.is_empty()
                    || other.peers.is_empty()
                    || !one.peers.is_disjoint(&other.peers);
                one.local_pref != other.local_pref && peers && families.any(|same| same)
            })
        })
    }

    fn add_to(&self, peers: &mut BTreeMap<String, BgpPeer>) {
        for advertisement in &self.advertisements {
            let told = |name: &String| {
                advertisement.peers.is_empty() || advertisement.peers.contains(name)
            };
            for (_, peer) in peers.iter_mut().filter(|(name, _)| told(name)) {
                for vip in self.served {
                    let length = advertisement.length(vip.is_ipv4());
                    let Ok(net) = IpNet::new(*vip, length) else {
                        continue;
                    };
                    let prefix = peer.prefixes.entry(net.trunc()).or_default();
                    prefix.vips.insert(*vip);
                    prefix.services.insert(self.service.name.clone());
                    prefix.route.add(advertisement);
                }
            }
        }
    }
}

impl Route {
    /// Communities of all advertisements together; the preference of the first.
    fn add(&mut self, advertisement: &BgpAdvertisement) {
        let said = Some(advertisement.local_pref).filter(|value| *value != 0);
        self.local_pref = self.local_pref.or(said);
        for community in &advertisement.communities {
            match *community {
                Community::Standard(high, low) => insert(&mut self.communities, (high, low)),
                Community::Large(a, b, c) => insert(&mut self.large_communities, (a, b, c)),
            }
        }
    }
}

/// Into a sorted list, once.
fn insert<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(at) = list.binary_search(&value) {
        list.insert(at, value);
    }
}

impl BgpPeer {
    fn of(peer: &config::Peer, node: &Node, config: &Configuration) -> Self {
        let timers = peer.timers;
        let graceful = peer.graceful_restart.then_some(Graceful {
            time_s: RESTART_S,
            restarted: false,
            preserved: true,
        });
        let session = bgp::Config {
            local_as: peer.local_asn.unwrap_or(peer.my_asn).get(),
            remote_as: match peer.remote_as {
                config::RemoteAs::Number(number) => RemoteAs::Number(number.get()),
                config::RemoteAs::Internal => RemoteAs::Internal,
                config::RemoteAs::External => RemoteAs::External,
            },
            id: peer.router_id.unwrap_or_else(|| router_id(node)),
            hold_s: timers.map_or(HOLD_S, |timers| timers.hold_s),
            keepalive_s: timers.map(|timers| timers.keepalive_s),
            connect_retry: peer.connect_s.map(|s| Duration::from_secs(s.into())),
            families: families(peer),
            graceful,
            drain: DRAIN,
        };
        let profile = peer.bfd_profile.as_ref();
        Self {
            bfd: profile.and_then(|name| config.bfd_profiles.get(name).cloned()),
            peer: peer.clone(),
            session,
            prefixes: BTreeMap::new(),
            leaving: node.excluded,
        }
    }
}

/// That of the peer's address, or both (MetalLB's default since 0.15).
fn families(peer: &config::Peer) -> Vec<Family> {
    match peer.end {
        PeerEnd::Address(_) if peer.dual_stack_address_family => {
            [Family::IPV4, Family::IPV6].into()
        }
        PeerEnd::Address(IpAddr::V4(_)) => [Family::IPV4].into(),
        PeerEnd::Address(IpAddr::V6(_)) => [Family::IPV6].into(),
        PeerEnd::Interface(_) => [Family::IPV4, Family::IPV6].into(),
    }
}

/// The node's first IPv4 address; where it has none, a number that its name
/// gives (RFC 6286: it need not be an address).
fn router_id(node: &Node) -> Ipv4Addr {
    let first = node.addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    first.unwrap_or_else(|| {
        let digest = Sha256::digest(node.name.as_str());
        // Never 0, and no address that anybody has.
        Ipv4Addr::new(127, digest[0], digest[1], digest[2] | 1)
    })
}
