//! Those that have addresses keep them, if they may.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use super::Refusal;
use super::assign::Round;
use super::draft::{Draft, State};
use super::event::Event;
use super::pools::PoolId;
use super::request::{Families, families, requested};
use super::sharing::{Claim, Key};
use crate::model::{Family, FamilyPolicy, ServiceName};

impl<'a> Round<'a> {
    /// Everybody keeps what they may keep. Those with two addresses go first,
    /// as with MetalLB.
    pub(super) fn adopt_all(&mut self, drafts: &mut [Draft<'a>]) {
        self.heirs = heirs(drafts);
        let mut order: Vec<_> = drafts.iter_mut().collect();
        order.sort_by_key(|draft| Reverse(draft.status.len()));
        for draft in order {
            self.adopt(draft);
        }
    }

    fn adopt(&mut self, draft: &mut Draft<'a>) {
        if draft.service.request.deleting {
            // It goes as it is; until it has gone, nobody else gets what it has.
            self.keep_as_is(draft);
            return;
        }
        let default = self.pools.default_family();
        let families = match families(self.facts.origin, draft.service, default) {
            Ok(families) => families,
            // Without knowing what it should have, what it has stays.
            Err(refusal @ Refusal::ClusterIps { .. }) => {
                self.keep_as_is(draft);
                draft.refuse(refusal);
                return;
            }
            Err(refusal) => {
                draft.refuse(refusal);
                return;
            }
        };
        draft.state = State::Waiting(families);
        if draft.status.is_empty() {
            return;
        }
        match Families::of(&draft.status) {
            Some(has) if fits(has, families, draft.policy()) => {
                let status = draft.status.clone();
                self.keep(draft, families, status);
            }
            Some(_) => self.keep_one_family(draft, families),
            None => {
                let addresses = draft.status.clone();
                let why = if addresses.len() == 2 {
                    Refusal::SameFamily { addresses }
                } else {
                    Refusal::TooMany { addresses }
                };
                draft
                    .events
                    .push(Event::status_invalid(&draft.status, &why));
            }
        }
    }

    /// Keeps them if the Service may have them, and asks for nothing else.
    fn keep(&mut self, draft: &mut Draft<'a>, families: Families, addresses: Vec<IpAddr>) {
        let pool = match self.check_kept(draft, &addresses) {
            Ok(pool) => pool,
            Err(why) => {
                draft.events.push(Event::cleared(&draft.service.name, &why));
                return;
            }
        };
        let name = self.pools.get(pool).name.as_str();
        if draft.wanted_pool().is_some_and(|wanted| wanted != name) {
            return;
        }
        match requested(&draft.service.request) {
            Ok(wanted) if !wanted.is_empty() && !same(&wanted, &addresses) => {}
            Ok(_) => {
                let half = families == Families::Both
                    && addresses.len() == 1
                    && draft.policy() == FamilyPolicy::PreferDualStack;
                draft.state = if half { State::Half } else { State::Done };
                self.take(draft, pool, addresses);
            }
            Err(refusal) => {
                self.take(draft, pool, addresses);
                draft.refuse(refusal);
            }
        }
    }

    pub(super) fn check_kept(
        &self,
        draft: &Draft<'a>,
        addresses: &[IpAddr],
    ) -> Result<PoolId, Refusal> {
        let pool = self.pools.of_all(draft.service, addresses)?;
        for address in addresses {
            self.holders.check(&draft.claim, *address)?;
            if let Some(heirs) = self.heirs.get(address)
                && heirs.key != draft.claim.key
            {
                let holders = heirs.services.iter().copied().cloned();
                return Err(Refusal::NotShared {
                    service: draft.service.name.clone(),
                    holders: holders.collect(),
                });
            }
        }
        Ok(pool)
    }

    /// It had both families, or the other one. The address of a family that is
    /// left stays what it was; MetalLB may give another one.
    fn keep_one_family(&mut self, draft: &mut Draft<'a>, families: Families) {
        let left = draft.status.iter().copied();
        let left = left.filter(|a| families == Families::One(Family::of(*a)));
        let left: Vec<_> = left.collect();
        if !left.is_empty() && self.check_kept(draft, &left).is_ok() {
            self.keep(draft, families, left);
        }
    }

    /// What it has stays, but for what another one keeps by now: no address is
    /// ever of two that do not share it.
    fn keep_as_is(&mut self, draft: &mut Draft<'a>) {
        for address in draft.status.clone() {
            if self.holders.check(&draft.claim, address).is_err() {
                continue;
            }
            match self.pools.of(address) {
                Some(pool) => self.take(draft, pool, [address].into()),
                None => {
                    self.holders.take(&draft.claim, address);
                    draft.addresses.push(address);
                }
            }
        }
        draft.state = State::Done;
    }

    /// What others serve is not given away, though what somebody has already
    /// stays.
    pub(super) fn note_foreign(&mut self) {
        for (name, addresses) in &self.facts.foreign {
            for address in addresses.iter().map(IpAddr::to_canonical) {
                if self.holders.reserve(name, address)
                    && let Some(pool) = self.pools.of(address)
                {
                    self.space(pool, Family::of(address)).note_unavailable();
                }
            }
        }
    }

    /// Addresses that statuses say and that are not kept: in use until somebody
    /// writes the statuses.
    pub(super) fn note_leaving(&mut self, drafts: &[Draft<'a>]) {
        let released = self.facts.released.iter();
        let released = released.flat_map(|(name, addresses)| {
            let addresses = addresses.iter().map(IpAddr::to_canonical);
            addresses.map(move |address| (name, address))
        });
        let cleared = drafts.iter().flat_map(|draft| {
            let gone = draft.status.iter().copied();
            let gone = gone.filter(|address| !draft.addresses.contains(address));
            gone.map(|address| (&draft.service.name, address))
        });
        for (name, address) in released.chain(cleared).collect::<Vec<_>>() {
            if self.holders.leave(name, address)
                && let Some(pool) = self.pools.of(address)
            {
                self.space(pool, Family::of(address)).note_unavailable();
            }
        }
    }
}

/// Whether a Service of some families may have addresses of others.
fn fits(has: Families, families: Families, policy: FamilyPolicy) -> bool {
    has == families || (families == Families::Both && policy == FamilyPolicy::PreferDualStack)
}

fn same(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// Who keeps an address that Services with different keys have.
pub(super) struct Heirs<'a> {
    key: Key<'a>,
    services: Vec<&'a ServiceName>,
}

/// Those with the key that most of them have, and of equally many those with
/// the oldest among them. So one Service that changes its key does not move
/// nine that did not.
fn heirs<'a>(drafts: &[Draft<'a>]) -> BTreeMap<IpAddr, Heirs<'a>> {
    let mut claims: BTreeMap<IpAddr, Vec<Claim<'a>>> = BTreeMap::new();
    for draft in drafts {
        for address in &draft.status {
            claims.entry(*address).or_default().push(draft.claim);
        }
    }
    claims.retain(|_, claims| claims.iter().any(|claim| claim.key != claims[0].key));
    let heirs = claims.into_iter().filter_map(|(address, claims)| {
        let mut groups: BTreeMap<Key<'a>, Vec<&'a ServiceName>> = BTreeMap::new();
        let mut best: Option<Key<'a>> = None;
        for claim in &claims {
            let group = groups.entry(claim.key).or_default();
            // Those that do not share are alone, however many they are.
            if claim.shares() || group.is_empty() {
                group.push(claim.service);
            }
        }
        // The oldest comes first, and is beaten by more only.
        for claim in &claims {
            let size = |key: &Key<'a>| groups.get(key).map_or(0, Vec::len);
            if best.is_none_or(|best| size(&claim.key) > size(&best)) {
                best = Some(claim.key);
            }
        }
        let key = best?;
        let services = groups.remove(&key)?;
        Some((address, Heirs { key, services }))
    });
    heirs.collect()
}
