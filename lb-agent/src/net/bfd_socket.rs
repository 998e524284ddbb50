//! UDP as BFD wants it (RFC 5881 sections 4 and 5; RFC 5883 sections 2 and 5):
//! sent with TTL 255 from a port above 49151, and heard with the TTL that it
//! had.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::bgp_socket::{ip_of, same_net};

/// What a packet has that came by no router.
pub const TTL: u8 = 255;
/// Where packets may come from; up to the last one.
const FIRST_PORT: u16 = 49152;
const PORTS: u16 = u16::MAX - FIRST_PORT;
/// For a port that nobody has.
const ATTEMPTS: u16 = 64;

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub length: usize,
    pub from: SocketAddr,
    /// None: the kernel does not say.
    pub ttl: Option<u8>,
}

/// A socket that hears all packets of one family to one port.
pub fn listen(ipv6: bool, port: u16, device: Option<&str>) -> io::Result<UdpSocket> {
    let any = any(ipv6);
    let socket = new_socket(any, device)?;
    if ipv6 {
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
    } else {
        setsockopt(&socket, Ipv4RecvTtl, &true)?;
    }
    socket.bind(&SocketAddr::new(any, port).into())?;
    UdpSocket::from_std(socket.into())
}

/// A socket for the packets of one session. `wish`: which port it is to have,
/// if nobody else has it.
pub fn sender(
    remote: IpAddr,
    source: Option<IpAddr>,
    device: Option<&str>,
    wish: u32,
) -> io::Result<std::net::UdpSocket> {
    let socket = new_socket(remote, device)?;
    let source = source.unwrap_or(any(remote.is_ipv6()));
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for attempt in 0..ATTEMPTS {
        let wish = wish.wrapping_add(attempt.into()) % u32::from(PORTS);
        let port = FIRST_PORT + u16::try_from(wish).unwrap_or_default();
        match socket.bind(&SocketAddr::new(source, port).into()) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

const fn any(ipv6: bool) -> IpAddr {
    if ipv6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}

fn new_socket(family: IpAddr, device: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(family, 0)),
        Type::DGRAM,
        None,
    )?;
    socket.set_nonblocking(true)?;
    if family.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(TTL.into())?;
    } else {
        socket.set_ttl_v4(TTL.into())?;
    }
    // Routers send them before everything else (RFC 7419 names no class; the
    // other implementations say CS6).
    let urgent = 0xc0;
    let marked = if family.is_ipv6() {
        socket.set_tclass_v6(urgent)
    } else {
        socket.set_tos_v4(urgent)
    };
    marked?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    Ok(socket)
}

/// The next datagram; what does not fit into the buffer is cut off.
pub async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    loop {
        socket.readable().await?;
        match socket.try_io(Interest::READABLE, || receive_now(socket, buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::c_int, libc::c_int);
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let mut ttl = None;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::Ipv4Ttl(number) | ControlMessageOwned::Ipv6HopLimit(number) =
            message
        {
            ttl = u8::try_from(number).ok();
        }
    }
    let from = received.address.and_then(|address| {
        let v4 = address
            .as_sockaddr_in()
            .map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| {
            address
                .as_sockaddr_in6()
                .map(|v6| SocketAddr::V6((*v6).into()))
        })
    });
    Ok(Datagram {
        length: received.bytes,
        from: from.ok_or(io::ErrorKind::InvalidData)?,
        ttl,
    })
}

/// Whether a peer is on a link of this node's.
#[must_use]
pub fn is_near(remote: IpAddr) -> bool {
    if let IpAddr::V6(v6) = remote
        && v6.is_unicast_link_local()
    {
        return true;
    }
    let Ok(mut all) = getifaddrs() else {
        return true;
    };
    all.any(|entry| {
        let address = entry.address.and_then(|address| ip_of(&address));
        let mask = entry.netmask.and_then(|mask| ip_of(&mask));
        let pair = address.zip(mask);
        pair.is_some_and(|(address, mask)| same_net(address, remote, mask))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_datagram_comes_with_its_ttl_and_from_a_port_that_may_be() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let hears = listen(address.is_ipv6(), 0, None).unwrap();
            let to = SocketAddr::new(address, hears.local_addr().unwrap().port());
            let speaks = sender(address, Some(address), None, 7).unwrap();
            let port = speaks.local_addr().unwrap().port();
            assert!(port >= FIRST_PORT, "{port}");
            speaks.send_to(&[1, 2, 3], to).unwrap();
            let mut buffer = [0; 2];
            let datagram = receive(&hears, &mut buffer).await.unwrap();
            assert_eq!((datagram.ttl, datagram.from.port()), (Some(255), port));
            assert_eq!((datagram.from.ip(), buffer), (address, [1, 2]));
            // The same wish gives another one who is there.
            let other = sender(address, Some(address), None, 7).unwrap();
            assert_ne!(other.local_addr().unwrap().port(), port);
        }
        assert!(is_near("127.0.0.1".parse().unwrap()));
        assert!(is_near("fe80::1".parse().unwrap()));
        assert!(!is_near("203.0.113.77".parse().unwrap()));
    }
}
