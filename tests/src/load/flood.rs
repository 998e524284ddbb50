//! Packets of no flow, from addresses that nobody has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

use crate::interrupt;
use crate::netns::Namespace;

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// That begin connections.
    Syns,
    /// That belong to none.
    Acks,
}

/// Sends `count` packets to a VIP, as fast as they go, each from an address
/// and port of its own (198.18.0.0/15, 2001:db8:f100::/64).
pub fn flood(namespace: &Namespace, kind: Flood, target: SocketAddr, count: u32) -> Result<()> {
    namespace.within(|| {
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        // With this protocol, packets carry their own IP header.
        let raw = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)
            .context("no raw socket")?;
        let to = SockaddrStorage::from(SocketAddr::new(target.ip(), 0));
        for number in 0..count {
            if number % 1024 == 0 {
                interrupt::check()?;
            }
            let packet = packet(kind, target, number).context("a packet of fixed size")?;
            match sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
                // A full queue drops, which is what floods do.
                Ok(_) | Err(Errno::ENOBUFS) => {}
                Err(error) => return Err(error).context("cannot send"),
            }
        }
        Ok(())
    })?
}

fn packet(kind: Flood, target: SocketAddr, number: u32) -> io::Result<Vec<u8>> {
    let low = number & 0x1_ffff;
    let builder = match target.ip() {
        IpAddr::V4(to) => {
            let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | low);
            PacketBuilder::ipv4(from.octets(), to.octets(), 64)
        }
        IpAddr::V6(to) => {
            let base = Ipv6Addr::new(0x2001, 0xdb8, 0xf100, 0, 0, 0, 0, 0);
            let from = Ipv6Addr::from(u128::from(base) | u128::from(low));
            PacketBuilder::ipv6(from.octets(), to.octets(), 64)
        }
    };
    let [_, _, high, port_low] = (number.wrapping_mul(0x9e37_79b1) >> 8).to_be_bytes();
    let port = u16::from_be_bytes([high, port_low]) | 0x400;
    let tcp = builder.tcp(port, target.port(), number, 64_000);
    let tcp = match kind {
        Flood::Syns => tcp.syn(),
        Flood::Acks => tcp.ack(number ^ 0x5555_5555),
    };
    let mut packet = Vec::with_capacity(tcp.size(0));
    tcp.write(&mut packet, &[])
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(packet)
}
