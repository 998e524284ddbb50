//! BGP as a speaker of VIPs needs it (RFC 4271): routes are told, and those
//! that peers tell are counted and ignored.
//!
//! [`wire`] is the messages, [`connection`] one TCP connection's talk up to and
//! through Established, [`peer`] what stands above it: connecting, collisions,
//! routes, graceful restart. Nothing here does IO: bytes and times come in,
//! [`peer::Output`] comes out.

pub mod wire;
