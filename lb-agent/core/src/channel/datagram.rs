//! What a datagram looks like, before it is sealed.
//!
//! ```text
//! from: u64   name of the sender
//! to: u64     name of the receiver; 0: the sender does not know it
//! known: u8   1: the sender is in a session with the receiver
//! next: u64   the number that the sender waits for
//! beyond: u64 bit n: it has `next + 1 + n` already
//! number: u64 of this datagram; with what follows, or neither
//! messages    each a byte of length, and so many bytes
//! ```
//! Big-endian.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloc::vec::Vec;

/// Bytes before the messages.
pub(super) const HEADER: usize = 41;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) known: bool,
    pub(super) next: u64,
    pub(super) beyond: u64,
    /// Its number and its messages.
    pub(super) content: Option<(u64, &'a [u8])>,
}

impl<'a> Datagram<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (from, rest) = number(bytes)?;
        let (to, rest) = number(rest)?;
        let (known, rest) = rest.split_first()?;
        let (next, rest) = number(rest)?;
        let (beyond, rest) = number(rest)?;
        let content = if rest.is_empty() {
            None
        } else {
            Some(number(rest)?)
        };
        (from != 0 && *known < 2).then_some(Self {
            from,
            to,
            known: *known == 1,
            next,
            beyond,
            content,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(super::DATAGRAM_MAX);
        bytes.extend_from_slice(&self.from.to_be_bytes());
        bytes.extend_from_slice(&self.to.to_be_bytes());
        bytes.push(u8::from(self.known));
        bytes.extend_from_slice(&self.next.to_be_bytes());
        bytes.extend_from_slice(&self.beyond.to_be_bytes());
        if let Some((number, messages)) = self.content {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(messages);
        }
        bytes
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// Adds a message; its length fits a byte.
pub(super) fn push(messages: &mut Vec<u8>, message: &[u8]) {
    if let Ok(length) = u8::try_from(message.len()) {
        messages.push(length);
        messages.extend_from_slice(message);
    }
}

/// The messages of a datagram, as far as they are whole.
pub(super) fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (length, after) = rest.split_first()?;
        let (message, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            numbers: [u64; 4],
            known: bool,
            number: u64,
            said in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..255), 0..4),
        ) {
            let mut content = Vec::new();
            for message in &said {
                push(&mut content, message);
            }
            let [from, to, next, beyond] = numbers;
            let from = from.max(1);
            let content = Some((number, &content[..])).filter(|_| !said.is_empty());
            let datagram = Datagram { from, to, known, next, beyond, content };
            let bytes = datagram.encode();
            let decoded = Datagram::decode(&bytes).unwrap();
            prop_assert_eq!(decoded, datagram);
            let heard = decoded.content.into_iter().flat_map(|(_, content)| messages(content));
            prop_assert_eq!(heard.map(<[u8]>::to_vec).collect::<Vec<_>>(), said);
        }

        #[test]
        fn any_bytes_are_a_datagram_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(datagram) = Datagram::decode(&bytes) {
                let whole = datagram.content.into_iter().flat_map(|(_, content)| messages(content));
                prop_assert!(whole.map(<[u8]>::len).sum::<usize>() < bytes.len());
            }
        }
    }
}
