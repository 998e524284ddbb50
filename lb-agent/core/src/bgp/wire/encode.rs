//! Lengths before what they are the length of.

use alloc::vec::Vec;

/// # Panics
/// If it is more than 65535: callers split before.
pub(super) fn put_u16(out: &mut Vec<u8>, length: usize) {
    let length = u16::try_from(length).expect("messages are split before they are that long");
    out.extend_from_slice(&length.to_be_bytes());
}

/// A length of one byte, and then the bytes.
///
/// # Panics
/// If there are more than 255: nothing that we say there is.
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).expect("what we say there is short");
    out.push(length);
    out.extend_from_slice(bytes);
}

/// A length of two bytes, and then the bytes.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u16(out, bytes.len());
    out.extend_from_slice(bytes);
}
