//! The backends on this node: who has which id.

use alloc::vec::Vec;

use lb_common::addr::Addr;
use lb_common::backend::{self, BackendValue};
use lb_common::table::Target;

use super::{free, taken};
use crate::dataplane::image::Image;
use crate::dataplane::ledger::{Given, Ledger};
use crate::desired::{Desired, LocalBackend, Reach};
use crate::problem::Problem;
use crate::shared::SharedMap;

/// There may be tens of thousands, and this is done for every change: what is
/// there stays, and only what differs is looked at.
pub(super) struct Backends {
    pub(super) ids: SharedMap<LocalBackend, u16>,
    /// Of those that have an id.
    pub(super) reaches: SharedMap<LocalBackend, Reach>,
    pub(super) values: SharedMap<u16, BackendValue>,
}

impl Backends {
    pub(super) fn assign(
        desired: &Desired,
        current: &Image,
        ledger: &mut Ledger,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut this = Self {
            ids: current.ids.clone(),
            reaches: desired.local.clone(),
            values: current.backends.clone(),
        };
        this.remove_doubles();
        let mut fresh = None;
        for (backend, old, new) in current.reaches.unshared(&desired.local) {
            let Some(reach) = new else {
                this.remove(backend);
                continue;
            };
            if old == Some(reach) {
                continue;
            }
            let known = this.ids.get(backend).copied();
            let known = known.and_then(|id| Some((id, this.values.get(&id)?.generation)));
            let next = || {
                let fresh = fresh.get_or_insert_with(|| unused(current, ledger));
                Some((fresh.next()?, ledger.next_generation()))
            };
            let Some((id, generation)) = known.or_else(next) else {
                problems.push(Problem::TooManyLocalBackends {
                    address: backend.address,
                    port: backend.port,
                });
                this.reaches.remove(backend);
                continue;
            };
            this.ids.insert(*backend, id);
            this.values.insert(id, value(backend, *reach, generation));
        }
        this
    }

    /// Two ids of one backend are in no plan, but may have been read back.
    fn remove_doubles(&mut self) {
        if self.values.len() == self.ids.len() {
            return;
        }
        let named = taken(self.ids.values().copied());
        let ids = self.values.keys().copied();
        let unnamed: Vec<u16> = ids.filter(|id| !named[usize::from(*id)]).collect();
        for id in unnamed {
            self.values.remove(&id);
        }
    }

    fn remove(&mut self, backend: &LocalBackend) {
        if let Some(id) = self.ids.remove(backend) {
            self.values.remove(&id);
        }
    }

    pub(super) fn target(&self, backend: &LocalBackend) -> Target {
        let id = self.ids.get(backend);
        id.map_or(Target::NONE, |id| Target::local(*id))
    }
}

/// Ids that nobody has or had a moment ago.
fn unused(current: &Image, ledger: &Ledger) -> impl Iterator<Item = u16> + use<> {
    let quarantined = ledger.quarantined().filter_map(|given| match given {
        Given::Backend(id) => Some(id),
        Given::Node(_) | Given::Frontend(_) | Given::Chunks(..) => None,
    });
    let taken = taken(current.backends.keys().copied().chain(quarantined));
    free(taken, 0, ledger.sizes.backends)
}

fn value(backend: &LocalBackend, reach: Reach, generation: u16) -> BackendValue {
    BackendValue {
        addr: Addr::from(backend.address),
        port: backend.port,
        generation,
        ifindex: reach.link.unwrap_or(0),
        flags: if reach.direct {
            backend::flags::DIRECT
        } else {
            0
        },
    }
}
