//! Schemas of the OpenAPI document (3.0) as JSON Schema that stands alone: what it refers to is under `$defs`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Where the document keeps what schemas refer to.
const COMPONENTS: &str = "#/components/schemas/";

/// A schema with all that it refers to, directly and by way of others.
pub(super) fn standalone(schema: &Value, document: &Value) -> Value {
    let mut referred = BTreeSet::new();
    let mut whole = convert(schema, &mut referred);
    let mut defs = Map::new();
    while let Some(name) = referred.iter().find(|name| !defs.contains_key(*name)).cloned() {
        let definition = document.pointer(&format!("/components/schemas/{name}")).unwrap_or(&Value::Null);
        defs.insert(name, convert(definition, &mut referred));
    }
    if let Some(whole) = whole.as_object_mut().filter(|_| !defs.is_empty()) {
        whole.insert("$defs".to_owned(), Value::Object(defs));
    }
    whole
}

/// One schema: references go to `$defs`, `nullable` becomes the type `null`, examples stay behind.
fn convert(schema: &Value, referred: &mut BTreeSet<String>) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    let mut converted = Map::new();
    for (keyword, value) in members {
        let value = match (keyword.as_str(), value) {
            ("example" | "nullable", _) => continue,
            ("$ref", Value::String(target)) => {
                let name = target.strip_prefix(COMPONENTS).unwrap_or(target);
                referred.insert(name.to_owned());
                json!(format!("#/$defs/{name}"))
            }
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, schema)| (name.clone(), convert(schema, referred))).collect()
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                schemas.iter().map(|schema| convert(schema, referred)).collect()
            }
            ("items" | "additionalProperties" | "not", schema) => convert(schema, referred),
            (_, value) => value.clone(),
        };
        converted.insert(keyword.clone(), value);
    }
    // `{nullable: true}` alone stands beside a reference and says nothing of its own.
    if schema.get("nullable") == Some(&Value::Bool(true)) && !converted.is_empty() {
        return json!({ "anyOf": [converted, { "type": "null" }] });
    }
    Value::Object(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_stand_alone() {
        let document = json!({ "components": { "schemas": {
            "Job": { "type": "object", "example": {}, "properties": {
                "outcome": { "allOf": [{ "$ref": "#/components/schemas/Outcome" }, { "nullable": true }], "nullable": true },
                "example": { "type": "string", "nullable": true },
                "next": { "$ref": "#/components/schemas/Job" },
            } },
            "Outcome": { "type": "string" },
            "Unused": { "type": "string" },
        } } });
        let schema = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Job" } });
        let expected = json!({ "type": "array", "items": { "$ref": "#/$defs/Job" }, "$defs": {
            "Job": { "type": "object", "properties": {
                "outcome": { "anyOf": [{ "allOf": [{ "$ref": "#/$defs/Outcome" }, {}] }, { "type": "null" }] },
                "example": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
                "next": { "$ref": "#/$defs/Job" },
            } },
            "Outcome": { "type": "string" },
        } });
        assert_eq!(standalone(&schema, &document), expected);
        assert_eq!(standalone(&json!({ "type": "string" }), &document), json!({ "type": "string" }));
    }
}
