//! What the maps do not say: which ids and places have just been given up, and
//! how large the maps are.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::time::Duration;

use lb_common::frontend::flags;

use super::image::{FrontendImage, Image};
use crate::moved::{Awaiting, UNSETTLED};
use crate::time::Timestamp;

/// How long an id or a place that was given up is not used for anything else.
/// A program that has just read the old value is long done by then.
pub const QUARANTINE: Duration = Duration::from_secs(10);

/// Entries that the maps have room for, as they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub frontends: u32,
    pub table_chunks: u32,
    pub nodes: u32,
    pub backends: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        use lb_common::limits::{BACKENDS_MAX, NODES_MAX, default_size};
        Self {
            frontends: default_size::FRONTENDS,
            table_chunks: default_size::TABLE_CHUNKS,
            nodes: NODES_MAX,
            backends: BACKENDS_MAX,
        }
    }
}

/// For how long after a change a frontend counts as unsettled: flows that
/// nobody knows are offered to the slot's `next`, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    pub tcp_s: u32,
    pub udp_s: u32,
}

impl Default for Settle {
    /// Without messages between agents, the offer is all that keeps a moved
    /// TCP flow, so it lasts for long: what it costs is one more hop for
    /// strangers. Of UDP it costs a hop for every datagram of a moved slot.
    fn default() -> Self {
        Self {
            tcp_s: 3600,
            udp_s: 300,
        }
    }
}

/// Something with an id that others must not get yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Given {
    Node(u16),
    Backend(u16),
    Frontend(u32),
    /// The first chunk and how many.
    Chunks(u32, u32),
}

#[derive(Debug)]
pub struct Ledger {
    pub(super) sizes: Sizes,
    pub(super) settle: Settle,
    pub(super) awaiting: Arc<Awaiting>,
    /// Until when each is not to be used.
    quarantine: BTreeMap<Given, Timestamp>,
    generation: u16,
}

impl Ledger {
    /// `now` also starts the generations of backends: those of an agent that
    /// ran before are behind, unless it made more than one a second.
    #[must_use]
    pub fn new(sizes: Sizes, settle: Settle, now: Timestamp) -> Self {
        let generation = now.seconds() % u32::from(u16::MAX);
        Self {
            sizes,
            settle,
            awaiting: Arc::default(),
            quarantine: BTreeMap::new(),
            generation: u16::try_from(generation).unwrap_or(0),
        }
    }

    /// What agents have told each other. Plan again after this.
    pub fn hear(&mut self, awaiting: Arc<Awaiting>) {
        self.awaiting = awaiting;
    }

    /// When to plan again although nothing has changed: a frontend settles, or
    /// what had no place may have one.
    #[must_use]
    pub fn deadline(&self, current: &Image) -> Option<Timestamp> {
        let frontends = current.frontends.values();
        let unsettled_s = u32::try_from(UNSETTLED.as_secs()).unwrap_or(u32::MAX);
        let ends = [
            (flags::TCP_UNSETTLED, self.settle.tcp_s),
            (flags::UDP_UNSETTLED, self.settle.udp_s),
            (flags::AWAITING_TOLD, unsettled_s),
        ];
        let settling = frontends.flat_map(|FrontendImage { value, .. }| {
            let set = ends.iter().filter(|(flag, _)| value.flags & flag != 0);
            set.filter_map(|(_, lasts_s)| {
                let end_s = value.changed_s.checked_add(*lasts_s)?;
                Some(Timestamp::since_boot(Duration::from_secs(end_s.into())))
            })
        });
        self.quarantine.values().copied().chain(settling).min()
    }

    pub(super) fn release(&mut self, now: Timestamp) {
        self.quarantine.retain(|_, until| *until > now);
    }

    pub(super) fn give_up(&mut self, given: Given, now: Timestamp) {
        self.quarantine.insert(given, now + QUARANTINE);
    }

    pub(super) fn quarantined(&self) -> impl Iterator<Item = Given> + '_ {
        self.quarantine.keys().copied()
    }

    /// Never 0, which says that there is no backend.
    pub(super) fn next_generation(&mut self) -> u16 {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.generation
    }
}
