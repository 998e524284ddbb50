//! The last assignment, with what it was computed from.

use alloc::sync::Arc;

use super::{Assignment, assign};
use crate::model::Facts;

/// Saves computing it again where nothing has changed that it depends on; with
/// an empty one the result is the same.
#[derive(Debug, Default)]
pub struct Memo {
    /// Without what it does not depend on.
    facts: Facts,
    assignment: Arc<Assignment>,
}

impl Memo {
    #[must_use]
    pub fn assignment(&self) -> Arc<Assignment> {
        self.assignment.clone()
    }

    /// True if it has changed.
    pub fn update(&mut self, facts: &Facts) -> bool {
        if self.holds_for(facts) {
            return false;
        }
        self.facts = Facts {
            origin: facts.origin,
            services: facts.services.clone(),
            config: facts.config.clone(),
            namespaces: facts.namespaces.clone(),
            released: facts.released.clone(),
            foreign: facts.foreign.clone(),
            ..Facts::default()
        };
        let assignment = assign(facts);
        let changed = assignment != *self.assignment;
        if changed {
            self.assignment = Arc::new(assignment);
        }
        changed
    }

    /// Mostly nothing has changed, which the pointers tell.
    fn holds_for(&self, facts: &Facts) -> bool {
        let last = &self.facts;
        let mut services = last.services.unshared(&facts.services);
        last.origin == facts.origin
            && services.all(|(_, a, b)| a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(a, b)))
            && match (&last.config.good, &facts.config.good) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                (a, b) => a.is_none() && b.is_none(),
            }
            && last.namespaces == facts.namespaces
            && last.released == facts.released
            && last.foreign == facts.foreign
    }
}
