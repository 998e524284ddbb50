//! Where a Service's pods are: EndpointSlices.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{NodeName, Protocol, ServiceName};

/// One EndpointSlice. Its addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub service: ServiceName,
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Matches the name of the Service's port.
    pub name: String,
    pub protocol: Protocol,
    /// The pods' port.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of the object's addresses: the others are "fungible", and no
    /// consumer uses them (Kubernetes API, discovery.k8s.io/v1 Endpoint).
    pub address: IpAddr,
    pub node: Option<NodeName>,
    pub conditions: Conditions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conditions {
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

impl Conditions {
    pub const READY: Self = Self {
        ready: true,
        serving: true,
        terminating: false,
    };

    /// With what Kubernetes means by a missing condition: "unknown" is to be
    /// read as ready, serving follows ready, terminating is false.
    #[must_use]
    pub fn from_options(
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    ) -> Self {
        let ready = ready.unwrap_or(true);
        Self {
            ready,
            serving: serving.unwrap_or(ready),
            terminating: terminating.unwrap_or(false),
        }
    }

    /// Keeps its flows and still answers, but is on its way out.
    #[must_use]
    pub fn is_draining(self) -> bool {
        self.serving && self.terminating && !self.ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_conditions_mean_what_kubernetes_says() {
        let read = Conditions::from_options;
        assert_eq!(read(None, None, None), Conditions::READY);
        assert!(!read(Some(false), None, None).serving);
        assert!(read(Some(false), Some(true), Some(true)).is_draining());
        assert!(!read(Some(false), Some(false), Some(true)).is_draining());
        // publishNotReadyAddresses: ready, although it terminates.
        assert!(!read(Some(true), Some(true), Some(true)).is_draining());
    }
}
