//! Finding the router at the other end of a link that has no addresses but
//! link-local ones (RFC 4861 section 6), for peers that are named by their
//! link: routers advertise themselves, and so does this node, as routers learn
//! their peer in the same way.
//!
//! [`wire`] is the two messages, [`session`] when they are sent and who counts
//! as the neighbour. Nobody takes this node for a way to anywhere: what it
//! advertises has a lifetime of zero (section 6.2.3).

pub mod session;
pub mod wire;

#[cfg(test)]
mod tests;

pub use session::{Output, Session, To};
pub use wire::{Flaw, Message};
