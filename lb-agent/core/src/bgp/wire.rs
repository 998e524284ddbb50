//! Messages as they travel (RFC 4271 section 4).
//!
//! Decoding reads hostile bytes: it has an answer for all of them and never
//! panics. What the RFCs want answered is a [`Notification`]; what they want
//! survived (RFC 7606) is said in [`Received`].
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod attribute;
mod capability;
mod encode;
mod family;
mod nlri;
mod notification;
mod open;
mod reader;
mod refresh;
#[cfg(test)]
mod tests;
mod update;

pub use attribute::{Attributes, MpReach, MpUnreach, Origin, Segment};
pub use capability::{Capability, GracefulFamily, GracefulRestart};
pub use family::Family;
pub use notification::{Kind, Notification};
pub use open::{AS_TRANS, Open};
pub use refresh::{RefreshKind, RouteRefresh};
pub use update::{Flaw, Received, Treatment, Update};

use alloc::boxed::Box;
use alloc::vec::Vec;

use encode::put_u16;
use reader::Reader;

/// Length of the header: marker, length, type.
pub const HEADER_LEN: usize = 19;
/// The longest message (RFC 4271), in bytes.
pub const MESSAGE_MAX: usize = 4096;
/// The longest message where both sides know extended ones (RFC 8654).
pub const MESSAGE_MAX_EXTENDED: usize = 65535;

const MARKER: [u8; 16] = [0xff; 16];

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
/// RFC 2918.
const ROUTE_REFRESH: u8 = 5;

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Open(Open),
    Update(Box<Received>),
    Notification(Notification),
    Keepalive,
    RouteRefresh(RouteRefresh),
}

/// What both sides agreed on that changes how messages read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// AS numbers have four bytes (RFC 6793).
    pub as4: bool,
    /// Both sides are of one AS.
    pub internal: bool,
    pub families: Vec<Family>,
    /// Messages may be longer than 4096 bytes.
    pub extended: bool,
}

impl Context {
    /// The longest message that this side may send, or that may come in once
    /// the session is open.
    #[must_use]
    pub const fn message_max(&self) -> usize {
        if self.extended {
            MESSAGE_MAX_EXTENDED
        } else {
            MESSAGE_MAX
        }
    }
}

/// The first whole message in what has come in, if it is there: with its
/// header.
///
/// # Errors
/// What to answer before closing: the header is wrong (RFC 4271 section 6.1).
pub fn frame(bytes: &[u8], context: &Context) -> Result<Option<Vec<u8>>, Notification> {
    let marker = bytes.get(..MARKER.len()).unwrap_or(bytes);
    if marker.iter().any(|byte| *byte != 0xff) {
        return Err(Notification::new(Kind::NOT_SYNCHRONIZED));
    }
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let [.., high, low, kind] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let wrong_length = || Notification::with(Kind::BAD_LENGTH, &[high, low]);
    let (min, max) = match kind {
        OPEN => (29, MESSAGE_MAX),
        UPDATE => (23, context.message_max()),
        NOTIFICATION => (21, context.message_max()),
        KEEPALIVE => (HEADER_LEN, HEADER_LEN),
        // Wrong lengths of it have an error of their own (RFC 7313).
        ROUTE_REFRESH => (HEADER_LEN, context.message_max()),
        _ => return Err(Notification::with(Kind::BAD_TYPE, &[kind])),
    };
    if !(min..=max).contains(&length) {
        return Err(wrong_length());
    }
    Ok(bytes.get(..length).map(<[u8]>::to_vec))
}

impl Message {
    /// Its type, as it travels.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Open(_) => OPEN,
            Self::Update(_) => UPDATE,
            Self::Notification(_) => NOTIFICATION,
            Self::Keepalive => KEEPALIVE,
            Self::RouteRefresh(_) => ROUTE_REFRESH,
        }
    }

    /// A whole message, as [`frame`] gives it.
    ///
    /// # Errors
    /// What to answer before closing.
    pub fn decode(message: &[u8], context: &Context) -> Result<Self, Notification> {
        let mut reader = Reader::new(message);
        let header = reader.array::<HEADER_LEN>();
        let Some([.., kind]) = header else {
            return Err(Notification::new(Kind::BAD_LENGTH));
        };
        match kind {
            OPEN => Open::decode(reader).map(Self::Open),
            UPDATE => {
                let received = Received::decode(reader, context)?;
                Ok(Self::Update(Box::new(received)))
            }
            NOTIFICATION => Ok(Self::Notification(Notification::decode(reader))),
            KEEPALIVE => Ok(Self::Keepalive),
            ROUTE_REFRESH => RouteRefresh::decode(reader, message).map(Self::RouteRefresh),
            _ => Err(Notification::with(Kind::BAD_TYPE, &[kind])),
        }
    }
}

/// The bytes of a KEEPALIVE.
#[must_use]
pub fn keepalive() -> Vec<u8> {
    whole(KEEPALIVE, &[])
}

/// Puts the header before a body.
///
/// # Panics
/// If the body is longer than any message can be: callers split.
fn whole(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().saturating_add(HEADER_LEN);
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&MARKER);
    put_u16(&mut message, length);
    message.push(kind);
    message.extend_from_slice(body);
    message
}
