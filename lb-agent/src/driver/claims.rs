//! Who else says to have a VIP: what the kernel program has noted, and probes
//! before a VIP is used for the first time.
//!
//! In: the VIPs to be probed with their links ([`Probed`]), through a `watch`
//! channel, and the map CLAIMS, which is looked at five times a second, and after
//! each probe. Out: what was found ([`Found`]), whole, through another; and to
//! the fence that another node announces a VIP of ours. Cancelling the task at
//! any point means that probes begin anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use lb_core::l2::wire::probe;
use lb_core::l2::{Ask, DEFEND_EVERY, Prober};
use lb_core::model::Mac;
use lb_core::time::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::dataplane::fence::claims;
use crate::dataplane::pins::Pins;
use crate::net::packet_socket::PacketSocket;

/// How often the map is looked at: as long as nobody does, two nodes that cannot
/// hear each other's agents may answer for the same VIP.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For so long somebody who was heard counts as there.
const COUNTS_FOR: Duration = Duration::from_secs(60);
/// For so long a VIP counts as contested: somebody's last word is to be answered,
/// although one may have had to wait with that.
const CONTESTED_FOR: Duration = DEFEND_EVERY.saturating_add(LOOK_EVERY.saturating_mul(2));

/// What is to be asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Each with the links to ask on, by number, and their MACs.
    pub vips: BTreeMap<IpAddr, BTreeMap<u32, Mac>>,
    /// The nodes' MACs: what these say to have they may have.
    pub nodes: BTreeSet<Mac>,
}

/// What is known of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those of the probed VIPs that nobody answered for.
    pub free: BTreeSet<IpAddr>,
    /// VIPs that a machine which is no node of ours says to have.
    pub foreign: BTreeMap<IpAddr, Mac>,
    /// VIPs that anybody else, nodes of ours too, said to have a moment ago: what
    /// hosts believe is to be put right.
    pub contested: BTreeSet<IpAddr>,
}

#[derive(Debug)]
pub struct Claims {
    pub pins: Pins,
    pub found: watch::Sender<Found>,
    /// Another node announces a VIP of ours.
    pub opposed: mpsc::Sender<()>,
}

/// Runs until nobody tells any more what is to be probed.
pub async fn run(claims: Claims, mut probed: watch::Receiver<Probed>) -> io::Result<()> {
    let socket = PacketSocket::open()?;
    let mut prober = Prober::default();
    let mut found = Found::default();
    let mut asked = Probed::default();
    // What was said before this process began is history.
    let mut looked = clock::now();
    let mut look = clock::ticks(LOOK_EVERY);
    loop {
        while let Some(ask) = prober.poll_output() {
            match ask {
                Ask::Probe(vip) => send(&socket, vip, asked.vips.get(&vip)),
                Ask::Free(vip) => {
                    found.free.insert(vip);
                }
                Ask::Taken(vip, mac) => {
                    tracing::warn!(%vip, mac = %text(mac), "somebody has it already");
                }
            }
        }
        claims.found.send_if_modified(|last| {
            let changed = *last != found;
            last.clone_from(&found);
            changed
        });
        tokio::select! {
            changed = probed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                asked = probed.borrow_and_update().clone();
                let vips: BTreeSet<IpAddr> = asked.vips.keys().copied().collect();
                found.free.retain(|vip| vips.contains(vip));
                let vips = vips.difference(&found.free).copied().collect();
                prober.configure(&vips, clock::now());
            }
            () = clock::wait_until(prober.deadline()) => {
                looked = claims.look(looked, &asked.nodes, &mut prober, &mut found);
                prober.handle_timeout(clock::now());
            }
            _ = look.tick() => {
                looked = claims.look(looked, &asked.nodes, &mut prober, &mut found);
            }
        }
    }
}

fn send(socket: &PacketSocket, vip: IpAddr, links: Option<&BTreeMap<u32, Mac>>) {
    for (link, mac) in links.into_iter().flatten() {
        if let Err(error) = socket.send(*link, &probe(vip, *mac)) {
            tracing::debug!(%vip, link, %error, "not probed");
        }
    }
}

impl Claims {
    /// What is new since the last time, and who was not heard any more.
    fn look(
        &self,
        since: Timestamp,
        nodes: &BTreeSet<Mac>,
        prober: &mut Prober,
        found: &mut Found,
    ) -> Timestamp {
        let now = clock::now();
        let all = match claims(&self.pins) {
            Ok(all) => all,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "claims cannot be read");
                return since;
            }
        };
        let mut foreign = BTreeMap::new();
        let mut contested = BTreeSet::new();
        for (vip, claim) in all {
            let vip = IpAddr::from(vip);
            let at = Timestamp::since_boot(Duration::from_nanos(claim.at_ns));
            if now.since(at) < CONTESTED_FOR {
                contested.insert(vip);
            }
            if claim.node != 0 || nodes.contains(&claim.mac) {
                if at >= since {
                    // Full: it has been told.
                    let _told = self.opposed.try_send(());
                }
                continue;
            }
            prober.handle_claim(vip, claim.mac, at);
            if now.since(at) < COUNTS_FOR {
                foreign.insert(vip, claim.mac);
            }
        }
        found.foreign = foreign;
        found.contested = contested;
        now
    }
}

/// As people write it.
#[must_use]
pub fn text(mac: Mac) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
