//! This machine's network, as the kernel tells it over netlink, and what we
//! say on it ourselves.
//!
//! One task ([`watch::run`]) answers one question whenever it may have a new
//! answer: by which devices, routes and neighbours are these nodes and pods
//! reached? Another ([`announce::run`]) tells the network which VIPs are here.

pub mod announce;
mod netlink;
mod packet_socket;
mod reach;
pub mod watch;

pub use netlink::{Device, XdpState, devices};
pub use watch::{NetFacts, Question};
