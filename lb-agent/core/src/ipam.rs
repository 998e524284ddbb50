//! Which addresses a Service has: those of its status, or those that it is
//! given.

mod refusal;
mod request;

use alloc::vec::Vec;
use core::net::IpAddr;

pub use refusal::Refusal;

use crate::model::{Origin, Service};

/// The addresses that a Service is served at; the first decides who owns all of
/// them. The one place that says so.
#[must_use]
pub fn served(origin: Origin, service: &Service) -> Vec<IpAddr> {
    if origin == Origin::Cluster || !service.status.is_empty() {
        return service.status.clone();
    }
    request::requested(&service.request).unwrap_or_default()
}
