//! The table of cases in which MetalLB gives addresses, as sentences.

mod changes;
mod dual;
mod files;
mod load;
mod pools;
mod properties;
mod requests;
mod sharing;
mod world;

use world::{World, cluster, files};
