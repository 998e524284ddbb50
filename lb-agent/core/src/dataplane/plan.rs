//! What every map should hold, given what they hold now.
//!
//! Ids and places stay with those who have them. New ones are free in the
//! current image and not in quarantine, the lowest first. A table is never
//! changed where it is: it gets another place, and the frontend's value then
//! changes over to it at once.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use lb_common::addr::Addr;
use lb_common::filter::{pod_bit, vip_bit};

use super::image::{FrontendImage, Image, NO_ADDRESSES};
use super::ledger::{Given, Ledger};
use super::places::chunks_of;
use crate::desired::Desired;
use crate::problem::Problem;
use crate::shared::{SharedMap, pairs};
use crate::time::Timestamp;

mod backends;
mod frontends;
mod nodes;

use backends::Backends;
use frontends::Frontends;
use nodes::Nodes;

/// Plans the image that `desired` asks for. Each thing that finds no id or no
/// place is a problem, and the rest goes on without it.
///
/// Call it again whenever something changes, and at [`Ledger::deadline`]. When
/// all steps are done, the image is the new `current` (also if there were
/// none: it knows what it was made from); after an error, read the maps back.
pub fn plan(
    desired: &Desired,
    current: &Image,
    ledger: &mut Ledger,
    now: Timestamp,
) -> (Image, Vec<Problem>) {
    ledger.release(now);
    let mut problems = Vec::new();
    let nodes = Nodes::assign(desired, current, ledger, &mut problems);
    let backends = Backends::assign(desired, current, ledger, &mut problems);
    let frontends = Frontends::new(current, &nodes, &backends, &mut problems);
    let planned = frontends.plan(desired, ledger, now);
    let image = Image {
        vips: vips(desired, current),
        vip_filter: filter(desired.vips.keys().map(|vip| vip_bit((*vip).into()))),
        pod_filter: filter(backends.values.values().map(|b| pod_bit(b.addr, b.port))),
        node_macs: nodes::macs(desired, &nodes, &mut problems),
        node_nets: nodes::nets(desired, &nodes),
        frontends: planned.images,
        backends: backends.values,
        nodes: nodes.images,
        stray_endpoints: BTreeSet::new(),
        stray_names: BTreeSet::new(),
        ids: backends.ids,
        reaches: backends.reaches,
        sources: planned.sources,
    };
    give_up(current, &image, ledger, now);
    (image, problems)
}

fn vips(desired: &Desired, current: &Image) -> SharedMap<Addr, bool> {
    let vips = desired.vips.iter();
    let mut wanted: Vec<_> = vips.map(|(vip, v)| (Addr::from(*vip), v.ours)).collect();
    // Nearly sorted: addresses like `::1` come elsewhere.
    wanted.sort_by_key(|(vip, _)| *vip);
    let mut vips = current.vips.clone();
    vips.replace_with(&wanted);
    vips
}

/// Notes what is in use now and will not be.
fn give_up(current: &Image, target: &Image, ledger: &mut Ledger, now: Timestamp) {
    for (id, _, new) in pairs(current.nodes.iter(), target.nodes.iter()) {
        if new.is_none() {
            ledger.give_up(Given::Node(*id), now);
        }
    }
    for (id, _, new) in current.backends.unshared(&target.backends) {
        if new.is_none() {
            ledger.give_up(Given::Backend(*id), now);
        }
    }
    for (_, old, new) in current.frontends.unshared(&target.frontends) {
        let Some(FrontendImage { value: old, .. }) = old else {
            continue;
        };
        let new = new.map(|new| &new.value);
        if new.is_none_or(|new| new.id != old.id) {
            ledger.give_up(Given::Frontend(old.id), now);
        }
        if new.is_none_or(|new| new.chunk != old.chunk) {
            ledger.give_up(Given::Chunks(old.chunk, chunks_of(old.slots)), now);
        }
    }
}

/// By id: whether it is among these.
fn taken(ids: impl Iterator<Item = u16>) -> Vec<bool> {
    let mut taken = vec![false; usize::from(u16::MAX) + 1];
    for id in ids {
        taken[usize::from(id)] = true;
    }
    taken
}

/// The lowest ids from `first` to `end` that are not taken.
fn free(taken: Vec<bool>, first: u16, end: u32) -> impl Iterator<Item = u16> {
    (first..=u16::MAX)
        .take_while(move |n| u32::from(*n) < end)
        .filter(move |n| !taken[usize::from(*n)])
}

fn filter(bits: impl Iterator<Item = (usize, u32)>) -> Box<lb_common::filter::AddrFilter> {
    let mut filter = Box::new(NO_ADDRESSES);
    for (word, bit) in bits {
        filter.words[word] |= bit;
    }
    filter
}
