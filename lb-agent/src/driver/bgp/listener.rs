//! Takes connections that routers make, on one port, of both families.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lb_core::config::Password;
use tokio::net::{TcpListener, TcpStream};

use super::super::bfd::scope;
use crate::net::bgp_socket;

/// After a failure of the machine's, not of one connection.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) remote: IpAddr,
    /// The number of the link, for an address that holds on one link only.
    pub(super) scope: u32,
}

#[derive(Debug)]
pub(super) struct Listener {
    port: u16,
    v4: Option<TcpListener>,
    v6: Option<TcpListener>,
    /// The passwords that the sockets know.
    signed: BTreeMap<IpAddr, Password>,
}

impl Listener {
    pub(super) fn new(port: u16) -> Self {
        let open = |address: IpAddr| {
            let opened = bgp_socket::listen(SocketAddr::new(address, port));
            opened.inspect_err(|error| {
                tracing::error!(port, %address, %error, "routers cannot connect: is another \
                                 speaker there? --bgp-listen-port names another");
            })
        };
        Self {
            port,
            v4: open(Ipv4Addr::UNSPECIFIED.into()).ok(),
            v6: open(Ipv6Addr::UNSPECIFIED.into()).ok(),
            signed: BTreeMap::new(),
        }
    }

    /// Signs what these send and say, and nobody else's.
    pub(super) fn expect(&mut self, wanted: BTreeMap<IpAddr, Password>) {
        let gone = self.signed.keys().filter(|peer| !wanted.contains_key(peer));
        for peer in gone {
            self.sign(*peer, None);
        }
        for (peer, password) in &wanted {
            if self.signed.get(peer) != Some(password) {
                self.sign(*peer, Some(password));
            }
        }
        self.signed = wanted;
    }

    fn sign(&self, peer: IpAddr, password: Option<&Password>) {
        let socket = if peer.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket
            && let Err(error) = bgp_socket::sign(socket, peer, password)
        {
            let error = &error as &dyn std::error::Error;
            tracing::error!(%peer, port = self.port, error, "it cannot connect to this node");
        }
    }

    pub(super) async fn accept(&mut self) -> Accepted {
        loop {
            let accepted = tokio::select! {
                accepted = accept(self.v4.as_ref()) => accepted,
                accepted = accept(self.v6.as_ref()) => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    return Accepted {
                        stream,
                        remote: remote.ip().to_canonical(),
                        scope: scope(remote),
                    };
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection cannot be taken");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
