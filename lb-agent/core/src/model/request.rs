//! What a Service says about the addresses that it wants.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

pub use crate::config::Labels;

/// The fields and annotations that decide about addresses, as they stand: what
/// is wrong with one is told when it is used. Of two annotations of one
/// meaning, `metallb.io/` wins over `metallb.universe.tf/`, also if it is empty
/// (MetalLB, controller/service.go).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `spec.clusterIPs`, or the single `spec.clusterIP`; empty for "None".
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ipFamilies`: the first is the primary one.
    pub families: Vec<Family>,
    pub family_policy: FamilyPolicy,
    /// The annotation `loadBalancerIPs`: addresses, with commas between them.
    pub addresses: Option<String>,
    /// `spec.loadBalancerIP`.
    pub load_balancer_ip: Option<String>,
    /// The annotation `address-pool`.
    pub pool: Option<String>,
    /// The annotation `allow-shared-ip`. Empty: shares with nobody.
    pub sharing_key: Option<String>,
    /// `spec.selector` as `key=value` pairs, sorted, with commas between them.
    pub selector: String,
    /// The annotation `metallb.io/ip-allocated-from-pool`: written together
    /// with the status.
    pub allocated_from: Option<String>,
    /// Its annotations that begin with `metallb.universe.tf/`, sorted.
    pub deprecated: Vec<String>,
    /// It has a deletionTimestamp: it goes as soon as all finalizers have.
    pub deleting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FamilyPolicy {
    #[default]
    SingleStack,
    PreferDualStack,
    RequireDualStack,
}
