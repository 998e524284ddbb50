//! The control packet (RFC 5880 section 4.1).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use core::fmt;
use core::time::Duration;

/// In bytes, without authentication.
pub const LEN: usize = 24;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    AdminDown,
    Down,
    Init,
    Up,
}

/// Why a session went down last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    None,
    DetectionTimeExpired,
    EchoFailed,
    NeighborSignaledDown,
    ForwardingReset,
    PathDown,
    ConcatenatedPathDown,
    AdministrativelyDown,
    ReverseConcatenatedPathDown,
    Unknown(u8),
}

impl Diagnostic {
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::DetectionTimeExpired,
            2 => Self::EchoFailed,
            3 => Self::NeighborSignaledDown,
            4 => Self::ForwardingReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            other => Self::Unknown(other),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::DetectionTimeExpired => 1,
            Self::EchoFailed => 2,
            Self::NeighborSignaledDown => 3,
            Self::ForwardingReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Unknown(other) => other,
        }
    }
}

impl fmt::Display for Diagnostic {
    /// The RFC's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "No Diagnostic",
            Self::DetectionTimeExpired => "Control Detection Time Expired",
            Self::EchoFailed => "Echo Function Failed",
            Self::NeighborSignaledDown => "Neighbor Signaled Session Down",
            Self::ForwardingReset => "Forwarding Plane Reset",
            Self::PathDown => "Path Down",
            Self::ConcatenatedPathDown => "Concatenated Path Down",
            Self::AdministrativelyDown => "Administratively Down",
            Self::ReverseConcatenatedPathDown => "Reverse Concatenated Path Down",
            Self::Unknown(number) => return write!(f, "diagnostic {number}"),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub state: State,
    pub diagnostic: Diagnostic,
    pub poll: bool,
    pub r#final: bool,
    pub control_plane_independent: bool,
    pub demand: bool,
    pub multiplier: u8,
    pub my_discriminator: u32,
    /// 0: not known yet.
    pub your_discriminator: u32,
    /// In whole microseconds, as all intervals.
    pub desired_tx: Duration,
    /// Zero: nothing is to be sent.
    pub required_rx: Duration,
    pub required_echo_rx: Duration,
}

/// Why a packet is dropped (RFC 5880 section 6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    Short,
    Version(u8),
    Length(u8),
    NoMultiplier,
    Multipoint,
    NoDiscriminator,
    NoYourDiscriminator,
    Authentication,
}

impl Packet {
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let set = |on: bool, flag: u8| if on { flag } else { 0 };
        let state: u8 = match self.state {
            State::AdminDown => 0x00,
            State::Down => 0x40,
            State::Init => 0x80,
            State::Up => 0xc0,
        };
        let flags = state
            | set(self.poll, POLL)
            | set(self.r#final, FINAL)
            | set(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | set(self.demand, DEMAND);
        let length = u8::try_from(LEN).unwrap_or_default();
        let head = [
            (VERSION << 5) | (self.diagnostic.number() & 0x1f),
            flags,
            self.multiplier,
            length,
        ];
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            micros(self.desired_tx),
            micros(self.required_rx),
            micros(self.required_echo_rx),
        ];
        let mut bytes = [0; LEN];
        let all = head
            .into_iter()
            .chain(words.into_iter().flat_map(u32::to_be_bytes));
        for (place, byte) in bytes.iter_mut().zip(all) {
            *place = byte;
        }
        bytes
    }

    /// # Errors
    /// Why it is to be dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let packet = bytes.first_chunk::<LEN>().ok_or(Malformed::Short)?;
        let [first, flags, multiplier, length, words @ ..] = *packet;
        let (words, _) = words.as_chunks::<4>();
        let mut words = words.iter().copied().map(u32::from_be_bytes);
        let mut word = || words.next().unwrap_or_default();
        if first >> 5 != VERSION {
            return Err(Malformed::Version(first >> 5));
        }
        if flags & AUTHENTICATION != 0 {
            return Err(Malformed::Authentication);
        }
        if usize::from(length) < LEN || usize::from(length) > bytes.len() {
            return Err(Malformed::Length(length));
        }
        if multiplier == 0 {
            return Err(Malformed::NoMultiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Malformed::Multipoint);
        }
        let packet = Self {
            state: match flags >> 6 {
                0 => State::AdminDown,
                1 => State::Down,
                2 => State::Init,
                _ => State::Up,
            },
            diagnostic: Diagnostic::from_number(first & 0x1f),
            poll: flags & POLL != 0,
            r#final: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator: word(),
            your_discriminator: word(),
            desired_tx: Duration::from_micros(word().into()),
            required_rx: Duration::from_micros(word().into()),
            required_echo_rx: Duration::from_micros(word().into()),
        };
        if packet.my_discriminator == 0 {
            return Err(Malformed::NoDiscriminator);
        }
        let begins = matches!(packet.state, State::Down | State::AdminDown);
        if packet.your_discriminator == 0 && !begins {
            return Err(Malformed::NoYourDiscriminator);
        }
        Ok(packet)
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn packet() -> Packet {
        Packet {
            state: State::Up,
            diagnostic: Diagnostic::NeighborSignaledDown,
            poll: true,
            r#final: false,
            control_plane_independent: false,
            demand: false,
            multiplier: 3,
            my_discriminator: 0x0102_0304,
            your_discriminator: 0x0506_0708,
            desired_tx: Duration::from_millis(100),
            required_rx: Duration::from_millis(300),
            required_echo_rx: Duration::ZERO,
        }
    }

    #[test]
    fn a_packet_has_these_bytes() {
        let expected = [
            0x23, 0xe0, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0x86, 0xa0, 0, 4, 0x93, 0xe0, 0, 0, 0,
            0,
        ];
        assert_eq!(packet().encode(), expected);
        assert_eq!(Packet::decode(&expected), Ok(packet()));
    }

    #[test]
    fn what_the_rfc_drops_is_dropped() {
        type Edit = fn(&mut Vec<u8>);
        for (edit, expected) in [
            ((|b| b.truncate(23)) as Edit, Malformed::Short),
            (|b| b[0] = 0x43, Malformed::Version(2)),
            (|b| b[1] |= 0x04, Malformed::Authentication),
            (|b| b[3] = 23, Malformed::Length(23)),
            (|b| b[3] = 25, Malformed::Length(25)),
            (|b| b[2] = 0, Malformed::NoMultiplier),
            (|b| b[1] |= 0x01, Malformed::Multipoint),
            (|b| b[4..8].fill(0), Malformed::NoDiscriminator),
            (|b| b[8..12].fill(0), Malformed::NoYourDiscriminator),
        ] {
            let mut bytes = packet().encode().to_vec();
            edit(&mut bytes);
            assert_eq!(Packet::decode(&bytes), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn anything_has_an_answer_and_what_is_good_comes_back(bytes: Vec<u8>, first: [u8; LEN]) {
            let _any = Packet::decode(&bytes);
            if let Ok(packet) = Packet::decode(&first) {
                prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            }
        }
    }
}
