//! The pools as allocation looks at them: whose an address is, and in which
//! order they are tried for a Service.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Refusal;
use crate::config::{Labels, Pool};
use crate::model::{Facts, Family, Service};

/// A pool, by its place in the order of the names.
pub(super) type PoolId = usize;

#[derive(Debug)]
pub(super) struct Pools<'a> {
    facts: &'a Facts,
    all: Vec<&'a Pool>,
    /// All ranges, by their first address. No two overlap.
    ranges: BTreeMap<IpAddr, (IpAddr, PoolId)>,
    /// Those for certain Services only, in the order in which they are tried.
    pinned: Vec<PoolId>,
    /// Those for everybody.
    global: Vec<PoolId>,
}

impl<'a> Pools<'a> {
    pub(super) fn new(facts: &'a Facts, pools: &'a BTreeMap<String, Pool>) -> Self {
        let all: Vec<&Pool> = pools.values().collect();
        let ranges = all.iter().enumerate().flat_map(|(id, pool)| {
            let ranges = pool.ranges.iter();
            ranges.map(move |range| (range.first(), (range.last(), id)))
        });
        let automatic = all.iter().enumerate().filter(|(_, pool)| pool.auto_assign);
        let (mut pinned, mut global) = (Vec::new(), Vec::new());
        for (id, pool) in automatic {
            match &pool.service_allocation {
                Some(allocation) => pinned.push((allocation.priority, id)),
                None => global.push(id),
            }
        }
        // The lowest number first, those without one last; equal ones by name.
        pinned.sort_by_key(|(priority, _)| (priority.is_none(), *priority));
        Self {
            facts,
            ranges: ranges.collect(),
            all,
            pinned: pinned.into_iter().map(|(_, id)| id).collect(),
            global,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Pool> {
        self.all.iter().copied()
    }

    pub(super) fn get(&self, id: PoolId) -> &'a Pool {
        self.all[id]
    }

    pub(super) fn by_name(&self, name: &str) -> Option<PoolId> {
        let found = self
            .all
            .binary_search_by(|pool| pool.name.as_str().cmp(name));
        found.ok()
    }

    /// The family of Services that do not say: IPv4, if there is any.
    pub(super) fn default_family(&self) -> Family {
        let mut ranges = self.all.iter().flat_map(|pool| &pool.ranges);
        if ranges.any(|range| range.is_ipv4()) {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// The pool that an address is of. One that its pool avoids is of none.
    pub(super) fn of(&self, address: IpAddr) -> Option<PoolId> {
        let (_, (last, id)) = self.ranges.range(..=address).next_back()?;
        let inside = last.is_ipv4() == address.is_ipv4() && address <= *last;
        (inside && !self.all[*id].avoids(address)).then_some(*id)
    }

    /// The one pool that all of them are of, if the Service may have it.
    ///
    /// # Errors
    /// There is none, or it is for others.
    pub(super) fn of_all(
        &self,
        service: &Service,
        addresses: &[IpAddr],
    ) -> Result<PoolId, Refusal> {
        let mut pools = addresses.iter().map(|address| self.of(*address));
        let first = pools.next().flatten();
        let Some(id) = first.filter(|_| pools.all(|pool| pool == first)) else {
            let addresses = addresses.to_vec();
            return Err(Refusal::NotInPools { addresses });
        };
        self.check(id, service)?;
        Ok(id)
    }

    /// Whether a pool is for a Service.
    ///
    /// # Errors
    /// It is for others.
    pub(super) fn check(&self, id: PoolId, service: &Service) -> Result<(), Refusal> {
        let pool = self.all[id];
        let Some(allocation) = &pool.service_allocation else {
            return Ok(());
        };
        let namespace = &*service.name.namespace;
        let allowed = match self.facts.namespaces.get(namespace) {
            Some(labels) => allocation.allows(namespace, labels, &service.labels),
            // The one label that Kubernetes gives to every namespace.
            None => {
                let name = ("kubernetes.io/metadata.name", namespace);
                let labels = [name].map(|(key, value)| (key.to_string(), value.to_string()));
                allocation.allows(namespace, &Labels::from(labels), &service.labels)
            }
        };
        if allowed {
            Ok(())
        } else {
            let pool = pool.name.clone();
            Err(Refusal::PoolNotForService { pool })
        }
    }

    /// Pools for this Service alone and such like; the first that will do has
    /// to be taken before those for everybody are looked at.
    pub(super) fn pinned_for(&self, service: &Service) -> Vec<PoolId> {
        let pinned = self.pinned.iter().copied();
        pinned
            .filter(|id| self.check(*id, service).is_ok())
            .collect()
    }

    pub(super) fn global(&self) -> &[PoolId] {
        &self.global
    }
}
