//! What the user declared: addresses, ports, policy.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::{Labels, Request, ServiceName};

/// A Service of type LoadBalancer that is ours to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: ServiceName,
    pub labels: Labels,
    /// The addresses in its status, in that order: the first decides who owns
    /// all of them. What it is served at is said by [`crate::ipam::served`].
    pub status: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub delivery: Delivery,
    pub traffic_policy: TrafficPolicy,
    /// When it was created, in seconds since 1970; the older of two that claim
    /// the same frontend has it.
    pub created_s: Option<u64>,
    pub request: Request,
}

impl Service {
    /// One without ports or addresses that asks for nothing in particular.
    #[must_use]
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            labels: Labels::new(),
            status: Vec::new(),
            ports: Vec::new(),
            delivery: Delivery::default(),
            traffic_policy: TrafficPolicy::default(),
            created_s: None,
            request: Request::default(),
        }
    }
}

/// `externalTrafficPolicy`: which pods a packet from outside may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrafficPolicy {
    /// Those of every node.
    #[default]
    Cluster,
    /// Those of the node that it comes to.
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where the only port has no name.
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The number in an IP header (IANA, Assigned Internet Protocol Numbers).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// How a packet gets from the uplink into a pod of its own node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// Through the node's network stack, where policies see it.
    #[default]
    Stack,
    /// Past the stack, straight into the pod.
    Direct,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stack => "stack",
            Self::Direct => "direct",
        })
    }
}
