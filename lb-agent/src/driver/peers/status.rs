//! What this node says of itself, and what it says of others in the log.

use lb_core::gossip::Status;
use lb_core::model::{MemberState, Members, NodeName};

use crate::net::NetFacts;
use crate::report::Report;

/// An agent that has just started stands by what the kernel has, if that has
/// anything: it forwarded all the time.
pub(super) fn of(report: &Report, net: &NetFacts, found_tables: bool) -> Status {
    let started = report.work.runs == 0;
    let known = net.question.is_some();
    Status {
        programmed: report.ready || started && found_tables,
        // Until netlink has told, nothing speaks against it.
        uplinks_up: !known || net.uplinks.iter().any(|device| device.up && device.carrier),
    }
}

/// Who came, went and fell silent.
pub(super) fn say(before: &Members, now: &Members, own: &NodeName) {
    let others = now.by_node.iter().filter(|(node, _)| *node != own);
    for (node, member) in others {
        let last = before.by_node.get(node);
        let (state, counts) = (member.state, member.counts());
        if last.is_some_and(|last| last.state == state && last.counts() == counts) {
            continue;
        }
        match state {
            MemberState::Suspect => tracing::debug!(%node, "its agent is silent"),
            MemberState::Alive if last.is_some_and(|l| l.state == MemberState::Suspect) => {
                tracing::debug!(%node, "its agent is heard again");
            }
            MemberState::Alive if counts => tracing::info!(%node, "its agent is there"),
            MemberState::Alive => tracing::warn!(
                %node,
                programmed = member.programmed,
                uplinks_up = member.uplinks_up,
                "its agent is there, but it can own no VIP"
            ),
            MemberState::Down => tracing::warn!(%node, "its agent is down: it was silent too long"),
            MemberState::Leaving => tracing::info!(%node, "its agent leaves"),
        }
    }
    if now.settled && !before.settled {
        let count = now.by_node.len();
        tracing::info!(count, "all agents that are there are known");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_the_agent_counts_until_it_has_worked() {
        let (mut report, net) = (Report::default(), NetFacts::default());
        assert!(of(&report, &net, true).programmed);
        assert!(!of(&report, &net, false).programmed);
        report.work.runs = 1;
        assert!(!of(&report, &net, true).programmed);
        report.ready = true;
        assert!(of(&report, &net, false).programmed);
    }

    #[test]
    fn no_uplink_is_none_that_is_up() {
        let mut net = NetFacts::default();
        assert!(of(&Report::default(), &net, true).uplinks_up);
        net.question = Some(crate::net::Question::default());
        assert!(!of(&Report::default(), &net, true).uplinks_up);
    }
}
