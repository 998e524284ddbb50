//! From what schemars writes to what controller-gen writes, which is what
//! people, tools and API servers know.

use serde_json::{Map, Value, json};

/// One definition. Fields that say nothing are left out.
pub(super) fn tidy(mut definition: Value) -> Value {
    let versions = definition.pointer_mut("/spec/versions");
    let versions = versions.and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        let schema = version.pointer_mut("/schema/openAPIV3Schema");
        if let Some(schema) = schema.and_then(Value::as_object_mut) {
            root(schema);
            walk(schema);
        }
    }
    if let Some(root) = definition.as_object_mut() {
        root.remove("status");
    }
    let kind = definition.pointer("/spec/names/kind").cloned();
    let names = definition.pointer_mut("/spec/names");
    if let (Some(Value::String(kind)), Some(Value::Object(names))) = (kind, names) {
        names.insert("listKind".to_owned(), json!(format!("{kind}List")));
    }
    definition
}

/// What every object has, in so many words. A `spec` in which nothing is
/// required need not be there: `kind: L2Advertisement` with a name says all.
fn root(schema: &mut Map<String, Value>) {
    let required = schema.get("properties").and_then(|all| all.get("spec"));
    if required.is_some_and(|spec| spec.get("required").is_none()) {
        schema.remove("required");
    }
    let properties = schema.get_mut("properties");
    if let Some(properties) = properties.and_then(Value::as_object_mut) {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), json!({"type": "string"}));
        }
        properties.insert("metadata".to_owned(), json!({"type": "object"}));
    }
}

fn walk(schema: &mut Map<String, Value>) {
    // As with controller-gen, null is "not said": the API server drops it.
    schema.remove("nullable");
    schema.remove("title");
    format(schema);
    for bound in ["minimum", "maximum"] {
        if let Some(value) = schema.get_mut(bound) {
            whole(value);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            property.as_object_mut().map(walk);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(inner) {
            walk(inner);
        }
    }
}

/// 10, not 10.0.
fn whole(value: &mut Value) {
    let text = value.as_f64().map(|number| number.to_string());
    let number = text.and_then(|text| text.parse::<i64>().ok());
    if let Some(number) = number {
        *value = json!(number);
    }
}

/// OpenAPI knows signed formats only. A value that is more than 32 bits hold
/// must not be called int32: API servers refuse it since 1.36.
fn format(schema: &mut Map<String, Value>) {
    let wide = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16") => false,
        Some("uint32") => {
            let maximum = schema.get("maximum").and_then(Value::as_f64);
            schema.entry("maximum").or_insert(json!(u32::MAX));
            maximum.is_none_or(|maximum| maximum > f64::from(i32::MAX))
        }
        _ => return,
    };
    let format = if wide { "int64" } else { "int32" };
    schema.insert("format".to_owned(), json!(format));
}
