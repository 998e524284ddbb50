//! Names as the maps have them: 64 bytes, padded with zeros.

use sha2::{Digest as _, Sha256};

/// How much of a name that is too long is kept as it is.
const KEPT: usize = 47;

/// A name that does not fit ends in a hash of the whole, so that two of them
/// stay two: node ids are told from these names after a restart.
pub(super) fn padded(name: &str) -> [u8; 64] {
    let mut padded = [0; 64];
    let bytes = name.as_bytes();
    if let Some(start) = padded.get_mut(..bytes.len())
        && bytes.len() < 64
    {
        start.copy_from_slice(bytes);
        return padded;
    }
    let kept = bytes.iter().take(KEPT).copied();
    let digest = Sha256::digest(bytes);
    let hex = |nibble: u8| {
        char::from_digit(u32::from(nibble), 16).map_or(b'0', |c| u8::try_from(c).unwrap_or(b'0'))
    };
    let digits = digest
        .iter()
        .flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]);
    let name = kept.chain([b'~']).chain(digits.take(15));
    for (to, from) in padded.iter_mut().zip(name) {
        *to = from;
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn text(name: &str) -> String {
        let padded = padded(name);
        let end = padded.iter().position(|byte| *byte == 0);
        String::from_utf8(padded[..end.expect("ends in a zero")].to_vec()).unwrap()
    }

    #[test]
    fn a_name_that_fits_stays_as_it_is() {
        assert_eq!(text("node1"), "node1");
        let longest = "n".repeat(63);
        assert_eq!(text(&longest), longest);
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let name = |end| "rack.".repeat(20) + end;
        assert_ne!(text(&name("a")), text(&name("b")));
        assert_eq!(text(&name("a")).len(), 63);
        assert!(text(&name("a")).starts_with("rack.rack."));
    }
}
