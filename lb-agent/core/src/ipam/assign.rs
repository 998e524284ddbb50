//! One round: what every Service is to have.
//!
//! First all that have addresses keep them, if they may; then those are served
//! that ask for certain addresses; then the others. Within each step the older
//! Service goes first, of one age the first by name. So an assignment is a
//! function of the facts, a Service that waits takes nothing from one that has
//! something, and moving from another implementation moves no address.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::adopt::Heirs;
use super::draft::{Draft, State};
use super::event::Event;
use super::pools::{PoolId, Pools};
use super::request::requested;
use super::sharing::Holders;
use super::space::Space;
use super::{Allocation, Assignment, Refusal, usage};
use crate::config::Pool;
use crate::model::{Facts, Family, Origin, ServiceName};

/// Computes what every Service is to have. Total and deterministic; see the
/// module for the order.
#[must_use]
pub fn assign(facts: &Facts) -> Assignment {
    let Some(config) = &facts.config.good else {
        return untouched(facts);
    };
    let mut round = Round::new(facts, &config.pools);
    let mut drafts: Vec<_> = facts.services.values().map(|s| Draft::new(s)).collect();
    drafts.sort_by_key(|draft| draft.service.created_s.unwrap_or(u64::MAX));
    if round.pools.is_empty() {
        for draft in &mut drafts {
            without_pools(facts.origin, draft);
        }
    } else {
        round.adopt_all(&mut drafts);
        round.note_foreign();
        if facts.origin == Origin::Cluster {
            round.note_leaving(&drafts);
        }
        for draft in &mut drafts {
            round.serve(draft, Turn::Requested);
        }
        for draft in &mut drafts {
            round.serve(draft, Turn::Others);
        }
    }
    let released = facts.released.keys().map(|name| {
        let nothing = Allocation::default();
        (name.clone(), nothing)
    });
    let pools = round.usage();
    let allocations = drafts.into_iter().map(|draft| round.finish(draft));
    Assignment {
        allocations: released.chain(allocations).collect(),
        pools,
    }
}

/// Nothing is known of pools yet: what there is stays as it is.
fn untouched(facts: &Facts) -> Assignment {
    let services = facts.services.values();
    let allocations = services.map(|service| {
        let mut draft = Draft::new(service);
        match facts.origin {
            Origin::Files => without_pools(facts.origin, &mut draft),
            Origin::Cluster => draft.addresses.clone_from(&service.status),
        }
        let allocation = Allocation {
            addresses: draft.addresses,
            pool: service.request.allocated_from.clone(),
            refusal: draft.refusal,
            events: draft.events,
        };
        (service.name.clone(), allocation)
    });
    Assignment {
        allocations: allocations.collect(),
        pools: BTreeMap::new(),
    }
}

/// Nobody can say which addresses are ours to give. In a cluster, nothing is
/// left; manifests say themselves what they have.
fn without_pools(origin: Origin, draft: &mut Draft<'_>) {
    match origin {
        Origin::Cluster => draft.refuse(Refusal::NoPools),
        Origin::Files if draft.status.is_empty() => match requested(&draft.service.request) {
            Ok(addresses) => draft.addresses = addresses,
            Err(refusal) => draft.refuse(refusal),
        },
        Origin::Files => draft.addresses = core::mem::take(&mut draft.status),
    }
    draft.state = State::Done;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Of those that ask for certain addresses.
    Requested,
    Others,
}

pub(super) struct Round<'a> {
    pub(super) facts: &'a Facts,
    pub(super) pools: Pools<'a>,
    /// By pool; IPv4, then IPv6.
    pub(super) spaces: Vec<[Space<'a>; 2]>,
    pub(super) holders: Holders<'a>,
    /// Of addresses that Services with different keys have: who keeps them.
    pub(super) heirs: BTreeMap<IpAddr, Heirs<'a>>,
}

impl<'a> Round<'a> {
    pub(super) fn new(facts: &'a Facts, pools: &'a BTreeMap<String, Pool>) -> Self {
        let pools = Pools::new(facts, pools);
        let spaces = pools.iter().map(|pool| {
            let space = |family| Space::new(pool, family);
            [space(Family::V4), space(Family::V6)]
        });
        Self {
            facts,
            spaces: spaces.collect(),
            pools,
            holders: Holders::default(),
            heirs: BTreeMap::new(),
        }
    }

    pub(super) fn space(&mut self, pool: PoolId, family: Family) -> &mut Space<'a> {
        let [v4, v6] = &mut self.spaces[pool];
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    pub(super) fn take(&mut self, draft: &mut Draft<'a>, pool: PoolId, addresses: Vec<IpAddr>) {
        for address in &addresses {
            let new = self.holders.take(&draft.claim, *address);
            if new && !self.holders.is_reserved(*address) {
                self.space(pool, Family::of(*address)).note_unavailable();
            }
            if draft.claim.shares() {
                let claim = draft.claim;
                self.space(pool, Family::of(*address))
                    .note_shared(&claim, *address);
            }
        }
        draft.pool = Some(pool);
        draft.addresses.extend(addresses);
    }

    fn serve(&mut self, draft: &mut Draft<'a>, turn: Turn) {
        match (draft.state, turn) {
            (State::Half, Turn::Others) => self.add_family(draft),
            (State::Waiting(families), _) => {
                let wanted = requested(&draft.service.request);
                let asks = !wanted.as_ref().is_ok_and(Vec::is_empty);
                if asks != (turn == Turn::Requested) {
                    return;
                }
                let found = wanted.and_then(|wanted| match (asks, draft.wanted_pool()) {
                    (true, pool) => self.asked_for(draft, families, wanted, pool),
                    (false, pool) => match (self.grown(draft, families), pool) {
                        (Some(found), _) => Ok(found),
                        (None, Some(pool)) => self.of_pool(draft, families, pool),
                        (None, None) => self.of_any_pool(draft, families),
                    },
                });
                match found {
                    Ok((pool, addresses)) => {
                        draft.events.push(Event::allocated(&addresses));
                        draft.state = State::Done;
                        self.take(draft, pool, addresses);
                    }
                    Err(refusal) => draft.refuse(refusal),
                }
            }
            (State::New | State::Half | State::Done, _) => {}
        }
    }

    fn usage(&self) -> BTreeMap<String, usage::PoolUse> {
        let pools = self.pools.iter().zip(&self.spaces);
        let mut usage: Vec<_> = pools
            .map(|(pool, spaces)| usage::PoolUse::of(pool, spaces))
            .collect();
        for address in self.holders.addresses() {
            if let Some(id) = self.pools.of(address) {
                usage[id].assign(address);
            }
        }
        let names = self.pools.iter().map(|pool| pool.name.clone());
        names.zip(usage).collect()
    }

    fn finish(&self, draft: Draft<'a>) -> (ServiceName, Allocation) {
        let request = &draft.service.request;
        let pool = draft.pool.map(|id| self.pools.get(id).name.clone());
        let mut events = draft.events;
        if draft.addresses != draft.service.status || pool != request.allocated_from {
            let deprecated = request.deprecated.iter();
            events.extend(deprecated.map(|annotation| Event::deprecated(annotation)));
        }
        let allocation = Allocation {
            addresses: draft.addresses,
            pool,
            refusal: draft.refusal,
            events,
        };
        (draft.service.name.clone(), allocation)
    }
}
