//! Who said to everybody on a link to have which address, and when: gratuitous
//! ARP in both forms, and unsolicited neighbour advertisements.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;

use crate::frames::Capture;
use crate::lab::{Lab, UPLINK};

pub type Mac = [u8; 6];

const LISTENER: &str = "listener";
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub at: SystemTime,
    pub vip: IpAddr,
    pub mac: Mac,
}

/// A machine on the link that hears them.
#[derive(Debug)]
pub struct Listener(Capture);

impl Listener {
    /// From when this returns; of a lab on one link.
    pub fn start(lab: &Lab) -> Result<Self> {
        let machine = lab.add_bystander(LISTENER)?;
        let file: PathBuf = lab.folder().join("announced.pcap");
        Ok(Self(Capture::start(&machine, UPLINK, &file)?))
    }

    /// All so far, in the order in which they came.
    pub fn heard(&self) -> Result<Vec<Announcement>> {
        let frames = self.0.timed_frames()?;
        let said = |(at, frame): (SystemTime, Vec<u8>)| {
            let (vip, mac) = announced(&frame)?;
            Some(Announcement { at, vip, mac })
        };
        Ok(frames.into_iter().filter_map(said).collect())
    }
}

/// The first announcement of each VIP after a moment by somebody else.
#[must_use]
pub fn first_by_others(
    heard: &[Announcement],
    after: SystemTime,
    but: Mac,
) -> BTreeMap<IpAddr, Announcement> {
    let mut first = BTreeMap::new();
    for one in heard.iter().filter(|one| one.at > after && one.mac != but) {
        first.entry(one.vip).or_insert(*one);
    }
    first
}

/// None: the frame is no announcement.
fn announced(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let mac = |at: usize| frame.get(at..)?.first_chunk::<6>().copied();
    let v4 = |at: usize| frame.get(at..)?.first_chunk::<4>().copied();
    match frame.get(12..14)? {
        // Sender and target are one (RFC 5227 §3).
        kind if kind == ARP => {
            let sender = v4(28)?;
            (sender == v4(38)? && sender != [0; 4]).then_some((sender.into(), mac(22)?))
        }
        kind if kind == IPV6 => {
            let to = frame.get(38..54)?;
            let is_one = frame.get(20) == Some(&ICMPV6) && frame.get(54) == Some(&ADVERTISEMENT);
            let target = frame.get(62..)?.first_chunk::<16>()?;
            (is_one && to == ALL_NODES).then_some(((*target).into(), mac(6)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_core::l2::wire::{announcements, probe};

    use super::*;

    const MACS: [Mac; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    #[test]
    fn both_forms_of_both_families_are_known_and_questions_are_none() {
        for vip in ["192.0.2.80", "2001:db8::80"] {
            let vip: IpAddr = vip.parse().unwrap();
            for frame in announcements(vip, MACS[0]) {
                assert_eq!(announced(&frame), Some((vip, MACS[0])), "{vip}");
                assert_eq!(announced(&frame[..frame.len().min(41)]), None, "cut short");
            }
            assert_eq!(announced(&probe(vip, MACS[0])), None, "{vip}");
        }
    }

    #[test]
    fn the_first_word_of_another_one_counts() {
        let start = SystemTime::UNIX_EPOCH;
        let vip: IpAddr = "192.0.2.80".parse().unwrap();
        let said = |seconds, mac| Announcement {
            at: start + Duration::from_secs(seconds),
            vip,
            mac,
        };
        let [lost, next] = MACS;
        let heard = [said(1, next), said(3, lost), said(4, next), said(5, next)];
        let first = first_by_others(&heard, start + Duration::from_secs(2), lost);
        assert_eq!(first[&vip], said(4, next));
    }
}
