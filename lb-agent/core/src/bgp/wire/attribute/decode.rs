//! Attributes as they come in. What is wrong with one is survived wherever RFC
//! 7606 says so.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use super::super::reader::Reader;
use super::super::update::{Flaw, Treatment};
use super::super::{Context, Family, Kind, Notification, nlri};
use super::{Attributes, MpReach, MpUnreach, Origin, Segment, flag, kind};

/// What was wrong, worst last.
type Flaws = Vec<Flaw>;

/// Why an attribute cannot be used: how bad that is (RFC 7606 section 7), or
/// the end of the session.
enum Trouble {
    Flaw(Treatment, &'static str),
    Reset(Kind),
}

const fn withdraw(reason: &'static str) -> Trouble {
    Trouble::Flaw(Treatment::Withdraw, reason)
}

const fn discard(reason: &'static str) -> Trouble {
    Trouble::Flaw(Treatment::Discard, reason)
}

/// One attribute, as it stands there.
struct Raw<'a> {
    flags: u8,
    kind: u8,
    value: Reader<'a>,
    /// With flags and type, to be quoted.
    whole: &'a [u8],
}

impl<'a> Raw<'a> {
    fn next(reader: &mut Reader<'a>) -> Option<Self> {
        let before = reader.rest();
        let (flags, kind) = (reader.u8()?, reader.u8()?);
        let length = if flags & flag::EXTENDED_LENGTH == 0 {
            usize::from(reader.u8()?)
        } else {
            usize::from(reader.u16()?)
        };
        let value = reader.part(length)?;
        let used = before.len().saturating_sub(reader.rest().len());
        Some(Self {
            flags,
            kind,
            value,
            whole: before.get(..used).unwrap_or_default(),
        })
    }

    /// Whether optional and transitive are as this attribute has them
    /// (section 3 c). Unknown for attributes that are not known.
    fn flags_fit(&self) -> Option<bool> {
        const BOTH: u8 = flag::OPTIONAL | flag::TRANSITIVE;
        let expected = match self.kind {
            kind::ORIGIN
            | kind::AS_PATH
            | kind::NEXT_HOP
            | kind::LOCAL_PREF
            | kind::ATOMIC_AGGREGATE => flag::TRANSITIVE,
            kind::MED
            | kind::ORIGINATOR_ID
            | kind::CLUSTER_LIST
            | kind::MP_REACH
            | kind::MP_UNREACH => flag::OPTIONAL,
            kind::AGGREGATOR
            | kind::COMMUNITIES
            | kind::EXTENDED_COMMUNITIES
            | kind::AS4_PATH
            | kind::AS4_AGGREGATOR
            | kind::LARGE_COMMUNITIES => BOTH,
            _ => return None,
        };
        Some(self.flags & BOTH == expected)
    }
}

impl Attributes {
    pub(in super::super) fn decode(
        mut reader: Reader<'_>,
        context: &Context,
    ) -> Result<(Self, Flaws), Notification> {
        let mut attributes = Self::default();
        let mut flaws = Flaws::new();
        let mut seen = [false; 256];
        while !reader.is_empty() {
            let Some(raw) = Raw::next(&mut reader) else {
                // Section 4: the end of the attributes is known from elsewhere.
                flaws.push(Flaw::new(0, Treatment::Withdraw, "reaches beyond the end"));
                break;
            };
            let first = seen
                .get_mut(usize::from(raw.kind))
                .is_some_and(|seen| !core::mem::replace(seen, true));
            if !first {
                // Section 3 g.
                if matches!(raw.kind, kind::MP_REACH | kind::MP_UNREACH) {
                    return Err(Notification::new(Kind::ATTRIBUTE_LIST));
                }
                flaws.push(Flaw::new(raw.kind, Treatment::Discard, "is there twice"));
                continue;
            }
            let read = match raw.flags_fit() {
                Some(true) => attributes.read(&raw, context),
                Some(false) => Err(withdraw("has wrong flags")),
                // RFC 4271 section 6.3: whoever says that everybody must know
                // it, and we do not, cannot be talked with.
                None if raw.flags & flag::OPTIONAL == 0 => Err(Trouble::Reset(Kind::WELL_KNOWN)),
                None => Ok(()),
            };
            match read {
                Ok(()) => {}
                Err(Trouble::Flaw(treatment, reason)) => {
                    flaws.push(Flaw::new(raw.kind, treatment, reason));
                }
                Err(Trouble::Reset(kind)) => return Err(Notification::with(kind, raw.whole)),
            }
        }
        flaws.sort_by_key(|flaw| flaw.treatment);
        Ok((attributes, flaws))
    }

    fn read(&mut self, raw: &Raw<'_>, context: &Context) -> Result<(), Trouble> {
        let value = raw.value;
        match raw.kind {
            kind::ORIGIN => self.origin = Some(origin(value)?),
            kind::AS_PATH => {
                let path = as_path(value, context.as4);
                self.as_path = Some(path.ok_or(withdraw("has wrong segments"))?);
            }
            kind::NEXT_HOP => {
                let octets: [u8; 4] = exactly(value)?;
                self.next_hop = Some(octets.into());
            }
            kind::MED => self.med = Some(u32::from_be_bytes(exactly(value)?)),
            // Section 7.5: between ASes it means nothing.
            kind::LOCAL_PREF | kind::ORIGINATOR_ID | kind::CLUSTER_LIST if !context.internal => {
                return Err(discard("is for peers of one AS"));
            }
            kind::LOCAL_PREF => self.local_pref = Some(u32::from_be_bytes(exactly(value)?)),
            kind::ORIGINATOR_ID => drop(exactly::<4>(value)?),
            kind::CLUSTER_LIST => drop(parts::<4>(value)?),
            kind::ATOMIC_AGGREGATE if !value.is_empty() => {
                return Err(discard("has a wrong length"));
            }
            kind::AGGREGATOR if value.rest().len() != if context.as4 { 8 } else { 6 } => {
                return Err(discard("has a wrong length"));
            }
            kind::COMMUNITIES => {
                let read = |[a, b, c, d]: &[u8; 4]| {
                    (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
                };
                self.communities = parts::<4>(value)?.iter().map(read).collect();
            }
            kind::EXTENDED_COMMUNITIES => drop(parts::<8>(value)?),
            kind::LARGE_COMMUNITIES => {
                self.large_communities = parts::<12>(value)?.iter().map(large).collect();
            }
            kind::MP_REACH => self.reach = Some(mp_reach(value, context)?),
            kind::MP_UNREACH => self.unreach = Some(mp_unreach(value, context)?),
            _ => {}
        }
        Ok(())
    }
}

fn exactly<const N: usize>(value: Reader<'_>) -> Result<[u8; N], Trouble> {
    value
        .rest()
        .try_into()
        .map_err(|_says_no_more| withdraw("has a wrong length"))
}

/// One or more of that size.
fn parts<const N: usize>(value: Reader<'_>) -> Result<&[[u8; N]], Trouble> {
    let (parts, rest) = value.rest().as_chunks::<N>();
    if parts.is_empty() || !rest.is_empty() {
        return Err(withdraw("has a wrong length"));
    }
    Ok(parts)
}

fn origin(value: Reader<'_>) -> Result<Origin, Trouble> {
    match exactly(value)? {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        _ => Err(withdraw("has an undefined value")),
    }
}

fn large(bytes: &[u8; 12]) -> (u32, u32, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    let number = u32::from_be_bytes;
    (
        number([a, b, c, d]),
        number([e, f, g, h]),
        number([i, j, k, l]),
    )
}

/// None if it is malformed (RFC 7606 section 7.2).
fn as_path(mut value: Reader<'_>, as4: bool) -> Option<Vec<Segment>> {
    let mut path = Vec::new();
    while let Some(kind) = value.u8() {
        let count = value.u8().filter(|count| *count > 0)?;
        let mut numbers = Vec::with_capacity(count.into());
        for _ in 0..count {
            numbers.push(if as4 {
                value.u32()?
            } else {
                value.u16()?.into()
            });
        }
        path.push(match kind {
            1 => Segment::Set(numbers),
            2 => Segment::Sequence(numbers),
            3 => Segment::ConfederationSequence(numbers),
            4 => Segment::ConfederationSet(numbers),
            _ => return None,
        });
    }
    Some(path)
}

fn family(value: &mut Reader<'_>) -> Result<Family, Trouble> {
    match (value.u16(), value.u8()) {
        (Some(afi), Some(safi)) => Ok(Family { afi, safi }),
        _ => Err(Trouble::Reset(Kind::OPTIONAL_ATTRIBUTE)),
    }
}

/// Prefixes that cannot be told apart end the session (section 5.3); those of
/// families that were not agreed on are read over.
fn prefixes(
    value: Reader<'_>,
    family: Family,
    context: &Context,
) -> Result<Vec<ipnet::IpNet>, Trouble> {
    if !context.families.contains(&family) {
        return Ok(Vec::new());
    }
    nlri::read(value, family).ok_or(Trouble::Reset(Kind::OPTIONAL_ATTRIBUTE))
}

fn mp_reach(mut value: Reader<'_>, context: &Context) -> Result<MpReach, Trouble> {
    // Section 7.11: a wrong next hop hides where the prefixes begin.
    let malformed = || Trouble::Reset(Kind::OPTIONAL_ATTRIBUTE);
    let family = family(&mut value)?;
    let length = value.u8().ok_or_else(malformed)?;
    let mut next_hop = value.part(length.into()).ok_or_else(malformed)?;
    let _reserved = value.u8().ok_or_else(malformed)?;
    let (next_hop, link_local) = match length {
        4 if family == Family::IPV4 => {
            let octets = next_hop.array::<4>().ok_or_else(malformed)?;
            (IpAddr::from(octets), None)
        }
        16 | 32 => {
            let octets = next_hop.array::<16>().ok_or_else(malformed)?;
            let link_local = next_hop.array::<16>().map(Ipv6Addr::from);
            (IpAddr::from(octets), link_local)
        }
        _ if context.families.contains(&family) => return Err(malformed()),
        _ => (IpAddr::from([0; 4]), None),
    };
    Ok(MpReach {
        family,
        next_hop,
        link_local,
        prefixes: prefixes(value, family, context)?,
    })
}

fn mp_unreach(mut value: Reader<'_>, context: &Context) -> Result<MpUnreach, Trouble> {
    let family = family(&mut value)?;
    Ok(MpUnreach {
        family,
        prefixes: prefixes(value, family, context)?,
    })
}
