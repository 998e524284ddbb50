//! The fence, started with its ways to and from the others.

use std::collections::BTreeSet;

use lb_core::fence::{Arbiter, Doubts};
use lb_core::model::NodeName;
use tokio::sync::{mpsc, watch};

use super::Tasks;
use super::error::AgentError;
use crate::dataplane::fence::FenceMap;
use crate::dataplane::pins::Pins;
use crate::driver::fence::{self, Findings, Keep};
use crate::net::NetFacts;

/// The ways to and from the fence.
pub(super) struct Fenced {
    /// Who is free.
    pub(super) found: watch::Receiver<Findings>,
    /// Another node announces a VIP of ours.
    pub(super) opposed: mpsc::Sender<()>,
    /// This agent will be back.
    pub(super) keep: mpsc::Sender<Keep>,
}

/// What the fence is started with.
pub(super) struct Fencing {
    pub(super) node: NodeName,
    pub(super) timing: fence::Timing,
    pub(super) peers: fence::Peers,
    pub(super) net: watch::Receiver<NetFacts>,
    pub(super) elected: watch::Receiver<Option<BTreeSet<NodeName>>>,
    pub(super) arbiter: watch::Receiver<Arbiter>,
    pub(super) doubts: watch::Sender<Doubts>,
}

impl Fencing {
    /// In a thread of its own; `tasks` hears of its end.
    pub(super) fn start(self, pins: &Pins, tasks: &mut Tasks) -> Result<Fenced, AgentError> {
        let (findings, found) = watch::channel(Findings::default());
        // Full: it yields already.
        let (opposed, opposed_in) = mpsc::channel(1);
        // Said once.
        let (keep, keep_in) = mpsc::channel(1);
        let Self {
            node,
            timing,
            peers,
            net,
            elected,
            arbiter,
            doubts,
        } = self;
        let settings = fence::Settings { node, timing };
        let hears = fence::Hears {
            net,
            arbiter,
            peers: Some(peers),
            elected,
            opposed: opposed_in,
            keep: keep_in,
        };
        let ended = fence::start(settings, FenceMap::open(pins)?, hears, findings, doubts);
        let ended = ended.map_err(AgentError::Fence)?;
        tasks.spawn(async move {
            // Dropped without a word: it panicked.
            ended.await.map_err(|_panicked| AgentError::Fenceless)
        });
        Ok(Fenced {
            found,
            opposed,
            keep,
        })
    }
}
