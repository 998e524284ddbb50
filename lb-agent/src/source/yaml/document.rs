//! The shape of a document, told by its kind.
//!
//! A kind usually stands before what it explains, and then the parser says the
//! line of every mistake. `kubectl get -o yaml` sorts, so the fields of an
//! EndpointSlice come before its kind: they are kept until it is known.

use std::fmt;
use std::marker::PhantomData;

use lb_core::config;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::config::{ConfigBody, SecretBody};
use super::tree::Tree;
use crate::source::object::shape::{Metadata, NodeBody, ServiceBody, SliceBody};

#[derive(Debug)]
pub(super) struct Document {
    pub(super) metadata: Metadata,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Service(Box<ServiceBody>),
    EndpointSlice(SliceBody),
    Node(Box<NodeBody>),
    Namespace,
    Config(ConfigBody),
    List(Vec<Spanned<Document>>),
    Other(String),
    None,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields::default())
    }
}

/// The document as far as it has been read.
#[derive(Debug, Default)]
struct Fields {
    api: Option<String>,
    kind: Option<String>,
    metadata: Option<Metadata>,
    service: ServiceBody,
    node: NodeBody,
    slice: SliceBody,
    config: Tree,
    secret: SecretBody,
    items: Vec<Spanned<Document>>,
    /// What came before the kind.
    early: Vec<(String, Value)>,
}

impl<'de> Visitor<'de> for Fields {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Document, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" => self.api = map.next_value()?,
                "kind" => self.kind = map.next_value()?,
                "metadata" => self.metadata = map.next_value()?,
                "items" if self.is_list() => {
                    let items: Option<Vec<_>> = map.next_value()?;
                    self.items = items.unwrap_or_default();
                }
                "spec" | "status" | "addressType" | "endpoints" | "ports" | "data"
                | "stringData" | "type" => match &self.kind {
                    None => self.early.push((key, map.next_value()?)),
                    Some(_) => self.field(&key, MapField(&mut map, PhantomData))?,
                },
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        for (key, value) in std::mem::take(&mut self.early) {
            self.field(&key, Early(value))
                .map_err(|error| de::Error::custom(format_args!("{key}: {error}")))?;
        }
        Ok(self.finish())
    }
}

impl Fields {
    /// Whether `items` are objects. Other kinds may have items of their own.
    fn is_list(&self) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind.ends_with("List"))
    }

    fn field<F: Field>(&mut self, key: &str, field: F) -> Result<(), F::Error> {
        match (self.known_kind(), key) {
            ("Service", "spec") => self.service.spec = field.read()?,
            ("Service", "status") => self.service.status = field.read()?,
            ("Node", "spec") => self.node.spec = field.read()?,
            ("Node", "status") => self.node.status = field.read()?,
            ("EndpointSlice", "addressType") => self.slice.address_type = Some(field.read()?),
            ("EndpointSlice", "endpoints") => self.slice.endpoints = field.read()?,
            ("EndpointSlice", "ports") => self.slice.ports = field.read()?,
            ("ConfigMap" | "Secret", "data") => self.secret.data = field.read()?,
            ("Secret", "stringData") => self.secret.string_data = field.read()?,
            ("Secret", "type") => self.secret.kind = Some(field.read()?),
            (kind, "spec") if config::Kind::of(kind).is_some() => self.config = field.read()?,
            _ => field.skip()?,
        }
        Ok(())
    }

    /// The kind, if it is of the group that we know it from: Knative has
    /// Services too.
    fn known_kind(&self) -> &str {
        let kind = self.kind.as_deref().unwrap_or_default();
        let group = match kind {
            "EndpointSlice" => "discovery.k8s.io/",
            kind if config::Kind::of(kind).is_some() => "metallb.io/",
            _ => "v1",
        };
        let ours = self.api.as_deref().is_none_or(|api| api.starts_with(group));
        if ours { kind } else { "" }
    }

    fn finish(self) -> Document {
        let kind = match self.known_kind() {
            "Service" => Kind::Service(Box::new(self.service)),
            "EndpointSlice" => Kind::EndpointSlice(self.slice),
            "Node" => Kind::Node(Box::new(self.node)),
            "Namespace" => Kind::Namespace,
            "ConfigMap" => Kind::Config(ConfigBody::Map(self.secret.data)),
            "Secret" => Kind::Config(ConfigBody::Secret(self.secret)),
            kind if let Some(kind) = config::Kind::of(kind) => Kind::Config(ConfigBody::Object {
                kind,
                api: self.api.unwrap_or_default(),
                spec: self.config,
            }),
            _ if !self.items.is_empty() => Kind::List(self.items),
            _ => match (self.kind, self.api) {
                (None, _) => Kind::None,
                (Some(kind), _) if kind.ends_with("List") => Kind::List(Vec::new()),
                (Some(kind), Some(api)) if api != "v1" => Kind::Other(format!("{kind} ({api})")),
                (Some(kind), _) => Kind::Other(kind),
            },
        };
        Document {
            metadata: self.metadata.unwrap_or_default(),
            kind,
        }
    }
}

/// A value that has yet to be read. Kubernetes reads null as "nothing said".
trait Field {
    type Error;

    fn read<T: DeserializeOwned + Default>(self) -> Result<T, Self::Error>;
    fn skip(self) -> Result<(), Self::Error>;
}

struct MapField<'a, 'de, A>(&'a mut A, PhantomData<&'de ()>);

impl<'de, A: MapAccess<'de>> Field for MapField<'_, 'de, A> {
    type Error = A::Error;

    fn read<T: DeserializeOwned + Default>(self) -> Result<T, A::Error> {
        let value: Option<T> = self.0.next_value()?;
        Ok(value.unwrap_or_default())
    }

    fn skip(self) -> Result<(), A::Error> {
        self.0.next_value::<IgnoredAny>().map(|_| ())
    }
}

struct Early(Value);

impl Field for Early {
    type Error = serde_json::Error;

    fn read<T: DeserializeOwned + Default>(self) -> Result<T, serde_json::Error> {
        let value: Option<T> = serde_json::from_value(self.0)?;
        Ok(value.unwrap_or_default())
    }

    fn skip(self) -> Result<(), serde_json::Error> {
        Ok(())
    }
}
