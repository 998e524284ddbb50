//! Router solicitations and advertisements (RFC 4861 sections 4.1 and 4.2), as
//! ICMPv6 has them: without the IPv6 header, whose checksum the kernel looks at.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// ICMPv6 types.
pub const SOLICITATION: u8 = 133;
pub const ADVERTISEMENT: u8 = 134;
/// What only a node of the same link can have sent.
pub const HOP_LIMIT: u8 = 255;

/// In bytes, without options.
const SOLICITATION_LEN: usize = 8;
const ADVERTISEMENT_LEN: usize = 16;
/// Options count their length in these.
const UNIT: usize = 8;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody wants to hear advertisements now.
    Solicitation,
    /// `lifetime_s`: for how long the sender is a default router; 0: it is
    /// none.
    Advertisement { lifetime_s: u16 },
}

/// Why a message is left aside (sections 6.1.1 and 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It came by a router.
    HopLimit,
    /// An advertisement whose sender has no link-local address, or a
    /// solicitation of nobody that names its sender.
    Source,
    Code,
    Truncated,
    /// One that has no length, or ends after the message.
    Options,
    /// Another message.
    Type,
}

impl Message {
    /// With everything left to the receiver's own configuration.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Solicitation => [SOLICITATION, 0, 0, 0, 0, 0, 0, 0].into(),
            Self::Advertisement { lifetime_s } => {
                let [high, low] = lifetime_s.to_be_bytes();
                // Hop limit, flags, reachable time and retransmission: unsaid.
                let head = [ADVERTISEMENT, 0, 0, 0, 0, 0, high, low];
                let mut bytes = Vec::with_capacity(ADVERTISEMENT_LEN);
                bytes.extend_from_slice(&head);
                bytes.resize(ADVERTISEMENT_LEN, 0);
                bytes
            }
        }
    }

    /// `from` and `hop_limit`: of the IPv6 header that it came with.
    ///
    /// # Errors
    /// What RFC 4861 has receivers discard in silence.
    pub fn decode(bytes: &[u8], from: Ipv6Addr, hop_limit: u8) -> Result<Self, Flaw> {
        let (kind, code) = match bytes {
            [kind, code, ..] => (*kind, *code),
            _ => return Err(Flaw::Truncated),
        };
        let length = match kind {
            SOLICITATION => SOLICITATION_LEN,
            ADVERTISEMENT => ADVERTISEMENT_LEN,
            _ => return Err(Flaw::Type),
        };
        if hop_limit != HOP_LIMIT {
            return Err(Flaw::HopLimit);
        }
        if code != 0 {
            return Err(Flaw::Code);
        }
        let (head, options) = bytes.split_at_checked(length).ok_or(Flaw::Truncated)?;
        let names_its_sender = look_at(options)?;
        if kind == SOLICITATION {
            if from.is_unspecified() && names_its_sender {
                return Err(Flaw::Source);
            }
            return Ok(Self::Solicitation);
        }
        if !from.is_unicast_link_local() {
            return Err(Flaw::Source);
        }
        let lifetime = head.get(6..8).and_then(|two| two.try_into().ok());
        let lifetime_s = lifetime.map(u16::from_be_bytes).ok_or(Flaw::Truncated)?;
        Ok(Self::Advertisement { lifetime_s })
    }
}

/// Whether there is one with the sender's address on the link.
fn look_at(mut options: &[u8]) -> Result<bool, Flaw> {
    let mut named = false;
    while let [kind, units, ..] = *options {
        let length = usize::from(units).checked_mul(UNIT);
        let length = length.filter(|length| *length > 0).ok_or(Flaw::Options)?;
        options = options.get(length..).ok_or(Flaw::Options)?;
        named |= kind == SOURCE_LINK_LAYER_ADDRESS;
    }
    if options.is_empty() {
        Ok(named)
    } else {
        Err(Flaw::Options)
    }
}
