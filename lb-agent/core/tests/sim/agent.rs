//! The part of an agent that talks to the others: MOVED, told, forgot. Sans IO:
//! a sweep gives messages, a message changes maps.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    endpoints::{NodeId, Tuple},
    node::{Node, Owned, Time},
    packet::ConnId,
};

/// Handshakes told of at most, a sweep and peer: a SYN flood's are many.
const HANDSHAKES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) up: bool,
    /// What each peer holds on our word.
    sent: BTreeMap<u32, NodeId>,
    told: BTreeMap<NodeId, u64>,
    /// Peers that get everything again.
    resend: BTreeSet<NodeId>,
    /// Flows to be told of again, since the peer believes to have them.
    again: BTreeSet<u32>,
}

/// Everything that one sweep has to say to one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Forget what I said before.
    anew: bool,
    /// Tell me everything again.
    forgot: bool,
    moved: Vec<Flow>,
    withdrawn: Vec<u32>,
    /// Flows that you said are yours and that live here.
    disputed: Vec<Flow>,
    told: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    tuple: u32,
    conn: ConnId,
    /// When its client last sent something. A real message says how long ago.
    seen: u32,
}

impl Agent {
    pub(crate) fn new(up: bool) -> Self {
        Self {
            up,
            sent: BTreeMap::new(),
            told: BTreeMap::new(),
            resend: BTreeSet::new(),
            again: BTreeSet::new(),
        }
    }

    /// Comes up, or finds the maps empty: what was said is not remembered.
    pub(crate) fn start(&mut self, peers: impl Iterator<Item = NodeId>) -> Message {
        *self = Self::new(true);
        self.resend = peers.collect();
        Message {
            forgot: true,
            ..Message::default()
        }
    }
}

impl Node {
    pub(crate) fn sweep(
        &mut self,
        tuples: &[Tuple],
        peers: &[NodeId],
        now: Time,
    ) -> Vec<(NodeId, Message)> {
        let wanted = self.wanted(tuples, now);
        let mut messages = self.disputes();
        let agent = &mut self.agent;
        for peer in std::mem::take(&mut agent.resend) {
            agent.sent.retain(|_, node| *node != peer);
            agent.told.remove(&peer);
            messages.entry(peer).or_default().anew = true;
        }
        for (&tuple, &peer) in &agent.sent {
            if wanted.get(&tuple).map(|(to, _)| *to) != Some(peer) {
                messages.entry(peer).or_default().withdrawn.push(tuple);
            }
        }
        let again = std::mem::take(&mut agent.again);
        for (&tuple, &(to, flow)) in &wanted {
            if agent.sent.get(&tuple) != Some(&to) || again.contains(&tuple) {
                messages.entry(to).or_default().moved.push(flow);
            }
        }
        let sent = wanted.iter().map(|(&tuple, &(to, _))| (tuple, to));
        agent.sent = sent.collect();
        for &peer in peers {
            if agent.told.insert(peer, self.set.hash) != Some(self.set.hash) {
                messages.entry(peer).or_default().told = Some(self.set.hash);
            }
        }
        messages.into_iter().collect()
    }

    /// What peers say is theirs and lives here too.
    fn disputes(&self) -> BTreeMap<NodeId, Message> {
        let mut messages: BTreeMap<NodeId, Message> = BTreeMap::new();
        for (&tuple, moved) in &self.moved {
            if let Some(flow) = self.flow(tuple) {
                let message = messages.entry(moved.value).or_default();
                message.disputed.push(flow);
            }
        }
        messages
    }

    fn flow(&self, tuple: u32) -> Option<Flow> {
        let flow = self.established(tuple)?;
        Some(Flow {
            tuple,
            conn: flow.conn,
            seen: flow.value.seen,
        })
    }

    /// The flows that live here and whose packets come to another node.
    fn wanted(&self, tuples: &[Tuple], now: Time) -> BTreeMap<u32, (NodeId, Flow)> {
        let elsewhere = |pick| self.set.home(pick).filter(|&home| home != self.id);
        let mut wanted = BTreeMap::new();
        let mut handshakes: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (who, pod) in self.embryos.answered_by_pods(now) {
            let Some(to) = elsewhere(who.tuple.pick) else {
                continue;
            };
            let count = handshakes.entry(to).or_default();
            if *count < HANDSHAKES_MAX && self.set.pods.contains(&pod) {
                *count += 1;
                let (tuple, conn) = (who.tuple.id, who.conn);
                wanted.insert(
                    tuple,
                    (
                        to,
                        Flow {
                            tuple,
                            conn,
                            seen: 0,
                        },
                    ),
                );
            }
        }
        for &tuple in self.flows.keys() {
            let index = usize::try_from(tuple).unwrap_or(usize::MAX);
            let home = tuples.get(index).and_then(|tuple| elsewhere(tuple.pick));
            if let Some((to, flow)) = home.zip(self.flow(tuple)) {
                wanted.insert(tuple, (to, flow));
            }
        }
        wanted
    }

    /// Of two connections of one tuple only the later one lives: a client that
    /// vanished left the other.
    fn give_way(&mut self, tuple: u32, seen: u32) -> bool {
        let older = self
            .flows
            .get(&tuple)
            .is_some_and(|flow| flow.value.seen < seen);
        if older {
            self.flows.remove(&tuple);
        }
        older
    }

    pub(crate) fn hear(&mut self, from: NodeId, message: &Message) {
        if message.forgot {
            self.agent.resend.insert(from);
        }
        if message.anew {
            self.moved.retain(|_, moved| moved.value != from);
        }
        for tuple in &message.withdrawn {
            if self
                .moved
                .get(tuple)
                .is_some_and(|moved| moved.value == from)
            {
                self.moved.remove(tuple);
            }
        }
        for &Flow { tuple, conn, seen } in &message.moved {
            self.give_way(tuple, seen);
            self.moved.insert(tuple, Owned { conn, value: from });
        }
        for &Flow { tuple, seen, .. } in &message.disputed {
            if !self.give_way(tuple, seen) {
                // Ours is the later one: say so again.
                self.agent.again.insert(tuple);
            }
        }
        if let Some(hash) = message.told {
            self.told.insert(from, hash);
        }
    }
}
