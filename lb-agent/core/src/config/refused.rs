//! What is wrong with a configuration: object, field, reason.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{ObjectName, Place, Reason};

/// One thing that is wrong. A configuration with one of them is not used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    pub object: ObjectName,
    /// The path in the object: `spec.addresses[1]`. `metadata.name` for what
    /// is wrong with the object as a whole.
    pub field: String,
    pub reason: Reason,
}

/// What is wrong, as it is found.
#[derive(Debug, Default)]
pub(super) struct Refusals(pub(super) Vec<Refused>);

impl Refusals {
    /// `field` is the field of the object, without `spec`.
    pub(super) fn refuse(&mut self, place: &Place, field: &str, reason: Reason) {
        self.0.push(Refused {
            object: place.object.clone(),
            field: place.field(field),
            reason,
        });
    }

    /// The value, or a word on why there is none.
    pub(super) fn keep<T>(
        &mut self,
        place: &Place,
        field: &str,
        read: Result<T, Reason>,
    ) -> Option<T> {
        read.map_err(|reason| self.refuse(place, field, reason))
            .ok()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.reason)
    }
}
