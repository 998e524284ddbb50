//! Sealed datagrams between agents: nobody without the cluster's secret can
//! read, alter, invent or repeat one.
//!
//! ```text
//! version 1 | key's print 4 | boot 8 | counter 8 |  sealed: kind 1 | sender 8 | payload  | tag 16
//! ```
//!
//! XChaCha20-Poly1305 (RFC 8439, with the nonce of draft-irtf-cfrg-xchacha-03),
//! with all that stands in front as associated data. The nonce is the boot (a
//! random number of each run of an agent), the counter (of datagrams to this
//! receiver), and the receiver, who is not sent: it never repeats, and what was
//! sealed for one node cannot be opened by another.
//!
//! **Replays.** A counter is taken once for each boot of a sender. Which of two
//! boots is the present one, numbers cannot say. So the datagrams of a new boot
//! are [`Standing::New`] until somebody has shown that the sender answers to
//! what was said just now, and calls [`Seal::confirm`]; the boot before it is
//! refused from then on. Nothing must be believed of a datagram that is new but
//! that answer.
//!
//! **Rotation.** Every accepted key opens; the current one seals. A new secret is
//! first accepted everywhere, then made the current one, then the old one goes.
//!
//! It does not hide who talks to whom, how much, and whether: addresses and
//! lengths are seen. Everybody with the secret may say anything in anybody's
//! name.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use crate::model::NodeName;
use window::{Stale, Window};

#[cfg(test)]
mod tests;
mod window;

/// Of this form of datagrams.
pub const VERSION: u8 = 1;
const HEADER: usize = 21;
const BODY: usize = 9;
const TAG: usize = 16;
/// What sealing adds to a payload.
pub const OVERHEAD: usize = HEADER + BODY + TAG;
/// The longest payload: with IPv6 and UDP it fits into 1280 bytes, which every
/// link with IPv6 carries (RFC 8200 §5).
pub const PAYLOAD_MAX: usize = 1280 - 48 - OVERHEAD;
/// More accepted keys than anybody rotates through.
pub const KEYS_MAX: usize = 8;
/// Boots of one sender that are remembered as gone.
const RETIRED: usize = 8;

/// A node in datagrams: the beginning of a hash of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 8]);

impl NodeId {
    #[must_use]
    pub fn of(name: &NodeName) -> Self {
        Self(beginning(&[b"corten node v1", name.as_str().as_bytes()]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom a datagram is for within the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `crate::gossip`.
    Gossip,
    /// The channel between agents.
    Channel,
    /// `crate::fence`: a [`crate::fence::Renewal`].
    Fence,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Gossip => 1,
            Self::Channel => 2,
            Self::Fence => 3,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Gossip),
            2 => Some(Self::Channel),
            3 => Some(Self::Fence),
            _ => None,
        }
    }
}

/// A key, and what it is called on the wire.
#[derive(Clone)]
struct Key {
    cipher: XChaCha20Poly1305,
    print: [u8; 4],
}

impl Key {
    fn derive(secret: &[u8]) -> Self {
        let key: [u8; 32] = Sha256::new()
            .chain_update(b"corten seal v1")
            .chain_update(secret)
            .finalize()
            .into();
        Self {
            cipher: XChaCha20Poly1305::new(&key.into()),
            print: beginning(&[b"corten print v1", &key]),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:08x})", u32::from_be_bytes(self.print))
    }
}

/// The first bytes of a hash.
fn beginning<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    *digest.first_chunk().expect("no more than 32 bytes")
}

/// The keys of a cluster.
#[derive(Clone, Debug)]
pub struct Keys {
    current: Key,
    accepted: Vec<Key>,
}

impl Keys {
    /// The first secret seals, all of them open; those beyond [`KEYS_MAX`] are
    /// left out. Without any, the key is that of the empty secret: datagrams are
    /// of the same form then, and protect from accidents only.
    #[must_use]
    pub fn of(secrets: &[Vec<u8>]) -> Self {
        let (first, others) = secrets
            .split_first()
            .map_or((&[][..], &[][..]), |(first, others)| (&first[..], others));
        let others = others.iter().take(KEYS_MAX.saturating_sub(1));
        Self {
            current: Key::derive(first),
            accepted: others.map(|secret| Key::derive(secret)).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        core::iter::once(&self.current).chain(&self.accepted)
    }
}

/// Seals and opens for one run of one agent.
#[derive(Debug)]
pub struct Seal {
    keys: Keys,
    node: NodeId,
    boot: u64,
    peers: BTreeMap<NodeId, Peer>,
}

/// What is remembered of another agent.
#[derive(Debug, Default)]
struct Peer {
    /// Of datagrams to it.
    counter: u64,
    present: Option<Present>,
    /// Boots that others came after, the last one first.
    retired: Vec<u64>,
}

#[derive(Debug)]
struct Present {
    boot: u64,
    window: Window,
}

/// A datagram that is what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub kind: Kind,
    pub sender: NodeId,
    pub boot: u64,
    pub counter: u64,
    pub standing: Standing,
    pub payload: Vec<u8>,
}

/// Whether a datagram may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Of the sender's present boot, for the first time.
    Confirmed,
    /// Of a boot not known yet: it may be a repetition of what was said long ago.
    New,
}

/// Why a datagram is dropped. Nothing has changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum OpenError {
    #[error("{0} bytes are too few")]
    TooShort(usize),
    #[error("{0} bytes are too many")]
    TooLong(usize),
    #[error("version {0} is not known")]
    Version(u8),
    #[error("it is sealed with another secret")]
    OtherSecret,
    #[error("it was altered, or is for another node")]
    Altered,
    #[error("kind {0} is not known")]
    Kind(u8),
    #[error("it comes from ourselves")]
    FromOurselves,
    #[error("it comes from a node that is not known, {0}")]
    UnknownSender(NodeId),
    #[error("it is of a boot that another came after")]
    OldBoot,
    #[error("it was here before")]
    Replayed,
    #[error("it is too old to know whether it was here before")]
    TooOld,
}

impl OpenError {
    /// As it stands in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort(_) => "too_short",
            Self::TooLong(_) => "too_long",
            Self::Version(_) => "version",
            Self::OtherSecret => "other_secret",
            Self::Altered => "altered",
            Self::Kind(_) => "kind",
            Self::FromOurselves => "from_ourselves",
            Self::UnknownSender(_) => "unknown_sender",
            Self::OldBoot => "old_boot",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
        }
    }
}

/// Why something cannot be sealed. Nothing has changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("{0} bytes of payload are more than {PAYLOAD_MAX}")]
    TooLong(usize),
    #[error("the node {0} is not known")]
    UnknownReceiver(NodeId),
    #[error("the cipher refuses it")]
    Cipher,
}

impl Seal {
    /// `boot`: a number that was never used before with these keys, so a random
    /// one.
    #[must_use]
    pub fn new(keys: Keys, node: &NodeName, boot: u64) -> Self {
        Self {
            keys,
            node: NodeId::of(node),
            boot,
            peers: BTreeMap::new(),
        }
    }

    #[must_use]
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    /// Others seal and open from now on; what is known of peers stays.
    pub fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// All that may be talked with. Of one that leaves the set nothing is
    /// forgotten before it could matter: its present boot is confirmed anew.
    pub fn set_peers(&mut self, peers: &BTreeSet<NodeId>) {
        // The counter of one that comes back goes on: nonces must not repeat.
        for (id, peer) in &mut self.peers {
            if !peers.contains(id) {
                peer.present = None;
            }
        }
        let new = peers.iter().filter(|id| **id != self.node);
        for id in new {
            self.peers.entry(*id).or_default();
        }
    }

    /// Seals a payload for one node.
    pub fn seal(
        &mut self,
        kind: Kind,
        receiver: NodeId,
        payload: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if payload.len() > PAYLOAD_MAX {
            return Err(SealError::TooLong(payload.len()));
        }
        let peer = self.peers.get_mut(&receiver);
        let peer = peer.ok_or(SealError::UnknownReceiver(receiver))?;
        let counter = peer.counter.wrapping_add(1);
        let key = &self.keys.current;
        let header = Header {
            print: key.print,
            boot: self.boot,
            counter,
        };
        let aad = header.to_bytes();
        let mut body = Vec::with_capacity(payload.len().saturating_add(BODY));
        body.push(kind.number());
        body.extend_from_slice(&self.node.0);
        body.extend_from_slice(payload);
        let sealed = key.cipher.encrypt(
            &header.nonce(receiver),
            Payload {
                msg: &body,
                aad: &aad,
            },
        );
        let sealed = sealed.ok().ok_or(SealError::Cipher)?;
        peer.counter = counter;
        let mut datagram = Vec::with_capacity(payload.len().saturating_add(OVERHEAD));
        datagram.extend_from_slice(&aad);
        datagram.extend_from_slice(&sealed);
        Ok(datagram)
    }

    /// Opens a datagram that came for this node, if it is what it says.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Opened, OpenError> {
        if datagram.len() > PAYLOAD_MAX.saturating_add(OVERHEAD) {
            return Err(OpenError::TooLong(datagram.len()));
        }
        let version = datagram.first().ok_or(OpenError::TooShort(0))?;
        if *version != VERSION {
            return Err(OpenError::Version(*version));
        }
        if datagram.len() < OVERHEAD {
            return Err(OpenError::TooShort(datagram.len()));
        }
        let too_short = OpenError::TooShort(datagram.len());
        let (aad, sealed) = datagram.split_first_chunk().ok_or(too_short)?;
        let header = Header::of(aad);
        let body = self.decrypt(&header, aad, sealed)?;
        let (front, payload) = body.split_first_chunk::<BODY>().ok_or(too_short)?;
        let [kind, sender @ ..] = *front;
        let (kind, sender) = (Kind::of(kind).ok_or(OpenError::Kind(kind))?, NodeId(sender));
        let standing = self.standing(sender, &header)?;
        Ok(Opened {
            kind,
            sender,
            boot: header.boot,
            counter: header.counter,
            standing,
            payload: payload.to_vec(),
        })
    }

    fn decrypt(
        &self,
        header: &Header,
        aad: &[u8; HEADER],
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let nonce = header.nonce(self.node);
        let mut error = OpenError::OtherSecret;
        for key in self.keys.all().filter(|key| key.print == header.print) {
            let payload = Payload { msg: sealed, aad };
            match key.cipher.decrypt(&nonce, payload) {
                Ok(body) => return Ok(body),
                Err(_opaque) => error = OpenError::Altered,
            }
        }
        Err(error)
    }

    fn standing(&mut self, sender: NodeId, header: &Header) -> Result<Standing, OpenError> {
        if sender == self.node {
            return Err(OpenError::FromOurselves);
        }
        let peer = self.peers.get_mut(&sender);
        let peer = peer.ok_or(OpenError::UnknownSender(sender))?;
        if peer.retired.contains(&header.boot) {
            return Err(OpenError::OldBoot);
        }
        match &mut peer.present {
            Some(present) if present.boot == header.boot => {
                present
                    .window
                    .take(header.counter)
                    .map_err(|stale| match stale {
                        Stale::Seen => OpenError::Replayed,
                        Stale::TooOld => OpenError::TooOld,
                    })?;
                Ok(Standing::Confirmed)
            }
            _ => Ok(Standing::New),
        }
    }

    /// This datagram answered to something that was said a moment ago: its boot
    /// is the present one. False if it is not (any more).
    pub fn confirm(&mut self, sender: NodeId, boot: u64, counter: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&sender) else {
            return false;
        };
        if peer.retired.contains(&boot) {
            return false;
        }
        if let Some(before) = &peer.present {
            if before.boot == boot {
                return true;
            }
            peer.retired.insert(0, before.boot);
            peer.retired.truncate(RETIRED);
        }
        peer.present = Some(Present {
            boot,
            window: Window::from(counter),
        });
        true
    }
}

/// What stands in front, in the open.
#[derive(Clone, Copy, Debug)]
struct Header {
    print: [u8; 4],
    boot: u64,
    counter: u64,
}

impl Header {
    fn of(bytes: &[u8; HEADER]) -> Self {
        let [_version, rest @ ..] = *bytes;
        let [p0, p1, p2, p3, rest @ ..] = rest;
        let [b0, b1, b2, b3, b4, b5, b6, b7, counter @ ..] = rest;
        Self {
            print: [p0, p1, p2, p3],
            boot: u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
            counter: u64::from_be_bytes(counter),
        }
    }

    fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [VERSION; HEADER];
        let parts = [
            &self.print[..],
            &self.boot.to_be_bytes(),
            &self.counter.to_be_bytes(),
        ];
        let places = bytes.iter_mut().skip(1);
        for (place, byte) in places.zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    fn nonce(self, receiver: NodeId) -> XNonce {
        let mut nonce = [0; 24];
        let parts = [
            self.boot.to_be_bytes(),
            self.counter.to_be_bytes(),
            receiver.0,
        ];
        for (place, byte) in nonce.iter_mut().zip(parts.into_iter().flatten()) {
            *place = byte;
        }
        nonce.into()
    }
}
