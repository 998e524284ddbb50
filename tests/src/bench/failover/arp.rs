//! Who has the VIP? Asked by a machine that has never heard of it: as every
//! client that comes anew.

use std::net::Ipv4Addr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::frames::Sender;
use crate::lab::{Lab, UPLINK};
use crate::load::{PROBE_PACE, Probes, Track, Tracks};
use crate::netns::Namespace;

const WATCHER: &str = "watcher";
/// Each question has one of so many senders' addresses, by which its answer is
/// known.
const SENDERS: u8 = 16;
const FIRST_SENDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 208);

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const FRAME: usize = 42;
/// Ethernet's type, and what ARP for IPv4 begins with.
const ARP: [u8; 8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4];

/// Adds the machine to a lab that is up.
pub(super) fn add_watcher(lab: &Lab) -> Result<Namespace> {
    lab.add_bystander(WATCHER)
}

/// Asks for a VIP all the time.
pub(super) fn ask(watcher: &Namespace, vip: Ipv4Addr) -> Result<Probes> {
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
        tracks.borrow_mut().push(Track::default());
        // To tokio they are alike: something to receive from.
        let receiver = UdpSocket::from_std(receiver.into())?;
        tokio::task::spawn_local(receive(receiver, vip, Rc::clone(&tracks)));
        let mut ticks = interval(PROBE_PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let number = {
                let track = &mut tracks.borrow_mut()[0];
                track.sent(Instant::now());
                track.number() - 1
            };
            sender.send(&question(sender.mac(), number, vip))?;
        }
    }))
}

fn asker(number: usize) -> Ipv4Addr {
    let turn = u32::try_from(number % usize::from(SENDERS)).expect("below 16");
    Ipv4Addr::from_bits(FIRST_SENDER.to_bits() + turn)
}

/// RFC 826.
fn question(mac: [u8; 6], number: usize, vip: Ipv4Addr) -> Vec<u8> {
    let asker = asker(number).octets();
    let operation = [0, REQUEST];
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &mac,
        &ARP,
        &operation,
        &mac,
        &asker,
        &[0; 6],
        &vip.octets(),
    ];
    parts.concat()
}

/// The asker that a frame answers for that VIP.
fn answered(frame: &[u8], vip: Ipv4Addr) -> Option<Ipv4Addr> {
    let frame = frame.first_chunk::<FRAME>()?;
    let about = frame[12..20] == ARP && frame[20..22] == [0, REPLY];
    let from = frame[28..32] == vip.octets();
    let to = [frame[38], frame[39], frame[40], frame[41]];
    (about && from).then(|| to.into())
}

async fn receive(socket: UdpSocket, vip: Ipv4Addr, tracks: Tracks) {
    let mut buffer = [0; 2048];
    loop {
        let Ok(length) = socket.recv(&mut buffer).await else {
            continue;
        };
        let Some(to) = answered(buffer.get(..length).unwrap_or_default(), vip) else {
            continue;
        };
        let track = &mut tracks.borrow_mut()[0];
        let newest = track.number();
        let fitting = (newest.saturating_sub(SENDERS.into())..newest).find(|n| asker(*n) == to);
        if let Some(number) = fitting {
            track.answered(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_who_had_asked() {
        let vip = Ipv4Addr::new(192, 0, 2, 80);
        let mut frame = question([2; 6], 17, vip);
        assert_eq!(frame.len(), FRAME);
        assert_eq!(answered(&frame, vip), None, "a question");
        frame[21] = REPLY;
        frame[28..32].copy_from_slice(&vip.octets());
        frame[38..42].copy_from_slice(&asker(17).octets());
        assert_eq!(answered(&frame, vip), Some(Ipv4Addr::new(192, 0, 2, 209)));
        assert_eq!(answered(&frame, asker(0)), None, "of another VIP");
        assert_eq!(answered(&frame[..41], vip), None, "cut short");
    }
}
