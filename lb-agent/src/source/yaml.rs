//! Kubernetes manifests, as files: several YAML documents (or JSON) to objects.
//!
//! Only the fields that matter are looked at, and only objects of some kinds:
//! Service, EndpointSlice, Node, Namespace and what makes up the configuration,
//! alone or in a List. Other kinds are named, so that somebody can be told. What
//! is wrong with one document is told with its line, and the other documents are
//! looked at all the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use lb_core::model::{Labels, Node, Service, Slice};
use serde_saphyr::{MessageFormatter as _, Spanned, UserMessageFormatter};

mod config;
mod document;
#[cfg(test)]
mod tests;
mod tree;

pub use config::ConfigObject;
pub use tree::Lines;

use super::object::service::{labels, service};
use super::object::{Ignored, Ours, SliceName, convert};
use document::{Document, Kind};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    pub services: Vec<At<Arc<Service>>>,
    pub slices: Vec<At<(SliceName, Slice)>>,
    pub nodes: Vec<At<Arc<Node>>>,
    /// With their labels.
    pub namespaces: Vec<At<(Arc<str>, Arc<Labels>)>>,
    /// What makes up the configuration.
    pub config: Vec<At<ConfigObject>>,
    /// Objects of a known kind that are not for us, and why.
    pub ignored: Vec<At<Ignored>>,
    pub unknown_kinds: BTreeSet<String>,
}

/// Something, and the line of the document that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    pub line: u64,
    pub value: T,
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1; none where the parser does not know.
    pub line: Option<u64>,
    pub reason: String,
}

/// Reads a file. With mistakes there are no objects: half of what was meant
/// may be worse than what was there before.
pub fn parse(text: &str, ours: &Ours) -> Result<Objects, Vec<Mistake>> {
    let mut objects = Objects::default();
    let mut mistakes = Vec::new();
    let mut reader = text.as_bytes();
    // Limits against documents that grow in memory; these are for people who
    // keep ten thousand services in one file.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_events: 100_000_000,
            max_nodes: 50_000_000,
        },
    };
    let documents = serde_saphyr::read_with_options::<_, Spanned<Document>>(&mut reader, options);
    for document in documents {
        match document {
            Ok(document) => add(document, ours, &mut objects, &mut mistakes),
            Err(error) => mistakes.push(mistake(text, &error)),
        }
    }
    if mistakes.is_empty() {
        Ok(objects)
    } else {
        Err(mistakes)
    }
}

/// What the parser says, with the line that it says it of.
fn mistake(text: &str, error: &serde_saphyr::Error) -> Mistake {
    let line = error.location().map(|location| location.line());
    let index = line.and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
    let quoted = index.and_then(|index| text.lines().nth(index));
    let reason = UserMessageFormatter.format_message(error.without_snippet());
    Mistake {
        line,
        reason: match quoted.map(str::trim) {
            None | Some("") => reason.into_owned(),
            Some(quoted) => format!("{reason} in `{quoted}`"),
        },
    }
}

fn add(
    document: Spanned<Document>,
    ours: &Ours,
    objects: &mut Objects,
    mistakes: &mut Vec<Mistake>,
) {
    let line = document.referenced.line();
    let Document { metadata, kind } = document.value;
    let read = match kind {
        Kind::Service(body) => service(&metadata, *body, ours).map(|read| match read {
            Ok(service) => objects.services.push(at(line, Arc::new(service))),
            Err(ignored) => objects.ignored.push(at(line, ignored)),
        }),
        Kind::EndpointSlice(body) => convert::slice(&metadata, body).map(|read| match read {
            Ok(slice) => objects.slices.push(at(line, slice)),
            Err(ignored) => objects.ignored.push(at(line, ignored)),
        }),
        Kind::Node(body) => {
            convert::node(&metadata, *body).map(|node| objects.nodes.push(at(line, Arc::new(node))))
        }
        Kind::Namespace => match metadata.name.as_deref() {
            Some(name) => {
                let namespace = (name.into(), Arc::new(labels(&metadata)));
                objects.namespaces.push(at(line, namespace));
                Ok(())
            }
            None => Err("a Namespace without a name".to_owned()),
        },
        Kind::Config(body) => config::object(body, &metadata).map(|read| match read {
            Ok(object) => objects.config.push(at(line, object)),
            Err(kind) => drop(objects.unknown_kinds.insert(kind.to_owned())),
        }),
        Kind::List(items) => {
            for item in items {
                add(item, ours, objects, mistakes);
            }
            Ok(())
        }
        Kind::Other(kind) => {
            objects.unknown_kinds.insert(kind);
            Ok(())
        }
        Kind::None => Err("it has no kind: this is no Kubernetes object".to_owned()),
    };
    if let Err(reason) = read {
        mistakes.push(Mistake {
            line: Some(line),
            reason,
        });
    }
}

fn at<T>(line: u64, value: T) -> At<T> {
    At { line, value }
}
