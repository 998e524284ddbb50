//! UPDATE: routes come and go (RFC 4271 section 4.3).

use alloc::vec::Vec;
use core::fmt;

use ipnet::IpNet;

use super::encode::put_long;
use super::reader::Reader;
use super::{Attributes, Context, Family, Kind, MpUnreach, Notification, UPDATE, nlri, whole};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// IPv4.
    pub withdrawn: Vec<IpNet>,
    pub attributes: Attributes,
    /// IPv4, with the attribute NEXT_HOP.
    pub announced: Vec<IpNet>,
}

/// An UPDATE that came in, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub update: Update,
    /// The worst that is wrong with it.
    pub flaw: Option<Flaw>,
}

/// What is wrong, and survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The attribute's type; 0: none.
    pub attribute: u8,
    pub treatment: Treatment,
    pub reason: &'static str,
}

/// RFC 7606 section 2; the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// As if the attribute was not there.
    Discard,
    /// As if the routes were withdrawn.
    Withdraw,
}

impl Flaw {
    pub(super) const fn new(attribute: u8, treatment: Treatment, reason: &'static str) -> Self {
        Self {
            attribute,
            treatment,
            reason,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.treatment {
            Treatment::Discard => "the attribute is ignored",
            Treatment::Withdraw => "its routes count as withdrawn",
        };
        write!(f, "attribute {} {}: {what}", self.attribute, self.reason)
    }
}

impl Update {
    /// All routes of the family have been told (RFC 4724 section 2).
    #[must_use]
    pub fn end_of_rib(family: Family) -> Self {
        let mut update = Self::default();
        if family != Family::IPV4 {
            let prefixes = Vec::new();
            update.attributes.unreach = Some(MpUnreach { family, prefixes });
        }
        update
    }

    /// Of which family all routes have been told.
    #[must_use]
    pub fn ends_rib_of(&self) -> Option<Family> {
        let unreach = self.attributes.unreach.as_ref();
        let family = unreach.map_or(Family::IPV4, |unreach| unreach.family);
        (*self == Self::end_of_rib(family)).then_some(family)
    }

    /// How many prefixes it tells, and takes back.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let reach = self.attributes.reach.as_ref();
        let unreach = self.attributes.unreach.as_ref();
        let more = (
            reach.map_or(0, |reach| reach.prefixes.len()),
            unreach.map_or(0, |unreach| unreach.prefixes.len()),
        );
        (
            self.announced.len().saturating_add(more.0),
            self.withdrawn.len().saturating_add(more.1),
        )
    }

    /// # Panics
    /// If it is longer than any message can be: see `rib`, which splits.
    #[must_use]
    pub fn encode(&self, as4: bool) -> Vec<u8> {
        let prefixes = |all: &[IpNet]| {
            let mut bytes = Vec::new();
            for prefix in all {
                nlri::put(&mut bytes, prefix);
            }
            bytes
        };
        let mut body = Vec::new();
        put_long(&mut body, &prefixes(&self.withdrawn));
        put_long(&mut body, &self.attributes.encode(as4));
        body.extend(prefixes(&self.announced));
        whole(UPDATE, &body)
    }
}

impl Received {
    pub(super) fn decode(mut reader: Reader<'_>, context: &Context) -> Result<Self, Notification> {
        // RFC 7606 section 3 b: only what cannot be taken apart ends the session.
        let malformed = || Notification::new(Kind::ATTRIBUTE_LIST);
        let withdrawn = reader.u16().ok_or_else(malformed)?;
        let withdrawn = reader.part(withdrawn.into()).ok_or_else(malformed)?;
        let attributes = reader.u16().ok_or_else(malformed)?;
        let attributes = reader.part(attributes.into()).ok_or_else(malformed)?;
        let network = || Notification::new(Kind::NETWORK_FIELD);
        let withdrawn = nlri::read(withdrawn, Family::IPV4).ok_or_else(network)?;
        let announced = nlri::read(reader, Family::IPV4).ok_or_else(network)?;
        let (attributes, mut flaws) = Attributes::decode(attributes, context)?;
        let update = Update {
            withdrawn,
            attributes,
            announced,
        };
        flaws.extend(missing(&update));
        flaws.sort_by_key(|flaw| flaw.treatment);
        Ok(Self {
            flaw: flaws.pop(),
            update,
        })
    }
}

/// Routes must have these (RFC 4271 section 5, RFC 4760 section 3).
fn missing(update: &Update) -> Option<Flaw> {
    const REASON: &str = "is missing";
    let (announced, _) = update.counts();
    let attributes = &update.attributes;
    if announced == 0 {
        return None;
    }
    let absent = if attributes.origin.is_none() {
        1
    } else if attributes.as_path.is_none() {
        2
    } else if !update.announced.is_empty() && attributes.next_hop.is_none() {
        3
    } else {
        return None;
    };
    Some(Flaw::new(absent, Treatment::Withdraw, REASON))
}
