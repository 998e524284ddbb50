//! Where something was said: an object, and a field in it.

use alloc::format;
use alloc::string::{String, ToString as _};
use core::fmt;

/// An object, or the part of one, that says something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub object: ObjectName,
    /// The path of the entry in MetalLB's ConfigMap; none for an object of
    /// its own.
    pub entry: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// As in its `kind`.
    pub kind: &'static str,
    pub name: String,
}

/// The kinds of the group `metallb.io` that make up the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    IpAddressPool,
    L2Advertisement,
    BgpAdvertisement,
    BgpPeer,
    Community,
    BfdProfile,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::IpAddressPool,
        Self::L2Advertisement,
        Self::BgpAdvertisement,
        Self::BgpPeer,
        Self::Community,
        Self::BfdProfile,
    ];

    /// The kind of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpAddressPool => "IPAddressPool",
            Self::L2Advertisement => "L2Advertisement",
            Self::BgpAdvertisement => "BGPAdvertisement",
            Self::BgpPeer => "BGPPeer",
            Self::Community => "Community",
            Self::BfdProfile => "BFDProfile",
        }
    }
}

impl Place {
    /// An entry of MetalLB's ConfigMap of this name.
    #[must_use]
    pub fn entry(config_map: &str, entry: String) -> Self {
        Self {
            object: ObjectName {
                kind: "ConfigMap",
                name: config_map.to_string(),
            },
            entry: Some(entry),
        }
    }

    #[must_use]
    pub fn object(kind: Kind, name: &str) -> Self {
        Self {
            object: ObjectName {
                kind: kind.name(),
                name: name.to_string(),
            },
            entry: None,
        }
    }

    /// The path of the name.
    #[must_use]
    pub fn name_field(&self) -> String {
        match &self.entry {
            None => "metadata.name".to_string(),
            Some(entry) => format!("{entry}.name"),
        }
    }

    /// The path of a field, as it stands in this object. `field` is that of
    /// the object of its own: `addresses[1]`.
    #[must_use]
    pub fn field(&self, field: &str) -> String {
        match &self.entry {
            None => format!("spec.{field}"),
            Some(entry) => format!("{entry}.{}", kebab(field)),
        }
    }
}

/// The names of MetalLB 0.12: `myASN` was `my-asn`.
fn kebab(field: &str) -> String {
    let mut text = String::new();
    let mut previous = '-';
    for c in field.chars() {
        if c.is_ascii_uppercase() && (previous.is_ascii_lowercase() || previous.is_ascii_digit()) {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
        previous = c;
    }
    text.replace("local-pref", "localpref")
        .replace("multi-hop", "multihop")
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            None => write!(f, "{}", self.object),
            Some(entry) => write!(f, "{} {entry}", self.object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_their_object() {
        let pool = Place::object(Kind::IpAddressPool, "first");
        assert_eq!(pool.object.to_string(), "IPAddressPool first");
        assert_eq!(pool.field("addresses[1]"), "spec.addresses[1]");
        let legacy = Place::entry("config", "peers[0]".to_string());
        for (field, expected) in [
            ("myASN", "my-asn"),
            ("routerID", "router-id"),
            ("ebgpMultiHop", "ebgp-multihop"),
            ("localPref", "localpref"),
            ("aggregationLengthV6", "aggregation-length-v6"),
            ("avoidBuggyIPs", "avoid-buggy-ips"),
            ("nodeSelectors[0]", "node-selectors[0]"),
        ] {
            assert_eq!(legacy.field(field), format!("peers[0].{expected}"));
        }
    }
}
