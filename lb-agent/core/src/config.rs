//! What MetalLB's objects say, validated: plain values that the rest of the
//! core can rely on. Nothing here knows Kubernetes' types.

mod pool;
mod range;
mod selector;

pub use pool::{Pool, ServiceAllocation};
pub use range::{AddressRange, RangeError};
pub use selector::{LabelSelector, Operator, Requirement, SelectorError};

use alloc::collections::BTreeMap;
use alloc::string::String;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;
