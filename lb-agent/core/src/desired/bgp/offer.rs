//! What one Service's addresses are told with, or why not.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::BgpPeer;
use crate::config::{BgpAdvertisement, Configuration, LabelSelector, Pool};
use crate::model::{Node, NodeName, Service, ServiceName, Slice, TrafficPolicy};

/// An address that no router is told of by this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Untold {
    pub vip: IpAddr,
    pub service: ServiceName,
    pub why: Why,
}

/// Why no router is told of a Service's addresses by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    NodeExcluded,
    NetworkUnavailable,
    NoPool,
    NoAdvertisement,
    NodeNotSelected,
    ServiceNotSelected,
    NoEndpoint,
    NoLocalEndpoint,
    LocalPrefsDiffer,
    NoPeerChosen,
}

impl Why {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodeExcluded => "NodeExcluded",
            Self::NetworkUnavailable => "NetworkUnavailable",
            Self::NoPool => "NoPool",
            Self::NoAdvertisement => "NoAdvertisement",
            Self::NodeNotSelected => "NodeNotSelected",
            Self::ServiceNotSelected => "ServiceNotSelected",
            Self::NoEndpoint => "NoEndpoint",
            Self::NoLocalEndpoint => "NoLocalEndpoint",
            Self::LocalPrefsDiffer => "LocalPrefsDiffer",
            Self::NoPeerChosen => "NoPeerChosen",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeExcluded => {
                "this node is excluded (label exclude-from-external-load-balancers)"
            }
            Self::NetworkUnavailable => "this node says that its network is not set up",
            Self::NoPool => "no pool has all addresses of the Service",
            Self::NoAdvertisement => "no BGPAdvertisement is for the pool",
            Self::NodeNotSelected => {
                "no BGPAdvertisement for the pool selects this node (nodeSelectors)"
            }
            Self::ServiceNotSelected => {
                "no BGPAdvertisement for the pool and this node selects the Service \
                 (serviceSelectors)"
            }
            Self::NoEndpoint => "no endpoint of the Service is ready or serving",
            Self::NoLocalEndpoint => {
                "externalTrafficPolicy is Local, and no endpoint on this node is ready or serving"
            }
            Self::LocalPrefsDiffer => {
                "BGPAdvertisements say different preferences (localPref) of it"
            }
            Self::NoPeerChosen => {
                "its BGPAdvertisements name peers, of which this node has none (peers)"
            }
        })
    }
}

/// What a Service's addresses are told with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Offer {
    /// It has no addresses, or the node no routers.
    #[default]
    Nothing,
    Untold(Why),
    /// The places of advertisements in [`Terms::advertisements`], in order;
    /// never empty.
    By(Arc<[usize]>),
}

/// What this node tells by, whatever the Service.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Terms {
    /// Whom it has sessions with. None: nobody is offered anything.
    pub(super) peers: BTreeMap<String, BgpPeer>,
    pub(super) advertisements: Vec<BgpAdvertisement>,
    node: Option<NodeName>,
    /// The node tells nothing at all.
    refused: Option<Why>,
    config: Option<Arc<Configuration>>,
    by_pool: BTreeMap<String, OfPool>,
}

/// The advertisements for a pool.
#[derive(Clone, Debug, Default)]
struct OfPool {
    /// Those that select this node.
    places: Arc<[usize]>,
    elsewhere: bool,
}

impl Terms {
    pub(in super::super) fn new(config: Option<&Arc<Configuration>>, node: Option<&Node>) -> Self {
        let (Some(config), Some(node)) = (config, node) else {
            return Self::default();
        };
        let selected = |selectors: &[LabelSelector]| {
            selectors.is_empty() || LabelSelector::any(selectors, &node.labels)
        };
        let peers = config.peers.values();
        let peers = peers.filter(|peer| selected(&peer.node_selectors));
        let peers = peers.map(|peer| (peer.name.clone(), BgpPeer::of(peer, node, config)));
        let peers: BTreeMap<_, _> = peers.collect();
        if peers.is_empty() {
            return Self::default();
        }
        let (here, elsewhere): (Vec<_>, Vec<_>) = config
            .bgp_advertisements
            .values()
            .partition(|a| selected(&a.node_selectors));
        let by_pool = config.pools.keys().map(|pool| {
            let fits = |a: &BgpAdvertisement| a.pools.contains(pool);
            let places = here.iter().enumerate().filter(|(_, a)| fits(a));
            let of_pool = OfPool {
                places: places.map(|(place, _)| place).collect(),
                elsewhere: elsewhere.iter().any(|a| fits(a)),
            };
            (pool.clone(), of_pool)
        });
        Self {
            peers,
            by_pool: by_pool.collect(),
            advertisements: here.into_iter().cloned().collect(),
            node: Some(node.name.clone()),
            refused: if node.excluded {
                Some(Why::NodeExcluded)
            } else {
                node.network_unavailable.then_some(Why::NetworkUnavailable)
            },
            config: Some(config.clone()),
        }
    }

    /// `vips`: those of its addresses that can be served.
    pub(in super::super) fn offer(
        &self,
        service: &Service,
        vips: &[IpAddr],
        slices: &[Slice],
    ) -> Offer {
        if self.peers.is_empty() || vips.is_empty() {
            return Offer::Nothing;
        }
        match self.places(service, vips, slices) {
            Ok(places) => Offer::By(places),
            Err(why) => Offer::Untold(why),
        }
    }

    fn places(
        &self,
        service: &Service,
        vips: &[IpAddr],
        slices: &[Slice],
    ) -> Result<Arc<[usize]>, Why> {
        if let Some(why) = self.refused {
            return Err(why);
        }
        let places = self.fitting(service, vips)?;
        self.usable(service, slices)?;
        if self.conflict(&places, vips) {
            return Err(Why::LocalPrefsDiffer);
        }
        Ok(places)
    }

    /// The advertisements for a Service's addresses, which must be of one pool.
    fn fitting(&self, service: &Service, vips: &[IpAddr]) -> Result<Arc<[usize]>, Why> {
        let has = |pool: &Pool, vip| pool.ranges.iter().any(|range| range.contains(vip));
        let mut pools = self.config.iter().flat_map(|config| config.pools.values());
        let pool = pools.find(|pool| vips.iter().all(|vip| has(pool, *vip)));
        let of_pool = pool.and_then(|pool| self.by_pool.get(&pool.name));
        let OfPool { places, elsewhere } = of_pool.ok_or(Why::NoPool)?;
        if places.is_empty() {
            return Err(if *elsewhere {
                Why::NodeNotSelected
            } else {
                Why::NoAdvertisement
            });
        }
        let fits = |place: &&usize| {
            let selectors = &self.advertisements[**place].service_selectors;
            selectors.is_empty() || LabelSelector::any(selectors, &service.labels)
        };
        // Mostly all do, and share the list.
        if places.iter().all(|place| fits(&place)) {
            return Ok(places.clone());
        }
        let fitting: Arc<[usize]> = places.iter().filter(fits).copied().collect();
        if fitting.is_empty() {
            return Err(Why::ServiceNotSelected);
        }
        Ok(fitting)
    }

    /// Whether there is an endpoint that new flows or old ones may go to.
    fn usable(&self, service: &Service, slices: &[Slice]) -> Result<(), Why> {
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let mut usable = endpoints.filter(|e| e.conditions.ready || e.conditions.serving);
        let (is_there, why) = match service.traffic_policy {
            TrafficPolicy::Cluster => (usable.next().is_some(), Why::NoEndpoint),
            TrafficPolicy::Local => (usable.any(|e| e.node == self.node), Why::NoLocalEndpoint),
        };
        is_there.then_some(()).ok_or(why)
    }

    /// Whether two would say different preferences of one prefix to one peer.
    /// Those that select no Services are compared when they are read.
    fn conflict(&self, places: &[usize], vips: &[IpAddr]) -> bool {
        let at = |place: &usize| &self.advertisements[*place];
        let all = places.iter().map(at).enumerate();
        all.into_iter().any(|(index, one)| {
            places[..index].iter().map(at).any(|other| {
                let families = vips.iter().map(IpAddr::is_ipv4);
                let mut families = families.map(|ipv4| one.length(ipv4) == other.length(ipv4));
                let peers = one.peers.is_empty()
                    || other.peers.is_empty()
                    || !one.peers.is_disjoint(&other.peers);
                one.local_pref != other.local_pref && peers && families.any(|same| same)
            })
        })
    }
}
