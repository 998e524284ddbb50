//! What is to be agreed on with a peer, and where its connection ends.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::wire::{AS_TRANS, Capability, Family, GracefulFamily, GracefulRestart, Open};

/// One peer's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the peer takes us for.
    pub local_as: u32,
    pub remote_as: RemoteAs,
    /// The BGP identifier.
    pub id: Ipv4Addr,
    /// 0: the session is never given up.
    pub hold_s: u16,
    /// None: a third of what the hold time becomes.
    pub keepalive_s: Option<u16>,
    /// Between attempts to connect; none: 1 s, and longer with each that fails.
    pub connect_retry: Option<Duration>,
    pub families: Vec<Family>,
    pub graceful: Option<Graceful>,
    /// How long routes are told with GRACEFUL_SHUTDOWN before they go.
    pub drain: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAs {
    Number(u32),
    /// The same as ours, whatever it is.
    Internal,
    /// Any other than ours.
    External,
}

/// Graceful restart (RFC 4724), as the one that restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graceful {
    /// How long the peer is to keep our routes.
    pub time_s: u16,
    /// This speaker has just been started; said until a session is open.
    pub restarted: bool,
    /// What forwards has gone on meanwhile.
    pub preserved: bool,
}

/// The ends of a TCP connection, and what this end can be reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Addresses of the device that the peer is behind, for next hops of the
    /// family that the connection is not of.
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// Where the peer is on the same link.
    pub link_local: Option<Ipv6Addr>,
}

impl RemoteAs {
    #[must_use]
    pub const fn fits(self, local: u32, remote: u32) -> bool {
        match self {
            Self::Number(number) => number == remote,
            Self::Internal => local == remote,
            Self::External => local != remote,
        }
    }
}

impl Config {
    /// What this side says first.
    #[must_use]
    pub fn open(&self) -> Open {
        let mut families = self.families.clone();
        families.sort_unstable();
        let mut all: Vec<Capability> = families
            .iter()
            .map(|family| Capability::MultiProtocol(*family))
            .collect();
        all.push(Capability::RouteRefresh);
        if self.families.contains(&Family::IPV4) {
            let next_hop = (Family::IPV4, Family::IPV6.afi);
            all.push(Capability::ExtendedNextHop([next_hop].into()));
        }
        all.push(Capability::ExtendedMessage);
        if let Some(graceful) = self.graceful {
            let families = families.iter().map(|family| GracefulFamily {
                family: *family,
                preserved: graceful.preserved,
            });
            all.push(Capability::GracefulRestart(GracefulRestart {
                restarted: graceful.restarted,
                notification: false,
                time_s: graceful.time_s,
                families: families.collect(),
            }));
        }
        all.push(Capability::As4(self.local_as));
        all.push(Capability::EnhancedRouteRefresh);
        Open {
            as2: u16::try_from(self.local_as).unwrap_or(AS_TRANS),
            hold_s: self.hold_s,
            id: self.id,
            capabilities: all,
        }
    }
}
