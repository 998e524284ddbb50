//! The flows of the bench: read by the program that sends them and by the one
//! that fills the maps.

/// The client's last four address bytes, in host order: 198.18.0.0/15 (RFC
/// 2544) for IPv4.
pub const fn client(flow: u32) -> u32 {
    0xc612_0000 + (flow >> 5)
}

/// The client's port.
pub const fn port(flow: u32) -> u16 {
    (1024 + (flow & 31) * 1999) as u16
}
