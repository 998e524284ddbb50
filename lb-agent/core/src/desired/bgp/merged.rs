//! What all Services offer together, as peers are told it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::offer::{Offer, Terms, Untold, Why};
use super::{BgpPeers, Prefix, Prefixes};
use crate::bgp::rib::Route;
use crate::config::{BgpAdvertisement, Community};
use crate::model::ServiceName;
use crate::problem::Problem;

/// What a Service offers, and for which addresses.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Offered<'a> {
    pub(in super::super) service: &'a ServiceName,
    pub(in super::super) vips: &'a [IpAddr],
    pub(in super::super) offer: &'a Offer,
}

/// Kept from one time to the next: what has not changed is shared with what
/// was there before.
#[derive(Debug, Default)]
pub(in super::super) struct Merged {
    pub(in super::super) peers: BgpPeers,
    /// Sorted by address.
    pub(in super::super) untold: Arc<Vec<Untold>>,
    pub(in super::super) problems: Vec<Problem>,
    /// Each once, however many prefixes have it.
    routes: BTreeSet<Arc<Route>>,
}

/// The places of the advertisements that a peer is told by.
type Audience = Vec<usize>;

impl Merged {
    /// `all`: in the order of the Services' names.
    pub(in super::super) fn update(&mut self, terms: &Terms, all: &[Offered<'_>]) {
        let mut told: BTreeMap<Audience, Prefixes> = BTreeMap::new();
        let mut peers = BgpPeers::new();
        for (name, peer) in &terms.peers {
            let places = terms.advertisements.iter().enumerate();
            let places =
                places.filter(|(_, a)| a.peers.is_empty() || a.peers.contains(name.as_str()));
            let audience: Audience = places.map(|(place, _)| place).collect();
            let old = self.peers.get(name).cloned();
            let prefixes = if let Some(prefixes) = told.get(&audience) {
                prefixes.clone()
            } else {
                let before = old.as_ref().map(|old| old.prefixes.clone());
                let before = before.unwrap_or_default();
                let prefixes = self.prefixes(before, terms, &audience, all);
                told.insert(audience, prefixes.clone());
                prefixes
            };
            let mut peer = peer.clone();
            peer.prefixes = prefixes;
            let same = old.filter(|old| **old == peer);
            peers.insert(name.clone(), same.unwrap_or_else(|| Arc::new(peer)));
        }
        self.peers = peers;
        let heard: BTreeSet<usize> = told.into_keys().flatten().collect();
        self.note_untold(all, &heard);
        self.routes.retain(|route| Arc::strong_count(route) > 1);
    }

    /// `heard`: the advertisements by which some peer is told.
    fn note_untold(&mut self, all: &[Offered<'_>], heard: &BTreeSet<usize>) {
        self.problems.clear();
        let mut untold = Vec::new();
        for Offered {
            service,
            vips,
            offer,
        } in all
        {
            let why = match offer {
                Offer::Nothing => continue,
                Offer::Untold(why) => *why,
                Offer::By(places) if places.iter().any(|place| heard.contains(place)) => continue,
                Offer::By(_) => Why::NoPeerChosen,
            };
            if why == Why::LocalPrefsDiffer {
                let service = (*service).clone();
                self.problems.push(Problem::LocalPrefsDiffer { service });
            }
            untold.extend(vips.iter().map(|vip| Untold {
                vip: *vip,
                service: (*service).clone(),
                why,
            }));
        }
        untold.sort_unstable();
        if *self.untold != untold {
            self.untold = Arc::new(untold);
        }
    }

    /// What those are told who are told by these advertisements. `before`: to
    /// be shared with.
    fn prefixes(
        &mut self,
        mut before: Prefixes,
        terms: &Terms,
        audience: &[usize],
        all: &[Offered<'_>],
    ) -> Prefixes {
        // By prefix, in the order of Services and of advertisements.
        // Lists that grow leave holes behind in memory, so they have room at once.
        let mut said: Vec<(IpNet, Said<'_>)> = Vec::with_capacity(all.len());
        for offered in all {
            let Offer::By(places) = offered.offer else {
                continue;
            };
            let places = places.iter().filter(|place| audience.contains(*place));
            for advertisement in places.map(|place| &terms.advertisements[*place]) {
                for vip in offered.vips {
                    let length = advertisement.length(vip.is_ipv4());
                    let Ok(net) = IpNet::new(*vip, length) else {
                        continue;
                    };
                    let said_of_it = Said {
                        service: offered.service,
                        vip: *vip,
                        advertisement,
                    };
                    said.push((net.trunc(), said_of_it));
                }
            }
        }
        said.sort_by_key(|(net, _)| *net);
        let groups = said.chunk_by(|(one, _), (other, _)| one == other);
        let mut prefixes = Vec::with_capacity(all.len());
        prefixes.extend(groups.filter_map(|group| {
            let (net, _) = group.first()?;
            Some((*net, self.prefix(before.get(net), group)))
        }));
        drop(said);
        before.replace_with(&prefixes);
        before
    }

    fn prefix(&mut self, before: Option<&Prefix>, said: &[(IpNet, Said<'_>)]) -> Prefix {
        let mut route = Route::default();
        let mut holders = Vec::with_capacity(said.len());
        for (_, said) in said {
            add(&mut route, said.advertisement);
            holders.push((said.service, said.vip));
        }
        holders.sort_unstable();
        holders.dedup();
        let same = |before: &&Prefix| {
            let there = before.holders.iter().map(|(service, vip)| (service, *vip));
            *before.route == route && there.eq(holders.iter().copied())
        };
        if let Some(before) = before.filter(same) {
            return before.clone();
        }
        let holders = holders.into_iter();
        Prefix {
            route: self.once(route),
            holders: holders
                .map(|(service, vip)| (service.clone(), vip))
                .collect(),
        }
    }

    fn once(&mut self, route: Route) -> Arc<Route> {
        if let Some(there) = self.routes.get(&route) {
            return there.clone();
        }
        let route = Arc::new(route);
        self.routes.insert(route.clone());
        route
    }
}

/// What is said of an address.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    service: &'a ServiceName,
    vip: IpAddr,
    advertisement: &'a BgpAdvertisement,
}

/// Communities of all advertisements together; the preference of the first.
fn add(route: &mut Route, advertisement: &BgpAdvertisement) {
    let said = Some(advertisement.local_pref).filter(|value| *value != 0);
    route.local_pref = route.local_pref.or(said);
    for community in &advertisement.communities {
        match *community {
            Community::Standard(high, low) => insert(&mut route.communities, (high, low)),
            Community::Large(a, b, c) => insert(&mut route.large_communities, (a, b, c)),
        }
    }
}

/// Into a sorted list, once.
fn insert<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(at) = list.binary_search(&value) {
        list.insert(at, value);
    }
}
