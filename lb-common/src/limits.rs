//! Every maximum, named. What exceeds one is refused with a reason that says
//! so; nothing is cut silently.

/// Nodes of a cluster; ids run from 1.
pub const NODES_MAX: u32 = 4096;
/// Backends on one node. 15 bits in a slot.
pub const BACKENDS_MAX: u32 = 0x8000;
/// Endpoints of one frontend.
pub const ENDPOINTS_PER_FRONTEND_MAX: usize = 4096;
/// Devices that carry VIPs.
pub const UPLINKS_MAX: usize = 8;
/// VLAN tags that are parsed; a frame with more passes untouched.
pub const VLAN_TAGS_MAX: usize = 2;
/// IPv6 extension headers that are walked.
pub const EXTENSION_HEADERS_MAX: usize = 6;
/// How long a handshake may take, in seconds.
pub const EMBRYO_SECONDS: u32 = 60;
/// How long the fragments of one datagram may take, in seconds (RFC 791 §3.2
/// recommends 15).
pub const FRAGMENT_SECONDS: u32 = 15;

/// How long flows that were lost with a node's maps have to be seen again, in
/// seconds: what their pods send until then waits.
pub const FRESH_SECONDS: u32 = 10;

/// Sizes of maps unless configured otherwise.
pub mod default_size {
    pub const VIPS: u32 = 16_384;
    /// VIPs that others say to have.
    pub const CLAIMS: u32 = 1024;
    pub const FRONTENDS: u32 = 16_384;
    /// 1 KiB each.
    pub const TABLE_CHUNKS: u32 = 40_960;
    pub const ENDPOINTS: u32 = 262_144;
    /// Sets of four, 128 bytes each. A power of two.
    pub const EMBRYO_SETS: u32 = 16_384;
    pub const TCP_FLOWS: u32 = 524_288;
    pub const UDP_FLOWS: u32 = 131_072;
    pub const MOVED: u32 = 131_072;
    pub const TOLD: u32 = 65_536;
    pub const FRAGMENTS: u32 = 8_192;
    /// Words of 64 bits in one half of the client filter; a power of two. Two
    /// bits for each established TCP flow.
    pub const CLIENT_FILTER_WORDS: u32 = 16_384;
}
