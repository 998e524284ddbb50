//! What objects say, word for word, before anything is believed.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Labels, Place};

/// All objects of the configuration together, and what they refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub pools: Vec<Object<PoolSpec>>,
    pub l2_advertisements: Vec<Object<L2AdvertisementSpec>>,
    pub bgp_advertisements: Vec<Object<BgpAdvertisementSpec>>,
    pub peers: Vec<Object<PeerSpec>>,
    pub communities: Vec<Object<CommunitySpec>>,
    pub bfd_profiles: Vec<Object<BfdProfileSpec>>,
    /// Those that peers name, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// What could not even be read.
    pub refused: Vec<super::Refused>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<T> {
    pub name: String,
    pub labels: Labels,
    /// Where it is said, for whoever has to correct it.
    pub place: Place,
    pub spec: T,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSpec {
    pub addresses: Vec<String>,
    pub auto_assign: Option<bool>,
    pub avoid_buggy_ips: bool,
    pub service_allocation: Option<ServiceAllocationSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAllocationSpec {
    pub priority: i64,
    pub namespaces: Vec<String>,
    pub namespace_selectors: Vec<SelectorSpec>,
    pub service_selectors: Vec<SelectorSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorSpec {
    pub match_labels: Labels,
    pub match_expressions: Vec<RequirementSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequirementSpec {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

/// Which pools an advertisement is for: all, if nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolsSpec {
    pub names: Vec<String>,
    pub selectors: Vec<SelectorSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L2AdvertisementSpec {
    pub pools: PoolsSpec,
    pub node_selectors: Vec<SelectorSpec>,
    pub interfaces: Vec<String>,
    pub service_selectors: Vec<SelectorSpec>,
    pub preferred_node_selectors: Vec<PreferenceSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferenceSpec {
    pub weight: i32,
    pub preference: SelectorSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpAdvertisementSpec {
    pub pools: PoolsSpec,
    pub aggregation_length: Option<i32>,
    pub aggregation_length_v6: Option<i32>,
    pub local_pref: u32,
    pub communities: Vec<String>,
    pub peers: Vec<String>,
    pub node_selectors: Vec<SelectorSpec>,
    pub service_selectors: Vec<SelectorSpec>,
}

/// Numbers that were not given are 0, texts empty, as in MetalLB's own types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSpec {
    pub my_asn: u32,
    pub peer_asn: u32,
    pub local_asn: u32,
    pub dynamic_asn: String,
    pub peer_address: String,
    pub interface: String,
    pub source_address: String,
    pub peer_port: u16,
    /// Durations as Go writes them: `1m30s`.
    pub hold_time: Option<String>,
    pub keepalive_time: Option<String>,
    pub connect_time: Option<String>,
    pub router_id: String,
    pub node_selectors: Vec<SelectorSpec>,
    pub password: super::Password,
    /// The name of a Secret. MetalLB does not look at the namespace either.
    pub password_secret: String,
    pub bfd_profile: String,
    pub graceful_restart: bool,
    pub ebgp_multi_hop: bool,
    pub vrf: String,
    pub dual_stack_address_family: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommunitySpec {
    /// Alias and value.
    pub aliases: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BfdProfileSpec {
    pub receive_interval: Option<u32>,
    pub transmit_interval: Option<u32>,
    pub detect_multiplier: Option<u32>,
    pub echo_interval: Option<u32>,
    pub echo_mode: bool,
    pub passive_mode: bool,
    pub minimum_ttl: Option<u32>,
}

/// What is read of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub kind: String,
    /// The key `password`.
    pub password: Option<super::Password>,
}

/// One object of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declaration {
    Pool(Object<PoolSpec>),
    L2(Object<L2AdvertisementSpec>),
    Bgp(Object<BgpAdvertisementSpec>),
    Peer(Object<PeerSpec>),
    Community(Object<CommunitySpec>),
    BfdProfile(Object<BfdProfileSpec>),
}

impl Declaration {
    /// Which object says it.
    #[must_use]
    pub const fn place(&self) -> &Place {
        match self {
            Self::Pool(object) => &object.place,
            Self::L2(object) => &object.place,
            Self::Bgp(object) => &object.place,
            Self::Peer(object) => &object.place,
            Self::Community(object) => &object.place,
            Self::BfdProfile(object) => &object.place,
        }
    }
}

impl Extend<Declaration> for Declared {
    fn extend<I: IntoIterator<Item = Declaration>>(&mut self, declarations: I) {
        for declaration in declarations {
            match declaration {
                Declaration::Pool(object) => self.pools.push(object),
                Declaration::L2(object) => self.l2_advertisements.push(object),
                Declaration::Bgp(object) => self.bgp_advertisements.push(object),
                Declaration::Peer(object) => self.peers.push(object),
                Declaration::Community(object) => self.communities.push(object),
                Declaration::BfdProfile(object) => self.bfd_profiles.push(object),
            }
        }
    }
}
