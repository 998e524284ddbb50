//! Asking the gateways whether this node is still on the wire, when that is
//! about to decide who answers for VIPs.
//!
//! What the kernel knows of its neighbours may be half a minute old. So, while
//! it matters, each gateway is asked by ARP or neighbour discovery, four times
//! in a lease. An answer proves as much as an acknowledgement of another agent:
//! that the node was on the wire when the question was asked.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::{Gateway, Timing};
use crate::l2::wire::{arp, ndp};
use crate::model::Mac;
use crate::time::Timestamp;

/// How a gateway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it was last; none: not known.
    pub mac: Option<Mac>,
    /// The MAC of this node's device.
    pub own_mac: Mac,
    /// An address of this node there, of the gateway's family.
    pub own: Option<IpAddr>,
}

/// To be sent by this link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub link: u32,
    pub frame: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    way: Way,
    /// When the oldest question since the last answer was asked: an answer does
    /// not say to which one it is.
    waits: Option<Timestamp>,
    /// When a question was asked that is answered.
    answered: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Asker {
    every: Duration,
    gateways: BTreeMap<(u32, IpAddr), Asked>,
    asks: bool,
    next: Timestamp,
    out: VecDeque<Question>,
}

impl Asker {
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            every: timing.lease / 4,
            gateways: BTreeMap::new(),
            asks: false,
            next: Timestamp::default(),
            out: VecDeque::new(),
        }
    }

    /// All gateways, by link and address.
    pub fn configure(&mut self, gateways: &BTreeMap<(u32, IpAddr), Way>, now: Timestamp) {
        let before = core::mem::take(&mut self.gateways);
        self.gateways = gateways
            .iter()
            .map(|(gateway, way)| {
                let known = before.get(gateway);
                let asked = Asked {
                    way: *way,
                    waits: known.and_then(|known| known.waits),
                    answered: known.and_then(|known| known.answered),
                };
                (*gateway, asked)
            })
            .collect();
        if before.keys().ne(self.gateways.keys()) {
            self.next = now;
        }
        self.handle_timeout(now);
    }

    /// Whether it matters.
    pub fn ask(&mut self, asks: bool, now: Timestamp) {
        if asks && !self.asks {
            self.next = now;
            for gateway in self.gateways.values_mut() {
                gateway.waits = None;
            }
        }
        self.asks = asks;
        self.handle_timeout(now);
    }

    /// A frame that came by this link.
    pub fn handle_frame(&mut self, link: u32, frame: &[u8]) {
        let v4 = arp::who_answers(frame).map(IpAddr::from);
        let Some(from) = v4.or_else(|| ndp::who_answers(frame).map(IpAddr::from)) else {
            return;
        };
        if let Some(gateway) = self.gateways.get_mut(&(link, from))
            && let Some(asked) = gateway.waits.take()
        {
            gateway.answered = gateway.answered.max(Some(asked));
        }
    }

    /// Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if !self.asks || now < self.next {
            return;
        }
        self.next = now + self.every;
        for ((link, address), gateway) in &mut self.gateways {
            let Some(frame) = question(*address, gateway.way) else {
                continue;
            };
            gateway.waits.get_or_insert(now);
            self.out.push_back(Question { link: *link, frame });
        }
    }

    pub fn poll_output(&mut self) -> Option<Question> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; none: nothing is asked.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        (self.asks && !self.gateways.is_empty()).then_some(self.next)
    }

    /// Whether one of them answers. What it said when it was asked last time is
    /// old, and for the fence to judge.
    #[must_use]
    pub fn finding(&self) -> Gateway {
        if self.gateways.is_empty() {
            return Gateway::None;
        }
        let answered = self.gateways.values().filter_map(|asked| asked.answered);
        answered
            .max()
            .map_or(Gateway::Silent, |asked| Gateway::Answers { asked })
    }
}

/// None: it cannot be asked, as this node has no address there.
fn question(gateway: IpAddr, way: Way) -> Option<Vec<u8>> {
    match (gateway, way.own) {
        (IpAddr::V4(gateway), Some(IpAddr::V4(own))) => {
            Some(arp::request(gateway, way.mac, way.own_mac, Some(own)))
        }
        (IpAddr::V4(gateway), _) => Some(arp::request(gateway, way.mac, way.own_mac, None)),
        (IpAddr::V6(gateway), Some(IpAddr::V6(own))) => {
            Some(ndp::solicitation(gateway, way.mac, way.own_mac, own))
        }
        (IpAddr::V6(_), _) => None,
    }
}

#[cfg(test)]
mod tests;
