//! Telling the network which VIPs are here.
//!
//! In: the VIPs that this node owns and its uplinks ([`Owned`]), through a
//! `watch` channel. Out: frames. A VIP that is new is announced three times,
//! and the solicited-node groups of IPv6 VIPs are joined for as long as they
//! are owned, so that network cards deliver the questions about them. Answers
//! to questions are the kernel program's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use lb_core::model::Mac;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

use super::packet_socket::{PacketSocket, announcements};
use crate::clock;

const TIMES: u32 = 3;
const EVERY: Duration = Duration::from_millis(200);

/// What is announced, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    pub vips: BTreeSet<IpAddr>,
    /// The uplinks' numbers and MACs.
    pub uplinks: BTreeMap<u32, Mac>,
}

/// Announces until nobody tells any more.
pub async fn run(mut owned: watch::Receiver<Owned>) -> io::Result<()> {
    let socket = PacketSocket::open()?;
    let mut groups = Groups::default();
    let mut last = Owned::default();
    // How often each is still to be announced.
    let mut pending: BTreeMap<IpAddr, u32> = BTreeMap::new();
    let mut next = clock::instant() + EVERY;
    loop {
        let now = owned.borrow_and_update().clone();
        if now != last {
            let moved = now.uplinks != last.uplinks;
            let new = now
                .vips
                .iter()
                .filter(|vip| moved || !last.vips.contains(vip));
            pending.extend(new.map(|vip| (*vip, TIMES)));
            pending.retain(|vip, _| now.vips.contains(vip));
            groups.set(&now);
            last = now;
            next = clock::instant();
        }
        tokio::select! {
            changed = owned.changed() => if changed.is_err() {
                return Ok(());
            },
            () = tokio::time::sleep_until(next), if !pending.is_empty() => {
                announce(&socket, &last, &pending);
                for left in pending.values_mut() {
                    *left -= 1;
                }
                pending.retain(|_, left| *left > 0);
                next += EVERY;
            }
        }
    }
}

fn announce(socket: &PacketSocket, owned: &Owned, pending: &BTreeMap<IpAddr, u32>) {
    for vip in pending.keys() {
        for (ifindex, mac) in &owned.uplinks {
            for frame in announcements(*vip, *mac) {
                // A device that is down cannot tell anybody.
                if let Err(error) = socket.send(*ifindex, &frame) {
                    tracing::debug!(%vip, ifindex, %error, "not announced");
                }
            }
        }
    }
}

/// Memberships in solicited-node groups (RFC 4291 §2.7.1).
#[derive(Debug, Default)]
struct Groups {
    socket: Option<Socket>,
    joined: BTreeSet<(Ipv6Addr, u32)>,
}

impl Groups {
    fn set(&mut self, owned: &Owned) {
        let groups = owned.vips.iter().filter_map(|vip| match vip {
            IpAddr::V4(_) => None,
            IpAddr::V6(vip) => Some(solicited_node(*vip)),
        });
        let wanted: BTreeSet<_> = groups
            .flat_map(|group| owned.uplinks.keys().map(move |ifindex| (group, *ifindex)))
            .collect();
        if wanted.is_empty() && self.joined.is_empty() {
            return;
        }
        if self.socket.is_none() {
            match Socket::new(Domain::IPV6, Type::DGRAM, None) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => tracing::warn!(%error, "no socket to join multicast groups with"),
            }
        }
        let Some(socket) = &self.socket else {
            return;
        };
        for (group, ifindex) in self.joined.difference(&wanted) {
            // A device that is gone has taken its memberships along.
            let _left = socket.leave_multicast_v6(group, *ifindex);
        }
        self.joined.retain(|member| wanted.contains(member));
        for (group, ifindex) in wanted {
            if self.joined.contains(&(group, ifindex)) {
                continue;
            }
            match socket.join_multicast_v6(&group, ifindex) {
                Ok(()) => {
                    self.joined.insert((group, ifindex));
                }
                Err(error) => {
                    tracing::warn!(%group, ifindex, %error, "cannot join a solicited-node group");
                }
            }
        }
    }
}

fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 4291 §2.7.1.
    #[test]
    fn the_group_is_made_of_the_last_three_bytes() {
        let address: Ipv6Addr = "4037::01:800:200E:8C6C".parse().unwrap();
        let group: Ipv6Addr = "ff02::1:ff0e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(address), group);
    }
}
