//! The frontends: their ids, where their tables are, and what is in them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use lb_common::frontend::{FrontendKey, FrontendValue, flags};
use lb_common::table::Target;
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName, condition};

use super::backends::Backends;
use super::nodes::Nodes;
use crate::dataplane::image::{Body, FrontendImage, Image, Sources};
use crate::dataplane::ledger::{Given, Ledger};
use crate::dataplane::places::{Places, chunks_of};
use crate::dataplane::slots::Slots;
use crate::dataplane::{displaced, names};
use crate::desired::{Desired, Frontend};
use crate::model::{Conditions, Delivery};
use crate::problem::Problem;
use crate::shared::SharedMap;
use crate::time::Timestamp;

/// What is free for frontends, found out when the first one needs it.
struct Room {
    ids: Places,
    chunks: Places,
}

impl Room {
    fn new(current: &Image, ledger: &Ledger) -> Self {
        let mut room = Self {
            ids: Places::new(ledger.sizes.frontends),
            chunks: Places::new(ledger.sizes.table_chunks),
        };
        for FrontendImage { value, .. } in current.frontends.values() {
            room.ids.take(value.id, 1);
            room.chunks.take(value.chunk, chunks_of(value.slots));
        }
        for given in ledger.quarantined() {
            match given {
                Given::Frontend(id) => room.ids.take(id, 1),
                Given::Chunks(first, count) => room.chunks.take(first, count),
                Given::Node(_) | Given::Backend(_) => {}
            }
        }
        room
    }
}

pub(super) struct Frontends<'a> {
    current: &'a Image,
    nodes: &'a Nodes,
    backends: &'a Backends,
    room: Option<Room>,
    problems: &'a mut Vec<Problem>,
}

/// The frontends, and what those were made from where nothing was lacking.
pub(super) struct Planned {
    pub(super) images: SharedMap<FrontendKey, FrontendImage>,
    pub(super) sources: Sources,
}

impl<'a> Frontends<'a> {
    pub(super) fn new(
        current: &'a Image,
        nodes: &'a Nodes,
        backends: &'a Backends,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        Self {
            current,
            nodes,
            backends,
            room: None,
            problems,
        }
    }

    /// Begins with what is there, and looks at what may differ.
    pub(super) fn plan(mut self, desired: &Desired, ledger: &Ledger, now: Timestamp) -> Planned {
        let current = self.current;
        let mut images = current.frontends.clone();
        let mut sources = desired.frontends.clone();
        let mut without = 0;
        let known = &current.sources.0;
        for (address, old, new) in known.unshared(&desired.frontends) {
            let key = address.key();
            let Some(frontend) = new else {
                images.remove(&key);
                continue;
            };
            if old.is_some_and(|old| Arc::ptr_eq(old, frontend)) {
                continue;
            }
            let old = current.frontends.get(&key);
            match self.frontend(frontend, old, ledger, now) {
                Some((image, complete)) => {
                    if !complete {
                        sources.remove(address);
                    }
                    // What was read back takes more memory than what is made.
                    if old.is_none_or(|old| {
                        old.value != image.value || !Arc::ptr_eq(&old.body, &image.body)
                    }) {
                        images.insert(key, image);
                    }
                }
                None => {
                    sources.remove(address);
                    without += 1;
                }
            }
        }
        // There may be others that are not wanted: those that were read back.
        if images.len() + without > desired.frontends.len() {
            let wanted = desired.frontends.keys().map(|address| address.key());
            let wanted: BTreeSet<FrontendKey> = wanted.collect();
            let others = current.frontends.keys().filter(|key| !wanted.contains(key));
            others.for_each(|key| drop(images.remove(key)));
        }
        settle(&mut images, ledger, now);
        Planned {
            images,
            sources: Sources(sources),
        }
    }

    /// The image of a frontend that has changed, or may have, and whether
    /// nothing is lacking.
    fn frontend(
        &mut self,
        frontend: &Arc<Frontend>,
        old: Option<&FrontendImage>,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Option<(FrontendImage, bool)> {
        let current = self.current;
        let room = self.room.get_or_insert_with(|| Room::new(current, ledger));
        let service = || frontend.service.clone();
        let Some(id) = old.map(|old| old.value.id).or_else(|| room.ids.place(1)) else {
            self.problems.push(Problem::TooManyFrontends {
                service: service(),
                frontend: frontend.address,
            });
            return None;
        };
        let (mut body, mut complete) = self.body(frontend, id);
        let place = match old {
            // The table is the same: it stays.
            Some(old) if old.body.slots == body.slots => Some(old.value.chunk),
            _ => {
                let room = self.room.get_or_insert_with(|| Room::new(current, ledger));
                room.chunks.place(chunks_of(length(&body.slots)))
            }
        };
        let chunk = match (place, old) {
            (Some(chunk), _) => chunk,
            (None, old) => {
                self.problems.push(Problem::NoRoomForTable {
                    service: service(),
                    frontend: frontend.address,
                });
                // Better the old place, changed slot by slot, and its size,
                // than packets for backends that have gone.
                let old = old?;
                body.slots = resample(&body.slots, old.value.slots);
                complete = false;
                old.value.chunk
            }
        };
        if let Some(old) = old {
            displaced::note(&mut body, &old.body, now);
        }
        let value = FrontendValue {
            seed: frontend.seed,
            endpoints_hash: frontend.backends_hash,
            chunk,
            slots: length(&body.slots),
            id,
            flags: match frontend.delivery {
                Delivery::Stack => 0,
                Delivery::Direct => flags::DIRECT,
            },
            changed_s: changed_s(frontend, &body, old, ledger, now),
            // The shell's: images know one value.
            side: 0,
        };
        let body = match old {
            Some(old) if !complete && *old.body == body => old.body.clone(),
            _ => Arc::new(body),
        };
        let mut image = FrontendImage { value, body };
        let key = frontend.address.key();
        image.value.flags |= unsettled(&key, &image.value, ledger, now);
        Some((image, complete))
    }

    fn body(&self, frontend: &Frontend, id: u32) -> (Body, bool) {
        let targets: Arc<[Target]> = frontend
            .backends
            .iter()
            .map(|backend| {
                if backend.here {
                    self.backends.target(&backend.as_local())
                } else {
                    self.nodes.target(&backend.node)
                }
            })
            .collect();
        let mut load: Vec<u32> = targets.iter().map(|_| 0).collect();
        for now in frontend.table.slots().filter_map(|slot| slot.now()) {
            load[now] += 1;
        }
        let mut endpoints = BTreeMap::new();
        for ((backend, target), slots) in frontend.backends.iter().zip(&*targets).zip(load) {
            let key = EndpointKey {
                frontend: id,
                addr: backend.address.into(),
                port: backend.port,
                pad: 0,
            };
            let node = self.nodes.ids.get(&backend.node).copied();
            let value = EndpointValue {
                node: node.map_or(0, u32::from),
                slots,
                displaced_s: 0,
                target: target.0,
                conditions: bits(backend.conditions),
            };
            endpoints.insert(key, value);
        }
        let complete = !targets.contains(&Target::NONE);
        let body = Body {
            slots: Slots::made(frontend.table.clone(), targets),
            endpoints,
            name: Some(FrontendName {
                namespace: names::padded(&frontend.service.namespace),
                service: names::padded(&frontend.service.name),
            }),
        };
        (body, complete)
    }
}

fn length(slots: &Slots) -> u32 {
    u32::try_from(slots.len()).unwrap_or(u32::MAX)
}

/// The same table in another number of slots.
fn resample(slots: &Slots, length: u32) -> Slots {
    let length = usize::try_from(length).unwrap_or(0);
    displaced::stretched(slots, length).collect()
}

/// Sets for all of them whether flows may be elsewhere.
fn settle(images: &mut SharedMap<FrontendKey, FrontendImage>, ledger: &Ledger, now: Timestamp) {
    let other = images.iter().filter_map(|(key, image)| {
        let unsettled = unsettled(key, &image.value, ledger, now);
        let flags = image.value.flags & !UNSETTLED | unsettled;
        (flags != image.value.flags).then_some((*key, flags))
    });
    for (key, flags) in other.collect::<Vec<_>>() {
        if let Some(image) = images.get_mut(&key) {
            image.value.flags = flags;
        }
    }
}

const UNSETTLED: u32 = flags::TCP_UNSETTLED | flags::UDP_UNSETTLED | flags::AWAITING_TOLD;

/// When flows may last have come to be elsewhere than the table says.
///
/// Where agents tell each other, that is any change of the set, also one that
/// only this node has not seen before: flows that were displaced earlier may
/// have another home by it. Where they do not, see [`unsettled`].
fn changed_s(
    frontend: &Frontend,
    body: &Body,
    old: Option<&FrontendImage>,
    ledger: &Ledger,
    now: Timestamp,
) -> u32 {
    let elsewhere = |endpoint: &EndpointValue| endpoint.node != 0;
    if !ledger.awaiting.covers(&frontend.address.key()) || !body.endpoints.values().any(elsewhere) {
        return displaced::last(body);
    }
    match old {
        Some(old) if old.value.endpoints_hash == frontend.backends_hash => old.value.changed_s,
        Some(_) | None => now.seconds().max(1),
    }
}

/// Whether it is still to be reckoned with that flows are not where the table
/// says, as flags.
///
/// Where agents tell each other: until all have told for this set. Where they
/// do not, for a while. A frontend that was not in the maps has then displaced
/// none: a new one has no flows yet, and of one whose maps were lost most flows
/// are where the table says. To ask `next` about those would strand them. Nor
/// have flows moved whose pod has gone: asked about those, `next` would drop
/// what the pick resets.
fn unsettled(key: &FrontendKey, value: &FrontendValue, ledger: &Ledger, now: Timestamp) -> u32 {
    if value.changed_s == 0 {
        return 0;
    }
    let flag = |set, flag| if set { flag } else { 0 };
    let awaiting = &ledger.awaiting;
    if awaiting.covers(key) {
        let awaits = awaiting.awaits(key, value.endpoints_hash, value.changed_s, now);
        return flag(awaits, flags::AWAITING_TOLD);
    }
    let age_s = now.seconds().saturating_sub(value.changed_s);
    flag(age_s < ledger.settle.tcp_s, flags::TCP_UNSETTLED)
        | flag(age_s < ledger.settle.udp_s, flags::UDP_UNSETTLED)
}

fn bits(conditions: Conditions) -> u16 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(conditions.ready, condition::READY)
        | bit(conditions.serving, condition::SERVING)
        | bit(conditions.terminating, condition::TERMINATING)
}
