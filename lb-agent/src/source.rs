//! Where facts come from. Each source hands over whole facts, never changes to
//! them.

pub mod file;
pub mod object;
pub mod yaml;
