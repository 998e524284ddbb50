//! The shell around lb-core: sources, sockets, netlink and the kernel's maps.

pub mod source;
