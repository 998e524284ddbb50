//! This machine's network, as the kernel tells it over netlink, and what we
//! say on it ourselves.
//!
//! One task ([`watch::run`]) answers one question whenever it may have a new
//! answer: by which devices, routes and neighbours are these nodes and pods
//! reached? Another ([`announce::run`]) tells the network which VIPs are here.

use std::collections::BTreeMap;

pub mod announce;
pub mod bfd_socket;
pub mod bgp_socket;
pub mod discovery_socket;
mod netlink;
pub(crate) mod packet_socket;
mod reach;
pub mod watch;

pub use netlink::{Device, XdpState};
pub use watch::{NetFacts, Question};

/// The Ethernet devices of this machine as they are now, by number.
pub async fn devices_now() -> Result<BTreeMap<u32, Device>, watch::NetError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(watch::NetError::Socket)?;
    tokio::spawn(connection);
    netlink::devices(&handle)
        .await
        .map_err(watch::NetError::Read)
}
