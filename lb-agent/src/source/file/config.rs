//! The configuration of all files together, and where each part of it stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lb_core::config::declared::Declared;
use lb_core::config::{Kept, Labels, Refused};
use lb_core::model::{Node, NodeName};

use super::FileRefused;
use crate::source::yaml::{At, ConfigObject, Lines};

#[derive(Debug, Default)]
pub(super) struct Files {
    declared: Declared,
    /// By kind and name, as a refusal says them.
    places: BTreeMap<(&'static str, String), Place>,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Of the document.
    line: u64,
    lines: Lines,
}

impl Files {
    pub(super) fn add(&mut self, path: &Path, object: &At<ConfigObject>) {
        let ConfigObject {
            kind,
            name,
            part,
            lines,
        } = &object.value;
        part.add_to(&mut self.declared);
        let place = Place {
            path: path.to_owned(),
            line: object.line,
            lines: lines.clone(),
        };
        self.places.insert((*kind, name.name.to_string()), place);
    }

    /// What holds from now on.
    pub(super) fn kept(&self, last: &Kept, nodes: &BTreeMap<NodeName, Arc<Node>>) -> Kept {
        let labels: Vec<&Labels> = nodes.values().map(|node| &node.labels).collect();
        last.with(&self.declared, &labels)
    }

    /// What is wrong, and where.
    pub(super) fn refused(&self, kept: &Kept) -> Vec<FileRefused> {
        kept.refused.iter().map(|one| self.locate(one)).collect()
    }

    fn locate(&self, refused: &Refused) -> FileRefused {
        let object = &refused.object;
        let place = self.places.get(&(object.kind, object.name.clone()));
        FileRefused {
            path: place.map_or_else(PathBuf::new, |place| place.path.clone()),
            line: place.map(|place| place.line_of(&refused.field)),
            refused: refused.clone(),
        }
    }
}

impl Place {
    /// The field's line, else that of the nearest around it.
    fn line_of(&self, field: &str) -> u64 {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.line,
            }
        }
    }
}
