//! Which nodes have endpoints of a frontend, and to which node a flow's packets
//! come, by this node's tables.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use lb_common::flow::{FlowKey, FlowValue};
use lb_common::frontend::{FrontendKey, FrontendValue};
use lb_common::hash::source_hash;
use lb_common::table::{Place, slot_index};
use lb_common::traffic::condition;

use crate::dataplane::{Body, Image};

/// A frontend's set of endpoints, as far as agents talk about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// This node's number for the frontend.
    pub id: u32,
    /// Equal on all nodes that see the same set.
    pub hash: u64,
    /// When the table last changed, in seconds of CLOCK_BOOTTIME; 0: never.
    pub changed_s: u32,
    /// The other nodes that have endpoints of it.
    pub nodes: BTreeSet<u16>,
    /// Those of them that have some that serve, if only the flows they have.
    pub serving: BTreeSet<u16>,
    /// This node has some.
    pub here: bool,
}

impl Set {
    fn of(value: &FrontendValue, body: &Body) -> Self {
        let (mut nodes, mut serving, mut here) = (BTreeSet::new(), BTreeSet::new(), false);
        for endpoint in body.endpoints.values() {
            // 0 is this node, and the others fit.
            match u16::try_from(endpoint.node) {
                Ok(0) | Err(_) => here = true,
                Ok(node) => {
                    nodes.insert(node);
                    if endpoint.conditions & (condition::READY | condition::SERVING) != 0 {
                        serving.insert(node);
                    }
                }
            }
        }
        Self {
            id: value.id,
            hash: value.endpoints_hash,
            changed_s: value.changed_s,
            nodes,
            serving,
            here,
        }
    }
}

/// The sets of all frontends.
pub type Sets = BTreeMap<FrontendKey, Arc<Set>>;

/// A frontend's table, to look flows up in.
#[derive(Clone, Debug)]
struct Table {
    key: FrontendKey,
    seed: u64,
    body: Arc<Body>,
    set: Arc<Set>,
}

/// All tables of this node, as one image of its maps has them.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    sets: Sets,
    by_id: Vec<Option<Table>>,
    /// The generation of each backend id; 0: there is none.
    generations: Vec<u16>,
}

impl Tables {
    /// `before`: what has stayed the same is taken from there.
    #[must_use]
    pub fn of(image: &Image, before: &Self) -> Self {
        let mut tables = Self::default();
        for (key, frontend) in image.frontends.iter() {
            let value = &frontend.value;
            let index = usize::try_from(value.id).unwrap_or(usize::MAX);
            let known = before.by_id.get(index).and_then(Option::as_ref);
            let known = known.filter(|old| {
                old.key == *key
                    && old.set.changed_s == value.changed_s
                    && old.set.hash == value.endpoints_hash
                    && Arc::ptr_eq(&old.body, &frontend.body)
            });
            let set = known.map_or_else(
                || Arc::new(Set::of(value, &frontend.body)),
                |old| old.set.clone(),
            );
            if tables.by_id.len() <= index {
                tables.by_id.resize(index + 1, None);
            }
            tables.by_id[index] = Some(Table {
                key: *key,
                seed: value.seed,
                body: frontend.body.clone(),
                set: set.clone(),
            });
            tables.sets.insert(*key, set);
        }
        let ids = image.backends.keys().max();
        tables.generations = vec![0; ids.map_or(0, |last| usize::from(*last) + 1)];
        for (id, backend) in image.backends.iter() {
            tables.generations[usize::from(*id)] = backend.generation;
        }
        tables
    }

    #[must_use]
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Whether an entry is of a flow that goes on, with a pod that is here.
    #[must_use]
    pub fn lives(&self, value: &FlowValue) -> bool {
        let generation = self.generations.get(usize::from(value.backend.id));
        !value.is_closed() && generation == Some(&value.backend.generation)
    }

    /// The other node that the packets of a flow come to; none: they come here,
    /// or it is of no frontend that there is.
    #[must_use]
    pub fn elsewhere(&self, key: &FlowKey, value: &FlowValue) -> Option<u16> {
        let index = usize::try_from(value.frontend).ok()?;
        let table = self.by_id.get(index)?.as_ref()?;
        if !table.key.is_of(key) {
            return None;
        }
        let protocol = table.key.protocol;
        let hash = source_hash(table.seed, key.client, key.client_port, protocol);
        let slots = &table.body.slots;
        let index = slot_index(hash, u32::try_from(slots.len()).ok()?);
        let slot = slots.get(usize::try_from(index).ok()?)?;
        // With nobody to take new flows, old ones are looked for at the other.
        let home = match slot.now.place() {
            Place::Nowhere => slot.next.place(),
            place @ (Place::Here(_) | Place::Node(_)) => place,
        };
        match home {
            Place::Node(node) => Some(node),
            Place::Here(_) | Place::Nowhere => None,
        }
    }
}
