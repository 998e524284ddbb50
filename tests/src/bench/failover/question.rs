//! Who has the VIP? Asked by a machine that has never heard of it: as every
//! client that comes anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use lb_core::l2::wire::ndp::solicited_node;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::frames::Sender;
use crate::lab::{Lab, UPLINK};
use crate::load::{PROBE_PACE, Probes, Track, Tracks};
use crate::netns::Namespace;
use crate::packet::{ethernet, icmp};

const WATCHER: &str = "watcher";
/// Each question has one of so many senders' addresses, by which its answer is
/// known.
const SENDERS: u8 = 16;
const FIRST_SENDERS: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(192, 0, 2, 208),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0x2d0),
);

/// RFC 826.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ARP_TYPE: u16 = 0x0806;
/// What ARP about IPv4 on Ethernet begins with.
const ARP: [u8; 7] = [0, 1, 0x08, 0, 6, 4, 0];

/// RFC 4861 §4.3, §4.4, §4.6.1.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: [u8; 2] = [1, 1];
const IPV6_TYPE: u16 = 0x86dd;
const ICMPV6: u8 = 58;

/// Adds the machine to a lab that is up. It has the senders' IPv6 addresses, as
/// some answer by way of their own kernel, which asks where these are.
pub(super) fn add_watcher(lab: &Lab) -> Result<Namespace> {
    let watcher = lab.add_bystander(WATCHER)?;
    let senders = (0..SENDERS).map(|number| match sender(number.into(), true) {
        IpAddr::V6(own) => format!("address add {own}/128 dev {UPLINK} nodad\n"),
        IpAddr::V4(_) => String::new(),
    });
    watcher.ip(&senders.collect::<String>())?;
    Ok(watcher)
}

/// Asks for each of these VIPs all the time; gives a track of each.
pub(super) fn ask(watcher: &Namespace, vips: Vec<IpAddr>) -> Result<Probes> {
    let sender = Sender::open(watcher, UPLINK)?;
    let receiver = watcher.within(|| {
        socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )
        .context("no packet socket")
    })??;
    Ok(Probes::start(watcher, async move |tracks: Tracks| {
        tracks.borrow_mut().resize(vips.len(), Track::default());
        // To tokio they are alike: something to receive from.
        let receiver = UdpSocket::from_std(receiver.into())?;
        tokio::task::spawn_local(receive(receiver, vips.clone(), Rc::clone(&tracks)));
        let mut ticks = interval(PROBE_PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            for (index, vip) in vips.iter().enumerate() {
                let number = {
                    let track = &mut tracks.borrow_mut()[index];
                    track.sent(Instant::now());
                    track.number() - 1
                };
                sender.send(&question(sender.mac(), number, *vip))?;
            }
        }
    }))
}

/// Of a question, by its number.
fn sender(number: usize, is_v6: bool) -> IpAddr {
    let turn = u8::try_from(number % usize::from(SENDERS)).expect("below 16");
    let (v4, v6) = FIRST_SENDERS;
    if is_v6 {
        Ipv6Addr::from_bits(v6.to_bits() + u128::from(turn)).into()
    } else {
        Ipv4Addr::from_bits(v4.to_bits() + u32::from(turn)).into()
    }
}

fn question(mac: [u8; 6], number: usize, vip: IpAddr) -> Vec<u8> {
    match (vip, sender(number, vip.is_ipv6())) {
        (IpAddr::V4(vip), IpAddr::V4(own)) => {
            let parts: [&[u8]; 6] = [
                &ARP,
                &[REQUEST],
                &mac,
                &own.octets(),
                &[0; 6],
                &vip.octets(),
            ];
            ethernet([0xff; 6], mac, ARP_TYPE, &parts.concat())
        }
        (IpAddr::V6(vip), own) => {
            let head = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            let message = [&head[..], &vip.octets(), &SOURCE_LINK_LAYER, &mac].concat();
            let group = solicited_node(vip);
            let mut packet = icmp(own, group.into(), &message);
            // The hop limit, by which it is known to come from this link (§7.1.1).
            packet[7] = 255;
            let [.., a, b, c, d] = group.octets();
            ethernet([0x33, 0x33, a, b, c, d], mac, IPV6_TYPE, &packet)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => unreachable!("the sender is of the VIP's family"),
    }
}

/// The VIP that a frame answers for, and whose question.
fn answer(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let kind = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let packet = frame.get(14..)?;
    let v4 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
    match kind {
        ARP_TYPE if packet.starts_with(&ARP) && packet.get(7) == Some(&REPLY) => {
            Some((v4(14)?, v4(24)?))
        }
        IPV6_TYPE if packet.get(6) == Some(&ICMPV6) && packet.get(40) == Some(&ADVERTISEMENT) => {
            Some((v6(48)?, v6(24)?))
        }
        _ => None,
    }
}

async fn receive(socket: UdpSocket, vips: Vec<IpAddr>, tracks: Tracks) {
    let mut buffer = [0; 2048];
    loop {
        let Ok(length) = socket.recv(&mut buffer).await else {
            continue;
        };
        let Some((vip, to)) = answer(buffer.get(..length).unwrap_or_default()) else {
            continue;
        };
        let Some(index) = vips.iter().position(|one| *one == vip) else {
            continue;
        };
        let track = &mut tracks.borrow_mut()[index];
        let newest = track.number();
        let mut last = newest.saturating_sub(SENDERS.into())..newest;
        let fitting = last.find(|number| sender(*number, vip.is_ipv6()) == to);
        if let Some(number) = fitting {
            track.answered(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Seen;

    const MAC: [u8; 6] = [2; 6];

    #[test]
    fn an_answer_by_arp_is_known_by_who_had_asked() {
        let vip = Ipv4Addr::new(192, 0, 2, 80);
        let mut frame = question(MAC, 17, vip.into());
        assert_eq!(frame.len(), 42);
        assert_eq!(answer(&frame), None, "a question");
        frame[21] = REPLY;
        frame[28..32].copy_from_slice(&vip.octets());
        frame[38..42].copy_from_slice(&Ipv4Addr::new(192, 0, 2, 209).octets());
        assert_eq!(answer(&frame), Some((vip.into(), sender(17, false))));
        assert_eq!(answer(&frame[..41]), None, "cut short");
    }

    #[test]
    fn an_answer_by_neighbour_discovery_is_known_by_who_had_asked() {
        let vip: Ipv6Addr = "2001:db8:0:2::80".parse().unwrap();
        let frame = question(MAC, 17, vip.into());
        let seen = Seen::of(&frame).expect("its checksum is right");
        assert_eq!(seen.ttl, 255);
        assert_eq!(seen.dst_mac, [0x33, 0x33, 0xff, 0, 0, 0x80]);
        assert_eq!(answer(&frame), None, "a question");
        let asker = sender(17, true);
        assert_eq!(asker, "2001:db8:0:2::2d1".parse::<IpAddr>().unwrap());
        let head = [ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0];
        let message = [&head[..], &vip.octets()].concat();
        let packet = icmp(vip.into(), asker, &message);
        let frame = ethernet(MAC, MAC, IPV6_TYPE, &packet);
        assert_eq!(answer(&frame), Some((vip.into(), asker)));
        assert_eq!(answer(&frame[..60]), None, "cut short");
    }
}
