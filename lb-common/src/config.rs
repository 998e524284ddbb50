//! What the agent tells the programs about this node. `CONFIG[0]`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, limits::UPLINKS_MAX, node::MacEntry, plain::plain};

/// A device that carries VIPs: frames for another MAC are not for us, even if
/// the device shows them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Uplink {
    /// Its node is 0.
    pub mac: MacEntry,
    pub ifindex: u32,
    pub pad: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    pub uplinks: [Uplink; UPLINKS_MAX],
    /// This node's addresses, to which peers send the outer header;
    /// unspecified where there is none.
    pub node_v4: Addr,
    pub node_v6: Addr,
    /// Seed of the client hash: chosen once, when the maps are made.
    pub client_seed: u64,
    /// Jiffies in a second.
    pub hz: u32,
    /// UDP port of the outer header.
    pub tunnel_port: u32,
    /// The largest MSS to offer to clients; 0: do not clamp. Set where a node
    /// is reached through an outer header.
    pub mss_v4: u32,
    pub mss_v6: u32,
    /// Which half of `CLIENT_FILTER` is read: 0 or 1.
    pub filter_half: u32,
    /// Budgets a CPU and period of [`crate::traffic::RATE_PERIOD_SHIFT`], by
    /// [`crate::traffic::rate`].
    pub rates: [u32; 4],
    /// [`flags`].
    pub flags: u32,
    /// Sets in `EMBRYONIC`: a power of two.
    pub embryo_sets: u32,
    /// Words in one half of `CLIENT_FILTER`: a power of two.
    pub filter_words: u32,
    /// Always 0. The programs add it to header lengths, so that the kernel's
    /// verifier does not follow every length on a path of its own.
    pub zero: u32,
    /// Buckets of `FRONTEND_INDEX`: a power of two.
    pub frontend_buckets: u32,
    /// The maps were made lately, and flows that they do not have may be ours
    /// until then, in seconds of CLOCK_BOOTTIME; 0: they are not.
    pub fresh_until_s: u32,
    pub pad: u32,
}
plain!(Config);

/// Bits of [`Config::flags`].
pub mod flags {
    /// Peers tell which flows have moved: `MOVED` and `TOLD` are kept. Off
    /// until there is a channel between agents.
    pub const CHANNEL: u32 = 1;
}
