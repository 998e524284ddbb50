//! Which nodes are there, as their agents tell each other.

use alloc::collections::BTreeMap;

use super::NodeName;
use crate::time::Timestamp;

/// The agents of the cluster as this one sees them, its own among them.
///
/// The default is "no membership is known": then every node counts as there.
/// So it is in a cluster of one node, and until the first answers came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Nodes whose agent was heard of since this one started. A node that is
    /// missing here never was: no agent runs there, or none that has the same
    /// secret.
    pub by_node: BTreeMap<NodeName, Member>,
    /// Every node was either heard of, or silent for as long as it takes to be
    /// declared down. Before that, one that is missing may well be there.
    pub settled: bool,
}

/// What is known of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub state: MemberState,
    /// Since when it is in this state, by this node's clock.
    pub since: Timestamp,
    /// Its kernel's tables hold what they should, and its programs are attached.
    pub programmed: bool,
    /// A device that VIPs are reached by has carrier.
    pub uplinks_up: bool,
    /// It said that it restarts, and that until then it is to be treated as if
    /// it were there: it keeps its VIPs. By this node's clock; none when that is
    /// past.
    pub returns_by: Option<Timestamp>,
    /// It said that it goes for good, and nothing else since: that it has ended
    /// is then no news, and others have what it had.
    pub left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It answers, or others say that it does.
    Alive,
    /// It did not answer, neither us nor others; it has a short time to object.
    /// For all decisions it is as good as alive.
    Suspect,
    /// It did not object. Others take over what it had.
    Down,
    /// It said that it goes: it answers for its VIPs until others do.
    Leaving,
}

impl Members {
    /// Whether this node is to be counted with: it is there, or nothing is known
    /// that says otherwise.
    #[must_use]
    pub fn counts(&self, node: &NodeName) -> bool {
        match self.by_node.get(node) {
            Some(member) => member.counts(),
            None => !self.settled,
        }
    }
}

impl Member {
    /// Whether it may be given something to own.
    #[must_use]
    pub const fn counts(&self) -> bool {
        let there = matches!(self.state, MemberState::Alive | MemberState::Suspect);
        self.returns_by.is_some() || there && self.programmed && self.uplinks_up
    }
}

impl MemberState {
    /// As it stands in output and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Leaving => "leaving",
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn member(state: MemberState) -> Member {
        Member {
            state,
            since: Timestamp::default(),
            programmed: true,
            uplinks_up: true,
            returns_by: None,
            left: false,
        }
    }

    #[test]
    fn everybody_counts_until_something_is_known() {
        let mut members = Members::default();
        let node = NodeName::new("node1");
        assert!(members.counts(&node));
        members.settled = true;
        assert!(!members.counts(&node));
    }

    #[test]
    fn a_suspect_counts_and_one_that_is_down_does_not() {
        assert!(member(MemberState::Alive).counts());
        assert!(member(MemberState::Suspect).counts());
        assert!(!member(MemberState::Down).counts());
        assert!(!member(MemberState::Leaving).counts());
    }

    #[test]
    fn one_that_said_it_returns_counts_meanwhile() {
        let mut gone = member(MemberState::Leaving);
        gone.returns_by = Some(Timestamp::since_boot(Duration::from_secs(30)));
        assert!(gone.counts());
    }

    #[test]
    fn without_tables_or_carrier_it_does_not_count() {
        for (programmed, uplinks_up) in [(false, true), (true, false)] {
            let mut alive = member(MemberState::Alive);
            (alive.programmed, alive.uplinks_up) = (programmed, uplinks_up);
            assert!(!alive.counts());
        }
    }
}
