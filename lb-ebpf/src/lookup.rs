//! What the tables say about the packet in hand, asked for one at a time by
//! the rules.

use lb_common::{
    backend::{BackendRef, BackendValue},
    config::Config,
    filter::client_bit,
    flow::{EMBRYO_WAYS, Embryo, FlowKey, FlowValue, TCP, embryo},
    frontend::flags,
    hash::source_hash,
    limits::EMBRYO_SECONDS,
    node::{MAC_BUCKETS, MAC_MASK, mac_bucket},
    pending::Pending,
    rules::{Knowledge, Segment},
};

use crate::{
    maps::{
        self, CLIENT_FILTER, EMBRYONIC, MOVED, NODE_MACS, NODE_NETS, TCP_FLOWS, TOLD, UDP_FLOWS,
        backend_of, find, frontend_at,
    },
    packet::{Frame, jiffies},
    tunnel::Came,
};

/// Answers the rules' questions, and keeps what was found on the way.
pub struct Lookup<'a> {
    /// Of its frontend: what the slot's stage has read already.
    pub frontend: u32,
    pub flags: u32,
    pub place: u32,
    /// Whose packet it is.
    pub flow: &'a FlowKey,
    pub frame: Frame,
    pub segment: Segment,
    /// Its ACK number, if that is to be compared: an ICMP error quotes a packet
    /// of the other direction.
    pub ack: u32,
    pub compares_ack: bool,
    /// It came inside an outer header, so a node handed it over.
    pub tunnelled: bool,
    /// An earlier stage has found no such flow.
    is_stranger: bool,
    pub jiffies: u32,
    /// The client's hash; 0 until it was asked for.
    pub hash: u64,
    /// SYNs: the client may have an established flow here, also by another VIP.
    pub is_known_client: bool,
    /// Found on the way.
    pub established: Option<&'static mut FlowValue>,
    pub embryo: Option<&'static mut Embryo>,
    pub backend: Option<&'static BackendValue>,
    /// Once it was needed: established flows do without.
    config: Option<&'static Config>,
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

/// The byte of a client in one half of `CLIENT_FILTER`, and its bit.
///
/// This target has no atomic "or". Two CPUs that mark clients of one byte in
/// the same few nanoseconds may lose one of the marks: that client's live flow
/// then has no challenge for a stray SYN.
#[inline(always)]
pub fn filter_bit(config: &Config, client_hash: u64, half: u32) -> Option<(&'static mut u8, u8)> {
    let (word, bit) = client_bit(client_hash, config.filter_words);
    let half = if half == 0 { 0 } else { config.filter_words };
    let word = CLIENT_FILTER.get_ptr_mut(half + word)?;
    // The byte of the word in which the bit lies, on a little-endian machine.
    let byte = (bit >> 3) as usize & 7;
    // SAFETY: one of the eight bytes of an entry of an array map.
    let byte = unsafe { &mut *word.cast::<u8>().add(byte) };
    Some((byte, 1 << (bit & 7)))
}

/// Whether this client may have an established TCP flow here.
#[inline(always)]
pub fn may_be_established(config: &Config, client_hash: u64) -> bool {
    filter_bit(config, client_hash, config.filter_half).is_some_and(|(byte, bit)| *byte & bit != 0)
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

/// The node whose MAC a frame comes from; 0: nobody's.
#[inline(always)]
pub fn sender(frame: &Frame) -> u16 {
    // The six bytes of the source, and the EtherType.
    let (Some(src), Some(macs)) = (frame.header::<u64>(size_of::<[u8; 6]>()), NODE_MACS.get(0))
    else {
        return 0;
    };
    let wanted = *src & MAC_MASK;
    let mut node = 0;
    for way in &macs.buckets[mac_bucket(wanted) & (MAC_BUCKETS - 1)].ways {
        // A free way has the MAC of nobody, and node 0.
        if way.bits() & MAC_MASK == wanted {
            node = way.node;
        }
    }
    node
}

impl Knowledge for Lookup<'_> {
    #[inline(always)]
    fn established(&mut self) -> Option<BackendRef> {
        if self.is_stranger {
            return None;
        }
        // A SYN of a flow that lives is rare, and a flood of SYNs is not: the
        // filter keeps it away from the big table.
        if self.segment == Segment::Syn {
            let hash = self.client_hash();
            self.is_known_client = self
                .config()
                .is_some_and(|config| may_be_established(config, hash));
            if !self.is_known_client {
                return None;
            }
        }
        let found = if self.flow.protocol == u32::from(TCP) {
            find!(TCP_FLOWS, self.flow)
        } else {
            find!(UDP_FLOWS, self.flow)
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
        let config = self.config()?;
        let set = embryo_set(config, hash)?;
        let tag = tag(hash);
        let udp = self.flow.protocol != u32::from(TCP);
        for embryo in set.iter_mut() {
            if embryo.tag != tag
                || embryo.frontend != self.frontend
                || (embryo.flags & embryo::UDP != 0) != udp
                || !is_young(config, embryo, self.jiffies)
            {
                continue;
            }
            if self.segment == Segment::Tcp
                && self.compares_ack
                && !embryo.acknowledged_by(self.ack)
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
        if self.config()?.flags & lb_common::config::flags::CHANNEL == 0 {
            return None;
        }
        find!(MOVED, self.flow).map(|moved| moved.node as u16)
    }

    #[inline(always)]
    fn handed_over(&mut self) -> bool {
        if self.tunnelled {
            return true;
        }
        let node = sender(&self.frame);
        if node == 0 {
            return false;
        }
        // An ordinary client may happen to live on that node.
        let key = aya_ebpf::btf_maps::lpm_trie::Key::new(128, self.flow.client);
        !NODE_NETS
            .get(&key)
            .is_some_and(|net| net.node == u32::from(node))
    }

    #[inline(always)]
    fn told(&mut self, node: u16) -> bool {
        if self.flags & flags::AWAITING_TOLD != 0 {
            let key = lb_common::flow::ToldKey {
                frontend: self.frontend,
                node: u32::from(node),
            };
            let (Some(told), Some(frontend)) = (find!(TOLD, &key), frontend_at(self.place)) else {
                return false;
            };
            return told.endpoints_hash == frontend.endpoints_hash;
        }
        self.flags & self.unsettled() == 0
    }

    #[inline(always)]
    fn all_told(&mut self) -> bool {
        let mut awaited = flags::AWAITING_TOLD;
        if self.segment == Segment::Udp {
            awaited |= flags::UDP_UNSETTLED;
        }
        self.flags & awaited == 0
    }

    #[inline(always)]
    fn blur(&self, code: u64) -> u64 {
        code + self.frame.zero()
    }
}

impl<'a> Lookup<'a> {
    /// For a packet of the pending flow, or an ICMP error about it; nothing is
    /// looked up yet, and ACK numbers do not count.
    #[inline(always)]
    pub fn new(frame: Frame, came: Came, pending: &'a Pending, segment: Segment) -> Self {
        Self {
            frontend: pending.frontend,
            flags: pending.frontend_flags,
            place: pending.place,
            flow: &pending.flow,
            frame,
            segment,
            ack: 0,
            compares_ack: false,
            tunnelled: came.tunnelled(),
            jiffies: jiffies(),
            hash: 0,
            is_stranger: pending.is_stranger != 0,
            is_known_client: false,
            established: None,
            embryo: None,
            backend: None,
            config: None,
        }
    }

    #[inline(always)]
    pub fn config(&mut self) -> Option<&'static Config> {
        if self.config.is_none() {
            self.config = maps::config();
        }
        self.config
    }

    #[inline(always)]
    pub fn client_hash(&mut self) -> u64 {
        if self.hash == 0
            && let Some(config) = self.config()
        {
            self.hash = client_hash(config, self.flow);
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
