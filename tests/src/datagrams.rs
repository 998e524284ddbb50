//! Sockets of UDP with room for what comes while nobody gets to read it.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;

/// Bytes, as the kernel counts them: 768 and more for a small datagram. The
/// kernel's own choice is full after 277 of these, which are 140 ms of two
/// thousand a second; on a busy machine a pod's server waits longer now and then,
/// and a test would count what was dropped there as lost on the way.
const ROOM: usize = 16 << 20;

/// Not more room than the machine allows where it may not have that: pods of
/// a cluster lack `CAP_NET_ADMIN`.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).await?;
    if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &ROOM)?;
    }
    Ok(socket)
}
