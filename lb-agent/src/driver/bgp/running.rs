//! A session that runs, as the driver holds it.

use std::net::IpAddr;
use std::sync::Arc;

use lb_core::bgp::peer::Stop;
use lb_core::config::{Peer, PeerEnd};
use lb_core::desired::BgpPeer;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::Session;
use super::finder::Neighbour;
use super::speaker::Orders;
use crate::driver::bfd;

pub(super) struct Running {
    /// What its sessions and its socket are made of.
    pub(super) peer: Arc<BgpPeer>,
    pub(super) orders: watch::Sender<Orders>,
    pub(super) accepted: mpsc::Sender<TcpStream>,
    pub(super) stop: oneshot::Sender<Stop>,
    /// Who is at the other end of its link, as far as somebody was found.
    pub(super) neighbour: Option<Neighbour>,
    /// An agent before this one may have had it.
    pub(super) resumes: bool,
}

impl Running {
    /// Takes over what is wanted now, where that needs no other session.
    pub(super) fn adopt(&mut self, wanted: &Session) -> bool {
        let (old, new) = (&self.peer, &wanted.peer);
        if old.peer != new.peer || old.session != new.session {
            return false;
        }
        self.peer = new.clone();
        let orders = orders(wanted, self.neighbour.clone());
        self.orders.send_if_modified(|last| {
            let changed = *last != orders;
            *last = orders;
            changed
        });
        true
    }

    /// The neighbour of its link is another one.
    pub(super) fn find(&mut self, neighbour: Neighbour) {
        self.neighbour = Some(neighbour.clone());
        let bfd = self.bfd();
        self.orders.send_modify(|orders| {
            orders.bfd = bfd;
            orders.neighbour = Some(neighbour);
        });
    }

    /// Where the peer is, and the number of its link, if the address holds on
    /// one link only. None while it is not known.
    pub(super) fn remote(&self) -> Option<(IpAddr, u32)> {
        remote(&self.peer.peer, self.neighbour.as_ref())
    }

    /// The session of BFD that it should have; none while nobody is known.
    pub(super) fn bfd(&self) -> Option<bfd::Ends> {
        ends(&self.peer, self.neighbour.as_ref())
    }

    pub(super) fn end(self, stop: Stop) {
        // One that has ended needs no telling.
        let _told = self.stop.send(stop);
    }
}

pub(super) fn orders(session: &Session, neighbour: Option<Neighbour>) -> Orders {
    Orders {
        routes: session.routes.clone(),
        leaving: session.peer.leaving,
        bfd: ends(&session.peer, neighbour.as_ref()),
        neighbour,
    }
}

fn remote(peer: &Peer, neighbour: Option<&Neighbour>) -> Option<(IpAddr, u32)> {
    match &peer.end {
        PeerEnd::Address(remote) => Some((*remote, 0)),
        PeerEnd::Interface(_) => neighbour.map(|found| (found.address.into(), found.link)),
    }
}

/// Between which BFD is spoken, where it is wanted.
fn ends(peer: &BgpPeer, neighbour: Option<&Neighbour>) -> Option<bfd::Ends> {
    peer.bfd.as_ref()?;
    let peer = &peer.peer;
    let (remote, scope) = remote(peer, neighbour)?;
    Some(bfd::Ends {
        remote,
        scope,
        source: peer.source_address,
        device: peer.vrf.clone(),
    })
}
