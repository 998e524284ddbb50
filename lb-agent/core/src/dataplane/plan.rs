//! What every map should hold, given what they hold now.
//!
//! Ids and places stay with those who have them. New ones are free in the
//! current image and not in quarantine, the lowest first. A table is never
//! changed where it is: it gets another place, and the frontend's value then
//! changes over to it at once.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use ipnet::IpNet;
use lb_common::addr::Addr;
use lb_common::backend::{self, BackendValue};
use lb_common::filter::{pod_bit, vip_bit};
use lb_common::frontend::{FrontendKey, FrontendValue, flags};
use lb_common::maps::NodeNet;
use lb_common::node::{MacEntry, NodeMacs, NodeNetValue, NodeValue, kind, mac_bits, mac_bucket};
use lb_common::table::{Slot, Target};
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName, condition};

use super::displaced;
use super::image::{Body, FrontendImage, Image, NO_ADDRESSES, NO_MACS, NodeImage};
use super::ledger::{Given, Ledger};
use super::names;
use super::places::{Places, chunks_of};
use crate::desired::{Desired, Frontend, LocalBackend, Peer};
use crate::model::{Conditions, Delivery, NodeName, Way};
use crate::problem::Problem;
use crate::table::Table;
use crate::time::Timestamp;

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
    let mut frontends = Frontends {
        current,
        nodes: &nodes,
        backends: &backends,
        room: None,
        problems: &mut problems,
    };
    let planned = frontends.plan(desired, ledger, now);
    let image = Image {
        vips: desired
            .vips
            .iter()
            .map(|(vip, v)| (Addr::from(*vip), v.ours))
            .collect(),
        vip_filter: filter(desired.vips.keys().map(|vip| vip_bit((*vip).into()))),
        pod_filter: filter(backends.values.values().map(|b| pod_bit(b.addr, b.port))),
        node_macs: node_macs(desired, &nodes, &mut problems),
        node_nets: node_nets(desired, &nodes),
        frontends: planned,
        backends: backends.values,
        nodes: nodes.images,
        stray_endpoints: BTreeSet::new(),
        stray_names: BTreeSet::new(),
    };
    give_up(current, &image, ledger, now);
    (image, problems)
}

/// Notes what is in use now and will not be.
fn give_up(current: &Image, target: &Image, ledger: &mut Ledger, now: Timestamp) {
    for id in gone(&current.nodes, &target.nodes) {
        ledger.give_up(Given::Node(id), now);
    }
    for id in gone(&current.backends, &target.backends) {
        ledger.give_up(Given::Backend(id), now);
    }
    for (key, FrontendImage { value: old, .. }) in &current.frontends {
        let new = target.frontends.get(key).map(|new| &new.value);
        if new.is_none_or(|new| new.id != old.id) {
            ledger.give_up(Given::Frontend(old.id), now);
        }
        if new.is_none_or(|new| new.chunk != old.chunk) {
            ledger.give_up(Given::Chunks(old.chunk, chunks_of(old.slots)), now);
        }
    }
}

/// The ids of `current` that `target` has not: one walk over both.
fn gone<V>(current: &BTreeMap<u16, V>, target: &BTreeMap<u16, V>) -> impl Iterator<Item = u16> {
    let mut left = target.keys().peekable();
    current.keys().copied().filter(move |id| {
        while left.next_if(|kept| *kept < id).is_some() {}
        left.next_if(|kept| *kept == id).is_none()
    })
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

struct Nodes {
    ids: BTreeMap<NodeName, u16>,
    images: BTreeMap<u16, NodeImage>,
}

impl Nodes {
    fn assign(
        desired: &Desired,
        current: &Image,
        ledger: &Ledger,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let known: BTreeMap<_, _> = current
            .nodes
            .iter()
            .map(|(id, n)| (n.name.name, *id))
            .collect();
        let quarantined = ledger.quarantined().filter_map(|given| match given {
            Given::Node(id) => Some(id),
            Given::Backend(_) | Given::Frontend(_) | Given::Chunks(..) => None,
        });
        let taken = taken(current.nodes.keys().copied().chain(quarantined));
        let mut free = free(taken, 1, ledger.sizes.nodes);
        let (mut ids, mut images) = (BTreeMap::new(), BTreeMap::new());
        for (name, peer) in &desired.peers {
            let label = names::padded(name.as_str());
            let Some(id) = known.get(&label).copied().or_else(|| free.next()) else {
                problems.push(Problem::TooManyNodes { node: name.clone() });
                continue;
            };
            ids.insert(name.clone(), id);
            let name = lb_common::node::NodeName {
                name: label,
                addr: peer
                    .addresses
                    .first()
                    .map_or(Addr::UNSPECIFIED, |a| Addr::from(*a)),
            };
            let value = node_value(peer);
            images.insert(id, NodeImage { value, name });
        }
        Self { ids, images }
    }

    fn target(&self, node: &NodeName) -> Target {
        self.ids
            .get(node)
            .map_or(Target::NONE, |id| Target::node(*id))
    }
}

fn node_value(peer: &Peer) -> NodeValue {
    let mut value = NodeValue {
        dst_mac: [0; 6],
        src_mac: [0; 6],
        ifindex: 0,
        kind: kind::UNKNOWN,
        mtu: 0,
        outer_dst: Addr::UNSPECIFIED,
        outer_src: Addr::UNSPECIFIED,
    };
    let Some(hop) = &peer.next_hop else {
        return value;
    };
    value.dst_mac = hop.mac;
    value.src_mac = hop.source_mac;
    value.ifindex = hop.ifindex;
    value.mtu = hop.mtu;
    match hop.way {
        Way::SameLink => value.kind = kind::SAME_LINK,
        Way::Routed {
            source,
            destination,
        } => {
            value.kind = kind::ROUTED;
            value.outer_src = source.into();
            value.outer_dst = destination.into();
        }
    }
    value
}

/// There may be tens of thousands, and this is done for every change: hence
/// sorted lists and no trees where nothing is kept.
struct Backends {
    /// Sorted by the backend.
    ids: Vec<(LocalBackend, u16)>,
    values: BTreeMap<u16, BackendValue>,
}

impl Backends {
    fn assign(
        desired: &Desired,
        current: &Image,
        ledger: &mut Ledger,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut known: Vec<_> = current
            .backends
            .iter()
            .map(|(id, value)| {
                (
                    (value.addr, value.port, value.flags),
                    (*id, value.generation),
                )
            })
            .collect();
        known.sort_unstable();
        let quarantined = ledger.quarantined().filter_map(|given| match given {
            Given::Backend(id) => Some(id),
            Given::Node(_) | Given::Frontend(_) | Given::Chunks(..) => None,
        });
        let taken = taken(current.backends.keys().copied().chain(quarantined));
        let mut free = free(taken, 0, ledger.sizes.backends);
        let mut ids = Vec::with_capacity(desired.local.len());
        let mut values = Vec::with_capacity(desired.local.len());
        for (backend, link) in &desired.local {
            let addr = Addr::from(backend.address);
            let flags = match backend.delivery {
                Delivery::Stack => 0,
                Delivery::Direct => backend::flags::DIRECT,
            };
            let place = known.binary_search_by_key(&(addr, backend.port, flags), |(key, _)| *key);
            let known = place.ok().map(|place| known[place].1);
            let fresh = || Some((free.next()?, ledger.next_generation()));
            let Some((id, generation)) = known.or_else(fresh) else {
                problems.push(Problem::TooManyLocalBackends {
                    address: backend.address,
                    port: backend.port,
                });
                continue;
            };
            ids.push((*backend, id));
            let value = BackendValue {
                addr,
                port: backend.port,
                generation,
                ifindex: link.unwrap_or(0),
                flags,
            };
            values.push((id, value));
        }
        let values = values.into_iter().collect();
        Self { ids, values }
    }

    fn target(&self, backend: &LocalBackend) -> Target {
        let place = self.ids.binary_search_by_key(backend, |(known, _)| *known);
        place.map_or(Target::NONE, |place| Target::local(self.ids[place].1))
    }
}

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

struct Frontends<'a> {
    current: &'a Image,
    nodes: &'a Nodes,
    backends: &'a Backends,
    room: Option<Room>,
    problems: &'a mut Vec<Problem>,
}

impl Frontends<'_> {
    fn plan(
        &mut self,
        desired: &Desired,
        ledger: &Ledger,
        now: Timestamp,
    ) -> BTreeMap<FrontendKey, FrontendImage> {
        let current = self.current;
        // Both are in the same order, but for addresses like `::1:2`.
        let mut walk = current.frontends.iter().peekable();
        let frontends = desired.frontends.values();
        frontends
            .filter_map(|frontend| {
                let key = frontend.address.key();
                while walk.next_if(|(old, _)| **old < key).is_some() {}
                let old = match walk.next_if(|(old, _)| **old == key) {
                    Some((_, old)) => Some(old),
                    None => current.frontends.get(&key),
                };
                let mut image = match old {
                    Some(old) if is_made_from(&old.body, frontend) => old.clone(),
                    _ => self.frontend(frontend, old, ledger, now)?,
                };
                settle(&mut image.value, ledger, now);
                Some((key, image))
            })
            .collect()
    }

    /// The image of a frontend that has changed, or may have.
    fn frontend(
        &mut self,
        frontend: &Arc<Frontend>,
        old: Option<&FrontendImage>,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Option<FrontendImage> {
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
        let mut body = self.body(frontend, id);
        let place = match old {
            // The table is the same: it stays.
            Some(old) if *old.body.slots == *body.slots => Some(old.value.chunk),
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
                body.source = None;
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
            changed_s: displaced::last(&body),
            // The shell's: images know one value.
            side: 0,
        };
        let body = match old {
            Some(old) if body.source.is_none() && *old.body == body => old.body.clone(),
            _ => Arc::new(body),
        };
        Some(FrontendImage { value, body })
    }

    fn body(&self, frontend: &Arc<Frontend>, id: u32) -> Body {
        let targets: Vec<Target> = frontend
            .backends
            .iter()
            .map(|backend| {
                if backend.here {
                    self.backends.target(&frontend.local_backend(backend))
                } else {
                    self.nodes.target(&backend.node)
                }
            })
            .collect();
        let mut load: Vec<u32> = targets.iter().map(|_| 0).collect();
        for now in frontend.table.slots().iter().filter_map(|slot| slot.now()) {
            load[now] += 1;
        }
        let mut endpoints = BTreeMap::new();
        for ((backend, target), slots) in frontend.backends.iter().zip(&targets).zip(load) {
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
        let lacking = targets.contains(&Target::NONE);
        Body {
            slots: slots(&frontend.table, &targets),
            endpoints,
            name: Some(FrontendName {
                namespace: names::padded(&frontend.service.namespace),
                service: names::padded(&frontend.service.name),
            }),
            source: (!lacking).then(|| frontend.clone()),
        }
    }
}

/// Whether nothing can have changed. Ids do not: who has one keeps it.
fn is_made_from(body: &Body, frontend: &Arc<Frontend>) -> bool {
    let source = body.source.as_ref();
    source.is_some_and(|source| Arc::ptr_eq(source, frontend))
}

/// The table, with backends replaced by where they are.
fn slots(table: &Table, targets: &[Target]) -> Arc<[Slot]> {
    let target = |index: Option<usize>| index.map_or(Target::NONE, |index| targets[index]);
    let slots = table.slots().iter();
    slots
        .map(|slot| Slot {
            now: target(slot.now()),
            next: target(slot.next()),
        })
        .collect()
}

fn length(slots: &[Slot]) -> u32 {
    u32::try_from(slots.len()).unwrap_or(u32::MAX)
}

/// The same table in another number of slots.
fn resample(slots: &[Slot], length: u32) -> Arc<[Slot]> {
    let length = usize::try_from(length).unwrap_or(0);
    displaced::stretched(slots, length).collect()
}

/// Sets whether it is still to be reckoned with that flows are not where the
/// table says.
///
/// A frontend that was not in the maps has displaced none: a new one has no
/// flows yet, and of one whose maps were lost most flows are where the table
/// says. To ask `next` about those would strand them. Nor have flows moved
/// whose pod has gone: asked about those, `next` would drop what the pick
/// resets.
fn settle(value: &mut FrontendValue, ledger: &Ledger, now: Timestamp) {
    value.flags &= !(flags::TCP_UNSETTLED | flags::UDP_UNSETTLED);
    if value.changed_s == 0 {
        return;
    }
    let age_s = now.seconds().saturating_sub(value.changed_s);
    if age_s < ledger.settle.tcp_s {
        value.flags |= flags::TCP_UNSETTLED;
    }
    if age_s < ledger.settle.udp_s {
        value.flags |= flags::UDP_UNSETTLED;
    }
}

fn bits(conditions: Conditions) -> u16 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(conditions.ready, condition::READY)
        | bit(conditions.serving, condition::SERVING)
        | bit(conditions.terminating, condition::TERMINATING)
}

fn filter(bits: impl Iterator<Item = (usize, u32)>) -> Box<lb_common::filter::AddrFilter> {
    let mut filter = Box::new(NO_ADDRESSES);
    for (word, bit) in bits {
        filter.words[word] |= bit;
    }
    filter
}

fn node_macs(desired: &Desired, nodes: &Nodes, problems: &mut Vec<Problem>) -> Box<NodeMacs> {
    let mut macs = Box::new(NO_MACS);
    for (name, peer) in &desired.peers {
        let Some(node) = nodes.ids.get(name).copied() else {
            continue;
        };
        for mac in &peer.macs {
            let bucket = &mut macs.buckets[mac_bucket(mac_bits(*mac))];
            match bucket.ways.iter_mut().find(|way| way.node == 0) {
                Some(way) => *way = MacEntry { mac: *mac, node },
                None => problems.push(Problem::NoRoomForMac { node: name.clone() }),
            }
        }
    }
    macs
}

fn node_nets(desired: &Desired, nodes: &Nodes) -> BTreeMap<NodeNet, NodeNetValue> {
    let mut nets = BTreeMap::new();
    for (name, peer) in &desired.peers {
        let Some(id) = nodes.ids.get(name).copied() else {
            continue;
        };
        let own = peer
            .addresses
            .iter()
            .map(|address| (IpNet::from(*address), true));
        let pods = peer.pod_cidrs.iter().map(|net| (*net, false));
        for (net, own) in own.chain(pods) {
            let offset = if net.addr().is_ipv4() { 96 } else { 0 };
            let key = NodeNet {
                prefix_len: u32::from(net.prefix_len()) + offset,
                addr: net.network().into(),
            };
            let value = NodeNetValue {
                node: u32::from(id),
                own: u32::from(own),
            };
            nets.entry(key).or_insert(value);
        }
    }
    nets
}
