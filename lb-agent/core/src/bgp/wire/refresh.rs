//! ROUTE-REFRESH: tell all routes again (RFC 2918, RFC 7313).

use alloc::vec::Vec;

use super::reader::Reader;
use super::{Family, Kind, Notification, ROUTE_REFRESH, whole};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    pub family: Family,
    pub kind: RefreshKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    Request,
    /// All routes follow.
    Begin,
    /// All routes have been told.
    End,
    /// To be ignored (RFC 7313 section 5).
    Unknown(u8),
}

impl RouteRefresh {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            RefreshKind::Request => 0,
            RefreshKind::Begin => 1,
            RefreshKind::End => 2,
            RefreshKind::Unknown(other) => other,
        };
        let [afi_high, afi_low] = self.family.afi.to_be_bytes();
        whole(ROUTE_REFRESH, &[afi_high, afi_low, kind, self.family.safi])
    }

    /// `message`: all of it, which a complaint about its length quotes.
    pub(super) fn decode(reader: Reader<'_>, message: &[u8]) -> Result<Self, Notification> {
        let body = <[u8; 4]>::try_from(reader.rest());
        let Ok([afi_high, afi_low, kind, safi]) = body else {
            return Err(Notification::with(Kind::REFRESH_LENGTH, message));
        };
        let afi = u16::from_be_bytes([afi_high, afi_low]);
        Ok(Self {
            family: Family { afi, safi },
            kind: match kind {
                0 => RefreshKind::Request,
                1 => RefreshKind::Begin,
                2 => RefreshKind::End,
                other => RefreshKind::Unknown(other),
            },
        })
    }
}
