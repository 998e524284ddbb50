//! The kernel half as this process sees it: programs, maps, links.
//!
//! Knows images, steps and values, not services. `aya` appears nowhere else.

pub mod apply;
pub mod attach;
mod batch;
pub mod fence;
mod frontends;
pub mod jiffies;
pub mod kernel;
pub mod load;
pub mod log;
pub mod maps;
pub mod moved;
pub mod pins;
pub mod readback;
pub mod sizes;
pub mod sweep;
pub mod view;
