//! From the desired state to what every map should hold, and from what they
//! hold to that.
//!
//! ```text
//! Desired ──plan──> Image ──diff(current)──> steps ──shell──> maps
//!             ^                                               │
//!             └───────────── Image::read <────────────────────┘
//! ```
//!
//! Nothing is remembered beside the maps themselves, but for what may not be
//! used again yet ([`Ledger`]): a restart reads the maps back, and the first
//! diff is then usually empty. After an error of a step, read them back too.
//!
//! Knows ids, places and values, not why; the shell knows how to write them.

mod diff;
mod displaced;
mod image;
mod ledger;
mod maps;
mod names;
mod places;
mod plan;
mod slots;
#[cfg(test)]
mod tests;

pub use diff::{Step, diff};
pub use image::{Body, FrontendImage, Image, NodeImage};
pub use ledger::{Ledger, QUARANTINE, Settle, Sizes};
pub use maps::Maps;
pub use plan::plan;
pub use slots::Slots;
