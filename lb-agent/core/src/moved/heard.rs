//! What others say.

use super::message::Message;
use super::{Moved, Output, QUESTIONS_MAX};
use lb_common::flow::FlowKey;

/// A flow that a peer has and whose packets come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) node: u16,
    /// In which session it was last said.
    pub(super) session: u32,
}

impl Moved {
    /// One message of a peer.
    pub fn hear(&mut self, node: u16, bytes: &[u8]) {
        let Some(message) = Message::decode(bytes) else {
            self.counts.malformed += 1;
            return;
        };
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        match message {
            Message::Moved { flow, idle_ms } => self.claim(node, flow, idle_ms),
            Message::Withdrawn { flow } => {
                if self.claims.get(&flow).is_some_and(|c| c.node == node) {
                    self.claims.remove(&flow);
                    self.outputs.push_back(Output::Release { flow });
                }
            }
            Message::Complete => {
                peer.complete = true;
                peer.spoke = true;
                let session = peer.session;
                self.release(|_, claim| claim.node == node && claim.session != session);
            }
            Message::Told { frontend, hash } => {
                self.counts.told_heard += 1;
                if self.sets.contains_key(&frontend) {
                    peer.told.insert(frontend, hash);
                }
            }
            // Who has not seen it yet tells when it does.
            Message::Ask { frontend } => {
                let early = self.found.is_none() && peer.tell.len() < QUESTIONS_MAX;
                if early || self.sets.contains_key(&frontend) {
                    peer.tell.insert(frontend);
                }
            }
            Message::Disputed { flow, idle_ms } => self.outputs.push_back(Output::Compare {
                peer: node,
                flow,
                idle_ms,
            }),
        }
    }

    fn claim(&mut self, node: u16, flow: FlowKey, idle_ms: u32) {
        self.counts.moved_heard += 1;
        let session = self.peers.get(&node).map_or(0, |peer| peer.session);
        let before = self.claims.get(&flow).map(|claim| claim.node);
        if before.is_none() && self.claims.len() >= self.claims_max {
            self.counts.no_room += 1;
            return;
        }
        self.claims.insert(flow, Claim { node, session });
        if before != Some(node) {
            self.outputs.push_back(Output::Hold { flow, node });
        }
        self.outputs.push_back(Output::Compare {
            peer: node,
            flow,
            idle_ms,
        });
    }
}
