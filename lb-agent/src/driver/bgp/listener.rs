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

    /// Signs what these send and say, and nobody else's. `near`: all of them are
    /// so near that nothing with a TTL below 255 counts; otherwise that is
    /// looked at when it is known who connects.
    pub(super) fn expect(&mut self, wanted: BTreeMap<IpAddr, Password>, near: bool) {
        self.require_ttl(near.then_some(u8::MAX));
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

    fn require_ttl(&self, least: Option<u8>) {
        let any: [(_, IpAddr); 2] = [
            (&self.v4, Ipv4Addr::UNSPECIFIED.into()),
            (&self.v6, Ipv6Addr::UNSPECIFIED.into()),
        ];
        for (socket, family) in any {
            if let Some(socket) = socket
                && let Err(error) = bgp_socket::require_ttl(socket, family, least)
            {
                tracing::warn!(port = self.port, %error, "cannot check the TTL of who connects");
            }
        }
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
