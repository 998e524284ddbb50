//! Questions to the gateways, in the fence's thread: `lb_core::fence::Asker` at
//! its sockets.
//!
//! In: links and gateways ([`NetFacts`]), and whether it matters ([`Doubts`]),
//! through `watch` channels. Out: what they answer, through another. Sockets are
//! open only while it matters. Cancelling it at any point loses an answer, and
//! the question is asked again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lb_core::fence::{Asker, Doubts, Gateway, Timing};
use tokio::sync::watch;

use crate::clock;
use crate::net::NetFacts;
use crate::net::packet_socket::{Heard, Listener, PacketSocket};

/// Longer than any answer.
const LONGEST: usize = 256;

/// Runs until nobody tells or wants to know any more.
pub async fn run(
    timing: Timing,
    mut net: watch::Receiver<NetFacts>,
    mut doubts: watch::Receiver<Doubts>,
    findings: watch::Sender<Gateway>,
) {
    let mut asker = Asker::new(timing);
    let mut ears = Ears::default();
    loop {
        asker.configure(&net.borrow_and_update().gateways, clock::now());
        let decides = doubts.borrow_and_update().decides;
        ears.open(decides, &net.borrow());
        asker.ask(decides, clock::now());
        while let Some(question) = asker.poll_output() {
            // The gateway then does not answer, which is what is said.
            if let Err(error) = ears.ask(question.link, &question.frame) {
                tracing::debug!(link = question.link, %error, "the gateway is not asked");
            }
        }
        let finding = asker.finding();
        findings.send_if_modified(|last| {
            let changed = *last != finding;
            *last = finding;
            changed
        });
        tokio::select! {
            changed = net.changed() => if changed.is_err() {
                return;
            },
            changed = doubts.changed() => if changed.is_err() {
                return;
            },
            (link, frame) = ears.hear() => asker.handle_frame(link, &frame),
            () = clock::wait_until(asker.deadline()) => asker.handle_timeout(clock::now()),
        }
    }
}

/// The sockets, while they are needed.
#[derive(Debug, Default)]
struct Ears {
    asks: Option<PacketSocket>,
    /// By link, and whether it is for IPv4.
    listeners: BTreeMap<(u32, bool), Listener>,
    failed: bool,
}

impl Ears {
    fn open(&mut self, needed: bool, net: &NetFacts) {
        let gateways = net.gateways.keys().filter(|_| needed);
        let wanted = gateways.map(|(link, address): &(u32, IpAddr)| (*link, address.is_ipv4()));
        let wanted: BTreeSet<_> = wanted.collect();
        self.listeners.retain(|place, _| wanted.contains(place));
        if wanted.is_empty() {
            self.asks = None;
            return;
        }
        if let Err(error) = self.open_all(&wanted) {
            if !std::mem::replace(&mut self.failed, true) {
                tracing::warn!(%error, "gateways cannot be asked, and count as silent");
            }
        } else {
            self.failed = false;
        }
    }

    fn open_all(&mut self, wanted: &BTreeSet<(u32, bool)>) -> io::Result<()> {
        if self.asks.is_none() {
            self.asks = Some(PacketSocket::open()?);
        }
        for place @ (link, is_ipv4) in wanted {
            if let Entry::Vacant(free) = self.listeners.entry(*place) {
                let heard = if *is_ipv4 {
                    Heard::Arp
                } else {
                    Heard::Advertisements
                };
                free.insert(Listener::open(*link, heard)?);
            }
        }
        Ok(())
    }

    fn ask(&self, link: u32, frame: &[u8]) -> io::Result<()> {
        let asks = self.asks.as_ref();
        asks.map_or(Ok(()), |socket| socket.send(link, frame))
    }

    /// The next frame that comes, by any link.
    async fn hear(&self) -> (u32, Vec<u8>) {
        let each = self.listeners.iter().map(async |((link, _), listener)| {
            let mut frame = vec![0; LONGEST];
            let length = listener.receive(&mut frame).await;
            frame.truncate(length.unwrap_or(0));
            (*link, frame)
        });
        let mut all: FuturesUnordered<_> = each.collect();
        match all.next().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}
