//! How much of a pool is given away.

use core::net::IpAddr;

use super::space::Space;
use crate::config::Pool;

/// The counters in the status of an IPAddressPool. An address that several
/// Services share counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    pub assigned_v4: u64,
    pub assigned_v6: u64,
    pub available_v4: u64,
    pub available_v6: u64,
}

/// What the API's counters hold; larger pools say that they have as many
/// (MetalLB, internal/allocator poolCount: from 2^62 addresses in a range).
const ENOUGH: u64 = i64::MAX.unsigned_abs();

impl PoolUse {
    pub(super) fn of(pool: &Pool, [v4, v6]: &[Space<'_>; 2]) -> Self {
        let huge = pool.ranges.iter().any(|range| range.size() >= 1 << 62);
        let count = |space: &Space<'_>| u64::try_from(space.usable()).unwrap_or(ENOUGH).min(ENOUGH);
        Self {
            available_v4: count(v4),
            available_v6: if huge { ENOUGH } else { count(v6) },
            ..Self::default()
        }
    }

    pub(super) fn assign(&mut self, address: IpAddr) {
        let (assigned, available) = match address {
            IpAddr::V4(_) => (&mut self.assigned_v4, &mut self.available_v4),
            IpAddr::V6(_) => (&mut self.assigned_v6, &mut self.available_v6),
        };
        *assigned += 1;
        *available = available.saturating_sub(1);
    }
}
