//! Who answers ARP and NDP for a VIP.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::plain::plain;

/// What this node knows of a VIP. `VIPS[address]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VipValue {
    /// Until when this node may answer for the VIP, in nanoseconds of
    /// CLOCK_BOOTTIME. 0: another node owns it. The agent pushes it forward;
    /// a dead agent therefore stops answering without doing anything.
    pub owned_until_ns: u64,
}
plain!(VipValue);

/// What to do with a question about a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    Ours,
    /// It was ours, and nobody has renewed it.
    Expired,
    Others,
}

impl VipValue {
    /// The value of a VIP that another node owns.
    pub const OTHERS: Self = Self { owned_until_ns: 0 };

    #[inline]
    pub const fn ownership(self, now_boottime_ns: u64) -> Ownership {
        if self.owned_until_ns == 0 {
            Ownership::Others
        } else if now_boottime_ns < self.owned_until_ns {
            Ownership::Ours
        } else {
            Ownership::Expired
        }
    }
}
