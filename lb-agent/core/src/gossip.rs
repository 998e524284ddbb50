//! Membership: which agents are there.
//!
//! Every agent sends every other one a [`Beat`] each period, which also says
//! what it had from that one last. So one exchange serves three ends:
//!
//! - **Who is there.** A node is down when nobody has heard of it for as long as
//!   one's patience: neither this node, which asks for an answer again and again
//!   from half a period of silence on, nor any other that it asked.
//! - **Leaving.** An echo proves that a peer had what was said at a moment of
//!   this node's own clock: who goes knows who has heard of it. (The fence needs
//!   more than that, and has renewals of its own.)
//! - **No replays.** A run of an agent is believed once it has echoed what was
//!   said to it a moment ago (`crate::seal`).
//!
//! Why not SWIM (the crate `foca`): one probe of one random member each period
//! leaves a dead one unprobed for k periods with a probability of e^-k, so
//! that bounds of 0.4 s would take periods of 40 ms or less, and suspicion on
//! top; and a round trip with every peer is needed by those who leave anyway.
//!
//! **Who was known before.** An agent that starts as the network parts would hear
//! nobody, take itself for all there are, and so for a majority. So it is told
//! whom the process before it knew ([`Roll`]); these are taken for heard at the
//! start, and fall silent like any other.
//!
//! What it costs grows with the number of peers, so from [`BEATS_MAX`] a second
//! on, beats become rarer and patience longer.
//!
//! Call, drain [`Cluster::poll_output`], sleep until [`Cluster::deadline`] or
//! input.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::model::{Members, NodeName};
use crate::seal::{NodeId, Standing};

mod cluster;
mod peer;
mod roll;
#[cfg(test)]
mod tests;
pub mod wire;

pub use cluster::Cluster;
pub use peer::Row;
pub use roll::Roll;
pub use wire::{Beat, DecodeError};

/// Beats that one agent sends in a second, at most; answers apart.
pub const BEATS_MAX: u32 = 1000;

/// How often agents talk, and how long they bear silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub period: Duration,
    /// From the last sign of life of a node until others take over.
    pub patience: Duration,
}

impl Timing {
    pub const NORMAL: Self = Self::of_millis(100, 400);
    pub const FAST: Self = Self::of_millis(40, 180);

    const fn of_millis(period: u64, patience: u64) -> Self {
        Self {
            period: Duration::from_millis(period),
            patience: Duration::from_millis(patience),
        }
    }

    /// In a cluster with so many others.
    #[must_use]
    pub fn among(self, peers: usize) -> Self {
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        let least = Duration::from_secs(1) / BEATS_MAX;
        let period = self.period.max(least.saturating_mul(peers));
        Self {
            period,
            patience: self.patience.max(period.saturating_mul(4)),
        }
    }

    /// From then on a silent node is asked, and asked for.
    fn suspicion(self) -> Duration {
        self.period * 3 / 2
    }
}

/// Who this is.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeName,
    /// Of this run of the agent: the one of its seal.
    pub boot: u64,
    pub timing: Timing,
    /// Nodes whose agents the process before this one knew. Of those that are
    /// configured, they count as there until they are silent for too long.
    pub remembered: BTreeSet<NodeName>,
}

/// What this node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub programmed: bool,
    pub uplinks_up: bool,
}

/// A beat that came, opened and decoded.
#[derive(Clone, Debug)]
pub struct Received {
    pub sender: NodeId,
    pub boot: u64,
    pub counter: u64,
    pub standing: Standing,
    pub from: IpAddr,
    pub beat: Beat,
}

/// What is to be done, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The sender's boot is the present one: [`crate::seal::Seal::confirm`].
    Confirm {
        sender: NodeId,
        boot: u64,
        counter: u64,
    },
    /// To be sealed and sent.
    Send {
        to: NodeId,
        address: IpAddr,
        payload: Vec<u8>,
    },
    /// They differ from those before.
    Members(Members),
    /// This node leaves, and all who are there have acted on it.
    Released,
}
