//! The configuration that holds, and what is wrong with the one that should.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::declared::Declared;
use super::{Configuration, Labels, Refused};

/// The last good configuration, whatever came after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// None until there was a good one. That is not the same as an empty one,
    /// which takes every address away.
    pub good: Option<Arc<Configuration>>,
    /// Why what is there now is not used; empty if it is.
    pub refused: Arc<Vec<Refused>>,
}

impl Kept {
    /// What is kept after these objects. The same values are the same
    /// pointers.
    #[must_use]
    pub fn with(&self, declared: &Declared, nodes: &[&Labels]) -> Self {
        match Configuration::of(declared, nodes) {
            Ok(new) => Self {
                good: Some(match &self.good {
                    Some(old) if **old == new => old.clone(),
                    _ => Arc::new(new),
                }),
                refused: Arc::default(),
            },
            Err(refused) => Self {
                good: self.good.clone(),
                refused: Arc::new(refused),
            },
        }
    }
}
