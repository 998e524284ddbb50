//! What the tables say about the packet in hand, asked for one at a time by
//! the rules.

use lb_common::{
    backend::{BackendRef, BackendValue},
    config::Config,
    filter::client_cell,
    flow::{EMBRYO_WAYS, Embryo, FlowKey, FlowValue, TCP, embryo},
    frontend::{FrontendValue, flags},
    hash::source_hash,
    limits::EMBRYO_SECONDS,
    node::{MAC_BUCKETS, MacEntry, mac_bucket},
    rules::{Knowledge, Segment},
};

use crate::{
    header::Ethernet,
    maps::{
        CLIENT_FILTER, EMBRYONIC, MOVED, NODE_MACS, NODE_NETS, TCP_FLOWS, TOLD, UDP_FLOWS,
        backend_of, find,
    },
    packet::Frame,
};

/// Answers the rules' questions, and keeps what was found on the way.
pub struct Lookup<'a> {
    pub config: &'a Config,
    pub frontend: &'a FrontendValue,
    /// Whose packet it is. Written out where the maps are asked for the first
    /// time: an ingress node does without.
    pub whose: FlowKey,
    pub flow: &'a mut FlowKey,
    pub frame: Frame,
    pub segment: Segment,
    /// The ACK number, or `None` where it is not to be compared: an ICMP error
    /// quotes a packet of the other direction.
    pub ack: Option<u32>,
    /// It came inside an outer header, so a node handed it over.
    pub tunnelled: bool,
    pub jiffies: u32,
    /// The client's hash; 0 until it was asked for.
    pub hash: u64,
    /// Found on the way.
    pub established: Option<&'static mut FlowValue>,
    pub embryo: Option<&'static mut Embryo>,
    pub backend: Option<&'static BackendValue>,
}

/// The hash that finds a client's set and filter bit.
#[inline(always)]
pub fn client_hash(config: &Config, flow: &FlowKey) -> u64 {
    source_hash(
        config.client_seed,
        flow.client,
        flow.client_port,
        flow.protocol as u8,
    )
}

/// A client's tag in its set; never 0, which means "free".
#[inline(always)]
pub fn tag(client_hash: u64) -> u32 {
    client_hash as u32 | 1
}

/// A client's set in `EMBRYONIC`.
#[inline(always)]
pub fn embryo_set(config: &Config, client_hash: u64) -> Option<&'static mut [Embryo; EMBRYO_WAYS]> {
    let index = (client_hash >> 32) as u32 & config.embryo_sets.wrapping_sub(1);
    EMBRYONIC.get_ptr_mut(index).map(|set| {
        // SAFETY: an entry of an array lives as long as the program. Two CPUs
        // may write it at once; the worst outcome is an embryo that pairs one
        // flow's tag with another's backend, and that handshake is repeated.
        unsafe { &mut (*set).ways }
    })
}

/// The cell of a client in one half of `CLIENT_FILTER`.
#[inline(always)]
pub fn filter_cell(config: &Config, client_hash: u64, half: u32) -> Option<&'static mut u8> {
    let (word, byte) = client_cell(client_hash, config.filter_words);
    let half = if half == 0 { 0 } else { config.filter_words };
    let word = CLIENT_FILTER.get_ptr_mut(half + word)?;
    // SAFETY: one of the eight bytes of an entry of an array map.
    Some(unsafe { &mut *word.cast::<u8>().add(byte & 7) })
}

/// Whether this client may have an established TCP flow here.
#[inline(always)]
pub fn may_be_established(config: &Config, client_hash: u64) -> bool {
    filter_cell(config, client_hash, config.filter_half).is_some_and(|cell| *cell != 0)
}

/// Whether an embryo is young enough to mean anything.
#[inline(always)]
pub fn is_young(config: &Config, embryo: &Embryo, jiffies: u32) -> bool {
    jiffies.wrapping_sub(embryo.seen) < EMBRYO_SECONDS * config.hz
}

#[inline(always)]
fn embryo_backend(embryo: &Embryo) -> BackendRef {
    BackendRef {
        id: embryo.backend_id,
        generation: embryo.backend_generation,
    }
}

impl Knowledge for Lookup<'_> {
    #[inline(always)]
    fn established(&mut self) -> Option<BackendRef> {
        *self.flow = self.whose;
        // A SYN of a flow that lives is rare, and a flood of SYNs is not: the
        // filter keeps it away from the big table.
        if self.segment == Segment::Syn && !may_be_established(self.config, self.client_hash()) {
            return None;
        }
        let found = if self.flow.protocol == u32::from(TCP) {
            find!(TCP_FLOWS, &*self.flow)
        } else {
            find!(UDP_FLOWS, &*self.flow)
        }?;
        if found.is_closed() {
            return None;
        }
        let named = found.backend;
        self.backend = Some(backend_of(named)?);
        self.established = Some(found);
        Some(named)
    }

    #[inline(always)]
    fn embryonic(&mut self) -> Option<BackendRef> {
        let hash = self.client_hash();
        let set = embryo_set(self.config, hash)?;
        let tag = tag(hash);
        let udp = self.flow.protocol != u32::from(TCP);
        for embryo in set.iter_mut() {
            if embryo.tag != tag
                || embryo.frontend != self.frontend.id
                || (embryo.flags & embryo::UDP != 0) != udp
                || !is_young(self.config, embryo, self.jiffies)
            {
                continue;
            }
            if self.segment == Segment::Tcp
                && let Some(ack) = self.ack
                && !embryo.acknowledged_by(ack)
            {
                continue;
            }
            let named = embryo_backend(embryo);
            let Some(backend) = backend_of(named) else {
                continue;
            };
            self.backend = Some(backend);
            self.embryo = Some(embryo);
            return Some(named);
        }
        None
    }

    #[inline(always)]
    fn moved(&mut self) -> Option<u16> {
        if self.config.flags & lb_common::config::flags::CHANNEL == 0 {
            return None;
        }
        find!(MOVED, &*self.flow).map(|moved| moved.node as u16)
    }

    #[inline(always)]
    fn handed_over(&mut self) -> bool {
        if self.tunnelled {
            return true;
        }
        let Some(ethernet) = self.frame.header::<Ethernet>(0) else {
            return false;
        };
        let [a, b, c] = ethernet.src;
        let mac = {
            let ([m0, m1], [m2, m3], [m4, m5]) =
                (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes());
            [m0, m1, m2, m3, m4, m5]
        };
        let Some(macs) = NODE_MACS.get(0) else {
            return false;
        };
        let wanted = MacEntry { mac, node: 0 }.bits();
        let mac_only = MacEntry {
            mac: [0xff; 6],
            node: 0,
        }
        .bits();
        let mut node = 0;
        for way in &macs.buckets[mac_bucket(mac) & (MAC_BUCKETS - 1)].ways {
            // A free way has the MAC of nobody, and node 0.
            if way.bits() & mac_only == wanted {
                node = way.node;
            }
        }
        if node == 0 {
            return false;
        }
        // An ordinary client may happen to live on that node.
        let net = NODE_NETS.get(&aya_ebpf::btf_maps::lpm_trie::Key::new(
            128,
            self.whose.client,
        ));
        !net.is_some_and(|net| net.node == u32::from(node))
    }

    #[inline(always)]
    fn told(&mut self, node: u16) -> bool {
        if self.frontend.flags & flags::AWAITING_TOLD != 0 {
            let key = lb_common::flow::ToldKey {
                frontend: self.frontend.id,
                node: u32::from(node),
            };
            return find!(TOLD, &key)
                .is_some_and(|told| told.endpoints_hash == self.frontend.endpoints_hash);
        }
        self.frontend.flags & self.unsettled() == 0
    }

    #[inline(always)]
    fn all_told(&mut self) -> bool {
        let mut awaited = flags::AWAITING_TOLD;
        if self.segment == Segment::Udp {
            awaited |= flags::UDP_UNSETTLED;
        }
        self.frontend.flags & awaited == 0
    }

    #[inline(always)]
    fn blur(&self, code: u64) -> u64 {
        code + u64::from(self.config.zero)
    }
}

impl Lookup<'_> {
    #[inline(always)]
    pub fn client_hash(&mut self) -> u64 {
        if self.hash == 0 {
            self.hash = client_hash(self.config, self.flow);
        }
        self.hash
    }

    #[inline(always)]
    fn unsettled(&self) -> u32 {
        if self.segment == Segment::Udp {
            flags::UDP_UNSETTLED
        } else {
            flags::TCP_UNSETTLED
        }
    }
}
