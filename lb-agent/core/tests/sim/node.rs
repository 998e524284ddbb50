//! A node: the maps that the kernel program reads, the decision, and what a
//! packet leaves behind in them.

use std::{collections::BTreeMap, rc::Rc};

use lb_common::{
    backend::BackendRef,
    flow::{FlowValue, embryo, state},
    rules::{Decision, Found, Knowledge, Segment, decide},
};

use crate::{
    agent::{Agent, at, frontend, frontend_id},
    embryos::Embryos,
    endpoints::{NodeId, PodId, Set, Tuple},
    packet::{Answer, ConnId, Kind, Packet},
    pod::FLOOD,
    rng::low,
};

/// Milliseconds since the run began.
pub(crate) type Time = u64;

/// Without the channel: how long `next` is asked after a change.
const HOLD_MS: Time = 3_600_000;

/// Whose connection an entry is of, for telling what is stale; the maps of the
/// kernel program do not have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned<T> {
    pub(crate) conn: ConnId,
    pub(crate) value: T,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) up: bool,
    pub(crate) set: Rc<Set>,
    /// When the set changed; none: not since this node first saw the frontend.
    pub(crate) changed: Option<Time>,
    pub(crate) flows: BTreeMap<u32, Owned<FlowValue>>,
    pub(crate) moved: BTreeMap<u32, NodeId>,
    pub(crate) told: BTreeMap<(u32, NodeId), u64>,
    pub(crate) embryos: Embryos,
    pub(crate) agent: Agent,
}

/// What the rules may ask besides the node's maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) now: Time,
    /// Whether agents talk to each other.
    pub(crate) channel: bool,
}

impl Node {
    pub(crate) fn decide(&self, packet: &mut Packet, sight: Sight) -> Decision {
        let slot = self.set.slot(packet.tuple.pick, self.id);
        let mut view = View {
            node: self,
            sight,
            packet,
        };
        let segment = view.packet.kind.segment();
        decide(segment, view.packet.marked, slot, &mut view)
    }

    /// Notes that a packet goes to a pod here, and says which.
    pub(crate) fn deliver(&mut self, packet: &Packet, found: Found, now: Time) -> PodId {
        let key = packet.tuple.id;
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.value.seen = low(now);
        }
        match found {
            Found::Established(backend) => {
                self.note_closing(packet);
                backend.id
            }
            Found::Embryonic(backend) => {
                // TCP: the acknowledgement number fits. UDP: the client came
                // again.
                if packet.kind != Kind::Syn && self.embryos.answered(packet) {
                    self.establish(packet, backend.id, now);
                    self.note_closing(packet);
                }
                backend.id
            }
            Found::New(id) => {
                let flags = if packet.kind == Kind::Datagram {
                    embryo::UDP
                } else {
                    0
                };
                self.embryos.write(packet, id, flags, now);
                // A closed entry of the same tuple makes room.
                self.flows.remove(&key);
                id
            }
            Found::Pick(id) => {
                self.embryos.write(packet, id, embryo::ADOPTED, now);
                id
            }
        }
    }

    /// Notes what the pod answered.
    pub(crate) fn answered(&mut self, packet: &Packet, pod: PodId, answer: Answer, now: Time) {
        match answer {
            Answer::SynAck { isn, .. } => {
                self.embryos.syn_ack(packet, isn);
                if let Some(flow) = self.flows.get_mut(&packet.tuple.id) {
                    // The pod goes on, with a new connection of the tuple.
                    flow.value.state = 0;
                    flow.conn = packet.conn;
                }
            }
            Answer::Data { .. } if packet.kind == Kind::Datagram => {
                self.embryos.datagram(packet);
            }
            // The pod sends payload: it takes part.
            Answer::Data { .. } => self.establish(packet, pod, now),
            Answer::Rst => {
                self.embryos.remove(packet);
                if let Some(flow) = self.flows.get_mut(&packet.tuple.id) {
                    flow.value.state |= state::POD_RESET;
                }
            }
            Answer::FinAck => {
                self.establish(packet, pod, now);
                if let Some(flow) = self.flows.get_mut(&packet.tuple.id) {
                    flow.value.state |= state::CLIENT_FIN_ACKED | state::POD_FIN;
                }
            }
            Answer::Nothing | Answer::ChallengeAck | Answer::OtherConnection => {}
        }
    }

    fn note_closing(&mut self, packet: &Packet) {
        let Some(flow) = self.flows.get_mut(&packet.tuple.id) else {
            return;
        };
        flow.value.state |= match packet.kind {
            Kind::Fin => state::CLIENT_FIN,
            Kind::LastAck if flow.value.state & state::POD_FIN != 0 => state::POD_FIN_ACKED,
            Kind::Rst => state::CLIENT_RESET,
            Kind::Syn | Kind::Ack | Kind::Request | Kind::LastAck | Kind::Datagram => 0,
        };
    }

    fn establish(&mut self, packet: &Packet, pod: PodId, now: Time) {
        if packet.conn == FLOOD {
            return;
        }
        let known = self.flows.get(&packet.tuple.id);
        if known.is_some_and(|flow| !flow.value.is_closed() && flow.value.backend.id == pod) {
            return;
        }
        let value = FlowValue {
            backend: backend(pod),
            frontend: 0,
            seen: low(now),
            client_fin: 0,
            pod_fin: 0,
            pod_client_port: 0,
            state: 0,
            pad: [0; 4],
        };
        let conn = packet.conn;
        self.flows.insert(packet.tuple.id, Owned { conn, value });
        self.embryos.remove(packet);
    }

    /// An unclosed flow of a pod that is still here.
    pub(crate) fn established(&self, tuple: u32) -> Option<&Owned<FlowValue>> {
        let flow = self.flows.get(&tuple)?;
        let live = !flow.value.is_closed() && self.set.pods.contains(&flow.value.backend.id);
        live.then_some(flow)
    }

    /// The connections that live here and whose packets come elsewhere.
    pub(crate) fn displaced(&self, tuples: &[Tuple]) -> Vec<ConnId> {
        let elsewhere = |tuple: &Tuple| self.set.home(tuple.pick) != Some(self.id);
        let flows = self.flows.iter().filter(|&(&tuple, _)| {
            let index = usize::try_from(tuple).unwrap_or(usize::MAX);
            tuples.get(index).is_some_and(elsewhere)
        });
        flows.map(|(_, flow)| flow.conn).collect()
    }

    pub(crate) fn apply(&mut self, set: &Rc<Set>, now: Time) {
        if self.set.hash == set.hash {
            return;
        }
        self.set = Rc::clone(set);
        self.changed = Some(now);
        // Entries of a pod that left the node are purged.
        let pods = &self.set.pods;
        self.flows
            .retain(|_, flow| pods.contains(&flow.value.backend.id));
    }

    /// Everything that the kernel held is gone. With the channel the node has
    /// to hear from all others first; without it, it takes a set that it sees
    /// for the first time for one that has not changed, since most of its
    /// flows are where the table says.
    pub(crate) fn forget(&mut self, set: &Rc<Set>, now: Time, channel: bool) {
        self.set = Rc::clone(set);
        self.changed = channel.then_some(now);
        self.flows.clear();
        self.moved.clear();
        self.told.clear();
        self.embryos.clear();
    }
}

fn backend(pod: PodId) -> BackendRef {
    BackendRef {
        id: pod,
        generation: 1,
    }
}

struct View<'a> {
    node: &'a Node,
    sight: Sight,
    packet: &'a mut Packet,
}

impl View<'_> {
    fn since_change(&self) -> Time {
        let changed = self.node.changed;
        changed.map_or(Time::MAX, |changed| self.sight.now - changed)
    }

    /// Whether the frontend settles by what agents tell.
    fn by_channel(&self) -> bool {
        let key = frontend(self.packet.tuple.protocol);
        self.sight.channel && self.node.agent.awaiting.covers(&key)
    }

    /// Whether the frontend's flag says that others are waited for.
    fn awaits(&self) -> bool {
        let key = frontend(self.packet.tuple.protocol);
        let changed = self.node.changed.map_or(0, |changed| at(changed).seconds());
        let (hash, now) = (self.node.set.hash, at(self.sight.now));
        self.node.agent.awaiting.awaits(&key, hash, changed, now)
    }

    fn note_stale(&mut self, conn: ConnId) {
        self.packet.stale |= conn != self.packet.conn;
    }
}

impl Knowledge for View<'_> {
    fn established(&mut self) -> Option<BackendRef> {
        let flow = *self.node.established(self.packet.tuple.id)?;
        self.note_stale(flow.conn);
        Some(flow.value.backend)
    }

    fn embryonic(&mut self) -> Option<BackendRef> {
        let (embryo, owner) = self.node.embryos.find(&self.packet.tuple, self.sight.now)?;
        if self.packet.kind.segment() == Segment::Tcp && !embryo.acknowledged_by(self.packet.ack) {
            return None;
        }
        if !self.node.set.pods.contains(&embryo.backend_id) {
            return None;
        }
        self.note_stale(owner.conn);
        Some(backend(embryo.backend_id))
    }

    fn moved(&mut self) -> Option<u16> {
        self.node.moved.get(&self.packet.tuple.id).copied()
    }

    fn handed_over(&mut self) -> bool {
        self.packet.hand_overs > 0
    }

    fn told(&mut self, node: u16) -> bool {
        if !self.by_channel() {
            return self.since_change() >= HOLD_MS;
        }
        let id = frontend_id(self.packet.tuple.protocol);
        !self.awaits() || self.node.told.get(&(id, node)) == Some(&self.node.set.hash)
    }

    fn all_told(&mut self) -> bool {
        if !self.by_channel() {
            // TCP: there is nobody to wait for.
            return self.packet.kind != Kind::Datagram || self.since_change() >= HOLD_MS;
        }
        !self.awaits()
    }
}
