//! The slots of a table, as `TABLES` has them.
//!
//! Where they were made here, they are the pick table and where each of its
//! backends is: the tables are most of what an agent keeps, and need not be
//! there twice.

use alloc::sync::Arc;

use lb_common::table::{Slot, Target};

use crate::table::Table;

#[derive(Clone, Debug)]
pub struct Slots(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Made {
        table: Arc<Table>,
        /// Of the table's backends, by their index.
        targets: Arc<[Target]>,
    },
    Read(Arc<[Slot]>),
}

impl Slots {
    pub(super) fn made(table: Arc<Table>, targets: Arc<[Target]>) -> Self {
        Self(Kind::Made { table, targets })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Made { table, .. } => table.len(),
            Kind::Read(slots) => slots.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn get(&self, place: usize) -> Option<Slot> {
        match &self.0 {
            Kind::Made { table, targets } => {
                let slot = table.get(place)?;
                let target = |index: Option<usize>| {
                    let target = index.and_then(|index| targets.get(index));
                    target.copied().unwrap_or(Target::NONE)
                };
                Some(Slot {
                    now: target(slot.now()),
                    next: target(slot.next()),
                })
            }
            Kind::Read(slots) => slots.get(place).copied(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}

impl FromIterator<Slot> for Slots {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        Self(Kind::Read(slots.into_iter().collect()))
    }
}

/// However they are kept.
impl PartialEq for Slots {
    fn eq(&self, other: &Self) -> bool {
        if let (
            Kind::Made { table, targets },
            Kind::Made {
                table: of,
                targets: to,
            },
        ) = (&self.0, &other.0)
            && Arc::ptr_eq(table, of)
            && targets == to
        {
            return true;
        }
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}
