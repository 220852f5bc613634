//! The calls that the service offers: every operation of the OpenAPI document, and nothing that is not in it.

use std::collections::HashMap;

use common::subject;
use poem::http::{HeaderName, Method};
use serde_json::{Map, Value, json};

use super::schema::standalone;

/// One operation of the document.
#[derive(Debug)]
pub struct Call {
    /// Its `operationId`: the name of its endpoint.
    pub name: String,
    /// The method by which REST calls it.
    pub method: Method,
    /// Its whole path, with `{name}` for each parameter in it.
    pub path: String,
    /// What it is told beside the body, each as a header of the message.
    pub parameters: Vec<Parameter>,
    /// What `$SRV.INFO` says of it: method, path, and JSON schemas of headers, request and response.
    pub metadata: HashMap<String, String>,
}

/// A parameter, by its name in REST.
#[derive(Debug)]
pub struct Parameter {
    /// The name of the message's header, without regard to case.
    pub name: String,
    /// Where REST has it.
    pub place: Place,
}

/// Where REST has a parameter.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
    Header(HeaderName),
}

impl Call {
    /// The subject of its requests.
    pub fn subject(&self) -> String {
        subject::call(&self.name)
    }
}

/// All operations of the document.
pub fn calls(document: &Value) -> Vec<Call> {
    let prefix = text(document, "/servers/0/url");
    let paths = members(document.get("paths"));
    let operations = paths
        .flat_map(|(path, methods)| members(Some(methods)).map(move |(method, operation)| (path, method, operation)));
    operations
        .filter_map(|(path, method, operation)| {
            let path = format!("{prefix}{path}");
            let method = method.to_ascii_uppercase().parse().ok()?;
            let (parameters, schemas) = parameters(operation, document);
            let metadata = metadata(&method, &path, &schemas, operation, document);
            Some(Call { name: operation.get("operationId")?.as_str()?.to_owned(), method, path, parameters, metadata })
        })
        .collect()
}

/// Every call as a row of a Markdown table: its subject, the call of REST, the headers that it reads, and whether it reads a
/// body.
pub fn table(document: &Value) -> String {
    let mut calls = calls(document);
    calls.sort_by(|one, other| (&one.path, one.method.as_str()).cmp(&(&other.path, other.method.as_str())));
    let row = |call: &Call| {
        let headers: Vec<String> = call.parameters.iter().map(|parameter| format!("`{}`", parameter.name)).collect();
        let headers = if headers.is_empty() { "-".to_owned() } else { headers.join(", ") };
        let body = if call.metadata.contains_key("request") { "JSON" } else { "-" };
        format!("| `{}` | `{} {}` | {headers} | {body} |\n", call.subject(), call.method, call.path)
    };
    calls.iter().map(row).collect()
}

/// What a call is told by headers, and the schema of all of them.
fn parameters(operation: &Value, document: &Value) -> (Vec<Parameter>, Value) {
    let (mut parameters, mut properties, mut required) = (Vec::new(), Map::new(), Vec::new());
    for described in array(operation.get("parameters")) {
        let name = text(described, "/name").to_owned();
        let place = match (text(described, "/in"), HeaderName::from_bytes(name.as_bytes())) {
            ("path", _) => Place::Path,
            ("header", Ok(header)) => Place::Header(header),
            _ => Place::Query,
        };
        if described.get("required") == Some(&Value::Bool(true)) {
            required.push(name.clone());
        }
        let mut schema = standalone(described.get("schema").unwrap_or(&Value::Null), document);
        if let (Some(schema), Some(description)) = (schema.as_object_mut(), described.get("description")) {
            schema.insert("description".to_owned(), description.clone());
        }
        properties.insert(name.clone(), schema);
        parameters.push(Parameter { name, place });
    }
    for (scheme, _) in array(operation.get("security")).flat_map(|scheme| members(Some(scheme))) {
        let scheme = document.pointer(&format!("/components/securitySchemes/{scheme}")).unwrap_or(&Value::Null);
        // A scheme of HTTP is the header Authorization (RFC 9110); the other kind names its header.
        let name = scheme.get("name").and_then(Value::as_str).unwrap_or("Authorization").to_owned();
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        properties.insert(name.clone(), json!({ "type": "string", "description": scheme.get("description") }));
        required.push(name.clone());
        parameters.push(Parameter { name, place: Place::Header(header) });
    }
    (parameters, json!({ "type": "object", "properties": properties, "required": required }))
}

fn metadata(
    method: &Method,
    path: &str,
    parameters: &Value,
    operation: &Value,
    document: &Value,
) -> HashMap<String, String> {
    let mut metadata = HashMap::from([
        ("method".to_owned(), method.to_string()),
        ("path".to_owned(), path.to_owned()),
        ("summary".to_owned(), text(operation, "/summary").to_owned()),
        ("parameters".to_owned(), parameters.to_string()),
    ]);
    if let Some(body) = operation.get("requestBody").and_then(content) {
        metadata.insert("request".to_owned(), standalone(&body, document).to_string());
    }
    let successes = members(operation.get("responses")).filter(|(status, _)| status.starts_with('2'));
    let mut schemas: Vec<Value> = successes.filter_map(|(_, response)| content(response)).collect();
    schemas.dedup();
    let schema = if let [schema] = schemas.as_slice() { schema.clone() } else { json!({ "anyOf": schemas }) };
    metadata.insert("response".to_owned(), standalone(&schema, document).to_string());
    metadata
}

/// The schema of a body; of one that is not JSON, its content type.
fn content(described: &Value) -> Option<Value> {
    let (content_type, media) = members(described.get("content")).next()?;
    if content_type.starts_with("application/json") {
        return media.get("schema").cloned();
    }
    Some(json!({ "type": "string", "contentMediaType": content_type }))
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn array(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the server takes in one message unless it is told otherwise.
    const MAX_PAYLOAD: usize = 1 << 20;

    fn document() -> Value {
        serde_json::from_str(&crate::rest::document()).unwrap()
    }

    #[test]
    fn every_operation_has_one_endpoint_with_a_valid_subject() {
        let (document, calls) = (document(), calls(&document()));
        let operations: usize = members(document.get("paths")).map(|(_, methods)| members(Some(methods)).count()).sum();
        assert_eq!(calls.len(), operations);
        let names: BTreeSet<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names.len(), operations);
        for call in &calls {
            let valid = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            assert!(!call.name.is_empty() && call.name.chars().all(valid), "{}", call.name);
            assert!(call.path.starts_with("/api/v1/"), "{}", call.path);
        }
    }

    #[test]
    fn no_call_has_two_parameters_that_one_header_would_name() {
        for call in calls(&document()) {
            let names: BTreeSet<String> = call.parameters.iter().map(|p| p.name.to_ascii_lowercase()).collect();
            assert_eq!(names.len(), call.parameters.len(), "{}", call.name);
            let in_path = call.parameters.iter().filter(|parameter| parameter.place == Place::Path);
            assert_eq!(in_path.count(), call.path.matches('{').count(), "{}", call.name);
            assert!(names.iter().all(|name| !name.starts_with("nats-") && !name.starts_with("vkube-")), "{names:?}");
        }
    }

    #[test]
    fn the_documented_table_is_this_table() {
        let documented = include_str!("../../../docs/NATS.md");
        assert!(documented.contains(&table(&document())), "stale: see vkube-api calls");
        assert_eq!(documented.matches("| `vkube.api.").count(), calls(&document()).len());
    }

    #[test]
    fn secrets_and_tokens_are_parameters() {
        let calls = calls(&document());
        let header = |name: &str, header: &str| {
            let call = calls.iter().find(|call| call.name == name).unwrap();
            call.parameters.iter().any(|parameter| parameter.place == Place::Header(header.parse().unwrap()))
        };
        assert!(header("deploy_pod", "secret") && header("deploy_pod", "idempotency-key"));
        assert!(header("create_order", "authorization") && !header("create_order", "secret"));
    }

    #[test]
    fn every_schema_of_the_information_stands_alone_and_all_fit_into_one_message() {
        let mut size = 0;
        for call in calls(&document()) {
            for name in ["parameters", "request", "response"] {
                let Some(schema) = call.metadata.get(name) else { continue };
                let schema: Value = serde_json::from_str(schema).unwrap();
                assert!(schema.is_object(), "{} {name}: {schema}", call.name);
                let text = schema.to_string();
                assert!(!text.contains("#/components/") && !text.contains("\"nullable\""), "{} {name}", call.name);
                for reference in text.split("\"#/$defs/").skip(1).filter_map(|rest| rest.split('"').next()) {
                    assert!(schema["$defs"].get(reference).is_some_and(Value::is_object), "{} {reference}", call.name);
                }
            }
            size += serde_json::to_vec(&call.metadata).unwrap().len() + call.subject().len() + 128;
        }
        // Room for three times as many calls as there are; the length is shown when it is not so any more.
        assert!(size < MAX_PAYLOAD / 2, "{size} bytes");
    }
}
