//! From Kubernetes objects to what the core knows, wherever they come from.

use std::fmt;

use std::net::IpAddr;

use lb_core::model::ServiceName;

pub mod config;
pub(in crate::source) mod convert;
pub(in crate::source) mod legacy;
pub(in crate::source) mod service;
pub(in crate::source) mod shape;

/// Namespace and name of an EndpointSlice.
pub type SliceName = ServiceName;

/// Which Services are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// Those of this `spec.loadBalancerClass`; none: those without any.
    pub class: Option<String>,
}

/// Why an object of a known kind is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A Service of another type than LoadBalancer.
    Type { service: ServiceName, is: String },
    /// A Service of another type that was given addresses when it was one; it
    /// is to lose the annotation that says so, and what its status has.
    Released {
        service: ServiceName,
        addresses: Vec<IpAddr>,
    },
    /// `spec.loadBalancerClass` names another implementation, or none. It may
    /// have addresses all the same.
    Class {
        service: ServiceName,
        class: Option<String>,
        addresses: Vec<IpAddr>,
    },
    /// The label `service.kubernetes.io/service-proxy-name` does.
    Proxy {
        service: ServiceName,
        proxy: String,
        addresses: Vec<IpAddr>,
    },
    /// An EndpointSlice without the label `kubernetes.io/service-name`.
    SliceOfNobody { slice: SliceName },
    /// An EndpointSlice of host names.
    SliceOfNames { slice: SliceName },
}

impl Ignored {
    /// What a Service that others serve has.
    pub(in crate::source) fn foreign(&self) -> Option<(&ServiceName, &[IpAddr])> {
        match self {
            Self::Class {
                service, addresses, ..
            }
            | Self::Proxy {
                service, addresses, ..
            } if !addresses.is_empty() => Some((service, addresses)),
            _ => None,
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { service, is } => {
                write!(f, "Service {service} is of type {is}, not LoadBalancer")
            }
            Self::Released { service, .. } => {
                write!(f, "Service {service} is no longer of type LoadBalancer")
            }
            Self::Class { service, class, .. } => match class {
                Some(class) => write!(
                    f,
                    "Service {service} is for the load balancer class {class}"
                ),
                None => write!(f, "Service {service} names no load balancer class"),
            },
            Self::Proxy { service, proxy, .. } => {
                write!(f, "Service {service} is for the service proxy {proxy}")
            }
            Self::SliceOfNobody { slice } => write!(
                f,
                "EndpointSlice {slice} has no label kubernetes.io/service-name"
            ),
            Self::SliceOfNames { slice } => {
                write!(f, "EndpointSlice {slice} has host names, not addresses")
            }
        }
    }
}
