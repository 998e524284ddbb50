//! What is wrong with what the agent was told, each with a name and a sentence
//! that says what follows and what to do.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use lb_common::limits::{BACKENDS_MAX, ENDPOINTS_PER_FRONTEND_MAX, NODES_MAX};

use crate::config::Refused;
use crate::ipam::Refusal;
use crate::model::{FrontendAddress, NodeName, Protocol, ServiceName};
use crate::owner::NotAnnounced;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something that was asked for is not done.
    Error,
    /// It is done, but hardly as it was meant.
    Warning,
    /// Worth knowing; often it passes by itself.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The Service has no address yet.
    NoVip {
        service: ServiceName,
    },
    /// The configuration is not used.
    ConfigurationRefused {
        refused: Refused,
    },
    /// It does not get the addresses that it asks for.
    NotAllocated {
        service: ServiceName,
        /// What it has all the same.
        keeps: Vec<IpAddr>,
        refusal: Refusal,
    },
    /// No packet from elsewhere can have this destination.
    VipImpossible {
        service: ServiceName,
        vip: IpAddr,
        kind: AddressKind,
    },
    VipIsNodeAddress {
        service: ServiceName,
        vip: IpAddr,
        node: NodeName,
    },
    /// An older Service, or the first by name, has it.
    FrontendTaken {
        service: ServiceName,
        frontend: FrontendAddress,
        holder: ServiceName,
    },
    ProtocolNotSupported {
        service: ServiceName,
        port: u16,
        protocol: Protocol,
    },
    NoOwner {
        service: ServiceName,
        vip: IpAddr,
    },
    /// No node answers ARP and NDP for its addresses, and no router is told of
    /// them.
    NotAnnounced {
        service: ServiceName,
        why: NotAnnounced,
    },
    /// Two BGPAdvertisements say different preferences of its addresses.
    LocalPrefsDiffer {
        service: ServiceName,
    },
    /// A machine that is no node says to have the VIP.
    VipClaimed {
        service: ServiceName,
        vip: IpAddr,
        mac: String,
        /// Nobody has used it yet, and nobody does before that ends.
        held_back: bool,
    },
    /// This node owns its addresses, but has none of the links that its
    /// L2Advertisements name.
    NoSuchLink {
        service: ServiceName,
        links: Vec<String>,
    },
    /// No EndpointSlice at all is for this Service.
    NoSlices {
        service: ServiceName,
    },
    /// There are some, but none has this port.
    PortNotInSlices {
        service: ServiceName,
        port: u16,
        name: String,
        protocol: Protocol,
    },
    NoReadyBackend {
        service: ServiceName,
        frontend: FrontendAddress,
    },
    TooManyBackends {
        service: ServiceName,
        frontend: FrontendAddress,
        present: usize,
    },
    BackendImpossible {
        service: ServiceName,
        address: IpAddr,
        kind: AddressKind,
    },
    /// An endpoint that no node is named for.
    BackendWithoutNode {
        service: ServiceName,
        address: IpAddr,
    },
    /// An endpoint on a machine that has no Node object, so no agent.
    BackendWithoutAgent {
        service: ServiceName,
        address: IpAddr,
        node: NodeName,
    },
    BackendIsVip {
        service: ServiceName,
        address: IpAddr,
        holder: ServiceName,
    },
    ThisNodeUnknown {
        node: NodeName,
    },
    NoNextHop {
        node: NodeName,
    },
    PodLinkUnknown {
        address: IpAddr,
    },
    TooManyNodes {
        node: NodeName,
    },
    TooManyLocalBackends {
        address: IpAddr,
        port: u16,
    },
    TooManyFrontends {
        service: ServiceName,
        frontend: FrontendAddress,
    },
    NoRoomForTable {
        service: ServiceName,
        frontend: FrontendAddress,
    },
    NoRoomForMac {
        node: NodeName,
    },
}

/// Why an address cannot be one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    Unspecified,
    Loopback,
    Multicast,
    Broadcast,
    LinkLocal,
}

impl AddressKind {
    /// None for an address that packets of clients can have.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if address.is_unspecified() {
            Some(Self::Unspecified)
        } else if address.is_loopback() {
            Some(Self::Loopback)
        } else if address.is_multicast() {
            Some(Self::Multicast)
        } else if matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) {
            Some(Self::Broadcast)
        } else if link_local {
            Some(Self::LinkLocal)
        } else {
            None
        }
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::LinkLocal => "a link-local address",
        })
    }
}

impl Problem {
    /// The name, as it stands in conditions, metrics and `--output json`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoVip { .. } => "NoVip",
            Self::ConfigurationRefused { .. } => "ConfigurationRefused",
            Self::NotAllocated { .. } => "NotAllocated",
            Self::VipImpossible { .. } => "VipImpossible",
            Self::VipIsNodeAddress { .. } => "VipIsNodeAddress",
            Self::FrontendTaken { .. } => "FrontendTaken",
            Self::ProtocolNotSupported { .. } => "ProtocolNotSupported",
            Self::NoOwner { .. } => "NoOwner",
            Self::NotAnnounced { .. } => "NotAnnounced",
            Self::LocalPrefsDiffer { .. } => "LocalPrefsDiffer",
            Self::NoSuchLink { .. } => "NoSuchLink",
            Self::VipClaimed { .. } => "VipClaimed",
            Self::NoSlices { .. } => "NoSlices",
            Self::PortNotInSlices { .. } => "PortNotInSlices",
            Self::NoReadyBackend { .. } => "NoReadyBackend",
            Self::TooManyBackends { .. } => "TooManyBackends",
            Self::BackendImpossible { .. } => "BackendImpossible",
            Self::BackendWithoutNode { .. } => "BackendWithoutNode",
            Self::BackendWithoutAgent { .. } => "BackendWithoutAgent",
            Self::BackendIsVip { .. } => "BackendIsVip",
            Self::ThisNodeUnknown { .. } => "ThisNodeUnknown",
            Self::NoNextHop { .. } => "NoNextHop",
            Self::PodLinkUnknown { .. } => "PodLinkUnknown",
            Self::TooManyNodes { .. } => "TooManyNodes",
            Self::TooManyLocalBackends { .. } => "TooManyLocalBackends",
            Self::TooManyFrontends { .. } => "TooManyFrontends",
            Self::NoRoomForTable { .. } => "NoRoomForTable",
            Self::NoRoomForMac { .. } => "NoRoomForMac",
        }
    }

    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::ConfigurationRefused { .. }
            | Self::VipImpossible { .. }
            | Self::VipIsNodeAddress { .. }
            | Self::FrontendTaken { .. }
            | Self::ProtocolNotSupported { .. }
            | Self::NoOwner { .. }
            | Self::NoSuchLink { .. }
            | Self::VipClaimed { .. }
            | Self::TooManyBackends { .. }
            | Self::BackendImpossible { .. }
            | Self::BackendIsVip { .. }
            | Self::TooManyNodes { .. }
            | Self::TooManyLocalBackends { .. }
            | Self::TooManyFrontends { .. }
            | Self::NoRoomForTable { .. }
            | Self::NoRoomForMac { .. } => Severity::Error,
            Self::NotAllocated { .. }
            | Self::NotAnnounced { .. }
            | Self::LocalPrefsDiffer { .. }
            | Self::PortNotInSlices { .. }
            | Self::BackendWithoutNode { .. }
            | Self::BackendWithoutAgent { .. }
            | Self::ThisNodeUnknown { .. }
            | Self::NoNextHop { .. }
            | Self::PodLinkUnknown { .. } => Severity::Warning,
            Self::NoVip { .. } | Self::NoSlices { .. } | Self::NoReadyBackend { .. } => {
                Severity::Note
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVip { service } => write!(
                f,
                "{service} has no address: add an IPAddressPool, or set \
                 status.loadBalancer.ingress, spec.loadBalancerIP or the annotation \
                 metallb.io/loadBalancerIPs; in a cluster, one agent is about to write it"
            ),
            Self::NotAllocated {
                service,
                keeps,
                refusal,
            } => {
                match keeps.as_slice() {
                    [] => write!(f, "{service} gets no address")?,
                    [first, rest @ ..] => {
                        write!(f, "{service} keeps {first}")?;
                        for address in rest {
                            write!(f, " and {address}")?;
                        }
                    }
                }
                write!(f, ": {refusal}; {}", refusal.advice())
            }
            Self::ConfigurationRefused { refused } => write!(
                f,
                "{refused}: until it is corrected, the last good configuration holds"
            ),
            Self::VipImpossible { service, vip, kind } => write!(
                f,
                "{service} asks for {vip}, which is {kind} and cannot be reached from \
                 elsewhere: give it another address"
            ),
            Self::VipIsNodeAddress { service, vip, node } => write!(
                f,
                "{service} asks for {vip}, which is the address of node {node} itself: \
                 give it another address"
            ),
            Self::FrontendTaken {
                service,
                frontend,
                holder,
            } => write!(
                f,
                "{service} asks for {frontend}, which {holder} has: \
                 give one of them another address or port"
            ),
            Self::ProtocolNotSupported {
                service,
                port,
                protocol,
            } => write!(
                f,
                "port {port}/{protocol} of {service} is not forwarded: \
                 {protocol} is not supported yet"
            ),
            Self::NoOwner { service, vip } => write!(
                f,
                "nobody answers for {vip} of {service}: no node that its L2Advertisements select \
                 is there and able to; `lb-agent vips {vip}` says why of each (of excluded ones, \
                 check the label node.kubernetes.io/exclude-from-external-load-balancers)"
            ),
            Self::NotAnnounced { service, why } => {
                write!(f, "nobody answers for the addresses of {service}: {why}")
            }
            Self::LocalPrefsDiffer { service } => write!(
                f,
                "no router is told of the addresses of {service}: BGPAdvertisements that select \
                 it say different localPref of one prefix to one peer; make them equal"
            ),
            Self::VipClaimed {
                service,
                vip,
                mac,
                held_back,
            } => {
                let so = if *held_back {
                    "it is not announced until that stops"
                } else {
                    "clients may be led there"
                };
                write!(
                    f,
                    "the machine {mac}, which is no node, says to have {vip} of {service}: {so}; \
                     find it and take the address from it, or from the pool"
                )
            }
            Self::NoSuchLink { service, links } => write!(
                f,
                "nobody answers for the addresses of {service}: this node owns them, and none of \
                 its uplinks is named {}; correct the interfaces of its L2Advertisements, or have \
                 them select other nodes",
                links.join(" or ")
            ),
            Self::NoSlices { service } => write!(
                f,
                "no EndpointSlice is for {service}: its ports answer with a reset; check its \
                 selector, or the slice's label kubernetes.io/service-name"
            ),
            Self::PortNotInSlices {
                service,
                port,
                name,
                protocol,
            } => write!(
                f,
                "no EndpointSlice of {service} has a port named \"{name}\" for \
                 {port}/{protocol}: it answers with a reset; port names must be the same in \
                 both"
            ),
            Self::NoReadyBackend { service, frontend } => write!(
                f,
                "{frontend} of {service} has no ready backend: new connections are answered \
                 with a reset; check the pods' readiness"
            ),
            Self::TooManyBackends {
                service,
                frontend,
                present,
            } => write!(
                f,
                "{frontend} of {service} has {present} backends, of which \
                 {ENDPOINTS_PER_FRONTEND_MAX} are used: split the Service"
            ),
            Self::BackendImpossible {
                service,
                address,
                kind,
            } => write!(
                f,
                "the endpoint {address} of {service} is {kind} and is left out: correct its \
                 EndpointSlice"
            ),
            Self::BackendWithoutNode { service, address } => write!(
                f,
                "the endpoint {address} of {service} names no node and is left out: only pods \
                 on nodes that run the agent are served so far; set nodeName"
            ),
            Self::BackendWithoutAgent {
                service,
                address,
                node,
            } => write!(
                f,
                "the endpoint {address} of {service} is on {node}, which has no Node object, \
                 and is left out: add the Node, or correct nodeName"
            ),
            Self::BackendIsVip {
                service,
                address,
                holder,
            } => write!(
                f,
                "the endpoint {address} of {service} is a VIP of {holder}: packets would go \
                 round; point it at the pods instead"
            ),
            Self::ThisNodeUnknown { node } => write!(
                f,
                "there is no Node object for this node, {node}: no VIP is owned here and no \
                 pod here is served; check --node"
            ),
            Self::NoNextHop { node } => write!(
                f,
                "the way to node {node} is not known: packets for its pods are dropped; check \
                 its addresses, and the route and the neighbour entry for them"
            ),
            Self::PodLinkUnknown { address } => write!(
                f,
                "the device of the pod {address} is not known: it is served through the stack \
                 although its Service asks for direct delivery"
            ),
            Self::TooManyNodes { node } => write!(
                f,
                "node {node} is one more than the {} that are possible: its pods are not \
                 served from here",
                NODES_MAX - 1
            ),
            Self::TooManyLocalBackends { address, port } => write!(
                f,
                "the pod {address} port {port} is one more than the {BACKENDS_MAX} backends \
                 that are possible on a node: it is not served here"
            ),
            Self::TooManyFrontends { service, frontend } => write!(
                f,
                "{frontend} of {service} is not forwarded: the map of frontends is full; raise \
                 its size"
            ),
            Self::NoRoomForTable { service, frontend } => write!(
                f,
                "the table of {frontend} of {service} has no place: the map of tables is full; \
                 raise its size"
            ),
            Self::NoRoomForMac { node } => write!(
                f,
                "a MAC of node {node} has no place in the table of MACs: what it hands over \
                 is taken for its own traffic"
            ),
        }
    }
}
