//! A pod: a listener and its connections, as its kernel has them.

use std::collections::BTreeMap;

use crate::{
    endpoints::{Endpoint, NodeId, PodId},
    packet::{Answer, ConnId, Kind, Packet},
    rng::Rng,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SynReceived,
    Established,
    LastAck,
}

#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) node: NodeId,
    pub(crate) alive: bool,
    pub(crate) ready: bool,
    pub(crate) draining: bool,
    conns: BTreeMap<u32, (ConnId, State)>,
}

impl Pod {
    pub(crate) fn new(id: PodId, node: NodeId) -> Self {
        Self {
            id,
            node,
            alive: true,
            ready: true,
            draining: false,
            conns: BTreeMap::new(),
        }
    }

    pub(crate) fn takes_new_flows(&self) -> bool {
        self.ready && !self.draining
    }

    pub(crate) fn endpoint(&self, usable: bool) -> Endpoint {
        Endpoint {
            pod: self.id,
            node: self.node,
            usable,
            serving: self.ready,
        }
    }

    pub(crate) fn die(&mut self) {
        self.alive = false;
        self.conns.clear();
    }

    pub(crate) fn receive(&mut self, packet: &mut Packet, rng: &mut Rng) -> Answer {
        let pod = self.id;
        let key = packet.tuple.id;
        if packet.kind == Kind::Datagram {
            return Answer::Data { pod };
        }
        let Some(&(conn, state)) = self.conns.get(&key) else {
            return match packet.kind {
                Kind::Syn => self.begin(packet, rng),
                Kind::Rst => Answer::Nothing,
                Kind::Ack | Kind::Request | Kind::Fin | Kind::LastAck | Kind::Datagram => {
                    Answer::Rst
                }
            };
        };
        match packet.kind {
            Kind::Syn if state == State::SynReceived => self.begin(packet, rng),
            Kind::Syn => Answer::ChallengeAck,
            // Answers the challenge, so its number fits any connection.
            Kind::Rst => {
                self.conns.remove(&key);
                Answer::Nothing
            }
            _ if conn != packet.conn => {
                packet.stale = true;
                Answer::OtherConnection
            }
            Kind::LastAck => {
                self.conns.remove(&key);
                Answer::Nothing
            }
            Kind::Fin => {
                self.conns.insert(key, (conn, State::LastAck));
                Answer::FinAck
            }
            Kind::Ack => {
                self.conns.insert(key, (conn, State::Established));
                Answer::Nothing
            }
            Kind::Request | Kind::Datagram => {
                self.conns.insert(key, (conn, State::Established));
                Answer::Data { pod }
            }
        }
    }

    /// A new initial sequence number each time, as with SYN cookies: either
    /// may be the one that the client heard.
    fn begin(&mut self, packet: &Packet, rng: &mut Rng) -> Answer {
        // A flood leaves cookies only.
        if packet.conn != FLOOD {
            self.conns
                .insert(packet.tuple.id, (packet.conn, State::SynReceived));
        }
        Answer::SynAck {
            isn: rng.word(),
            pod: self.id,
        }
    }
}

/// The connection that invented packets belong to: none.
pub(crate) const FLOOD: ConnId = 0;
