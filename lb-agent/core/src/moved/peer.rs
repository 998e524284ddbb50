//! What is between this agent and one other.

use alloc::collections::{BTreeMap, BTreeSet};

use lb_common::flow::FlowKey;
use lb_common::frontend::FrontendKey;

use super::{Presence, frontend_of};
use crate::time::Timestamp;

/// What a look through the flows has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What lives here and comes elsewhere: to which node, idle for how long.
    pub(super) wanted: BTreeMap<FlowKey, (u16, u32)>,
    /// What lives here, of these and of those that peers know or claim.
    pub(super) here: BTreeSet<FlowKey>,
    /// The sets that the tables were made from, of frontends with endpoints
    /// here.
    pub(super) walked: BTreeMap<FrontendKey, u64>,
    /// Of frontends of flows that were told of: those for whose set all others
    /// have told, so that all have its table.
    pub(super) settled: BTreeSet<FrontendKey>,
}

#[derive(Debug)]
pub(super) struct Peer {
    /// When it was first known.
    pub(super) since: Timestamp,
    pub(super) presence: Presence,
    /// The number of the session with it; 0: there was none.
    pub(super) session: u32,
    /// It does not acknowledge.
    pub(super) silent: bool,
    /// It has said all that moved, in this session.
    pub(super) complete: bool,
    /// It has in some session.
    pub(super) spoke: bool,
    /// For which sets it has told.
    pub(super) told: BTreeMap<FrontendKey, u64>,
    /// About which sets it was asked in this session.
    pub(super) asked: BTreeMap<FrontendKey, u64>,

    /// What it knows of flows that are here.
    pub(super) said: BTreeSet<FlowKey>,
    /// To be said: moved, with how long it was idle, or withdrawn.
    pub(super) changes: BTreeMap<FlowKey, Option<u32>>,
    /// To be said after these.
    pub(super) completes: bool,
    pub(super) tell: BTreeSet<FrontendKey>,
    /// To be said at any time.
    pub(super) ask: BTreeSet<FrontendKey>,
    pub(super) dispute: BTreeMap<FlowKey, u32>,
}

impl Peer {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            presence: Presence::Unknown,
            session: 0,
            silent: false,
            complete: false,
            spoke: false,
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            said: BTreeSet::new(),
            changes: BTreeMap::new(),
            completes: false,
            tell: BTreeSet::new(),
            ask: BTreeSet::new(),
            dispute: BTreeMap::new(),
        }
    }

    /// A new session: it knows nothing of what was said, and says all again.
    /// What it told still holds, for those sets.
    pub(super) fn begin(&mut self) {
        self.session += 1;
        self.silent = false;
        self.complete = false;
        self.asked.clear();
        self.said.clear();
        self.changes.clear();
        self.completes = true;
        self.tell.clear();
        self.ask.clear();
        self.dispute.clear();
    }

    pub(super) fn is_up(&self) -> bool {
        self.session > 0
    }

    /// What is to be said so that it knows what is wanted.
    ///
    /// What it knows of a flow stays true as long as the flow is here. It is
    /// taken back when the flow is over, or when no table leads it there any
    /// more: before that, the peer would take a flow that comes to it and that
    /// nobody claims for a stranger's.
    pub(super) fn plan(&mut self, node: u16, found: &Found) {
        let wanted = &found.wanted;
        self.changes.clear();
        let its = wanted.iter().filter(|(_, (to, _))| *to == node);
        for (flow, (_, idle_ms)) in its {
            if !self.said.contains(flow) {
                self.changes.insert(*flow, Some(*idle_ms));
            }
        }
        let over = |flow: &&FlowKey| {
            let elsewhere = wanted.get(flow).is_none_or(|(to, _)| *to != node);
            let settled = || found.settled.contains(&frontend_of(flow));
            !found.here.contains(flow) || elsewhere && settled()
        };
        let over = self.said.iter().filter(over);
        self.changes.extend(over.map(|flow| (*flow, None)));
    }
}
