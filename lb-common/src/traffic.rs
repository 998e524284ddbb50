//! Counters that grow with traffic.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, plain::plain};

/// Packets and bytes (of IP packets, without Ethernet and outer headers).
/// `TRAFFIC[frontend id]` counts what came for a frontend on this node's
/// uplinks, `POD_TRAFFIC[backend id]` what was delivered to a pod here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}
plain!(Traffic);

/// A budget for packets that we make ourselves. `RATES[kind]`, one a CPU.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Rate {
    /// The period that `used` counts for: jiffies >> `RATE_PERIOD_SHIFT`.
    pub period: u32,
    pub used: u32,
}
plain!(Rate);

/// A period is 2^8 jiffies: 1.02 s at 250 Hz, 0.26 s at 1000 Hz.
pub const RATE_PERIOD_SHIFT: u32 = 8;

/// Indices of `RATES`.
pub mod rate {
    pub const ECHO: u32 = 0;
    /// RST and port unreachable.
    pub const REJECT: u32 = 1;
    /// Too big, time exceeded.
    pub const ERROR: u32 = 2;
    /// Flows entered at once since they need another source port.
    pub const SOURCE_PORT: u32 = 3;
    pub const KINDS: u32 = 4;
}

impl Rate {
    /// Takes one from the budget of the period that `jiffies` falls in.
    #[inline]
    pub const fn take(&mut self, jiffies: u32, limit: u32) -> bool {
        let period = jiffies >> RATE_PERIOD_SHIFT;
        if period != self.period {
            self.period = period;
            self.used = 0;
        }
        if self.used >= limit {
            return false;
        }
        self.used += 1;
        true
    }
}

/// Key of `ENDPOINTS`: every endpoint of every frontend, also those on other
/// nodes. For people and for `lb-agent trace`; packets do not look here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EndpointKey {
    pub frontend: u32,
    pub addr: Addr,
    pub port: u16,
    pub pad: u16,
}
plain!(EndpointKey);

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndpointValue {
    /// The node's id in `NODES` and `NODE_NAMES`; 0: this node.
    pub node: u32,
    /// Slots of the table whose `now` it is.
    pub slots: u32,
    /// When slots whose `now` it was last went to another node while it
    /// stayed, in seconds of CLOCK_BOOTTIME; 0: never. Flows of it may then
    /// arrive elsewhere.
    pub displaced_s: u32,
    /// Where in the table it stands: the value that slots name it by.
    pub target: u16,
    /// [`condition`].
    pub conditions: u16,
}
plain!(EndpointValue);

/// Bits of [`EndpointValue::conditions`], as EndpointSlices have them.
pub mod condition {
    pub const READY: u16 = 1;
    pub const SERVING: u16 = 2;
    pub const TERMINATING: u16 = 4;
}

/// The Service of a frontend, padded with zeros. `NAMES[frontend id]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendName {
    /// Kubernetes names are DNS labels: at most 63 bytes.
    pub namespace: [u8; 64],
    pub service: [u8; 64],
}
plain!(FrontendName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_comes_back_with_the_next_period() {
        let mut rate = Rate::default();
        assert!(rate.take(1000, 2));
        assert!(rate.take(1001, 2));
        assert!(!rate.take(1002, 2));
        assert!(rate.take(1000 + 256, 2));
    }
}
