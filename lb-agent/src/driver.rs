//! Sockets and clocks around the machines of `lb_core`.

pub mod claims;
pub mod fence;
pub mod peers;
