//! From Kubernetes objects to what the core knows, wherever they come from.

use std::fmt;

use lb_core::model::ServiceName;

pub(in crate::source) mod convert;
pub(in crate::source) mod shape;

/// Namespace and name of an EndpointSlice.
pub type SliceName = ServiceName;

/// Why an object of a known kind is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A Service of another type than LoadBalancer.
    Type { service: ServiceName, is: String },
    /// `spec.loadBalancerClass` names another implementation.
    Class { service: ServiceName, class: String },
    /// The label `service.kubernetes.io/service-proxy-name` does.
    Proxy { service: ServiceName, proxy: String },
    /// An EndpointSlice without the label `kubernetes.io/service-name`.
    SliceOfNobody { slice: SliceName },
    /// An EndpointSlice of host names.
    SliceOfNames { slice: SliceName },
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { service, is } => {
                write!(f, "Service {service} is of type {is}, not LoadBalancer")
            }
            Self::Class { service, class } => {
                write!(
                    f,
                    "Service {service} is for the load balancer class {class}"
                )
            }
            Self::Proxy { service, proxy } => {
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
