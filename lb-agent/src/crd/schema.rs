//! What the API server says of an object's fields, said without one: from the
//! same schemas. Patterns and rules are left out: the core has them all.

use std::sync::LazyLock;

use lb_core::config::Kind;
use serde_json::{Map, Value};

/// A field, by its path, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) field: String,
    pub(crate) reason: String,
}

static DEFINITIONS: LazyLock<Vec<Value>> = LazyLock::new(|| super::all().unwrap_or_default());

/// Looks at the `spec` of an object. Nulls are taken for absent.
pub(crate) fn check(kind: Kind, version: &str, spec: &Value) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if let Some(schema) = schema(kind, version) {
        value(schema, spec, "spec", &mut wrong);
    }
    wrong
}

/// Whether there is such a version.
pub(crate) fn is_served(kind: Kind, version: &str) -> bool {
    schema(kind, version).is_some()
}

fn schema(kind: Kind, version: &str) -> Option<&'static Value> {
    let definitions = DEFINITIONS.iter();
    let mut definitions = definitions.filter(|it| it["spec"]["names"]["kind"] == kind.name());
    let versions = definitions.next()?["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|it| it["name"] == version)?;
    version.pointer("/schema/openAPIV3Schema/properties/spec")
}

fn value(schema: &Value, value: &Value, path: &str, wrong: &mut Vec<Wrong>) {
    let mut say = |reason: String| {
        wrong.push(Wrong {
            field: path.to_owned(),
            reason,
        });
    };
    let expected = schema["type"].as_str().unwrap_or_default();
    match (expected, value) {
        ("object", Value::Object(fields)) => object(schema, fields, path, wrong),
        ("array", Value::Array(items)) => {
            bounds(
                schema,
                items.len(),
                ("minItems", "maxItems"),
                "items",
                &mut say,
            );
            for (index, item) in items.iter().enumerate() {
                self::value(&schema["items"], item, &format!("{path}[{index}]"), wrong);
            }
        }
        ("string", Value::String(text)) => {
            let length = text.chars().count();
            bounds(
                schema,
                length,
                ("minLength", "maxLength"),
                "characters",
                &mut say,
            );
            let allowed = schema["enum"].as_array();
            if allowed.is_some_and(|allowed| !allowed.contains(value)) {
                let allowed: Vec<_> = allowed
                    .into_iter()
                    .flatten()
                    .map(Value::to_string)
                    .collect();
                say(format!("\"{text}\" is not one of {}", allowed.join(", ")));
            }
        }
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(number) => within(schema, number, &mut say),
            None => say(format!("{number} is not a whole number")),
        },
        ("boolean", Value::Bool(_)) => {}
        (expected, _) => say(format!("it is {}, not {}", name(value), a(expected))),
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, path: &str, wrong: &mut Vec<Wrong>) {
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap_or_default();
        if fields.get(name).is_none_or(Value::is_null) {
            wrong.push(Wrong {
                field: format!("{path}.{name}"),
                reason: "it is required".to_owned(),
            });
        }
    }
    let nothing = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&nothing);
    let any = schema.get("additionalProperties");
    for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
        let inner = format!("{path}.{name}");
        match known.get(name).or(any) {
            Some(schema) => value(schema, field, &inner, wrong),
            None => wrong.push(Wrong {
                field: inner,
                reason: unknown(name, known),
            }),
        }
    }
}

/// A field that does not exist, and the one that may be meant: a slip of the
/// pen away, or written as in the old ConfigMap.
fn unknown(name: &str, known: &Map<String, Value>) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let distance = |known: &&String| strsim::damerau_levenshtein(&plain(known), &plain(name));
    match known.keys().min_by_key(distance) {
        Some(known) if distance(&known) <= 2 => {
            format!("there is no such field; is {known} meant?")
        }
        _ => "there is no such field".to_owned(),
    }
}

fn bounds(
    schema: &Value,
    count: usize,
    (min, max): (&str, &str),
    of: &str,
    say: &mut impl FnMut(String),
) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    if let Some(min) = schema[min].as_u64().filter(|min| count < *min) {
        say(format!("it has {count} {of}, and needs at least {min}"));
    }
    if let Some(max) = schema[max].as_u64().filter(|max| count > *max) {
        say(format!("it has {count} {of}, and may have {max}"));
    }
}

fn within(schema: &Value, number: i64, say: &mut impl FnMut(String)) {
    let (min, max) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
    if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
        let bound = |bound: Option<i64>| bound.map(|b| b.to_string()).unwrap_or_default();
        say(format!(
            "invalid value {number}, must be in {}-{} range",
            bound(min),
            bound(max)
        ));
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn a(kind: &str) -> &'static str {
    match kind {
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "integer" => "a whole number",
        _ => "true or false",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(kind: Kind, spec: &Value) -> Vec<String> {
        let wrong = check(kind, "v1beta1", spec);
        let said = wrong
            .iter()
            .map(|wrong| format!("{}: {}", wrong.field, wrong.reason));
        said.collect()
    }

    #[test]
    fn fields_are_checked_as_the_api_server_checks_them() {
        let pool = Kind::IpAddressPool;
        let good = json!({"addresses": ["192.0.2.0/24"], "autoAssign": null});
        assert!(said(pool, &good).is_empty());
        for (spec, expected) in [
            (json!({}), "spec.addresses: it is required"),
            (json!({"addresses": null}), "spec.addresses: it is required"),
            (json!([]), "spec: it is a list, not a map"),
            (
                json!({"addresses": []}),
                "spec.addresses: it has 0 items, and needs at least 1",
            ),
            (
                json!({"addresses": "192.0.2.0/24"}),
                "spec.addresses: it is a text, not a list",
            ),
            (
                json!({"addresses": [1]}),
                "spec.addresses[0]: it is a number, not a text",
            ),
            (
                json!({"addresses": ["x"], "auto-assign": true}),
                "spec.auto-assign: there is no such field; is autoAssign meant?",
            ),
            (
                json!({"addresses": ["x"], "autoAsign": true}),
                "spec.autoAsign: there is no such field; is autoAssign meant?",
            ),
            (
                json!({"addresses": ["x"], "color": 1}),
                "spec.color: there is no such field",
            ),
            (
                json!({"addresses": ["x"], "autoAssign": "yes"}),
                "spec.autoAssign: it is a text, not true or false",
            ),
            (
                json!({"addresses": ["x"], "serviceAllocation": {"priority": 1.5}}),
                "spec.serviceAllocation.priority: 1.5 is not a whole number",
            ),
        ] {
            assert_eq!(said(pool, &spec), [expected]);
        }
        let spec = json!({"receiveInterval": 9});
        let expected = "spec.receiveInterval: invalid value 9, must be in 10-60000 range";
        assert_eq!(said(Kind::BfdProfile, &spec), [expected]);
        let operator = json!([{"matchExpressions": [{"key": "a", "operator": "Is"}]}]);
        let expected = "spec.nodeSelectors[0].matchExpressions[0].operator: \"Is\" is not one of \
                        \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\"";
        let spec = json!({"nodeSelectors": operator});
        assert_eq!(said(Kind::L2Advertisement, &spec), [expected]);
    }

    #[test]
    fn versions_are_those_that_are_served() {
        assert!(is_served(Kind::BgpPeer, "v1beta1") && is_served(Kind::BgpPeer, "v1beta2"));
        assert!(!is_served(Kind::IpAddressPool, "v1beta2"));
    }
}
