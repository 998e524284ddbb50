//! BGP as a speaker of VIPs needs it (RFC 4271): routes are told, and those
//! that peers tell are counted and ignored.
//!
//! [`wire`] is the messages; [`connection`] what is said on one TCP connection
//! up to and through Established; [`peer`] what stands above it: connecting,
//! collisions, graceful restart, draining; [`rib`] which routes a peer has been
//! told, and which messages make them others. Nothing here does IO: bytes and
//! times come in, [`peer::Output`] comes out.

pub mod config;
pub mod connection;
pub mod peer;
pub mod rib;
pub mod wire;

pub use config::{Config, Endpoints, Graceful, RemoteAs};
pub use peer::Peer;
pub use rib::Route;
