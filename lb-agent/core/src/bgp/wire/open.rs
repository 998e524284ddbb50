//! OPEN: who is there (RFC 4271 section 4.2).

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::encode::{put_long, put_short, put_u16};
use super::reader::Reader;
use super::{Capability, Kind, Notification, OPEN, whole};

/// Stands where a number of two bytes cannot say it (RFC 6793).
pub const AS_TRANS: u16 = 23456;

const VERSION: u8 = 4;
/// The parameter that has capabilities (RFC 5492).
const CAPABILITIES: u8 = 2;
/// In place of a length and of a type: lengths have two bytes (RFC 9072).
const EXTENDED: u8 = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// In two bytes: [`AS_TRANS`] where it does not fit.
    pub as2: u16,
    /// In seconds; 0: never given up.
    pub hold_s: u16,
    pub id: Ipv4Addr,
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// The AS number, from the capability where it is said.
    #[must_use]
    pub fn asn(&self) -> u32 {
        let mut capabilities = self.capabilities.iter();
        let said = capabilities.find_map(|capability| match capability {
            Capability::As4(number) => Some(*number),
            _ => None,
        });
        said.unwrap_or(self.as2.into())
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            capability.encode(&mut capabilities);
        }
        let mut body = Vec::new();
        body.push(VERSION);
        body.extend(self.as2.to_be_bytes());
        body.extend(self.hold_s.to_be_bytes());
        body.extend(self.id.octets());
        // Two for type and length of the one parameter.
        let parameters = capabilities.len().saturating_add(2);
        if capabilities.is_empty() {
            body.push(0);
        } else if parameters < usize::from(EXTENDED) {
            let mut parameter = Vec::new();
            parameter.push(CAPABILITIES);
            put_short(&mut parameter, &capabilities);
            put_short(&mut body, &parameter);
        } else {
            body.extend([EXTENDED, EXTENDED]);
            put_u16(&mut body, parameters.saturating_add(1));
            body.push(CAPABILITIES);
            put_long(&mut body, &capabilities);
        }
        whole(OPEN, &body)
    }

    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, Notification> {
        let unspecific = || Notification::new(Kind::OPEN);
        let version = reader.u8().ok_or_else(unspecific)?;
        if version != VERSION {
            // The largest that we know.
            return Err(Notification::with(Kind::VERSION, &[0, VERSION]));
        }
        let as2 = reader.u16().ok_or_else(unspecific)?;
        let hold_s = reader.u16().ok_or_else(unspecific)?;
        let id = reader.array::<4>().ok_or_else(unspecific)?;
        let capabilities = parameters(reader)?;
        let open = Self {
            as2,
            hold_s,
            id: id.into(),
            capabilities,
        };
        // RFC 7607: 0 is nobody's.
        if open.asn() == 0 {
            return Err(Notification::new(Kind::BAD_PEER_AS));
        }
        // RFC 4271 section 6.2, RFC 6286: any number but 0.
        if open.id.is_unspecified() {
            return Err(Notification::new(Kind::BAD_IDENTIFIER));
        }
        if matches!(hold_s, 1 | 2) {
            return Err(Notification::new(Kind::HOLD_TIME));
        }
        Ok(open)
    }
}

fn parameters(mut reader: Reader<'_>) -> Result<Vec<Capability>, Notification> {
    let unspecific = || Notification::new(Kind::OPEN);
    let short = reader.u8().ok_or_else(unspecific)?;
    let extended = short == EXTENDED && reader.rest().first() == Some(&EXTENDED);
    let mut all = if extended {
        reader.u8().ok_or_else(unspecific)?;
        let length = reader.u16().ok_or_else(unspecific)?;
        reader.part(length.into())
    } else {
        reader.part(short.into())
    }
    .ok_or_else(unspecific)?;
    // What stands behind them has no meaning.
    if !reader.is_empty() {
        return Err(unspecific());
    }
    let mut capabilities = Vec::new();
    while !all.is_empty() {
        let kind = all.u8().ok_or_else(unspecific)?;
        let length = if extended {
            all.u16()
        } else {
            all.u8().map(u16::from)
        };
        let length = length.ok_or_else(unspecific)?;
        let mut value = all.part(length.into()).ok_or_else(unspecific)?;
        if kind != CAPABILITIES {
            return Err(Notification::new(Kind::OPTIONAL_PARAMETER));
        }
        while !value.is_empty() {
            let capability = Capability::decode(&mut value).ok_or_else(unspecific)?;
            capabilities.push(capability);
        }
    }
    Ok(capabilities)
}
