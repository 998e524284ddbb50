//! Documents that make up the configuration.

use std::collections::BTreeMap;

use lb_core::config::Kind;
use lb_core::model::ServiceName;

use super::tree::{Lines, Tree};
use crate::source::object::config::{self, Part};
use crate::source::object::shape::Metadata;
use crate::source::object::{convert, legacy};

/// An object of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigObject {
    pub kind: &'static str,
    pub name: ServiceName,
    pub part: Part,
    /// Of its fields, by their paths.
    pub lines: Lines,
}

/// Texts by their keys.
pub(super) type Texts = BTreeMap<String, Option<String>>;

#[derive(Debug)]
pub(super) enum ConfigBody {
    /// Of the group `metallb.io`, with its `apiVersion`.
    Object {
        kind: Kind,
        api: String,
        spec: Tree,
    },
    Map(Texts),
    Secret(SecretBody),
}

#[derive(Debug, Default)]
pub(super) struct SecretBody {
    pub(super) kind: Option<String>,
    pub(super) data: Texts,
    pub(super) string_data: Texts,
}

/// A mistake, the kind of an object that is none of the configuration, or one
/// that is.
pub(super) fn object(
    body: ConfigBody,
    metadata: &Metadata,
) -> Result<Result<ConfigObject, &'static str>, String> {
    let (kind, part, lines) = match body {
        ConfigBody::Object { kind, api, spec } => {
            let (spec, lines) = spec.split("spec");
            let part = config::part(kind, &api, metadata, spec);
            (kind.name(), part, lines)
        }
        ConfigBody::Secret(body) if config::is_there(metadata) => {
            let part = config::secret(metadata, body.kind, &body.data, &body.string_data);
            ("Secret", part, Lines::new())
        }
        ConfigBody::Map(mut data) if legacy::is_it(metadata) => {
            let text = data.remove(legacy::KEY).flatten().unwrap_or_default();
            let name = metadata.name.as_deref().unwrap_or_default();
            ("ConfigMap", legacy::part(name, &text), Lines::new())
        }
        ConfigBody::Secret(_) => return Ok(Err("Secret")),
        ConfigBody::Map(_) => return Ok(Err("ConfigMap")),
    };
    Ok(Ok(ConfigObject {
        kind,
        name: convert::name(metadata)?,
        part,
        lines,
    }))
}
