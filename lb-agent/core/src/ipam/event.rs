//! What a Service's owner is told when its addresses change: Kubernetes Events,
//! with MetalLB's reasons and messages, which scripts look for.

use alloc::format;
use alloc::string::{String, ToString as _};
use core::net::IpAddr;

use super::Refusal;
use super::refusal::Quoted;
use crate::model::ServiceName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub reason: &'static str,
    pub message: String,
}

/// The `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Normal,
    Warning,
}

impl EventKind {
    /// As the API has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl Event {
    fn normal(reason: &'static str, message: String) -> Self {
        Self {
            kind: EventKind::Normal,
            reason,
            message,
        }
    }

    fn warning(reason: &'static str, message: String) -> Self {
        Self {
            kind: EventKind::Warning,
            reason,
            message,
        }
    }

    pub(super) fn allocated(addresses: &[IpAddr]) -> Self {
        let message = format!("Assigned IP {}", Quoted(addresses));
        Self::normal("IPAllocated", message)
    }

    pub(super) fn added(address: IpAddr) -> Self {
        let message = format!("Assigned additional IP \"{address}\"");
        Self::normal("IPAllocated", message)
    }

    pub(super) fn not_added(why: &Refusal) -> Self {
        let message = format!("cannot assign additional IP in PreferDualStack: {why}");
        Self::normal("AdditionalAssignFailed", message)
    }

    pub(super) fn cleared(service: &ServiceName, why: &Refusal) -> Self {
        let message = format!(
            "current IP for \"{service}\" not allowed by config, will attempt for new IP \
             assignment: {why}"
        );
        Self::normal("ClearAssignment", message)
    }

    /// The status has addresses that nothing could have assigned.
    pub(super) fn status_invalid(addresses: &[IpAddr], why: &Refusal) -> Self {
        let message = format!(
            "Failed to retrieve LBIPs IPFamily for {}: {why}",
            Quoted(addresses)
        );
        Self::warning("nolbIPsIPFamily", message)
    }

    /// What is said to the owner of a Service that gets no address, or keeps
    /// another one than it asks for. Some things pass by themselves or are no
    /// fault of the Service's, and nothing is said.
    pub(super) fn refused(service: &ServiceName, keeps: bool, why: &Refusal) -> Option<Self> {
        Some(match why {
            Refusal::NoPools | Refusal::NoClusterIp | Refusal::NotFreeYet { .. } => return None,
            Refusal::NotDualStack { .. } => Self::warning("not enough clusterips", why.to_string()),
            Refusal::ClusterIps { addresses } if keeps => {
                let addresses = Quoted(addresses);
                Self::warning(
                    "noclusterIPsIPFamily",
                    format!("Failed to retrieve ClusterIPs IPFamily for {addresses}: {why}"),
                )
            }
            _ if keeps => Self::warning(
                "LoadBalancerFailed",
                format!("invalid requested loadbalancer IPs: {why}"),
            ),
            _ => Self::warning(
                "AllocationFailed",
                format!("Failed to allocate IP for \"{service}\": {why}"),
            ),
        })
    }

    pub(super) fn deprecated(annotation: &str) -> Self {
        let message = format!("Service uses deprecated annotation {annotation}");
        Self::warning("deprecatedAnnotation", message)
    }
}
