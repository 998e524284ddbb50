//! Whom an agent knew, for the process after it.
//!
//! A node is on the roll from when its agent is heard until it says that it
//! leaves or loses its Node object, or, while no agent runs here that could hear
//! either, for [`KEPT`] after it was last known to be there: then an agent that
//! was taken away by force, and whose Node object stays, is forgotten at the next
//! start. The first agents of a cluster have an empty roll.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::model::{MemberState, Members, NodeName};

/// For so long a node is remembered that was not there any more.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// More are not remembered: those longest away are left out.
const NODES_MAX: usize = 5000;

/// When each was last known to be there, since 1970: the next process may run
/// after the machine has booted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    seen: BTreeMap<NodeName, Duration>,
}

impl Roll {
    /// As it was written.
    pub fn of(seen: impl IntoIterator<Item = (NodeName, Duration)>) -> Self {
        Self {
            seen: seen.into_iter().collect(),
        }
    }

    /// Who is on it, and when each was there.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeName, Duration)> {
        self.seen.iter().map(|(node, seen)| (node, *seen))
    }

    /// Whom a process that starts at `now` is to count with. A moment that is yet
    /// to come is of a clock that was set back since.
    #[must_use]
    pub fn remembered(&self, now: Duration) -> BTreeSet<NodeName> {
        let recent = self.iter().filter(|(_, seen)| *seen + KEPT > now);
        recent.map(|(node, _)| node.clone()).collect()
    }

    /// The roll as of `now`. Nothing is known for certain, and nobody struck
    /// off, before the members are settled.
    #[must_use]
    pub fn with(&self, members: &Members, this: &NodeName, now: Duration) -> Self {
        let others = members.by_node.iter().filter(|(node, _)| *node != this);
        let others = others.filter(|(_, member)| !member.left);
        let seen = others.map(|(node, member)| {
            let before = self.seen.get(node).filter(|_| {
                // It is not there any more.
                member.state == MemberState::Down
            });
            (node.clone(), before.copied().unwrap_or(now))
        });
        let mut next = if members.settled {
            BTreeMap::new()
        } else {
            self.seen.clone()
        };
        next.extend(seen);
        while next.len() > NODES_MAX {
            let oldest = next.iter().min_by_key(|(_, seen)| **seen);
            let Some(oldest) = oldest.map(|(node, _)| node.clone()) else {
                break;
            };
            next.remove(&oldest);
        }
        Self { seen: next }
    }

    /// Whether the same nodes are on both, whenever they were there.
    #[must_use]
    pub fn same_nodes(&self, other: &Self) -> bool {
        self.seen.keys().eq(other.seen.keys())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;
    use crate::model::Member;
    use crate::time::Timestamp;

    const DAY: Duration = KEPT;
    const HOUR: Duration = Duration::from_secs(3600);

    fn name(name: &str) -> NodeName {
        NodeName::new(name)
    }

    fn members(settled: bool, of: &[(&str, MemberState, bool)]) -> Members {
        let by_node = of.iter().map(|(node, state, left)| {
            let member = Member {
                state: *state,
                since: Timestamp::default(),
                programmed: true,
                uplinks_up: true,
                returns_by: None,
                left: *left,
            };
            (name(node), member)
        });
        Members {
            by_node: by_node.collect(),
            settled,
        }
    }

    fn nodes(roll: &Roll, now: Duration) -> Vec<String> {
        let nodes = roll.remembered(now);
        nodes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_others_that_are_or_were_there_are_on_it_and_who_left_is_not() {
        let here = members(
            true,
            &[
                ("a", MemberState::Alive, false),
                ("b", MemberState::Alive, false),
                ("c", MemberState::Down, false),
                ("d", MemberState::Leaving, true),
                ("e", MemberState::Leaving, false),
                ("f", MemberState::Down, true),
            ],
        );
        let roll = Roll::default().with(&here, &name("a"), DAY);
        assert_eq!(nodes(&roll, DAY), ["b", "c", "e"]);
    }

    #[test]
    fn nobody_is_struck_off_before_the_members_are_settled() {
        let before = Roll::of([(name("b"), DAY), (name("c"), DAY)]);
        let heard = [("b", MemberState::Alive, false)];
        let starting = before.with(&members(false, &heard), &name("a"), DAY);
        assert_eq!(nodes(&starting, DAY), ["b", "c"]);
        let settled = before.with(&members(true, &heard), &name("a"), DAY);
        assert_eq!(nodes(&settled, DAY), ["b"], "c has no Node object any more");
    }

    #[test]
    fn who_was_not_there_for_a_day_is_forgotten() {
        let before = Roll::of([(name("b"), HOUR), (name("c"), HOUR)]);
        let now = [
            ("b", MemberState::Alive, false),
            ("c", MemberState::Down, false),
        ];
        let roll = before.with(&members(true, &now), &name("a"), HOUR * 3);
        assert!(roll.same_nodes(&before));
        assert_eq!(nodes(&roll, DAY + HOUR - HOUR / 2), ["b", "c"]);
        assert_eq!(nodes(&roll, DAY + HOUR), ["b"]);
        assert_eq!(nodes(&roll, DAY + HOUR * 3), [""; 0]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_forgotten() {
        let roll = Roll::of([(name("b"), DAY * 3)]);
        assert_eq!(nodes(&roll, HOUR), ["b"]);
    }

    #[test]
    fn it_is_bounded_and_who_was_away_longest_goes() {
        let count = u64::try_from(NODES_MAX).unwrap();
        let old = (0..=count).map(|n| {
            (
                name(&alloc::format!("old{n}")),
                HOUR + Duration::from_secs(n),
            )
        });
        let roll = Roll::of(old).with(
            &members(false, &[("new", MemberState::Alive, false)]),
            &name("a"),
            DAY,
        );
        let left = roll.remembered(DAY);
        assert_eq!(left.len(), NODES_MAX);
        assert!(left.contains(&name("new")) && !left.contains(&name("old1")));
        assert!(left.contains(&name("old2")));
    }
}
