//! Which endpoints have lost slots to other nodes while they stayed: only
//! their flows can be looked for elsewhere.
//!
//! All of it is computed from the tables of before and after, as the maps have
//! them, so a new process goes on where the old one was.

use alloc::collections::BTreeSet;

use lb_common::table::{Place, Slot, Target};

use super::image::Body;
use super::slots::Slots;
use crate::time::Timestamp;

/// Sets `displaced_s` of the endpoints of `body`, which comes after `old`.
/// Those that are new to the frontend have no flows yet that could be.
pub(super) fn note(body: &mut Body, old: &Body, now: Timestamp) {
    let moves = if body.slots == old.slots {
        BTreeSet::new()
    } else {
        moves(&old.slots, &body.slots)
    };
    for (key, value) in &mut body.endpoints {
        let Some(was) = old.endpoints.get(key) else {
            continue;
        };
        // Its node may have another id by now.
        let (from, to) = (node(Target(was.target)), node(Target(value.target)));
        let moved = moves
            .range((from, Target(0))..=(from, Target(u16::MAX)))
            .any(|(_, there)| *there != to);
        value.displaced_s = if moved {
            now.seconds().max(1)
        } else {
            was.displaced_s
        };
    }
}

/// When an endpoint that is present was last displaced; 0: none was.
pub(super) fn last(body: &Body) -> u32 {
    let times = body.endpoints.values().map(|endpoint| endpoint.displaced_s);
    times.max().unwrap_or(0)
}

/// From which node to which each slot went, also where that is the same.
fn moves(old: &Slots, new: &Slots) -> BTreeSet<(Target, Target)> {
    let length = old.len().max(new.len());
    let pairs = stretched(old, length).zip(stretched(new, length));
    pairs
        .map(|(old, new)| (node(old.now), node(new.now)))
        .filter(|(from, _)| *from != Target::NONE)
        .collect()
}

/// The node of a target. Pods of one node share its table of flows: which of
/// them a slot leads to does not matter.
const fn node(target: Target) -> Target {
    match target.place() {
        Place::Here(_) => Target::local(0),
        Place::Nowhere | Place::Node(_) => target,
    }
}

/// The same table in another number of slots, as near as that can be: a slot
/// is a fraction of the table (`lb_common::table::slot_index`).
pub(super) fn stretched(slots: &Slots, length: usize) -> impl Iterator<Item = Slot> + use<'_> {
    (0..length).filter_map(move |n| slots.get(n * slots.len() / length))
}
