//! Handshakes: the kernel's table of sets of four, overwritten by newer ones.

use lb_common::{
    flow::{EMBRYO_WAYS, Embryo, EmbryoSet, embryo},
    hash::source_hash,
    limits::EMBRYO_SECONDS,
};

use crate::{
    endpoints::{PodId, Tuple},
    node::Time,
    packet::{ConnId, Packet},
    rng::low,
};

/// Who began a handshake: for telling what is stale. The kernel's entry has only a tag of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginner {
    pub(crate) conn: ConnId,
}

/// The table of handshakes: sets of four, overwritten by newer ones.
#[derive(Debug)]
pub(crate) struct Embryos {
    seed: u64,
    sets: Vec<EmbryoSet>,
    beginners: Vec<[Option<Beginner>; EMBRYO_WAYS]>,
}

impl Embryos {
    pub(crate) fn new(sets: usize, seed: u64) -> Self {
        Self {
            seed,
            sets: (0..sets).map(|_| EmbryoSet::default()).collect(),
            beginners: (0..sets).map(|_| [None; EMBRYO_WAYS]).collect(),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.sets.len(), self.seed);
    }

    fn place(&self, tuple: &Tuple) -> (usize, u32) {
        let hash = source_hash(self.seed, tuple.client, tuple.port, tuple.protocol);
        let set = usize::try_from(hash >> 32).unwrap_or(0) & (self.sets.len() - 1);
        (set, low(hash).max(1))
    }

    pub(crate) fn find(&self, tuple: &Tuple, now: Time) -> Option<(&Embryo, Beginner)> {
        let (set, tag) = self.place(tuple);
        let way = self.sets[set].ways.iter().position(|way| way.tag == tag)?;
        let embryo = &self.sets[set].ways[way];
        let fresh = low(now).wrapping_sub(embryo.seen) < EMBRYO_SECONDS * 1000;
        fresh.then_some((embryo, self.beginners[set][way]?))
    }

    fn entry(&mut self, packet: &Packet) -> Option<&mut Embryo> {
        let (set, tag) = self.place(&packet.tuple);
        self.sets[set].ways.iter_mut().find(|way| way.tag == tag)
    }

    pub(crate) fn answered(&mut self, packet: &Packet) -> bool {
        self.entry(packet)
            .is_some_and(|entry| entry.flags & embryo::ANSWERED != 0)
    }

    pub(crate) fn write(&mut self, packet: &Packet, pod: PodId, flags: u16, now: Time) {
        let (set, tag) = self.place(&packet.tuple);
        let ways = &self.sets[set].ways;
        let age = |way: &Embryo| low(now).wrapping_sub(way.seen);
        let same = ways.iter().position(|way| way.tag == tag);
        let free = || ways.iter().position(|way| way.tag == 0);
        let oldest = || (0..EMBRYO_WAYS).max_by_key(|&way| age(&ways[way]));
        let way = same.or_else(free).or_else(oldest).unwrap_or(0);
        self.sets[set].ways[way] = Embryo {
            tag,
            backend_id: pod,
            backend_generation: 1,
            seen: low(now),
            flags,
            ..Embryo::default()
        };
        self.beginners[set][way] = Some(Beginner { conn: packet.conn });
    }

    pub(crate) fn syn_ack(&mut self, packet: &Packet, isn: u32) {
        let Some(entry) = self.entry(packet) else {
            return;
        };
        if entry.flags & embryo::ANSWERED == 0 {
            entry.first_isn = isn;
        }
        entry.last_isn = isn;
        entry.flags |= embryo::ANSWERED;
    }

    pub(crate) fn datagram(&mut self, packet: &Packet) {
        if let Some(entry) = self.entry(packet) {
            entry.flags |= embryo::ANSWERED;
        }
    }

    pub(crate) fn remove(&mut self, packet: &Packet) {
        if let Some(entry) = self.entry(packet) {
            *entry = Embryo::default();
        }
    }
}
