//! The shell around lb-core: sources, sockets, netlink and the kernel's maps.
//!
//! Start reading at [`agent`], where everything is put together.

pub mod admin;
pub mod agent;
pub mod cli;
pub mod clock;
pub mod crd;
pub mod dataplane;
pub mod driver;
pub mod errors;
pub mod net;
pub mod publish;
pub mod random;
pub mod reconcile;
pub mod report;
pub mod secret;
pub mod shutdown;
pub mod source;
