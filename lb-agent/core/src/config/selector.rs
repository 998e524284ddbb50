//! Which objects are meant, by their labels: `LabelSelector` of
//! apimachinery's `meta/v1`, with its rules for keys and values.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::Labels;

/// All parts must fit; one without parts fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelSelector {
    pub match_labels: Labels,
    pub match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    In(BTreeSet<String>),
    /// Also fits where the label is absent.
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// Why something is no selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SelectorError {
    Key { key: String },
    Value { key: String, value: String },
    Operator { key: String, operator: String },
    NoValues { key: String, operator: String },
    Values { key: String, operator: String },
}

impl LabelSelector {
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let all = |(key, value)| labels.get(key) == Some(value);
        self.match_labels.iter().all(all)
            && self.match_expressions.iter().all(|r| r.matches(labels))
    }

    /// Whether one of several fits, as all lists of selectors are meant.
    #[must_use]
    pub fn any(selectors: &[Self], labels: &Labels) -> bool {
        selectors.iter().any(|selector| selector.matches(labels))
    }

    /// # Errors
    /// A key or value that no label can have.
    pub fn of_labels(match_labels: Labels) -> Result<Self, SelectorError> {
        for (key, value) in &match_labels {
            check_key(key)?;
            check_value(key, value)?;
        }
        Ok(Self {
            match_labels,
            match_expressions: Vec::new(),
        })
    }
}

impl Requirement {
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// As an object says it.
    ///
    /// # Errors
    /// An unknown operator, values too many or too few, or a key or value that
    /// no label can have.
    pub fn new(key: &str, operator: &str, values: &[String]) -> Result<Self, SelectorError> {
        check_key(key)?;
        for value in values {
            check_value(key, value)?;
        }
        let names = || (key.to_string(), operator.to_string());
        let set = || values.iter().cloned().collect();
        let operator = match operator {
            "In" | "NotIn" if values.is_empty() => {
                let (key, operator) = names();
                return Err(SelectorError::NoValues { key, operator });
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let (key, operator) = names();
                return Err(SelectorError::Values { key, operator });
            }
            "In" => Operator::In(set()),
            "NotIn" => Operator::NotIn(set()),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => {
                let (key, operator) = names();
                return Err(SelectorError::Operator { key, operator });
            }
        };
        let key = key.to_string();
        Ok(Self { key, operator })
    }
}

/// A qualified name: `[prefix/]name`, the prefix a DNS subdomain.
fn check_key(key: &str) -> Result<(), SelectorError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let good = !name.is_empty() && is_name(name) && prefix.is_none_or(is_subdomain);
    good.then_some(()).ok_or_else(|| SelectorError::Key {
        key: key.to_string(),
    })
}

fn check_value(key: &str, value: &str) -> Result<(), SelectorError> {
    let good = value.is_empty() || is_name(value);
    good.then_some(()).ok_or_else(|| SelectorError::Value {
        key: key.to_string(),
        value: value.to_string(),
    })
}

/// Up to 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= 63 && text.bytes().all(inner) && ends_alphanumeric(text)
}

/// RFC 1123, as Kubernetes reads it: lower case, up to 253 characters.
fn is_subdomain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let part = |part: &str| part.bytes().all(inner) && ends_alphanumeric(part);
    text.len() <= 253 && text.split('.').all(part)
}

fn ends_alphanumeric(text: &str) -> bool {
    let (first, last) = (text.bytes().next(), text.bytes().next_back());
    let is = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is(first) && is(last)
}

/// As kubectl writes them: `app=web,tier in (a,b),!old`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.match_labels.is_empty() && self.match_expressions.is_empty() {
            return f.write_str("the selector of everything");
        }
        let mut separator = "";
        for (key, value) in &self.match_labels {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        for requirement in &self.match_expressions {
            write!(f, "{separator}{requirement}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            values.join(",")
        };
        let key = &self.key;
        match &self.operator {
            Operator::In(values) => write!(f, "{key} in ({})", list(values)),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key } => write!(f, "\"{key}\" cannot be the key of a label"),
            Self::Value { key, value } => {
                write!(f, "\"{value}\" cannot be the value of the label {key}")
            }
            Self::Operator { key, operator } => write!(
                f,
                "the operator for {key} is \"{operator}\": it may be In, NotIn, Exists or \
                 DoesNotExist"
            ),
            Self::NoValues { key, operator } => {
                write!(f, "{operator} for {key} needs values")
            }
            Self::Values { key, operator } => {
                write!(f, "{operator} for {key} takes no values")
            }
        }
    }
}

impl core::error::Error for SelectorError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn requirement(
        key: &str,
        operator: &str,
        values: &[&str],
    ) -> Result<Requirement, SelectorError> {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        Requirement::new(key, operator, &values)
    }

    #[test]
    fn operators_mean_what_they_mean_in_kubernetes() {
        for (operator, values, on, expected) in [
            ("In", &["a", "b"][..], "k=a", true),
            ("In", &["a"], "k=c", false),
            ("In", &["a"], "", false),
            ("NotIn", &["a"], "k=a", false),
            ("NotIn", &["a"], "k=c", true),
            ("NotIn", &["a"], "", true),
            ("Exists", &[], "k=", true),
            ("Exists", &[], "", false),
            ("DoesNotExist", &[], "", true),
            ("DoesNotExist", &[], "k=a", false),
        ] {
            let requirement = requirement("k", operator, values).unwrap();
            let matches = requirement.matches(&labels(on));
            assert_eq!(matches, expected, "{operator} {values:?} on {on:?}");
        }
    }

    #[test]
    fn all_parts_must_fit_and_no_part_fits_everything() {
        let selector = LabelSelector {
            match_labels: labels("app=web"),
            match_expressions: vec![requirement("tier", "Exists", &[]).unwrap()],
        };
        assert!(selector.matches(&labels("app=web,tier=1")));
        assert!(!selector.matches(&labels("app=web")));
        assert!(!selector.matches(&labels("app=db,tier=1")));
        assert!(LabelSelector::default().matches(&Labels::new()));
        assert!(!LabelSelector::any(&[], &labels("app=web")));
    }

    #[test]
    fn keys_and_values_are_those_that_labels_can_have() {
        for key in ["app", "kubernetes.io/hostname", "a.b-c/D_e.f", "x"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "/x", "x/", "-a", "a-", "A.b/c", "a b", "a/b/c"] {
            assert!(check_key(key).is_err(), "{key}");
        }
        assert!(check_value("k", "").is_ok());
        assert!(check_value("k", "node-1.example").is_ok());
        assert!(check_value("k", "-x").is_err());
        assert!(check_value("k", &"x".repeat(64)).is_err());
    }

    #[test]
    fn a_wrong_requirement_says_why() {
        let error = |operator, values| {
            let error = requirement("k", operator, values).unwrap_err();
            error.to_string()
        };
        assert!(error("in", &["a"][..]).contains("may be In, NotIn"));
        assert_eq!(error("In", &[]), "In for k needs values");
        assert_eq!(error("Exists", &["a"]), "Exists for k takes no values");
        assert!(error("In", &["a b"]).contains("cannot be the value of the label k"));
    }
}
