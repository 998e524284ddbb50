//! Addresses for those that have none, or too few.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Refusal;
use super::assign::Round;
use super::draft::{Draft, State};
use super::event::Event;
use super::pools::PoolId;
use super::request::Families;
use crate::model::{Family, FamilyPolicy};

impl<'a> Round<'a> {
    /// The addresses that it asks for, IPv4 first.
    pub(super) fn asked_for(
        &self,
        draft: &Draft<'a>,
        families: Families,
        mut addresses: Vec<IpAddr>,
        pool: Option<&str>,
    ) -> Result<(PoolId, Vec<IpAddr>), Refusal> {
        if Families::of(&addresses) != Some(families) {
            return Err(Refusal::OtherFamily { addresses });
        }
        let id = self.pools.of_all(draft.service, &addresses)?;
        for address in &addresses {
            self.holders.check(&draft.claim, *address)?;
        }
        match pool {
            Some(pool) if pool != self.pools.get(id).name => Err(Refusal::OtherPool {
                addresses,
                pool: pool.into(),
            }),
            _ => {
                addresses.sort_unstable();
                Ok((id, addresses))
            }
        }
    }

    /// What it has, and one of the other family, where it has to have both by
    /// now; MetalLB may give two others.
    pub(super) fn grown(
        &mut self,
        draft: &Draft<'a>,
        families: Families,
    ) -> Option<(PoolId, Vec<IpAddr>)> {
        let [has] = draft.status.as_slice() else {
            return None;
        };
        if families != Families::Both {
            return None;
        }
        let pool = self.check_kept(draft, &draft.status).ok()?;
        let name = self.pools.get(pool).name.as_str();
        if draft.wanted_pool().is_some_and(|wanted| wanted != name) {
            return None;
        }
        let other = Families::One(Family::of(*has).other());
        let more = self.pick(draft, other, pool);
        let addresses: Vec<_> = [*has].into_iter().chain(more).collect();
        (addresses.len() == 2).then_some((pool, addresses))
    }

    pub(super) fn of_pool(
        &mut self,
        draft: &Draft<'a>,
        families: Families,
        pool: &str,
    ) -> Result<(PoolId, Vec<IpAddr>), Refusal> {
        let Some(id) = self.pools.by_name(pool) else {
            let pool = pool.into();
            return Err(Refusal::UnknownPool { pool });
        };
        let addresses = self.pick(draft, families, id);
        let enough = match draft.policy() {
            FamilyPolicy::PreferDualStack => !addresses.is_empty(),
            _ => Families::of(&addresses) == Some(families),
        };
        if !enough {
            let pool = pool.into();
            return Err(Refusal::NoAddressInPool { pool, families });
        }
        self.pools.check(id, draft.service)?;
        Ok((id, addresses))
    }

    pub(super) fn of_any_pool(
        &mut self,
        draft: &Draft<'a>,
        families: Families,
    ) -> Result<(PoolId, Vec<IpAddr>), Refusal> {
        let pinned = self.pools.pinned_for(draft.service);
        let found = self.first_of(draft, families, &pinned);
        let found = found.or_else(|| {
            let global = self.pools.global().to_vec();
            self.first_of(draft, families, &global)
        });
        found.ok_or(Refusal::NoAddress)
    }

    /// Of the first pool that has all that is wanted; else, if one family will
    /// do, of the first that has the primary one; else of the first that has
    /// the other.
    fn first_of(
        &mut self,
        draft: &Draft<'a>,
        families: Families,
        pools: &[PoolId],
    ) -> Option<(PoolId, Vec<IpAddr>)> {
        let primary = draft.service.request.families.first();
        let primary = primary.copied().unwrap_or(Family::V4);
        let (mut first, mut second) = (None, None);
        for pool in pools {
            let addresses = self.pick(draft, families, *pool);
            match Families::of(&addresses) {
                Some(found) if found == families => return Some((*pool, addresses)),
                Some(Families::One(family)) if family == primary => {
                    first.get_or_insert((*pool, addresses));
                }
                Some(_) => {
                    second.get_or_insert((*pool, addresses));
                }
                None => {}
            }
        }
        let half_will_do = draft.policy() == FamilyPolicy::PreferDualStack;
        first.or(second).filter(|_| half_will_do)
    }

    /// What a pool has for a Service, IPv4 first; nothing is taken yet.
    pub(super) fn pick(
        &mut self,
        draft: &Draft<'a>,
        families: Families,
        pool: PoolId,
    ) -> Vec<IpAddr> {
        let origin = self.facts.origin;
        let wanted = match families {
            Families::One(family) => [Some(family), None],
            Families::Both => [Some(Family::V4), Some(Family::V6)],
        };
        let [v4, v6] = &mut self.spaces[pool];
        let wanted = wanted.into_iter().flatten();
        wanted
            .filter_map(|family| match family {
                Family::V4 => v4.pick(origin, &draft.claim, &self.holders),
                Family::V6 => v6.pick(origin, &draft.claim, &self.holders),
            })
            .collect()
    }

    /// Of the same pool, to the one that it has.
    pub(super) fn add_family(&mut self, draft: &mut Draft<'a>) {
        draft.state = State::Done;
        let (Some(pool), Some(has)) = (draft.pool, draft.addresses.first()) else {
            return;
        };
        let family = Families::One(Family::of(*has).other());
        let more = self.pick(draft, family, pool);
        if let [address] = more.as_slice() {
            draft.events.push(Event::added(*address));
            self.take(draft, pool, more);
        } else {
            draft
                .events
                .push(Event::not_added(&Refusal::NoAddressInPool {
                    pool: self.pools.get(pool).name.clone(),
                    families: family,
                }));
        }
    }
}
