//! Messages from agent to agent that arrive, once and in order, or not at all:
//! over datagrams that get lost, overtake each other and come twice.
//!
//! A [`Session`] is one far end. It knows bytes and time; who seals the
//! datagrams, and what the messages say, is not its business. Each end has a
//! name, a random number: another one for each process of an agent, and for each
//! session after the first. When either end is another process than before, both
//! begin anew ([`Output::Up`]), and whoever talks over the session says
//! everything again. A far end counts as itself only after it has named the name
//! that we took last, so a datagram of an earlier life, long under way or
//! recorded and sent again, opens nothing.
//!
//! Datagrams carry a number, as many messages as fit, the number up to which
//! all was received, and a bit for each of the 64 after it. What is not
//! acknowledged is sent again, after [`RETRANSMIT`] and then ever later.
//!
//! Call, drain [`Session::poll_output`], then sleep until
//! [`Session::deadline`] or the next input.

use core::time::Duration;

mod datagram;
mod receiver;
mod sender;
mod session;
#[cfg(test)]
mod tests;

pub use session::{Output, Refused, Session};

/// The longest datagram, seal not included: with it, IP and UDP, it stays
/// below the smallest MTU of IPv6 (1280, RFC 8200 §5).
pub const DATAGRAM_MAX: usize = 1150;
/// The longest message.
pub const MESSAGE_MAX: usize = 255;
/// Datagrams under way that are not acknowledged yet.
pub const WINDOW: usize = 64;
/// Bytes of messages that wait for the window to move on.
pub const QUEUE_MAX: usize = 128 * 1024;
/// When what was not acknowledged is sent again, the first time; doubled until
/// the longest.
pub const RETRANSMIT: Duration = Duration::from_millis(100);
pub const RETRANSMIT_LONGEST: Duration = Duration::from_secs(2);
/// After so long without an acknowledgement that was due, the far end counts
/// as silent. It is still tried.
pub const SILENT: Duration = Duration::from_secs(5);
