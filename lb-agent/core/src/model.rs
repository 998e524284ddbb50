//! What the agent is told: facts from Kubernetes or from files, and from this
//! machine. Plain values; Kubernetes' types stop at the door (`source/`).

mod facts;
mod frontend;
mod links;
mod members;
mod name;
mod node;
mod request;
#[cfg(test)]
pub(crate) mod sample;
mod service;
mod slice;

pub use facts::{Facts, Inputs, Origin};
pub use frontend::FrontendAddress;
pub use links::{Links, Mac, NextHop, Way};
pub use members::{Member, MemberState, Members};
pub use name::{NodeName, ServiceName};
pub use node::Node;
pub use request::{Family, FamilyPolicy, Labels, Request};
pub use service::{Delivery, Protocol, Service, ServicePort, TrafficPolicy};
pub use slice::{Conditions, Endpoint, Slice, SlicePort};
