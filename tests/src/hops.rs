//! How often a packet was handed over: counted on the wire, at the switch's
//! port of each node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::frames::Capture;
use crate::lab::{Lab, Wire};

const ETHERNET: usize = 14;
const MAC: usize = 6;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// In place of IP's where a packet has been handed on (IEEE 802, local
/// experimental).
const MARKED: [u8; 2] = [0x88, 0xb5];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What tells one packet from all others of its client: ports, and TCP's
/// sequence numbers with its time stamps, or UDP's payload; and IPv4's
/// identification, which a segment that is sent again has anew.
type Identity = Vec<u8>;

/// A capture at each node's port of the switch, of what is for VIPs.
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
    /// From when this returns; of a lab on one link.
    pub fn start(lab: &Lab) -> Result<Self> {
        ensure!(lab.spec().wire == Wire::SameLink, "a switch is looked at");
        let mut captures = Vec::new();
        for node in lab.nodes() {
            let file: PathBuf = lab.folder().join(format!("hops-{}.pcap", node.name()));
            let capture = Capture::start(&lab.switch(), &node.name(), &file)?;
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
    let version = packet.first()? >> 4;
    let marked = kind == MARKED;
    let (protocol, id, to, rest): (u8, &[u8], IpAddr, &[u8]) = match version {
        4 if marked || kind == IPV4 => {
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let header = usize::from(packet.first()? & 0xf) * 4;
            let rest = packet.get(header..)?;
            (*packet.get(9)?, packet.get(4..6)?, to.into(), rest)
        }
        6 if marked || kind == IPV6 => {
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (*packet.get(6)?, &[], to.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    if !vips.contains(&to) {
        return None;
    }
    let ports = rest.get(..4)?;
    let own = match protocol {
        // Without the checksum; with options and payload.
        TCP => [rest.get(4..16)?, rest.get(20..)?].concat(),
        UDP => rest.get(8..)?.to_vec(),
        _ => return None,
    };
    Some([&[protocol, version], id, ports, &own].concat())
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
}
