//! Which node answers ARP and NDP for a VIP.
//!
//! MetalLB's rules and MetalLB's order, so that a cluster that moves over
//! keeps its owners (`ShouldAnnounce` in its `speaker/layer2_controller.go`):
//! of the nodes that the advertisements allow, those with the highest sum of
//! preferences first, among them by `sha256(node name + "#" + ip)`, and the
//! first that is there owns. No state and no messages: every node computes it,
//! and a node that is not the owner moves nothing when it goes.
//!
//! In two steps, since the second is asked far more often: [`Candidacy`] is
//! what the objects say, the same on all nodes; [`Absent`] is who of them is
//! not there just now.
//!
//! Unlike MetalLB's, the owner does not depend on there being endpoints: a VIP
//! without them still has to say so (RST, port unreachable).

mod candidacy;
mod electorate;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::fmt::Write as _;
use core::net::IpAddr;

pub use candidacy::{Candidacy, Contest, LinkChoice};
pub use electorate::Electorate;
use sha2::digest::Update as _;
use sha2::{Digest as _, Sha256};

use crate::model::{Inputs, MemberState, Members, NodeName};

/// Why a node cannot own a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotCandidate {
    /// No advertisement for the VIP selects it.
    NotSelected,
    /// It has the label that keeps nodes from external load balancers.
    Excluded,
    /// Its condition NetworkUnavailable is true.
    NetworkUnavailable,
    /// `externalTrafficPolicy: Local`, and no pod of the Service is there.
    NoLocalEndpoint,
    /// No agent was heard of there.
    NoAgent,
    /// Its agent is not heard of any more.
    Down,
    /// Its agent said that it goes.
    Leaving,
    /// Its data plane is not ready.
    NotProgrammed,
    /// None of its uplinks has carrier.
    NoCarrier,
}

impl NotCandidate {
    /// As it stands in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSelected => "NotSelected",
            Self::Excluded => "Excluded",
            Self::NetworkUnavailable => "NetworkUnavailable",
            Self::NoLocalEndpoint => "NoLocalEndpoint",
            Self::NoAgent => "NoAgent",
            Self::Down => "Down",
            Self::Leaving => "Leaving",
            Self::NotProgrammed => "NotProgrammed",
            Self::NoCarrier => "NoCarrier",
        }
    }
}

/// Why no node announces a VIP on its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotAnnounced {
    /// Its addresses are of no one pool, so no advertisement is for them.
    NoPool,
    /// No L2Advertisement is for its pool and its labels.
    NoAdvertisement,
    /// It may share its address, and an advertisement for it selects Services:
    /// two Services on one address could get two owners (MetalLB refuses too).
    SharedAndSelected,
    /// No node can own it.
    NoCandidate,
}

impl NotAnnounced {
    /// As it stands in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPool => "NoPool",
            Self::NoAdvertisement => "NoAdvertisement",
            Self::SharedAndSelected => "SharedAndSelected",
            Self::NoCandidate => "NoCandidate",
        }
    }
}

impl fmt::Display for NotAnnounced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPool => {
                "its addresses are not all of one IPAddressPool, so no L2Advertisement is for them"
            }
            Self::NoAdvertisement => {
                "no L2Advertisement is for its pool and its labels; add one, or a \
                 BGPAdvertisement, if it is to be reached"
            }
            Self::SharedAndSelected => {
                "it has the annotation allow-shared-ip, and an L2Advertisement for its pool has \
                 serviceSelectors: the Services on one address could get two owners; take one of \
                 the two away"
            }
            Self::NoCandidate => "no node can own it",
        })
    }
}

/// The nodes that cannot own anything just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent(BTreeMap<NodeName, NotCandidate>);

impl Absent {
    /// Of all nodes, as far as is known.
    pub fn new(inputs: &Inputs) -> Self {
        let nodes = inputs.facts.nodes.keys();
        let absent = nodes.filter_map(|node| {
            let why = absent(&inputs.members, inputs.free.as_ref(), node)?;
            Some((node.clone(), why))
        });
        Self(absent.collect())
    }

    #[must_use]
    pub fn why(&self, node: &NodeName) -> Option<NotCandidate> {
        self.0.get(node).copied()
    }
}

/// Why a node is not there, as its agent and the others' say; none: it is.
fn absent(
    members: &Members,
    free: Option<&BTreeSet<NodeName>>,
    node: &NodeName,
) -> Option<NotCandidate> {
    // The fence is surer than whoever declares members down, and faster.
    if free.is_some_and(|free| free.contains(node)) {
        return Some(NotCandidate::Down);
    }
    let Some(member) = members.by_node.get(node) else {
        return members.settled.then_some(NotCandidate::NoAgent);
    };
    match member.state {
        MemberState::Down if member.left => Some(NotCandidate::Down),
        MemberState::Down if free.is_none() && member.returns_by.is_none() => {
            Some(NotCandidate::Down)
        }
        // One that was to be back and is late has VIPs until the fence says so.
        MemberState::Leaving if member.left => Some(NotCandidate::Leaving),
        _ if !member.programmed => Some(NotCandidate::NotProgrammed),
        _ if !member.uplinks_up => Some(NotCandidate::NoCarrier),
        _ => None,
    }
}

/// The address goes in as Go's `net.IP.String()` prints it, which is RFC 5952
/// as Rust prints it too, with a v4-mapped address as IPv4.
fn rank(name: &NodeName, ip: IpAddr) -> [u8; 32] {
    struct Text(Sha256);
    impl fmt::Write for Text {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            sha2::digest::Update::update(&mut self.0, text.as_bytes());
            Ok(())
        }
    }
    let text = Sha256::new().chain(name.as_str()).chain("#");
    let mut text = Text(text);
    write!(text, "{}", ip.to_canonical()).expect("hashing does not fail");
    text.0.finalize().into()
}
