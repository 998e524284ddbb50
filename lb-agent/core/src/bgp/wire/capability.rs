//! What a speaker can do, as OPEN says it (RFC 5492).

use alloc::vec::Vec;

use super::Family;
use super::encode::put_short;
use super::reader::Reader;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// RFC 4760.
    MultiProtocol(Family),
    /// RFC 2918.
    RouteRefresh,
    /// Routes of the first family with next hops of the AFI (RFC 8950).
    ExtendedNextHop(Vec<(Family, u16)>),
    /// RFC 8654.
    ExtendedMessage,
    GracefulRestart(GracefulRestart),
    /// The real AS number (RFC 6793).
    As4(u32),
    /// RFC 7313.
    EnhancedRouteRefresh,
    Other {
        code: u8,
        value: Vec<u8>,
    },
}

/// RFC 4724, and its notification bit (RFC 8538).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// This speaker has just restarted.
    pub restarted: bool,
    /// A NOTIFICATION does not end it either.
    pub notification: bool,
    /// How long the other side keeps routes for it, at most 4095 s.
    pub time_s: u16,
    pub families: Vec<GracefulFamily>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulFamily {
    pub family: Family,
    /// It went on forwarding.
    pub preserved: bool,
}

const MULTI_PROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const AS4: u8 = 65;
const ENHANCED_ROUTE_REFRESH: u8 = 70;

const RESTARTED: u16 = 0x8000;
const NOTIFIES: u16 = 0x4000;
const TIME: u16 = 0x0fff;
const PRESERVED: u8 = 0x80;

impl Capability {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        let code = match self {
            Self::MultiProtocol(family) => {
                value.extend(family.afi.to_be_bytes());
                value.extend([0, family.safi]);
                MULTI_PROTOCOL
            }
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedNextHop(all) => {
                for (family, next_hop) in all {
                    value.extend(family.afi.to_be_bytes());
                    value.extend(u16::from(family.safi).to_be_bytes());
                    value.extend(next_hop.to_be_bytes());
                }
                EXTENDED_NEXT_HOP
            }
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::GracefulRestart(restart) => {
                restart.encode(&mut value);
                GRACEFUL_RESTART
            }
            Self::As4(number) => {
                value.extend(number.to_be_bytes());
                AS4
            }
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::Other { code, value: bytes } => {
                value.clone_from(bytes);
                *code
            }
        };
        out.push(code);
        put_short(out, &value);
    }

    /// One that has not the form of its kind is [`Self::Other`], and counts for
    /// nothing. None at the end, and if it reaches beyond.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let code = reader.u8()?;
        let length = reader.u8()?;
        let value = reader.part(usize::from(length))?;
        let known = match code {
            MULTI_PROTOCOL => multi_protocol(value).map(Self::MultiProtocol),
            ROUTE_REFRESH if value.is_empty() => Some(Self::RouteRefresh),
            EXTENDED_NEXT_HOP => extended_next_hop(value).map(Self::ExtendedNextHop),
            EXTENDED_MESSAGE if value.is_empty() => Some(Self::ExtendedMessage),
            GRACEFUL_RESTART => GracefulRestart::decode(value).map(Self::GracefulRestart),
            AS4 => <[u8; 4]>::try_from(value.rest())
                .ok()
                .map(|number| Self::As4(u32::from_be_bytes(number))),
            ENHANCED_ROUTE_REFRESH if value.is_empty() => Some(Self::EnhancedRouteRefresh),
            _ => None,
        };
        Some(known.unwrap_or_else(|| Self::Other {
            code,
            value: value.rest().to_vec(),
        }))
    }
}

fn multi_protocol(value: Reader<'_>) -> Option<Family> {
    let [afi_high, afi_low, _reserved, safi] = <[u8; 4]>::try_from(value.rest()).ok()?;
    Some(Family {
        afi: u16::from_be_bytes([afi_high, afi_low]),
        safi,
    })
}

fn extended_next_hop(mut value: Reader<'_>) -> Option<Vec<(Family, u16)>> {
    let mut all = Vec::new();
    while !value.is_empty() {
        let (afi, safi, next_hop) = (value.u16()?, value.u16()?, value.u16()?);
        // SAFIs have one byte everywhere else; a larger one is none of ours.
        let safi = u8::try_from(safi).unwrap_or_default();
        all.push((Family { afi, safi }, next_hop));
    }
    Some(all)
}

impl GracefulRestart {
    fn encode(&self, value: &mut Vec<u8>) {
        let mut head = self.time_s.min(TIME);
        for (set, flag) in [(self.restarted, RESTARTED), (self.notification, NOTIFIES)] {
            head |= if set { flag } else { 0 };
        }
        value.extend(head.to_be_bytes());
        for GracefulFamily { family, preserved } in &self.families {
            value.extend(family.afi.to_be_bytes());
            value.extend([family.safi, if *preserved { PRESERVED } else { 0 }]);
        }
    }

    fn decode(mut value: Reader<'_>) -> Option<Self> {
        let head = value.u16()?;
        let mut families = Vec::new();
        while !value.is_empty() {
            let (afi, safi, flags) = (value.u16()?, value.u8()?, value.u8()?);
            families.push(GracefulFamily {
                family: Family { afi, safi },
                preserved: flags & PRESERVED != 0,
            });
        }
        Some(Self {
            restarted: head & RESTARTED != 0,
            notification: head & NOTIFIES != 0,
            time_s: head & TIME,
            families,
        })
    }
}
