//! The contract between the kernel programs and the agent: the values that
//! the maps hold, the rules that both sides must read alike, and the
//! arithmetic on them. No allocation, no IO, nothing that only one side needs.
//!
//! **Byte order.** Numbers in map keys and values (ports, ids, times) are in
//! host order, so that `bpftool map dump` shows port 80 as 80. Addresses and
//! MACs are byte arrays in the order in which they travel.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod backend;
pub mod checksum;
pub mod config;
pub mod filter;
pub mod flow;
pub mod fragment;
pub mod frontend;
pub mod hash;
pub mod limits;
pub mod maps;
pub mod node;
pub mod pending;
mod plain;
pub mod rules;
pub mod table;
pub mod traffic;
pub mod tunnel;
pub mod verdict;
pub mod vip;

/// The version of the layout of all maps together, and part of the path they
/// are pinned under. Any change of a key, a value or their meaning raises it:
/// an agent never reads maps of another layout.
pub const LAYOUT_VERSION: u32 = 4;
