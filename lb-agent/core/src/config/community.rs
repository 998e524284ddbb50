//! BGP communities (RFC 1997, RFC 8092), and names for them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use super::declared::{CommunitySpec, Object};
use super::refused::Refusals;
use super::{Place, Reason};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    Standard(u16, u16),
    Large(u32, u32, u32),
}

impl FromStr for Community {
    type Err = Reason;

    /// `65535:65281`, `large:64512:1:2`. What has no colon may be an alias.
    fn from_str(text: &str) -> Result<Self, Reason> {
        let wrong = || Reason::CommunityValue {
            value: text.to_string(),
        };
        if let Some(large) = text.strip_prefix("large:") {
            let mut parts = large.split(':').map(number::<u32>);
            return match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(Some(a)), Some(Some(b)), Some(Some(c)), None) => Ok(Self::Large(a, b, c)),
                _ => Err(wrong()),
            };
        }
        match text.split_once(':') {
            Some((high, low)) => match (number(high), number(low)) {
                (Some(high), Some(low)) => Ok(Self::Standard(high, low)),
                _ => Err(wrong()),
            },
            None => Err(Reason::CommunityUnknown {
                alias: text.to_string(),
            }),
        }
    }
}

/// Digits only: no sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(high, low) => write!(f, "{high}:{low}"),
            Self::Large(global, one, two) => write!(f, "large:{global}:{one}:{two}"),
        }
    }
}

/// The aliases of all `Community` objects, in one namespace.
pub(super) fn aliases(
    objects: &[Object<CommunitySpec>],
    refusals: &mut Refusals,
) -> BTreeMap<String, Community> {
    let mut all = BTreeMap::new();
    let mut defined: BTreeMap<&str, &Place> = BTreeMap::new();
    for object in objects {
        for (index, (alias, value)) in object.spec.aliases.iter().enumerate() {
            let field = |name: &str| format!("communities[{index}].{name}");
            let place = &object.place;
            if let Some(other) = defined.insert(alias, place) {
                let reason = Reason::CommunityDefined {
                    alias: alias.clone(),
                    other: other.clone(),
                };
                refusals.refuse(place, &field("name"), reason);
            }
            // An alias of an alias is none.
            let read = value
                .parse()
                .map_err(|_no_alias_of_an_alias| Reason::CommunityValue {
                    value: value.clone(),
                });
            let read = refusals.keep(place, &field("value"), read);
            all.extend(read.map(|community| (alias.clone(), community)));
        }
    }
    all
}
