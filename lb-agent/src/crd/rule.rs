//! Rules in CEL that several kinds have.
//!
//! Functions beyond the language are those of Kubernetes 1.31: `isIP`,
//! `isCIDR`, `ip`. Lists and texts that rules look at have limits, as API
//! servers refuse rules that may be expensive.

use kube::core::Rule;
use schemars::{Schema, json_schema};

/// Elements of a list of selectors or names, far beyond what anybody writes.
pub(super) const LIST_MAX: usize = 256;
/// A name of an object, and most other texts.
pub(super) const TEXT_MAX: usize = 253;
pub(super) const ADDRESSES_MAX: usize = 1024;
/// The longest range: two IPv6 addresses with blanks around.
pub(super) const ADDRESS_MAX: usize = 100;

/// Durations as Go writes them.
pub(super) const DURATION: &str = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$|^0$";

/// No text stands in the list twice.
pub(super) fn once(field: &str) -> Rule {
    let rule = "self.all(one, self.exists_one(other, other == one))";
    Rule::new(rule).message(&*format!("duplicate definition in {field}"))
}

/// Empty, which is as good as absent, or an address.
pub(super) fn address(what: &str) -> Rule {
    Rule::new("self == '' || isIP(self)").message(&*format!("invalid {what}: not an IP address"))
}

/// Texts each of which obeys a rule: what is refused is told with its place.
pub(super) fn texts(rule: &Rule, length_max: usize) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": LIST_MAX,
        "items": {
            "type": "string",
            "maxLength": length_max,
            "x-kubernetes-validations": [rule],
        },
    })
}

/// A community, if it has a colon: what has none may be an alias.
pub(super) fn community_or_alias() -> Rule {
    let rule = format!("!self.contains(':') || ({COMMUNITY})");
    Rule::new(rule).message(COMMUNITY_MESSAGE)
}

pub(super) fn community() -> Rule {
    Rule::new(COMMUNITY).message(COMMUNITY_MESSAGE)
}

const COMMUNITY_MESSAGE: &str = "invalid community value: it is number:number up to 65535, or large:number:number:number up \
     to 4294967295";

/// Numbers of up to ten digits fit into CEL's.
const COMMUNITY: &str = "(self.matches('^[0-9]{1,10}:[0-9]{1,10}$') && \
    self.split(':').all(part, int(part) <= 65535)) || \
    (self.matches('^large:[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$') && \
    self.split(':').all(part, part == 'large' || int(part) <= 4294967295))";
