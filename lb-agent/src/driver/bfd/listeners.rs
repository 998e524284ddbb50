//! The sockets that packets of peers come to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_core::bfd::wire::LEN;
use lb_core::time::Timestamp;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{FAR_PORT, NEAR_PORT};
use crate::clock;
use crate::net::bfd_socket;

/// Which socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) ipv6: bool,
    pub(super) far: bool,
    pub(super) device: Option<String>,
}

/// A packet, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) from: SocketAddr,
    pub(super) ttl: Option<u8>,
    pub(super) far: bool,
    pub(super) at: Timestamp,
    bytes: [u8; LEN],
    length: usize,
}

impl Heard {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Listeners {
    open: BTreeMap<At, AbortHandle>,
    failed: BTreeMap<At, String>,
    packets: mpsc::Sender<Heard>,
}

impl Listeners {
    pub(super) fn new(packets: mpsc::Sender<Heard>) -> Self {
        Self {
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            packets,
        }
    }

    /// Has these open, as far as they can be, and no others.
    pub(super) fn want(&mut self, wanted: BTreeSet<At>) {
        self.failed.retain(|at, _| wanted.contains(at));
        self.open.retain(|at, task| {
            let stays = wanted.contains(at) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for at in wanted {
            if self.open.contains_key(&at) {
                continue;
            }
            let port = if at.far { FAR_PORT } else { NEAR_PORT };
            match bfd_socket::listen(at.ipv6, port, at.device.as_deref()) {
                Ok(socket) => {
                    let task = tokio::spawn(hear(socket, at.far, self.packets.clone()));
                    self.failed.remove(&at);
                    self.open.insert(at, task.abort_handle());
                }
                Err(error) => {
                    let text = format!("cannot listen at UDP port {port}: {error}");
                    self.failed.insert(at, text);
                }
            }
        }
    }

    /// Why nothing is heard there.
    pub(super) fn failure(&self, at: &At) -> Option<String> {
        self.failed.get(at).cloned()
    }
}

/// Until the socket fails, or nobody takes what is heard.
async fn hear(socket: UdpSocket, far: bool, packets: mpsc::Sender<Heard>) {
    let mut bytes = [0; LEN];
    loop {
        let Ok(datagram) = bfd_socket::receive(&socket, &mut bytes).await else {
            return;
        };
        let heard = Heard {
            from: datagram.from,
            ttl: datagram.ttl,
            far,
            at: clock::now(),
            bytes,
            length: datagram.length.min(LEN),
        };
        if packets.send(heard).await.is_err() {
            return;
        }
    }
}
