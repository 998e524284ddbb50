//! All plans together: which service has what, where several claim the same.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::memo::{Entry, Replaced};
use super::plan::Plan;
use super::{Frontend, LocalBackend, Reach, Vip};
use crate::model::{Delivery, FrontendAddress};
use crate::problem::Problem;
use crate::shared::SharedMap;

/// Kept from one time to the next: where only few plans are new, and ask for
/// what the old ones asked for, nobody else gets or loses anything.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) vips: SharedMap<IpAddr, Arc<Vip>>,
    pub(super) frontends: SharedMap<FrontendAddress, Arc<Frontend>>,
    /// The backends on this node.
    pub(super) local: SharedMap<LocalBackend, Reach>,
    /// Frontends that another service has.
    pub(super) taken: Vec<Problem>,
    uses: BTreeMap<LocalBackend, Uses>,
    pods: BTreeMap<IpAddr, u32>,
}

/// How many frontends have a backend that is on this node.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    direct: u32,
    by_stack: u32,
}

impl Uses {
    fn of(&mut self, delivery: Delivery) -> &mut u32 {
        match delivery {
            Delivery::Direct => &mut self.direct,
            Delivery::Stack => &mut self.by_stack,
        }
    }
}

impl Merged {
    /// Makes it that of `entries`, of which some were replaced since the last
    /// time.
    pub(super) fn update(
        &mut self,
        entries: &[Entry],
        replaced: &Replaced,
        pods: &BTreeMap<IpAddr, u32>,
    ) {
        match replaced {
            Replaced::Plans(places) if self.pods == *pods => {
                let entries = places.iter().filter_map(|place| entries.get(*place));
                entries.for_each(|entry| self.replace(&entry.plan));
            }
            _ => {
                self.merge(entries);
                self.pods.clone_from(pods);
                self.gather_local();
            }
        }
    }

    /// Of two claims the first one counts, that of the older service; those of
    /// one age count by name.
    fn merge(&mut self, entries: &[Entry]) {
        let mut plans: Vec<_> = entries.iter().map(|e| (e.made_s, &e.plan)).collect();
        plans.sort_by_key(|(made_s, _)| *made_s);
        let (mut vips, mut frontends) = (Vec::new(), Vec::new());
        for (_, plan) in &plans {
            vips.extend(plan.vips.iter().map(|vip| (*vip, plan.owned.clone())));
            frontends.extend(plan.frontends.iter().map(|f| (f.address, f.clone())));
        }
        // Sorting is stable: of two that claim the same, the first stays first.
        vips.sort_by_key(|(address, _)| *address);
        vips.dedup_by_key(|(address, _)| *address);
        self.vips.replace_with(&vips);
        self.taken.clear();
        frontends.sort_by_key(|(address, _)| *address);
        frontends.dedup_by(|(later, claimed), (first, holder)| {
            let taken = later == first;
            if taken {
                self.taken.push(Problem::FrontendTaken {
                    service: claimed.service.clone(),
                    frontend: *later,
                    holder: holder.service.clone(),
                });
            }
            taken
        });
        self.frontends.replace_with(&frontends);
    }

    /// Takes a plan over that claims what its service claimed before.
    fn replace(&mut self, plan: &Plan) {
        for vip in &plan.vips {
            let there = self.vips.get(vip);
            if there.is_some_and(|vip| vip.service == plan.owned.service && *vip != plan.owned) {
                self.vips.insert(*vip, plan.owned.clone());
            }
        }
        // Of two ports that claim the same, the first one counts.
        for frontend in plan.frontends.iter().rev() {
            let there = self.frontends.get(&frontend.address);
            let old = there.filter(|there| there.service == frontend.service);
            if old.is_none_or(|old| old == frontend) {
                continue;
            }
            let old = self.frontends.insert(frontend.address, frontend.clone());
            let same = |old: &Arc<Frontend>| {
                (&old.local, old.delivery) == (&frontend.local, frontend.delivery)
            };
            if !old.as_ref().is_some_and(same) {
                self.replace_local(old.as_deref(), frontend);
            }
        }
    }

    fn replace_local(&mut self, old: Option<&Frontend>, new: &Frontend) {
        for backend in &new.local {
            *self.uses.entry(*backend).or_default().of(new.delivery) += 1;
        }
        for (backend, delivery) in old.iter().flat_map(|old| uses_of(old)) {
            if let Some(uses) = self.uses.get_mut(&backend) {
                *uses.of(delivery) -= 1;
            }
        }
        let old = old.iter().flat_map(|old| &old.local);
        for backend in old.chain(&new.local) {
            let uses = self.uses.get(backend).copied().unwrap_or_default();
            let reach = self.reach(*backend, uses);
            if uses.direct + uses.by_stack == 0 {
                self.uses.remove(backend);
                self.local.remove(backend);
            } else if self.local.get(backend) != Some(&reach) {
                self.local.insert(*backend, reach);
            }
        }
    }

    fn reach(&self, backend: LocalBackend, uses: Uses) -> Reach {
        Reach {
            direct: uses.direct > 0,
            link: self.pods.get(&backend.address).copied(),
        }
    }

    fn gather_local(&mut self) {
        self.uses.clear();
        for (backend, delivery) in self.frontends.values().flat_map(|f| uses_of(f)) {
            *self.uses.entry(backend).or_default().of(delivery) += 1;
        }
        let local = self.uses.iter();
        let local = local.map(|(backend, uses)| (*backend, self.reach(*backend, *uses)));
        let local: Vec<_> = local.collect();
        self.local.replace_with(&local);
    }
}

fn uses_of(frontend: &Frontend) -> impl Iterator<Item = (LocalBackend, Delivery)> {
    let backends = frontend.local.iter();
    backends.map(|backend| (*backend, frontend.delivery))
}
