//! The pure half of the agent: a function from inputs to desired state.
//!
//! No IO, no clock, no randomness, no logging: `no_std` makes the compiler
//! hold that wall. Time and seeds are arguments, maps are ordered, so the
//! same inputs give the same answer on every node and on every run.
//!
//! Start reading at [`desired`].
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bfd;
pub mod bgp;
pub mod channel;
pub mod check;
pub mod config;
pub mod dataplane;
pub mod desired;
pub mod fence;
pub mod gossip;
pub mod ipam;
pub mod jitter;
pub mod l2;
pub mod lease;
pub mod model;
pub mod moved;
pub mod owner;
pub mod problem;
pub mod router_discovery;
pub mod seal;
pub mod seed;
pub mod shared;
pub mod table;
pub mod time;
