//! A beat as it travels, inside a sealed datagram. Big-endian.
//!
//! ```text
//! form 1 | flags 1 | sent_us 8 | patience_ms 2
//! [ echo: boot 8 | sent_us 8 | held_us 4 ]            if ECHO
//! [ returns_in_ms 4 ]                                 if RETURNS
//! count 1 | count × node 8                            asked for
//! count 1 | count × (node 8 | age_ms 2)               heard of
//! ```
//!
//! What follows after that is for later forms to add, and is passed over.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use alloc::vec::Vec;

use crate::seal::NodeId;

const FORM: u8 = 1;
/// Nodes that a beat can ask for or tell of; more have to wait for the next.
pub const NODES_MAX: usize = 16;

const ANSWER: u8 = 0x01;
const PROGRAMMED: u8 = 0x02;
const UPLINKS_UP: u8 = 0x04;
const LEAVING: u8 = 0x08;
const ACTED: u8 = 0x10;
const ECHO: u8 = 0x20;
const RETURNS: u8 = 0x40;

/// What one agent says to another, many times a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Answer at once.
    pub answer: bool,
    pub programmed: bool,
    pub uplinks_up: bool,
    pub leaving: bool,
    /// The receiver is leaving, and the sender has taken over.
    pub acted: bool,
    /// By the sender's clock, since its machine's boot.
    pub sent_us: u64,
    /// How long the sender bears the receiver's silence before it takes over.
    pub patience_ms: u16,
    /// The last beat that the sender has of the receiver.
    pub echo: Option<Echo>,
    /// The sender leaves and comes back within this time.
    pub returns_in_ms: Option<u32>,
    /// Nodes that the sender has not heard of for a while.
    pub asks: Vec<NodeId>,
    /// Nodes that the receiver asked for, and how long ago the sender itself
    /// heard of them.
    pub heard: Vec<(NodeId, u16)>,
}

/// Of a beat that came from the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Of the run of the agent that sent it.
    pub boot: u64,
    pub sent_us: u64,
    /// How long the beat has waited for this answer.
    pub held_us: u32,
}

/// Why bytes are no beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the form {0} is not known")]
    Form(u8),
    #[error("it ends too early")]
    TooShort,
    #[error("{0} nodes are too many")]
    TooMany(u8),
}

impl Beat {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        let flags = [
            (self.answer, ANSWER),
            (self.programmed, PROGRAMMED),
            (self.uplinks_up, UPLINKS_UP),
            (self.leaving, LEAVING),
            (self.acted, ACTED),
            (self.echo.is_some(), ECHO),
            (self.returns_in_ms.is_some(), RETURNS),
        ];
        let set = flags.into_iter().filter(|(set, _)| *set);
        bytes.extend([FORM, set.fold(0, |all, (_, flag)| all | flag)]);
        bytes.extend(self.sent_us.to_be_bytes());
        bytes.extend(self.patience_ms.to_be_bytes());
        if let Some(echo) = &self.echo {
            bytes.extend(echo.boot.to_be_bytes());
            bytes.extend(echo.sent_us.to_be_bytes());
            bytes.extend(echo.held_us.to_be_bytes());
        }
        if let Some(time) = self.returns_in_ms {
            bytes.extend(time.to_be_bytes());
        }
        bytes.push(count(self.asks.len()));
        for node in self.asks.iter().take(NODES_MAX) {
            bytes.extend(node.0);
        }
        bytes.push(count(self.heard.len()));
        for (node, age_ms) in self.heard.iter().take(NODES_MAX) {
            bytes.extend(node.0);
            bytes.extend(age_ms.to_be_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let [form, flags] = reader.take()?;
        if form != FORM {
            return Err(DecodeError::Form(form));
        }
        let has = |flag| flags & flag != 0;
        let mut beat = Self {
            answer: has(ANSWER),
            programmed: has(PROGRAMMED),
            uplinks_up: has(UPLINKS_UP),
            leaving: has(LEAVING),
            acted: has(ACTED),
            sent_us: u64::from_be_bytes(reader.take()?),
            patience_ms: u16::from_be_bytes(reader.take()?),
            ..Self::default()
        };
        if has(ECHO) {
            beat.echo = Some(Echo {
                boot: u64::from_be_bytes(reader.take()?),
                sent_us: u64::from_be_bytes(reader.take()?),
                held_us: u32::from_be_bytes(reader.take()?),
            });
        }
        if has(RETURNS) {
            beat.returns_in_ms = Some(u32::from_be_bytes(reader.take()?));
        }
        for _ in 0..reader.count()? {
            beat.asks.push(NodeId(reader.take()?));
        }
        for _ in 0..reader.count()? {
            let node = NodeId(reader.take()?);
            let age_ms = u16::from_be_bytes(reader.take()?);
            beat.heard.push((node, age_ms));
        }
        Ok(beat)
    }
}

fn count(length: usize) -> u8 {
    u8::try_from(length.min(NODES_MAX)).unwrap_or(0)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (front, rest) = self.0.split_first_chunk().ok_or(DecodeError::TooShort)?;
        self.0 = rest;
        Ok(*front)
    }

    fn count(&mut self) -> Result<u8, DecodeError> {
        let [count] = self.take()?;
        if usize::from(count) > NODES_MAX {
            return Err(DecodeError::TooMany(count));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn node() -> impl Strategy<Value = NodeId> {
        any::<[u8; 8]>().prop_map(NodeId)
    }

    fn echo() -> impl Strategy<Value = Echo> {
        any::<(u64, u64, u32)>().prop_map(|(boot, sent_us, held_us)| Echo {
            boot,
            sent_us,
            held_us,
        })
    }

    fn beat() -> impl Strategy<Value = Beat> {
        let asks = prop::collection::vec(node(), 0..=NODES_MAX);
        let heard = prop::collection::vec((node(), any::<u16>()), 0..=NODES_MAX);
        let flags = any::<[bool; 5]>();
        let numbers = any::<(u64, u16, Option<u32>)>();
        (flags, numbers, prop::option::of(echo()), asks, heard).prop_map(
            |(flags, (sent_us, patience_ms, returns_in_ms), echo, asks, heard)| Beat {
                answer: flags[0],
                programmed: flags[1],
                uplinks_up: flags[2],
                leaving: flags[3],
                acted: flags[4],
                sent_us,
                patience_ms,
                echo,
                returns_in_ms,
                asks,
                heard,
            },
        )
    }

    #[test]
    fn the_form_is_the_same_in_every_version() {
        let beat = Beat {
            answer: true,
            uplinks_up: true,
            sent_us: 0x0102,
            patience_ms: 400,
            echo: Some(Echo {
                boot: 7,
                sent_us: 8,
                held_us: 9,
            }),
            heard: vec![(NodeId([5; 8]), 30)],
            ..Beat::default()
        };
        let mut bytes = vec![1, 0x25, 0, 0, 0, 0, 0, 0, 1, 2, 1, 0x90];
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 9]);
        bytes.extend([0, 1, 5, 5, 5, 5, 5, 5, 5, 5, 0, 30]);
        assert_eq!(beat.encode(), bytes);
    }

    #[test]
    fn the_longest_beat_fits() {
        let beat = Beat {
            echo: Some(Echo {
                boot: 0,
                sent_us: 0,
                held_us: 0,
            }),
            returns_in_ms: Some(1),
            asks: vec![NodeId([0; 8]); NODES_MAX + 1],
            heard: vec![(NodeId([0; 8]), 0); NODES_MAX + 1],
            ..Beat::default()
        };
        let bytes = beat.encode();
        assert!(bytes.len() < crate::seal::PAYLOAD_MAX / 2);
        assert_eq!(Beat::decode(&bytes).unwrap().asks.len(), NODES_MAX);
    }

    #[test]
    fn another_form_and_long_lists_are_refused() {
        assert_eq!(Beat::decode(&[2, 0]), Err(DecodeError::Form(2)));
        let mut bytes = Beat::default().encode();
        bytes[12] = 17;
        assert_eq!(Beat::decode(&bytes), Err(DecodeError::TooMany(17)));
    }

    proptest! {
        #[test]
        fn a_beat_comes_out_as_it_went_in(beat in beat()) {
            prop_assert_eq!(Beat::decode(&beat.encode()), Ok(beat));
        }

        #[test]
        fn what_ends_too_early_is_refused(beat in beat(), cut in any::<prop::sample::Index>()) {
            let bytes = beat.encode();
            let cut = cut.index(bytes.len());
            prop_assert_eq!(Beat::decode(&bytes[..cut]), Err(DecodeError::TooShort));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _answer = Beat::decode(&bytes);
        }
    }
}
