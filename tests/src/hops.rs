//! How often a packet was handed over: counted on the wire, at the switch's or
//! router's port of each node.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use lb_common::tunnel::{DEFAULT_PORT, MARKED_ETHERTYPE, Shim};

use crate::frames::Capture;
use crate::lab::Lab;

const ETHERNET: usize = 14;
const MAC: usize = 6;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// In place of IP's where a packet has been handed on.
const MARKED: [u8; 2] = MARKED_ETHERTYPE.to_be_bytes();
const UDP_HEADER: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What tells one packet from all others of its client: ports, and TCP's
/// sequence numbers with its time stamps, or UDP's payload; and IPv4's
/// identification, which a segment that is sent again has anew. Two of a
/// million packets look alike with a chance of one in thirty million. IPv6 has
/// nothing of the kind: of its segments only those with payload are told apart,
/// as two acknowledgements of one millisecond may be alike.
type Identity = u64;

/// Of packets that were sent as they are and of those in a tunnel between nodes,
/// as pcap-filter(7) says it: not from where a [`Flooding`] comes from, whose
/// packets are too many to be kept.
///
/// [`Flooding`]: crate::load::Flooding
const NO_FLOOD: &str = "not src net 198.18.0.0/15 \
    and not src net 2001:db8:f100::/64 \
    and not (udp dst port 6947 and (udp[24:2] & 0xfffe = 0xc612 \
        or (udp[20:4] = 0x20010db8 and udp[24:2] = 0xf100)))";

/// A capture at each node's port, of what is for VIPs.
#[derive(Debug)]
pub struct Hops {
    captures: Vec<([u8; MAC], Capture)>,
    vips: Vec<IpAddr>,
}

/// How often packets came to a node: 1 is the first one, and every one more is
/// a hand-over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// For each number of arrivals, how many packets had so many.
    pub packets: BTreeMap<usize, usize>,
}

impl Arrivals {
    /// The most hand-overs that any packet had; none: nothing was captured.
    #[must_use]
    pub fn hand_overs(&self) -> Option<usize> {
        self.packets.keys().next_back().map(|arrivals| arrivals - 1)
    }
}

impl Hops {
    /// From when this returns.
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut captures = Vec::new();
        for node in lab.nodes() {
            let file: PathBuf = lab.folder().join(format!("hops-{}.pcap", node.name()));
            let capture = Capture::leaving(&lab.middle(), &node.name(), &file, NO_FLOOD)?;
            captures.push((node.mac_bytes()?, capture));
        }
        let vips = lab.vips();
        Ok(Self { captures, vips })
    }

    /// What came to the nodes so far.
    pub fn arrivals(&self) -> Result<Arrivals> {
        let mut times: BTreeMap<Identity, usize> = BTreeMap::new();
        for (mac, capture) in &self.captures {
            for frame in capture.frames()? {
                if frame.get(..MAC) != Some(mac) {
                    continue;
                }
                if let Some(packet) = identity(&frame, &self.vips) {
                    *times.entry(packet).or_default() += 1;
                }
            }
        }
        let mut arrivals = Arrivals::default();
        for number in times.into_values() {
            *arrivals.packets.entry(number).or_default() += 1;
        }
        Ok(arrivals)
    }
}

/// None: no TCP or UDP packet for one of these addresses.
fn identity(frame: &[u8], vips: &[IpAddr]) -> Option<Identity> {
    let kind = frame.get(12..ETHERNET)?;
    let packet = frame.get(ETHERNET..)?;
    if ![IPV4, IPV6, MARKED].iter().any(|ip| kind == ip) {
        return None;
    }
    let packet = Packet::of(packet)?;
    let packet = packet.tunnelled().and_then(Packet::of).unwrap_or(packet);
    if !vips.contains(&packet.to) {
        return None;
    }
    let rest = packet.rest;
    let ports = rest.get(..4)?;
    let own = match packet.protocol {
        TCP if packet.id.is_empty() && !has_payload(rest) => return None,
        // Without the checksum; with options and payload.
        TCP => [rest.get(4..16)?, rest.get(20..)?],
        UDP => [rest.get(UDP_HEADER..)?, &[]],
        _ => return None,
    };
    let mut hasher = DefaultHasher::new();
    (packet.protocol, packet.to, packet.id, ports, own).hash(&mut hasher);
    Some(hasher.finish())
}

/// Of a TCP segment.
fn has_payload(segment: &[u8]) -> bool {
    let offset = segment.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
    segment.len() > offset
}

struct Packet<'a> {
    protocol: u8,
    to: IpAddr,
    /// IPv4's identification.
    id: &'a [u8],
    /// The transport header and what follows.
    rest: &'a [u8],
}

impl<'a> Packet<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let field = |at: usize| packet.get(at).copied();
        Some(match field(0)? >> 4 {
            4 => Self {
                protocol: field(9)?,
                to: (*packet.get(16..)?.first_chunk::<4>()?).into(),
                id: packet.get(4..6)?,
                rest: packet.get(usize::from(field(0)? & 0xf) * 4..)?,
            },
            6 => Self {
                protocol: field(6)?,
                to: (*packet.get(24..)?.first_chunk::<16>()?).into(),
                id: &[],
                rest: packet.get(40..)?,
            },
            _ => return None,
        })
    }

    /// The packet that this one brings from node to node.
    fn tunnelled(&self) -> Option<&'a [u8]> {
        let port = self.rest.get(2..4)?;
        let inner = self.rest.get(UDP_HEADER..)?.strip_prefix(&Shim::MAGIC)?;
        let is_one = self.protocol == UDP && port == DEFAULT_PORT.to_be_bytes();
        inner.get(2..).filter(|_| is_one)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::{Segment, ethernet, ethertype};

    #[test]
    fn a_packet_is_the_same_one_when_it_was_handed_over() {
        let vip: IpAddr = Ipv4Addr::new(192, 0, 2, 80).into();
        let segment = Segment::tcp(
            "192.0.2.200:4000".parse().expect("one"),
            (vip, 80).into(),
            "A",
        );
        let packet = segment.packet();
        let sent = ethernet([2; 6], [4; 6], ethertype(&packet), &packet);
        let mut frame = sent.clone();
        let first = identity(&frame, &[vip]).expect("it is for the VIP");
        // The way it travels, marked: other MACs, another TTL.
        frame[..12].fill(7);
        frame[12..14].copy_from_slice(&MARKED);
        frame[ETHERNET + 8] -= 1;
        assert_eq!(identity(&frame, &[vip]), Some(first));
        frame[ETHERNET + 5] ^= 1;
        assert_ne!(identity(&frame, &[vip]), identity(&sent, &[vip]));
        assert_eq!(identity(&frame, &[]), None);
    }

    #[test]
    fn acknowledgements_that_may_be_alike_are_not_counted() {
        let vip: IpAddr = "2001:db8:0:2::80".parse().expect("one");
        let client = "[2001:db8:0:2::200]:4000".parse().expect("one");
        let ack = Segment::tcp(client, (vip, 80).into(), "A");
        for (segment, counts) in [(ack.clone(), false), (ack.payload(b"GET"), true)] {
            let packet = segment.packet();
            let frame = ethernet([2; 6], [4; 6], ethertype(&packet), &packet);
            assert_eq!(identity(&frame, &[vip]).is_some(), counts);
        }
    }

    #[test]
    fn and_when_it_came_in_a_tunnel() {
        let vip: IpAddr = "2001:db8:0:cb::80".parse().expect("one");
        let client = "[2001:db8:0:2::200]:4000".parse().expect("one");
        let packet = Segment::udp(client, (vip, 53).into()).packet();
        let sent = ethernet([2; 6], [4; 6], ethertype(&packet), &packet);
        let nodes = ["192.0.2.1:7000", "192.0.2.2:6947"].map(|node| node.parse().expect("one"));
        let payload = [&Shim::MAGIC[..], &[Shim::VERSION, 1], &packet].concat();
        let outer = Segment::udp(nodes[0], nodes[1]).payload(&payload).packet();
        let outer = ethernet([2; 6], [4; 6], ethertype(&outer), &outer);
        assert_eq!(identity(&outer, &[vip]), identity(&sent, &[vip]));
        assert!(identity(&sent, &[vip]).is_some());
    }
}
