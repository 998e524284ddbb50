//! NOTIFICATION: why a session ends, with the names that the RFCs give.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use super::encode::put_short;
use super::reader::Reader;
use super::{Capability, Family, NOTIFICATION, whole};

/// Code and subcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub code: u8,
    pub subcode: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub kind: Kind,
    pub data: Vec<u8>,
}

macro_rules! kinds {
    ($($name:ident = $code:literal / $subcode:literal, $text:literal;)*) => {
        impl Kind {
            $(pub const $name: Self = Self { code: $code, subcode: $subcode };)*

            /// The subcode's name, where it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match (self.code, self.subcode) {
                    $(($code, $subcode) => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

// RFC 4271 section 4.5, RFC 4486, 5492, 6608, 7313, 8538, 9234, 9384.
kinds! {
    NOT_SYNCHRONIZED = 1 / 1, "Connection Not Synchronized";
    BAD_LENGTH = 1 / 2, "Bad Message Length";
    BAD_TYPE = 1 / 3, "Bad Message Type";
    OPEN = 2 / 0, "Unspecific";
    VERSION = 2 / 1, "Unsupported Version Number";
    BAD_PEER_AS = 2 / 2, "Bad Peer AS";
    BAD_IDENTIFIER = 2 / 3, "Bad BGP Identifier";
    OPTIONAL_PARAMETER = 2 / 4, "Unsupported Optional Parameter";
    HOLD_TIME = 2 / 6, "Unacceptable Hold Time";
    CAPABILITY = 2 / 7, "Unsupported Capability";
    ROLE_MISMATCH = 2 / 11, "Role Mismatch";
    ATTRIBUTE_LIST = 3 / 1, "Malformed Attribute List";
    WELL_KNOWN = 3 / 2, "Unrecognized Well-known Attribute";
    MISSING_WELL_KNOWN = 3 / 3, "Missing Well-known Attribute";
    ATTRIBUTE_FLAGS = 3 / 4, "Attribute Flags Error";
    ATTRIBUTE_LENGTH = 3 / 5, "Attribute Length Error";
    ORIGIN = 3 / 6, "Invalid ORIGIN Attribute";
    NEXT_HOP = 3 / 8, "Invalid NEXT_HOP Attribute";
    OPTIONAL_ATTRIBUTE = 3 / 9, "Optional Attribute Error";
    NETWORK_FIELD = 3 / 10, "Invalid Network Field";
    AS_PATH = 3 / 11, "Malformed AS_PATH";
    HOLD_TIMER = 4 / 0, "Hold Timer Expired";
    FSM_OPEN_SENT = 5 / 1, "Receive Unexpected Message in OpenSent State";
    FSM_OPEN_CONFIRM = 5 / 2, "Receive Unexpected Message in OpenConfirm State";
    FSM_ESTABLISHED = 5 / 3, "Receive Unexpected Message in Established State";
    MAX_PREFIXES = 6 / 1, "Maximum Number of Prefixes Reached";
    SHUTDOWN = 6 / 2, "Administrative Shutdown";
    DECONFIGURED = 6 / 3, "Peer De-configured";
    RESET = 6 / 4, "Administrative Reset";
    REJECTED = 6 / 5, "Connection Rejected";
    CONFIGURATION_CHANGE = 6 / 6, "Other Configuration Change";
    COLLISION = 6 / 7, "Connection Collision Resolution";
    RESOURCES = 6 / 8, "Out of Resources";
    HARD_RESET = 6 / 9, "Hard Reset";
    BFD_DOWN = 6 / 10, "BFD Down";
    REFRESH_LENGTH = 7 / 1, "Invalid Message Length";
}

impl Kind {
    /// The code's name.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for Kind {
    /// `Cease/Administrative Shutdown (6/2)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family())?;
        if let Some(name) = self.name().filter(|name| *name != self.family()) {
            write!(f, "/{name}")?;
        }
        write!(f, " ({}/{})", self.code, self.subcode)
    }
}

/// The longest shutdown message (RFC 9003), in bytes.
const COMMUNICATION_MAX: usize = 255;

impl Notification {
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            data: Vec::new(),
        }
    }

    #[must_use]
    pub fn with(kind: Kind, data: &[u8]) -> Self {
        Self {
            kind,
            data: data.to_vec(),
        }
    }

    /// With words for the other side's administrator (RFC 9003). Too long a
    /// text is cut at a character.
    #[must_use]
    pub fn communicating(kind: Kind, text: &str) -> Self {
        let mut end = text.len().min(COMMUNICATION_MAX);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let mut data = Vec::new();
        put_short(&mut data, text.get(..end).unwrap_or_default().as_bytes());
        Self { kind, data }
    }

    /// No family in common: those that this side wanted (RFC 5492 section 5).
    #[must_use]
    pub fn lacking(families: impl Iterator<Item = Family>) -> Self {
        let mut data = Vec::new();
        for family in families {
            Capability::MultiProtocol(family).encode(&mut data);
        }
        let kind = Kind::CAPABILITY;
        Self { kind, data }
    }

    /// The words of the other side's administrator; what is not UTF-8 in them
    /// is replaced.
    #[must_use]
    pub fn communication(&self) -> Option<String> {
        if !matches!(self.kind, Kind::SHUTDOWN | Kind::RESET) {
            return None;
        }
        let mut reader = Reader::new(&self.data);
        let length = reader.u8()?;
        let text = reader.part(usize::from(length))?.rest();
        let text = String::from_utf8_lossy(text).to_string();
        (!text.is_empty()).then_some(text)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.data.len().saturating_add(2));
        body.extend([self.kind.code, self.kind.subcode]);
        body.extend_from_slice(&self.data);
        whole(NOTIFICATION, &body)
    }

    /// Whatever it says: an answer to it there is none.
    pub(super) fn decode(mut reader: Reader<'_>) -> Self {
        let code = reader.u8().unwrap_or_default();
        let subcode = reader.u8().unwrap_or_default();
        Self {
            kind: Kind { code, subcode },
            data: reader.rest().to_vec(),
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match self.communication() {
            // What somebody else wrote stays on its line.
            Some(text) => write!(f, ": {text:?}"),
            None => Ok(()),
        }
    }
}
