//! What answers for the VIP, and can be lost.

use std::net::IpAddr;

use anyhow::Result;

use crate::lab::Lab;

/// How a node's agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is asked to.
    Terminate,
    /// `kill -9`.
    Kill,
}

/// One way to have a VIP, in a lab that is up.
pub(super) trait System {
    fn lab(&self) -> &Lab;

    /// The VIP, in each family that it has.
    fn vips(&self) -> Vec<IpAddr>;

    /// The node that answers for the VIP, once everything is as it was at the
    /// beginning.
    fn owner(&self) -> Result<u8>;

    fn end(&self, node: u8, how: End) -> Result<()>;

    fn start(&self, node: u8) -> Result<()>;

    /// Moves what it can away from a node that goes on, or lets it back;
    /// nothing if there is no such way.
    fn drain(&mut self, node: u8, away: bool) -> Result<()>;
}
