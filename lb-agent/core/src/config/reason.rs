//! Why something is refused: a name, and a sentence.
//!
//! Where MetalLB has a message, the sentence begins with it, so that what
//! people know and have found before still helps them.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;

use super::{Place, RangeError, SelectorError};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    MissingName,
    /// Two objects of a kind with one name.
    DuplicateName,
    /// A list that says the same twice.
    Duplicate {
        value: String,
    },
    Selector(SelectorError),
    NoAddresses,
    Range(RangeError),
    Overlap {
        addresses: String,
        other: String,
        pool: String,
    },
    Weight {
        weight: i32,
    },
    AggregationLength {
        length: i32,
        ipv4: bool,
    },
    /// The prefix that would be advertised is smaller than what the pool has.
    AggregationTooShort {
        length: u8,
        prefix: u8,
        pool: String,
        addresses: String,
    },
    AggregationWithSelectors,
    CommunityValue {
        value: String,
    },
    CommunityUnknown {
        alias: String,
    },
    CommunityDefined {
        alias: String,
        other: Place,
    },
    LocalPrefConflict {
        local_pref: u32,
        other: Place,
        other_local_pref: u32,
    },
    NoLocalAsn,
    NoPeerAsn,
    BothPeerAsns,
    DynamicAsn {
        value: String,
    },
    MultiHopOfIbgp,
    NoAddressOrInterface,
    BothAddressAndInterface,
    NotAnAddress {
        value: String,
    },
    RouterIdNotIpv4 {
        value: IpAddr,
    },
    Duration {
        value: String,
    },
    HoldTime {
        value: String,
    },
    KeepaliveTime {
        value: String,
        hold_s: u64,
    },
    ConnectTime {
        value: String,
    },
    BothPasswords,
    SecretMissing {
        secret: String,
    },
    SecretType {
        secret: String,
        kind: String,
    },
    SecretWithoutPassword {
        secret: String,
    },
    BfdProfileMissing {
        profile: String,
    },
    PeerExists {
        other: Place,
    },
    EchoWithIpv6 {
        pool: String,
        advertisement: String,
        peer: String,
    },
    OutOfRange {
        value: u32,
        min: u32,
        max: u32,
    },
    MissingProtocol,
    UnknownProtocol {
        value: String,
    },
    BgpAdvertisementsOfLayer2,
    EqualAdvertisements {
        other: usize,
    },
    /// The text is not what the format allows: unknown keys, wrong types.
    Format {
        message: String,
    },
}

impl Reason {
    /// The name, as it stands in conditions, metrics and `--output json`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MissingName => "MissingName",
            Self::DuplicateName => "DuplicateName",
            Self::Duplicate { .. } => "Duplicate",
            Self::Selector(_) => "Selector",
            Self::NoAddresses => "NoAddresses",
            Self::Range(_) => "Range",
            Self::Overlap { .. } => "Overlap",
            Self::Weight { .. } => "Weight",
            Self::AggregationLength { .. } => "AggregationLength",
            Self::AggregationTooShort { .. } => "AggregationTooShort",
            Self::AggregationWithSelectors => "AggregationWithSelectors",
            Self::CommunityValue { .. } => "CommunityValue",
            Self::CommunityUnknown { .. } => "CommunityUnknown",
            Self::CommunityDefined { .. } => "CommunityDefined",
            Self::LocalPrefConflict { .. } => "LocalPrefConflict",
            Self::NoLocalAsn => "NoLocalAsn",
            Self::NoPeerAsn => "NoPeerAsn",
            Self::BothPeerAsns => "BothPeerAsns",
            Self::DynamicAsn { .. } => "DynamicAsn",
            Self::MultiHopOfIbgp => "MultiHopOfIbgp",
            Self::NoAddressOrInterface => "NoAddressOrInterface",
            Self::BothAddressAndInterface => "BothAddressAndInterface",
            Self::NotAnAddress { .. } => "NotAnAddress",
            Self::RouterIdNotIpv4 { .. } => "RouterIdNotIpv4",
            Self::Duration { .. } => "Duration",
            Self::HoldTime { .. } => "HoldTime",
            Self::KeepaliveTime { .. } => "KeepaliveTime",
            Self::ConnectTime { .. } => "ConnectTime",
            Self::BothPasswords => "BothPasswords",
            Self::SecretMissing { .. } => "SecretMissing",
            Self::SecretType { .. } => "SecretType",
            Self::SecretWithoutPassword { .. } => "SecretWithoutPassword",
            Self::BfdProfileMissing { .. } => "BfdProfileMissing",
            Self::PeerExists { .. } => "PeerExists",
            Self::EchoWithIpv6 { .. } => "EchoWithIpv6",
            Self::OutOfRange { .. } => "OutOfRange",
            Self::MissingProtocol => "MissingProtocol",
            Self::UnknownProtocol { .. } => "UnknownProtocol",
            Self::BgpAdvertisementsOfLayer2 => "BgpAdvertisementsOfLayer2",
            Self::EqualAdvertisements { .. } => "EqualAdvertisements",
            Self::Format { .. } => "Format",
        }
    }

    /// Whether another object that is still to come can cure it.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::CommunityUnknown { .. }
                | Self::SecretMissing { .. }
                | Self::BfdProfileMissing { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingName => f.write_str("missing name"),
            Self::DuplicateName => f.write_str("duplicate definition: another one has this name"),
            Self::Duplicate { value } => write!(f, "duplicate definition of {value}"),
            Self::Selector(error) => write!(f, "invalid label selector: {error}"),
            Self::NoAddresses => f.write_str("pool has no prefixes defined"),
            Self::Range(error) => write!(f, "invalid CIDR or IP range: {error}"),
            Self::Overlap {
                addresses,
                other,
                pool,
            } => write!(
                f,
                "\"{addresses}\" overlaps with already defined \"{other}\" of pool \"{pool}\""
            ),
            Self::Weight { weight } => write!(f, "invalid weight {weight}, must be in 1-100 range"),
            Self::AggregationLength { length, ipv4 } => write!(
                f,
                "invalid aggregation length {length} for {}",
                if *ipv4 {
                    "IPv4: it may be 1 to 32"
                } else {
                    "IPv6: it may be 0 to 128"
                }
            ),
            Self::AggregationTooShort {
                length,
                prefix,
                pool,
                addresses,
            } => write!(
                f,
                "invalid aggregation length {length}: prefix {prefix} in pool \"{pool}\" is more \
                 specific than the aggregation length for addresses \"{addresses}\""
            ),
            Self::AggregationWithSelectors => f.write_str(
                "serviceSelectors and aggregationLength are mutually exclusive, can only be used \
                 together with default aggregationLength (32) and aggregationLengthV6 (128)",
            ),
            Self::CommunityValue { value } => write!(
                f,
                "invalid community value \"{value}\": it is \"number:number\" up to 65535, or \
                 \"large:number:number:number\" up to 4294967295"
            ),
            Self::CommunityUnknown { alias } => write!(
                f,
                "invalid community format \"{alias}\": it is no community, and no Community \
                 object defines an alias of that name"
            ),
            Self::CommunityDefined { alias, other } => write!(
                f,
                "duplicate definition of community \"{alias}\": {other} has it too"
            ),
            Self::LocalPrefConflict {
                local_pref,
                other,
                other_local_pref,
            } => write!(
                f,
                "invalid local preference {local_pref}: local preference {other_local_pref} was \
                 already set for the same type of BGP update by {other}. Check existing BGP \
                 advertisements with common pools and aggregation lengths"
            ),
            Self::NoLocalAsn => f.write_str("missing local ASN"),
            Self::NoPeerAsn => f.write_str("missing peer ASN and dynamicASN"),
            Self::BothPeerAsns => f.write_str("both peer ASN and dynamicASN specified"),
            Self::DynamicAsn { value } => write!(
                f,
                "invalid dynamicASN \"{value}\": it may be internal or external"
            ),
            Self::MultiHopOfIbgp => f.write_str(
                "invalid ebgp-multihop parameter set for an ibgp peer: both ASNs are the same",
            ),
            Self::NoAddressOrInterface => f.write_str("peer has no Address or Interface specified"),
            Self::BothAddressAndInterface => {
                f.write_str("peer has both Address and Interface specified")
            }
            Self::NotAnAddress { value } => write!(f, "\"{value}\" is not an IP address"),
            Self::RouterIdNotIpv4 { value } => write!(
                f,
                "invalid router ID {value}: it is written as an IPv4 address"
            ),
            Self::Duration { value } => {
                write!(f, "\"{value}\" is not a duration such as 90s or 1m30s")
            }
            Self::HoldTime { value } => write!(
                f,
                "invalid hold time \"{value}\": must be 0 or >=3s, and at most 65535s"
            ),
            Self::KeepaliveTime { value, hold_s } => write!(
                f,
                "invalid keepaliveTime \"{value}\", must be lower than holdTime \"{hold_s}s\""
            ),
            Self::ConnectTime { value } => write!(
                f,
                "invalid connect time \"{value}\": must be whole seconds, 1s to 65535s"
            ),
            Self::BothPasswords => {
                f.write_str("can not have both password and secret ref set in peer config")
            }
            Self::SecretMissing { secret } => write!(
                f,
                "secret ref not found: there is no Secret \"{secret}\" in the namespace of the \
                 configuration"
            ),
            Self::SecretType { secret, kind } => write!(
                f,
                "secret type mismatch on \"{secret}\": type \"{kind}\", but \
                 \"kubernetes.io/basic-auth\" is expected"
            ),
            Self::SecretWithoutPassword { secret } => write!(
                f,
                "password not specified in the secret \"{secret}\": its key is \"password\""
            ),
            Self::BfdProfileMissing { profile } => {
                write!(
                    f,
                    "peer is referencing non existing bfd profile \"{profile}\""
                )
            }
            Self::PeerExists { other } => write!(
                f,
                "peer already exists: {other} has the same address and port on a node that both \
                 select"
            ),
            Self::EchoWithIpv6 {
                pool,
                advertisement,
                peer,
            } => write!(
                f,
                "pool \"{pool}\" has bgpadvertisement \"{advertisement}\" which references peer \
                 \"{peer}\" which has bfd echo enabled, which is not possible with IPv6 addresses"
            ),
            Self::OutOfRange { value, min, max } => {
                write!(f, "invalid value {value}, must be in {min}-{max} range")
            }
            Self::MissingProtocol => {
                f.write_str("address pool is missing the protocol: it may be layer2 or bgp")
            }
            Self::UnknownProtocol { value } => {
                write!(f, "unknown protocol \"{value}\": it may be layer2 or bgp")
            }
            Self::BgpAdvertisementsOfLayer2 => f.write_str(
                "cannot have bgp-advertisements configuration element in a layer2 address pool",
            ),
            Self::EqualAdvertisements { other } => write!(
                f,
                "duplicate definition of bgpadvertisements: it is equal to entry {other}"
            ),
            Self::Format { message } => f.write_str(message),
        }
    }
}
