//! Where facts come from. Each source hands over whole facts, never changes to
//! them, and none before it has read everything once: what is not known yet is
//! no empty cluster.

use std::sync::Arc;

use lb_core::model::Facts;

pub mod file;
pub mod object;
pub mod yaml;

/// What a source knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The last good ones; none before everything was read once.
    pub facts: Option<Arc<Facts>>,
    /// Why the source says something else by now, as sentences.
    pub mistakes: Vec<String>,
}
