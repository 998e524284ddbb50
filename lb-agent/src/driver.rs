//! Sockets, timers and clocks around the machines of `lb_core`: a driver hands
//! in what happens, does what comes out, and decides nothing.

pub mod bfd;
pub mod bgp;
pub mod channel;
pub mod claims;
pub mod fence;
pub mod gateway;
pub mod peers;
