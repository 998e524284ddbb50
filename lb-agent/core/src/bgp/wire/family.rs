//! Address families (RFC 4760).

use core::fmt;

use ipnet::IpNet;

/// AFI and SAFI, as IANA numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    pub afi: u16,
    pub safi: u8,
}

impl Family {
    pub const IPV4: Self = Self { afi: 1, safi: 1 };
    pub const IPV6: Self = Self { afi: 2, safi: 1 };

    #[must_use]
    pub const fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::IPV4,
            IpNet::V6(_) => Self::IPV6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("ipv4"),
            Self::IPV6 => f.write_str("ipv6"),
            Self { afi, safi } => write!(f, "afi {afi} safi {safi}"),
        }
    }
}
