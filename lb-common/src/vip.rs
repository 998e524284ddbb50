//! Who answers ARP and NDP for a VIP.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::plain::plain;

/// What this node knows of a VIP. `VIPS[address]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VipValue {
    /// Until when this node may answer for the VIP, in nanoseconds of
    /// CLOCK_BOOTTIME, if [`Fence`] does not say less. 0: another node owns it.
    pub owned_until_ns: u64,
    /// The uplinks that it is answered on: bit n is `Config::uplinks[n]`.
    pub links: u32,
    pub pad: u32,
}
plain!(VipValue);

/// Until when this node may answer for any VIP. `FENCE[0]`.
///
/// The agent pushes it forward as long as others acknowledge it, so an agent
/// that is dead, or cut off, stops answering without doing anything. One value
/// for all VIPs: however many there are, it is one write.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Fence {
    /// In nanoseconds of CLOCK_BOOTTIME.
    pub until_ns: u64,
}
plain!(Fence);

/// The last time that somebody else said to have a VIP: by an ARP reply or
/// announcement, or a neighbour advertisement. `CLAIMS[address]`. Of a VIP
/// that this node owns, whoever said so; of another, who is none of the nodes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Claim {
    pub mac: [u8; 6],
    /// Whose MAC that is; 0: none of the nodes'.
    pub node: u16,
    /// The uplink that it came by.
    pub ifindex: u32,
    pub pad: u32,
    /// In nanoseconds of CLOCK_BOOTTIME.
    pub at_ns: u64,
}
plain!(Claim);

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
    pub const OTHERS: Self = Self {
        owned_until_ns: 0,
        links: 0,
        pad: 0,
    };

    /// The value of a VIP that this node owns, on these uplinks.
    pub const fn ours(links: u32) -> Self {
        Self {
            owned_until_ns: u64::MAX,
            links,
            pad: 0,
        }
    }

    #[inline]
    pub const fn ownership(self, fence: Fence, now_boottime_ns: u64) -> Ownership {
        if self.owned_until_ns == 0 {
            Ownership::Others
        } else if now_boottime_ns < self.owned_until_ns && now_boottime_ns < fence.until_ns {
            Ownership::Ours
        } else {
            Ownership::Expired
        }
    }

    /// The same for a question that came by the uplink of this number. Where
    /// it is not to be answered, another node may be.
    #[inline]
    pub const fn ownership_on(self, uplink: u32, fence: Fence, now_boottime_ns: u64) -> Ownership {
        if self.links & (1 << (uplink & 31)) == 0 {
            Ownership::Others
        } else {
            self.ownership(fence, now_boottime_ns)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_is_answered_for_until_the_first_of_both_ends() {
        let until = |until_ns| Fence { until_ns };
        let vip = VipValue {
            owned_until_ns: 20,
            ..VipValue::ours(1)
        };
        assert_eq!(vip.ownership(until(15), 14), Ownership::Ours);
        assert_eq!(vip.ownership(until(15), 15), Ownership::Expired);
        assert_eq!(vip.ownership(until(30), 20), Ownership::Expired);
        assert_eq!(vip.ownership(until(0), 1), Ownership::Expired);
        assert_eq!(VipValue::OTHERS.ownership(until(15), 14), Ownership::Others);
    }

    #[test]
    fn a_vip_is_answered_for_on_its_uplinks_only() {
        let fence = Fence { until_ns: 10 };
        let vip = VipValue::ours(0b10);
        assert_eq!(vip.ownership_on(1, fence, 5), Ownership::Ours);
        assert_eq!(vip.ownership_on(0, fence, 5), Ownership::Others);
    }
}
