//! BFD (RFC 5880): whether a peer still forwards, found out within fractions
//! of a second. Asynchronous mode; no demand mode, no echo of our own, no
//! authentication.
//!
//! [`wire`] is the one packet that there is, [`session`] what is done about
//! it. The lower layers' rules (RFC 5881, 5883: ports, TTL) are the driver's.

pub mod session;
pub mod wire;

pub use session::{Config, Output, Session, Status};
pub use wire::{Diagnostic, Packet, State};
