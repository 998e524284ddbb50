//! Why a Service does not have the addresses that it asks for.
//!
//! The sentences are those of MetalLB 0.15, word by word, since people look for
//! them in events; so they quote as Go's %q does.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::request::Families;
use crate::model::{Protocol, ServiceName};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// There is no pool at all.
    NoPools,
    /// Without one nobody can tell which families it is of.
    NoClusterIp,
    /// Two cluster IPs of one family, or more than two.
    ClusterIps {
        addresses: Vec<IpAddr>,
    },
    /// It requires both families and is of one.
    NotDualStack {
        cluster_ips: Vec<IpAddr>,
    },
    /// Both the annotation and `spec.loadBalancerIP` are set.
    AskedTwice,
    /// The annotation is not a list of addresses.
    AnnotationInvalid {
        text: String,
    },
    /// `spec.loadBalancerIP` is no address.
    FieldInvalid {
        text: String,
    },
    /// Two addresses are asked for, and both are of one family.
    SameFamily {
        addresses: Vec<IpAddr>,
    },
    /// More than two are asked for.
    TooMany {
        addresses: Vec<IpAddr>,
    },
    /// What is asked for is not of the families of the Service.
    OtherFamily {
        addresses: Vec<IpAddr>,
    },
    /// No pool has them, or none has all of them.
    NotInPools {
        addresses: Vec<IpAddr>,
    },
    /// The pool is for other Services.
    PoolNotForService {
        pool: String,
    },
    UnknownPool {
        pool: String,
    },
    /// The addresses that are asked for are not of the pool that is asked for.
    OtherPool {
        addresses: Vec<IpAddr>,
        pool: String,
    },
    /// Others have the address, and do not share it with this Service.
    NotShared {
        service: ServiceName,
        holders: Vec<ServiceName>,
    },
    /// One that shares the address has the port.
    PortTaken {
        protocol: Protocol,
        port: u16,
        address: IpAddr,
    },
    /// The status of another Service still has it; it is about to lose it.
    NotFreeYet {
        address: IpAddr,
        holder: ServiceName,
    },
    /// A Service that another implementation serves has it.
    Foreign {
        address: IpAddr,
        holder: ServiceName,
    },
    /// No pool that the Service may have addresses of has one left.
    NoAddress,
    /// The pool that it asks for has none left.
    NoAddressInPool {
        pool: String,
        families: Families,
    },
}

impl Refusal {
    /// The name, as it stands in metrics and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoPools => "NoPools",
            Self::NoClusterIp => "NoClusterIp",
            Self::ClusterIps { .. } => "ClusterIps",
            Self::NotDualStack { .. } => "NotDualStack",
            Self::AskedTwice => "AskedTwice",
            Self::AnnotationInvalid { .. } => "AnnotationInvalid",
            Self::FieldInvalid { .. } => "FieldInvalid",
            Self::SameFamily { .. } => "SameFamily",
            Self::TooMany { .. } => "TooMany",
            Self::OtherFamily { .. } => "OtherFamily",
            Self::NotInPools { .. } => "NotInPools",
            Self::PoolNotForService { .. } => "PoolNotForService",
            Self::UnknownPool { .. } => "UnknownPool",
            Self::OtherPool { .. } => "OtherPool",
            Self::NotShared { .. } => "NotShared",
            Self::PortTaken { .. } => "PortTaken",
            Self::NotFreeYet { .. } => "NotFreeYet",
            Self::Foreign { .. } => "Foreign",
            Self::NoAddress => "NoAddress",
            Self::NoAddressInPool { .. } => "NoAddressInPool",
        }
    }

    /// What its owner can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoPools => "add an IPAddressPool",
            Self::NoClusterIp | Self::ClusterIps { .. } => "correct spec.clusterIPs",
            Self::NotDualStack { .. } => {
                "use PreferDualStack, or a cluster that has addresses of both families"
            }
            Self::AskedTwice => "remove one of them",
            Self::AnnotationInvalid { .. }
            | Self::FieldInvalid { .. }
            | Self::SameFamily { .. }
            | Self::TooMany { .. }
            | Self::OtherFamily { .. } => {
                "ask for one address of each family that its cluster IPs are of, with commas \
                 between them"
            }
            Self::NotInPools { .. } => {
                "ask for addresses of one IPAddressPool (one that avoids .0 and .255 does not \
                 have these), or add them to a pool"
            }
            Self::PoolNotForService { .. } => "see spec.serviceAllocation of the IPAddressPool",
            Self::UnknownPool { .. } | Self::OtherPool { .. } => {
                "correct the annotation metallb.io/address-pool"
            }
            Self::NotShared { .. } => {
                "ask for another address, or give all of them the same metallb.io/allow-shared-ip, \
                 externalTrafficPolicy Cluster or the same selector, and different ports"
            }
            Self::PortTaken { .. } => "give one of them another port or address",
            Self::NotFreeYet { .. } => "wait",
            Self::Foreign { .. } => "ask for another address",
            Self::NoAddress | Self::NoAddressInPool { .. } => {
                "add addresses to the pools, or remove Services"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPools => f.write_str("there is no IPAddressPool"),
            Self::NoClusterIp => f.write_str("it has no cluster IP"),
            Self::ClusterIps { addresses } => by_length(f, addresses),
            Self::NotDualStack { cluster_ips } => {
                f.write_str("Service requires dual stack but not enough clusterips [")?;
                for (place, address) in cluster_ips.iter().enumerate() {
                    let gap = if place == 0 { "" } else { " " };
                    write!(f, "{gap}{address}")?;
                }
                f.write_str("]")
            }
            Self::AskedTwice => f.write_str(
                "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP",
            ),
            Self::AnnotationInvalid { text } => {
                write!(f, "invalid metallb.io/loadBalancerIPs: {text:?}")
            }
            Self::FieldInvalid { text } => write!(f, "invalid spec.loadBalancerIP {text:?}"),
            Self::SameFamily { addresses } | Self::TooMany { addresses } => by_length(f, addresses),
            Self::OtherFamily { addresses } => write!(
                f,
                "requested loadBalancer IP(s) {} does not match the ipFamily of the service",
                Quoted(addresses)
            ),
            Self::NotInPools { addresses } => {
                write!(f, "{} is not allowed in config", Quoted(addresses))
            }
            Self::PoolNotForService { pool } => {
                write!(f, "pool {pool} not compatible for ip assignment")
            }
            Self::UnknownPool { pool } => write!(f, "unknown pool {pool:?}"),
            Self::OtherPool { addresses, pool } => write!(
                f,
                "requested loadBalancer IP(s) {} is not compatible with requested address pool \
                 {pool}",
                Quoted(addresses)
            ),
            Self::NotShared { service, holders } => {
                write!(
                    f,
                    "can't change sharing key for \"{service}\", address also in use by "
                )?;
                for (place, holder) in holders.iter().enumerate() {
                    let gap = if place == 0 { "" } else { "," };
                    write!(f, "{gap}{holder}")?;
                }
                Ok(())
            }
            Self::PortTaken {
                protocol,
                port,
                address,
            } => {
                let protocol = match protocol {
                    Protocol::Tcp => "TCP",
                    Protocol::Udp => "UDP",
                    Protocol::Sctp => "SCTP",
                };
                write!(
                    f,
                    "port {protocol}/{port} is already in use on \"{address}\""
                )
            }
            Self::NotFreeYet { address, holder } => {
                write!(f, "\"{address}\" is still in the status of {holder}")
            }
            Self::Foreign { address, holder } => write!(
                f,
                "\"{address}\" is in use by {holder}, which is of another load balancer class"
            ),
            Self::NoAddress => f.write_str("no available IPs"),
            Self::NoAddressInPool { pool, families } => {
                write!(f, "no available IPs in pool {pool} for {families} IPFamily")
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// Addresses that are neither one nor one of each family.
fn by_length(f: &mut fmt::Formatter<'_>, addresses: &[IpAddr]) -> fmt::Result {
    f.write_str("IPFamilyForAddresses: ")?;
    match addresses.len() {
        2 => f.write_str("same address family ")?,
        length => write!(f, "invalid ips length {length} ")?,
    }
    write!(f, "{}", Quoted(addresses))
}

/// Addresses as Go's %q prints a list of them: `["192.0.2.1" "2001:db8::1"]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a>(pub(super) &'a [IpAddr]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, address) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}\"{address}\"")?;
        }
        f.write_str("]")
    }
}
