//! Objects of the configuration: `IPAddressPool` and its like, and the Secrets
//! that peers name.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lb_core::config::declared::{Declaration, Declared, Secret};
use lb_core::config::{Kind, ObjectName, Password, Place, Reason, Refused};
use serde_json::Value;

use super::service::labels;
use super::shape::Metadata;
use crate::crd;

/// Where MetalLB's objects are, unless told otherwise.
pub const NAMESPACE: &str = "metallb-system";

/// Whether a file's object is in the namespace of the configuration, or in the
/// one that it is yet to be applied to.
pub(in crate::source) fn is_there(metadata: &Metadata) -> bool {
    let namespace = metadata.namespace.as_deref();
    namespace.is_none_or(|namespace| namespace == NAMESPACE)
}

/// What an object adds to the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Declarations(Vec<Declaration>),
    /// A Secret, by its name.
    Secret(String, Secret),
    /// It says nothing that can be used.
    Refused(Vec<Refused>),
}

impl Part {
    /// Puts what is said with what others say.
    pub(in crate::source) fn add_to(&self, declared: &mut Declared) {
        match self {
            Self::Declarations(all) => declared.extend(all.iter().cloned()),
            Self::Secret(name, secret) => {
                declared.secrets.insert(name.clone(), secret.clone());
            }
            Self::Refused(refused) => declared.refused.extend(refused.iter().cloned()),
        }
    }
}

/// An object of one of MetalLB's kinds. `api` is its `apiVersion`.
pub(in crate::source) fn part(kind: Kind, api: &str, metadata: &Metadata, spec: Value) -> Part {
    let name = metadata.name.as_deref().unwrap_or_default();
    let object = Place::object(kind, name).object;
    let version = api.rsplit('/').next().unwrap_or_default();
    if !crd::schema::is_served(kind, version) {
        let message = format!("there is no {} in version \"{version}\"", kind.name());
        return refused(&object, "apiVersion", message);
    }
    let spec = if spec.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        spec
    };
    let wrong = crd::schema::check(kind, version, &spec);
    if !wrong.is_empty() {
        let refused = wrong.into_iter().map(|wrong| Refused {
            object: object.clone(),
            field: wrong.field,
            reason: Reason::Format {
                message: wrong.reason,
            },
        });
        return Part::Refused(refused.collect());
    }
    match crd::declare(kind, version, name, labels(metadata), without_nulls(spec)) {
        Ok(declaration) => Part::Declarations(vec![declaration]),
        Err(error) => refused(&object, "spec", error.to_string()),
    }
}

fn refused(object: &ObjectName, field: &str, message: String) -> Part {
    Part::Refused(vec![Refused {
        object: object.clone(),
        field: field.to_owned(),
        reason: Reason::Format { message },
    }])
}

/// As API servers keep objects: what is null is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, field)| !field.is_null())
            .map(|(name, field)| (name, without_nulls(field)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// A Secret: `data` in base 64 as the API has it, `stringData` as files may.
pub(in crate::source) fn secret(
    metadata: &Metadata,
    kind: Option<String>,
    data: &BTreeMap<String, Option<String>>,
    string_data: &BTreeMap<String, Option<String>>,
) -> Part {
    const KEY: &str = "password";
    let of = |map: &BTreeMap<String, Option<String>>| map.get(KEY).cloned().flatten();
    let password = of(string_data).or_else(|| decode(&of(data)?));
    let secret = Secret {
        kind: kind.unwrap_or_else(|| "Opaque".to_owned()),
        password: password.map(Password::new),
    };
    Part::Secret(metadata.name.clone().unwrap_or_default(), secret)
}

/// Base 64, of a text.
fn decode(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_base_64_in_data_and_plain_in_string_data() {
        assert_eq!(decode("aHVudGVyMg==").as_deref(), Some("hunter2"));
        assert_eq!(decode("aHVudGVy").as_deref(), Some("hunter"));
        assert_eq!(decode("").as_deref(), Some(""));
        assert_eq!(decode("a b*"), None);
        let map = |value: &str| BTreeMap::from([("password".to_owned(), Some(value.to_owned()))]);
        let none = BTreeMap::new();
        for (data, string_data) in [(map("aHVudGVyMg=="), none.clone()), (none, map("hunter2"))] {
            let kind = Some("kubernetes.io/basic-auth".to_owned());
            let Part::Secret(_, secret) = secret(&Metadata::default(), kind, &data, &string_data)
            else {
                panic!("it is a Secret");
            };
            assert_eq!(secret.password.unwrap().reveal(), "hunter2");
        }
    }
}
