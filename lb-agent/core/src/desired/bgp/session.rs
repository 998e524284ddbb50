//! The session that a `BGPPeer` asks for.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

use super::{BgpPeer, Prefixes};
use crate::bgp::wire::Family;
use crate::bgp::{Config, Graceful, RemoteAs};
use crate::config::{self, Configuration, PeerEnd};
use crate::model::Node;

/// MetalLB's own default (RFC 4271 suggests the same).
const HOLD_S: u16 = 90;
/// FRR's, behind MetalLB: how long a router keeps our routes.
const RESTART_S: u16 = 120;
/// Routers need a moment to take another way.
const DRAIN: Duration = Duration::from_secs(5);

impl BgpPeer {
    /// Of a node, which tells it nothing yet.
    pub(super) fn of(peer: &config::Peer, node: &Node, config: &Configuration) -> Self {
        let timers = peer.timers;
        let graceful = peer.graceful_restart.then_some(Graceful {
            time_s: RESTART_S,
            restarted: false,
            preserved: true,
        });
        let session = Config {
            local_as: peer.local_asn.unwrap_or(peer.my_asn).get(),
            remote_as: match peer.remote_as {
                config::RemoteAs::Number(number) => RemoteAs::Number(number.get()),
                config::RemoteAs::Internal => RemoteAs::Internal,
                config::RemoteAs::External => RemoteAs::External,
            },
            id: peer.router_id.unwrap_or_else(|| router_id(node)),
            hold_s: timers.map_or(HOLD_S, |timers| timers.hold_s),
            keepalive_s: timers.map(|timers| timers.keepalive_s),
            connect_retry: peer.connect_s.map(|s| Duration::from_secs(s.into())),
            families: families(peer),
            graceful,
            drain: DRAIN,
        };
        let profile = peer.bfd_profile.as_ref();
        Self {
            bfd: profile.and_then(|name| config.bfd_profiles.get(name).cloned()),
            peer: peer.clone(),
            session,
            prefixes: Prefixes::new(),
            leaving: node.excluded,
        }
    }
}

/// That of the peer's address, or both (MetalLB's default since 0.15).
fn families(peer: &config::Peer) -> Vec<Family> {
    match peer.end {
        PeerEnd::Address(_) if peer.dual_stack_address_family => {
            [Family::IPV4, Family::IPV6].into()
        }
        PeerEnd::Address(IpAddr::V4(_)) => [Family::IPV4].into(),
        PeerEnd::Address(IpAddr::V6(_)) => [Family::IPV6].into(),
        PeerEnd::Interface(_) => [Family::IPV4, Family::IPV6].into(),
    }
}

/// The node's first IPv4 address; where it has none, a number that its name
/// gives (RFC 6286: it need not be an address).
fn router_id(node: &Node) -> Ipv4Addr {
    let first = node.addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    first.unwrap_or_else(|| {
        let digest = Sha256::digest(node.name.as_str());
        // Never 0, and no address that anybody has.
        Ipv4Addr::new(127, digest[0], digest[1], digest[2] | 1)
    })
}
