//! What a packet is matched to.

use core::fmt;
use core::net::IpAddr;

use lb_common::frontend::FrontendKey;

use super::Protocol;

/// (VIP, port, protocol), as people read it: `192.0.2.80:80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendAddress {
    pub vip: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
}

impl FrontendAddress {
    /// The same as the maps have it.
    #[must_use]
    pub fn key(self) -> FrontendKey {
        FrontendKey::new(self.vip.into(), self.port, self.protocol.number())
    }
}

impl fmt::Display for FrontendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vip {
            IpAddr::V4(v4) => write!(f, "{v4}:{}/{}", self.port, self.protocol),
            IpAddr::V6(v6) => write!(f, "[{v6}]:{}/{}", self.port, self.protocol),
        }
    }
}
