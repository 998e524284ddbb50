//! Telling the network which VIPs are here: `lb_core::l2` at its socket.
//!
//! In: the VIPs that this node owns, with the links of each ([`Wanted`]),
//! through a `watch` channel. Out: frames. The solicited-node groups of IPv6
//! VIPs are joined for as long as they are owned, so that network cards
//! deliver the questions about them. Answers to questions are the kernel
//! program's. Cancelling the task at any point loses announcements only.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use lb_core::l2::wire::ndp::solicited_node;
use lb_core::l2::{Announcer, Output, Wanted};
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

use super::packet_socket::PacketSocket;
use crate::clock;

/// Announces until nobody tells any more.
pub async fn run(mut wanted: watch::Receiver<Wanted>) -> io::Result<()> {
    let socket = PacketSocket::open()?;
    let mut groups = Groups::default();
    let mut announcer = Announcer::new();
    loop {
        while let Some(Output::Send { link, frame }) = announcer.poll_output() {
            // A device that is down cannot tell anybody.
            if let Err(error) = socket.send(link, &frame) {
                tracing::debug!(link, %error, "not announced");
            }
        }
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = wanted.borrow_and_update().clone();
                announcer.configure(&now, clock::now());
                groups.set(&now);
            }
            () = clock::wait_until(announcer.deadline()) => announcer.handle_timeout(clock::now()),
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
    fn set(&mut self, wanted: &Wanted) {
        let groups = wanted.vips.iter().filter_map(|(vip, links)| match vip {
            IpAddr::V4(_) => None,
            IpAddr::V6(vip) => Some((solicited_node(*vip), links)),
        });
        let wanted: BTreeSet<_> = groups
            .flat_map(|(group, links)| links.iter().map(move |link| (group, *link)))
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
