//! What agents say to each other, and how it is written. Datagrams are sealed
//! before they are sent; what is read here was written by an agent that has
//! the secret, of this version or of another.
//!
//! ```text
//! 0   flags: 1 acknowledges, 2 has an echo
//! 1   number of names that follow
//! 2   boot, 8; send time in ns since boot, 8
//! 18  the echo's boot, 8, and send time, 8; if there is one
//!     names: length, 1, and UTF-8
//! ```
//!
//! Numbers are in network order. What follows the names is of a later version,
//! and is not read.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::model::NodeName;
use crate::time::Timestamp;

const ACKNOWLEDGES: u8 = 1;
const HAS_ECHO: u8 = 2;
/// More are not said: so the datagram stays below 1,200 bytes, and who is the
/// 17th to go has to wait. Kubernetes' names of nodes have 63 letters mostly.
const GONE_MAX: usize = 16;
const NAME_MAX: usize = 253;

/// A moment of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub boot: u64,
    pub sent: Timestamp,
}

/// Said every [`super::Timing::every`], and at once when `gone` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub stamp: Stamp,
    /// The newest stamp of the receiver's that came here.
    pub echo: Option<Stamp>,
    /// The receiver may answer for its VIPs until L after the echo's moment,
    /// as far as this agent has a say.
    pub acknowledges: bool,
    /// Nodes that were silent for too long, or whose VIPs this one still has.
    pub gone: BTreeSet<NodeName>,
}

/// Why a datagram is no renewal. Nothing of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before it should.
    Short,
    /// A name is empty, too long, or no text.
    Name,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Short => "the renewal is cut short",
            Self::Name => "the renewal has a name of a node that none can have",
        })
    }
}

impl core::error::Error for DecodeError {}

impl Renewal {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let names = self
            .gone
            .iter()
            .filter(|name| name.as_str().len() <= NAME_MAX);
        let names: Vec<&str> = names.take(GONE_MAX).map(NodeName::as_str).collect();
        let mut flags = 0;
        if self.acknowledges {
            flags |= ACKNOWLEDGES;
        }
        if self.echo.is_some() {
            flags |= HAS_ECHO;
        }
        let mut bytes = Vec::with_capacity(64);
        bytes.push(flags);
        bytes.push(u8::try_from(names.len()).unwrap_or(0));
        for stamp in [Some(self.stamp), self.echo].into_iter().flatten() {
            bytes.extend_from_slice(&stamp.boot.to_be_bytes());
            bytes.extend_from_slice(&stamp.sent.nanos().to_be_bytes());
        }
        for name in names {
            bytes.push(u8::try_from(name.len()).unwrap_or(0));
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }

    /// # Errors
    /// It is cut short, or says what no node can be named.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = Bytes(bytes);
        let [flags, names] = rest.take()?;
        let stamp = rest.stamp()?;
        let echo = if flags & HAS_ECHO == 0 {
            None
        } else {
            Some(rest.stamp()?)
        };
        let mut gone = BTreeSet::new();
        for _ in 0..names {
            let [length] = rest.take()?;
            gone.insert(rest.name(length.into())?);
        }
        Ok(Self {
            stamp,
            echo,
            acknowledges: flags & ACKNOWLEDGES != 0,
            gone,
        })
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn stamp(&mut self) -> Result<Stamp, DecodeError> {
        let boot = u64::from_be_bytes(self.take()?);
        let sent = Duration::from_nanos(u64::from_be_bytes(self.take()?));
        let sent = Timestamp::since_boot(sent);
        Ok(Stamp { boot, sent })
    }

    fn name(&mut self, length: usize) -> Result<NodeName, DecodeError> {
        if !(1..=NAME_MAX).contains(&length) {
            return Err(DecodeError::Name);
        }
        let (name, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        let name = core::str::from_utf8(name).map_err(|_not_utf8| DecodeError::Name)?;
        Ok(NodeName::new(name))
    }
}
