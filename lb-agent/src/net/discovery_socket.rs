//! ICMPv6 as router discovery wants it (RFC 4861): by one link, with the
//! highest hop limit, and nothing heard but its two messages.
#![expect(
    unsafe_code,
    reason = "neither socket2 nor nix knows the option ICMP6_FILTER"
)]

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use lb_core::router_discovery::To;
use lb_core::router_discovery::wire::{ADVERTISEMENT, HOP_LIMIT, SOLICITATION};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6RecvHopLimit;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::bfd_socket::{self, Datagram};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// linux/icmpv6.h: a bit for each type, set where it is not delivered.
const ICMPV6_FILTER: libc::c_int = 1;
const FILTER_WORDS: usize = 8;

/// A link as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub number: u32,
    /// Up, with a carrier.
    pub runs: bool,
}

/// None: there is no link of that name.
#[must_use]
pub fn link(name: &str) -> Option<Link> {
    let number = if_nametoindex(name).ok()?;
    let of_link = getifaddrs()
        .ok()?
        .find(|entry| entry.interface_name == name);
    let runs = of_link.is_some_and(|entry| entry.flags.contains(InterfaceFlags::IFF_RUNNING));
    Some(Link { number, runs })
}

/// The name of a link; none: it is gone.
#[must_use]
pub fn name_of(number: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(number).ok()?;
    // nix takes a failure for an empty name.
    name.into_string().ok().filter(|name| !name.is_empty())
}

#[derive(Debug)]
pub struct DiscoverySocket {
    /// A raw one; of datagrams the kernel has one kind of calls.
    socket: UdpSocket,
    link: u32,
}

impl DiscoverySocket {
    /// `name` and `number`: of the link.
    pub fn open(name: &str, number: u32) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::IPV6,
            Type::RAW.nonblocking(),
            Some(Protocol::ICMPV6),
        )?;
        // Before it hears anything by other links.
        socket.bind_device(Some(name.as_bytes()))?;
        filter(&socket)?;
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
        socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(number)?;
        // All nodes are heard anyway.
        socket.join_multicast_v6(&ALL_ROUTERS, number)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            link: number,
        })
    }

    /// The kernel chooses the source, a link-local address, and adds the
    /// checksum.
    pub fn send(&self, to: To, bytes: &[u8]) -> io::Result<()> {
        let group = match to {
            To::AllNodes => ALL_NODES,
            To::AllRouters => ALL_ROUTERS,
        };
        let to = SocketAddr::V6(SocketAddrV6::new(group, 0, 0, self.link));
        let socket = SockRef::from(&self.socket);
        socket.send_to(bytes, &to.into()).map(drop)
    }

    /// The next message; what does not fit into the buffer is cut off.
    /// Cancelling it loses nothing.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        bfd_socket::receive(&self.socket, buffer).await
    }
}

fn filter(socket: &Socket) -> io::Result<()> {
    let mut blocked = [u32::MAX; FILTER_WORDS];
    for kind in [SOLICITATION, ADVERTISEMENT] {
        if let Some(word) = blocked.get_mut(usize::from(kind / 32)) {
            *word &= !(1 << (kind % 32));
        }
    }
    let length = libc::socklen_t::try_from(size_of_val(&blocked)).unwrap_or_default();
    // SAFETY: the option is as long as is said, and lives until the call ends.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMPV6_FILTER,
            blocked.as_ptr().cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_known_by_name_and_number() {
        let loopback = link("lo").unwrap();
        assert_eq!(name_of(loopback.number).as_deref(), Some("lo"));
        assert_eq!(link("nothing0"), None);
        assert_eq!(name_of(u32::MAX), None);
    }
}
