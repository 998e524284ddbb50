//! Which addresses a Service has: those of its status, or those that it is
//! given from pools.
//!
//! [`assign`] is a pure function of the facts, computed whole on every node.
//! In a cluster one agent writes what comes out into the statuses, and all
//! serve what the statuses say. Manifests have nobody who writes, and all
//! serve what they compute, which is the same everywhere. The rules are those
//! of MetalLB 0.15, with an order wherever it has none.

mod adopt;
mod assign;
mod choose;
mod draft;
mod event;
mod memo;
mod pools;
mod refusal;
mod request;
mod sharing;
mod space;
#[cfg(test)]
mod tests;
mod usage;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

pub use assign::assign;
pub use event::{Event, EventKind};
pub use memo::Memo;
pub use refusal::Refusal;
pub use request::Families;
pub use usage::PoolUse;

use crate::model::{Origin, Service, ServiceName};

/// What all Services are to have, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Of every Service that is ours, and of those that are to lose what they
    /// were given.
    pub allocations: BTreeMap<ServiceName, Allocation>,
    /// By the pool's name.
    pub pools: BTreeMap<String, PoolUse>,
}

/// What a Service is to have, and what its owner is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// What its status is to say, in this order. Empty: nothing.
    pub addresses: Vec<IpAddr>,
    /// The pool that they are of: what the annotation
    /// `metallb.io/ip-allocated-from-pool` is to say. None: it is to have none.
    pub pool: Option<String>,
    /// Why it has not what it asks for.
    pub refusal: Option<Refusal>,
    /// What is to be said when this is written. The same again, as long as the
    /// cause is there: whoever says it must not repeat it.
    pub events: Vec<Event>,
}

/// The addresses that a Service is served at; the first decides who owns all of
/// them. The one place that says so.
#[must_use]
pub fn served<'a>(
    origin: Origin,
    service: &'a Service,
    assignment: &'a Assignment,
) -> &'a [IpAddr] {
    match origin {
        Origin::Cluster => &service.status,
        Origin::Files => assignment
            .allocations
            .get(&service.name)
            .map_or(&[], |allocation| &allocation.addresses),
    }
}
