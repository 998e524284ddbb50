//! Packets of no flow, from addresses that nobody has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

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
enum Flood {
    /// That begin connections.
    Syns,
    /// That belong to none.
    Acks,
}

/// Packets of one kind between two looks at whether to go on.
const BATCH: u32 = 1024;

/// A flood that goes on beside other things.
#[derive(Debug)]
pub struct Flooding {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Result<u32>>>,
}

impl Flooding {
    /// Sends packets of both kinds to these VIPs in turn, as fast as they go,
    /// each from an address and port of its own (198.18.0.0/15,
    /// 2001:db8:f100::/64): `least` of each kind, and then until
    /// [`Self::finish`].
    #[must_use]
    pub fn start(namespace: &Namespace, targets: Vec<SocketAddr>, least: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = namespace.spawn(move || run(&targets, least, &told));
        Self { over, thread }
    }

    /// Waits until enough was sent; gives how many of each kind it were.
    pub fn finish(self) -> Result<u32> {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
    }
}

fn run(targets: &[SocketAddr], least: u32, over: &AtomicBool) -> Result<u32> {
    let ways = targets
        .iter()
        .map(|target| Way::to(*target))
        .collect::<Result<Vec<_>>>()?;
    let mut sent = 0;
    for way in ways.iter().cycle() {
        if sent >= least && over.load(Ordering::Relaxed) {
            break;
        }
        interrupt::check()?;
        for kind in [Flood::Syns, Flood::Acks] {
            for number in sent..sent + BATCH {
                way.send(kind, number)?;
            }
        }
        sent += BATCH;
    }
    Ok(sent)
}

/// A socket and where it sends to.
struct Way {
    raw: OwnedFd,
    to: SockaddrStorage,
    target: SocketAddr,
}

impl Way {
    fn to(target: SocketAddr) -> Result<Self> {
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        // With this protocol, packets carry their own IP header.
        let raw = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)
            .context("no raw socket")?;
        let to = SockaddrStorage::from(SocketAddr::new(target.ip(), 0));
        Ok(Self { raw, to, target })
    }

    fn send(&self, kind: Flood, number: u32) -> Result<()> {
        let packet = packet(kind, self.target, number).context("a packet of fixed size")?;
        match sendto(self.raw.as_raw_fd(), &packet, &self.to, MsgFlags::empty()) {
            // A full queue drops, which is what floods do; and while nobody
            // owns the VIP, there is no way to it.
            Ok(_) | Err(Errno::ENOBUFS | Errno::EHOSTUNREACH) => Ok(()),
            Err(error) => Err(error).context("cannot send"),
        }
    }
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
