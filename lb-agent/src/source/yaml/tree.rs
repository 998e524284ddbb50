//! Any value, with the line of each field in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// Lines by path: `spec.addresses[1]`.
pub type Lines = BTreeMap<String, u64>;

/// A value as it stands in a file.
#[derive(Debug)]
pub(super) struct Tree(Branch);

#[derive(Debug)]
enum Branch {
    Leaf(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(String, Spanned<Tree>)>),
}

impl Tree {
    /// The value, and the lines of what is in it, if they are known.
    pub(super) fn split(self, path: &str) -> (Value, Lines) {
        let mut lines = Lines::new();
        let value = self.value(path, &mut lines);
        (value, lines)
    }

    fn value(self, path: &str, lines: &mut Lines) -> Value {
        let mut inner = |path: String, tree: Spanned<Self>| {
            let line = tree.referenced.line();
            if line > 0 {
                lines.insert(path.clone(), line);
            }
            tree.value.value(&path, lines)
        };
        match self.0 {
            Branch::Leaf(value) => value,
            Branch::List(items) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(n, item)| inner(format!("{path}[{n}]"), item));
                Value::Array(items.collect())
            }
            Branch::Map(fields) => {
                let fields = fields.into_iter().map(|(name, field)| {
                    let value = inner(format!("{path}.{name}"), field);
                    (name, value)
                });
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self(Branch::Leaf(Value::Null))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Tree)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Branch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Branch, E> {
        Ok(Branch::Leaf(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Branch, E> {
        Ok(Branch::Leaf(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Branch, E> {
        Ok(Branch::Leaf(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Branch, E> {
        Ok(Branch::Leaf(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Branch, E> {
        Ok(Branch::Leaf(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Branch, E> {
        Ok(Branch::Leaf(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Branch, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Branch, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Branch, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Branch::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Branch, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Branch::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_its_line() {
        let text = "addresses:\n- a\n- b\nallocation:\n  priority: 5\n  flow: [x,\n    z]\nnone:\n";
        let tree: Tree = serde_saphyr::from_str(text).unwrap();
        let (value, lines) = tree.split("spec");
        let allocation = json!({"priority": 5, "flow": ["x", "z"]});
        let expected = json!({"addresses": ["a", "b"], "allocation": allocation, "none": null});
        assert_eq!(value, expected);
        for (path, line) in [
            ("spec.addresses[1]", 3),
            ("spec.allocation.priority", 5),
            ("spec.allocation.flow[1]", 7),
        ] {
            assert_eq!(lines.get(path), Some(&line), "{path} {lines:?}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_has_no_lines() {
        let value = json!({"a": [1, {"b": null}]});
        let tree: Tree = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(tree.split("spec"), (value, Lines::new()));
    }
}
