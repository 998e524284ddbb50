//! Path attributes (RFC 4271 section 5, RFC 4760, 1997, 8092), and what is done
//! about wrong ones (RFC 7606).

mod decode;

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::encode::{put_long, put_short};
use super::{AS_TRANS, Family, nlri};

/// Those of an UPDATE that mean something here. Others are read over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub origin: Option<Origin>,
    pub as_path: Option<Vec<Segment>>,
    pub next_hop: Option<Ipv4Addr>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    /// Sorted by whoever sends them.
    pub communities: Vec<(u16, u16)>,
    pub large_communities: Vec<(u32, u32, u32)>,
    pub reach: Option<MpReach>,
    pub unreach: Option<MpUnreach>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Igp,
    Egp,
    Incomplete,
}

/// A part of an AS_PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Set(Vec<u32>),
    Sequence(Vec<u32>),
    /// RFC 5065.
    ConfederationSequence(Vec<u32>),
    ConfederationSet(Vec<u32>),
}

/// Routes of any family (RFC 4760).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpReach {
    pub family: Family,
    pub next_hop: IpAddr,
    /// Beside an IPv6 next hop (RFC 2545).
    pub link_local: Option<Ipv6Addr>,
    /// Empty also for families that were not agreed on.
    pub prefixes: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpUnreach {
    pub family: Family,
    pub prefixes: Vec<IpNet>,
}

mod kind {
    pub(super) const ORIGIN: u8 = 1;
    pub(super) const AS_PATH: u8 = 2;
    pub(super) const NEXT_HOP: u8 = 3;
    pub(super) const MED: u8 = 4;
    pub(super) const LOCAL_PREF: u8 = 5;
    pub(super) const ATOMIC_AGGREGATE: u8 = 6;
    pub(super) const AGGREGATOR: u8 = 7;
    pub(super) const COMMUNITIES: u8 = 8;
    pub(super) const ORIGINATOR_ID: u8 = 9;
    pub(super) const CLUSTER_LIST: u8 = 10;
    pub(super) const MP_REACH: u8 = 14;
    pub(super) const MP_UNREACH: u8 = 15;
    pub(super) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(super) const AS4_PATH: u8 = 17;
    pub(super) const AS4_AGGREGATOR: u8 = 18;
    pub(super) const LARGE_COMMUNITIES: u8 = 32;
}

mod flag {
    pub(super) const OPTIONAL: u8 = 0x80;
    pub(super) const TRANSITIVE: u8 = 0x40;
    pub(super) const EXTENDED_LENGTH: u8 = 0x10;
}

impl Segment {
    const fn kind(&self) -> u8 {
        match self {
            Self::Set(_) => 1,
            Self::Sequence(_) => 2,
            Self::ConfederationSequence(_) => 3,
            Self::ConfederationSet(_) => 4,
        }
    }

    fn numbers(&self) -> &[u32] {
        match self {
            Self::Set(numbers)
            | Self::Sequence(numbers)
            | Self::ConfederationSequence(numbers)
            | Self::ConfederationSet(numbers) => numbers,
        }
    }
}

impl Attributes {
    /// Those that are there. MP_REACH or MP_UNREACH is the first (RFC 7606
    /// section 5.1).
    pub(super) fn encode(&self, as4: bool) -> Vec<u8> {
        const WELL_KNOWN: u8 = flag::TRANSITIVE;
        let mut out = Vec::new();
        if let Some(reach) = &self.reach {
            put(&mut out, flag::OPTIONAL, kind::MP_REACH, &reach.encode());
        }
        if let Some(unreach) = &self.unreach {
            put(
                &mut out,
                flag::OPTIONAL,
                kind::MP_UNREACH,
                &unreach.encode(),
            );
        }
        if let Some(origin) = self.origin {
            let origin = match origin {
                Origin::Igp => 0,
                Origin::Egp => 1,
                Origin::Incomplete => 2,
            };
            put(&mut out, WELL_KNOWN, kind::ORIGIN, &[origin]);
        }
        if let Some(path) = &self.as_path {
            put_as_path(&mut out, path, as4);
        }
        if let Some(next_hop) = self.next_hop {
            put(&mut out, WELL_KNOWN, kind::NEXT_HOP, &next_hop.octets());
        }
        if let Some(med) = self.med {
            put(&mut out, flag::OPTIONAL, kind::MED, &med.to_be_bytes());
        }
        if let Some(local_pref) = self.local_pref {
            let value = local_pref.to_be_bytes();
            put(&mut out, WELL_KNOWN, kind::LOCAL_PREF, &value);
        }
        const OPTIONAL: u8 = flag::OPTIONAL | flag::TRANSITIVE;
        if !self.communities.is_empty() {
            let bytes = |(high, low): &(u16, u16)| [high.to_be_bytes(), low.to_be_bytes()];
            let value: Vec<u8> = self.communities.iter().flat_map(bytes).flatten().collect();
            put(&mut out, OPTIONAL, kind::COMMUNITIES, &value);
        }
        if !self.large_communities.is_empty() {
            let parts = |(a, b, c): &(u32, u32, u32)| [*a, *b, *c].map(u32::to_be_bytes);
            let all = self.large_communities.iter();
            let value: Vec<u8> = all.flat_map(parts).flatten().collect();
            put(&mut out, OPTIONAL, kind::LARGE_COMMUNITIES, &value);
        }
        out
    }
}

/// In two bytes each where the peer knows no four, with the truth beside it
/// (RFC 6793 section 4.2.2).
fn put_as_path(out: &mut Vec<u8>, path: &[Segment], as4: bool) {
    let encode = |as4: bool| {
        let mut value = Vec::new();
        for segment in path {
            let numbers = segment.numbers();
            // 255 in each; ours have one.
            for part in numbers.chunks(255) {
                value.push(segment.kind());
                value.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                for number in part {
                    if as4 {
                        value.extend(number.to_be_bytes());
                    } else {
                        let short = u16::try_from(*number).unwrap_or(AS_TRANS);
                        value.extend(short.to_be_bytes());
                    }
                }
            }
        }
        value
    };
    put(out, flag::TRANSITIVE, kind::AS_PATH, &encode(as4));
    let mut numbers = path.iter().flat_map(|segment| segment.numbers());
    if !as4 && numbers.any(|number| u16::try_from(*number).is_err()) {
        let flags = flag::OPTIONAL | flag::TRANSITIVE;
        put(out, flags, kind::AS4_PATH, &encode(true));
    }
}

fn put(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    if value.len() > usize::from(u8::MAX) {
        out.extend([flags | flag::EXTENDED_LENGTH, kind]);
        put_long(out, value);
    } else {
        out.extend([flags, kind]);
        put_short(out, value);
    }
}

impl MpReach {
    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        value.extend(self.family.afi.to_be_bytes());
        value.push(self.family.safi);
        let mut next_hop = Vec::new();
        match self.next_hop {
            IpAddr::V4(v4) => next_hop.extend(v4.octets()),
            IpAddr::V6(v6) => {
                next_hop.extend(v6.octets());
                next_hop.extend(self.link_local.iter().flat_map(Ipv6Addr::octets));
            }
        }
        put_short(&mut value, &next_hop);
        // Reserved.
        value.push(0);
        for prefix in &self.prefixes {
            nlri::put(&mut value, prefix);
        }
        value
    }
}

impl MpUnreach {
    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        value.extend(self.family.afi.to_be_bytes());
        value.push(self.family.safi);
        for prefix in &self.prefixes {
            nlri::put(&mut value, prefix);
        }
        value
    }
}
