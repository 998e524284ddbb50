//! What this agent says.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use lb_common::flow::FlowKey;
use lb_common::frontend::FrontendKey;

use super::message::Message;
use super::peer::Found;
use super::{Living, Moved, Sets, awaiting, frontend_of};
use crate::time::Timestamp;

impl Moved {
    /// The flows that are here, looked for after the maps had the tables of
    /// `sets`. Those that come here may be left out, if they are not among
    /// [`Self::watched`].
    pub fn walked(&mut self, sets: &Sets, flows: impl IntoIterator<Item = Living>) {
        let here = sets.iter().filter(|(_, set)| set.here);
        let mut found = Found {
            walked: here.map(|(key, set)| (*key, set.hash)).collect(),
            ..Found::default()
        };
        for living in flows {
            found.here.insert(living.flow);
            if let Some(node) = living.elsewhere {
                found.wanted.insert(living.flow, (node, living.idle_ms));
            }
            let claim = self.claims.get(&living.flow);
            let claimer = claim.and_then(|claim| self.peers.get_mut(&claim.node));
            if let Some(peer) = claimer.filter(|peer| peer.is_up()) {
                peer.dispute.insert(living.flow, living.idle_ms);
            }
        }
        found.settled = self.settled(sets);
        for (node, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.is_up()) {
            peer.plan(*node, &found);
            if let Some(before) = &self.found {
                let sets = found.walked.iter();
                let news = sets.filter(|(key, hash)| before.walked.get(key) != Some(hash));
                peer.tell.extend(news.map(|(key, _)| *key));
            }
        }
        self.found = Some(found);
    }

    /// Of the frontends of flows that were told of: those for whose set all have
    /// told.
    fn settled(&self, sets: &Sets) -> BTreeSet<FrontendKey> {
        let said = self.peers.values().flat_map(|peer| &peer.said);
        let frontends: BTreeSet<FrontendKey> = said.map(frontend_of).collect();
        let told = |key: &FrontendKey| {
            sets.get(key).is_some_and(|set| {
                let mut nodes = set.nodes.iter();
                nodes.all(|node| self.has_told(*node, key, set.hash))
            })
        };
        frontends.into_iter().filter(told).collect()
    }

    /// Flows that somebody was told of, or that somebody claims: whether they
    /// are here matters.
    #[must_use]
    pub fn watched(&self) -> BTreeSet<FlowKey> {
        let said = self.peers.values().flat_map(|peer| &peer.said);
        self.claims.keys().chain(said).copied().collect()
    }

    /// This node's entry of a flow is the later one: the peer that has one too
    /// is told again.
    pub fn kept(&mut self, peer: u16, flow: FlowKey, idle_ms: u32) {
        let claimed = self.claims.get(&flow).is_some_and(|c| c.node == peer);
        let Some(there) = self.peers.get_mut(&peer).filter(|peer| peer.is_up()) else {
            return;
        };
        if claimed {
            there.dispute.insert(flow, idle_ms);
        } else if there.said.contains(&flow) {
            there.changes.insert(flow, Some(idle_ms));
        }
    }

    /// Whether there is anything to say to a peer.
    #[must_use]
    pub fn has_to_say(&self, node: u16) -> bool {
        self.next_to_say(node).is_some()
    }

    /// The next messages to a peer: as many as fit `room`, each counting one
    /// byte more than it has. What is returned counts as said.
    pub fn say(&mut self, node: u16, mut room: usize) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = self.next_to_say(node) {
            let bytes = message.encode();
            let Some(left) = room.checked_sub(bytes.len() + 1) else {
                break;
            };
            room = left;
            self.note_said(node, &message);
            messages.push(bytes);
        }
        messages
    }

    fn next_to_say(&self, node: u16) -> Option<Message> {
        let peer = self.peers.get(&node).filter(|peer| peer.is_up())?;
        if let Some(frontend) = peer.ask.first().copied() {
            return Some(Message::Ask { frontend });
        }
        if let Some((flow, idle_ms)) = peer.dispute.first_key_value() {
            let (flow, idle_ms) = (*flow, *idle_ms);
            return Some(Message::Disputed { flow, idle_ms });
        }
        if let Some((flow, change)) = peer.changes.first_key_value() {
            let flow = *flow;
            return Some(match *change {
                Some(idle_ms) => Message::Moved { flow, idle_ms },
                None => Message::Withdrawn { flow },
            });
        }
        let walked = &self.found.as_ref()?.walked;
        if peer.completes {
            return Some(Message::Complete);
        }
        // One that this node has not seen yet, or has no endpoints of, has
        // nothing to be told: 0 is the hash of no set.
        let frontend = peer.tell.first().copied()?;
        let hash = walked.get(&frontend).copied().unwrap_or(0);
        Some(Message::Told { frontend, hash })
    }

    fn note_said(&mut self, node: u16, message: &Message) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        match message {
            Message::Ask { frontend } => {
                peer.ask.remove(frontend);
            }
            Message::Disputed { flow, .. } => {
                peer.dispute.remove(flow);
                self.counts.disputed += 1;
            }
            Message::Moved { flow, .. } => {
                peer.changes.remove(flow);
                peer.said.insert(*flow);
                self.counts.moved_said += 1;
            }
            Message::Withdrawn { flow } => {
                peer.changes.remove(flow);
                peer.said.remove(flow);
            }
            Message::Complete => peer.completes = false,
            Message::Told { frontend, .. } => {
                peer.tell.remove(frontend);
                self.counts.told_said += 1;
            }
        }
    }

    /// Asks those who have not told for a set that changed lately.
    pub(super) fn ask_all(&mut self, now: Timestamp) {
        for (key, set) in &self.sets {
            if !awaiting::is_recent(set.changed_s, now) {
                continue;
            }
            for node in &set.nodes {
                let Some(peer) = self.peers.get_mut(node).filter(|peer| peer.is_up()) else {
                    continue;
                };
                let asked = peer.asked.get(key) == Some(&set.hash);
                if !asked && peer.told.get(key) != Some(&set.hash) {
                    peer.asked.insert(*key, set.hash);
                    peer.ask.insert(*key);
                }
            }
        }
    }
}
