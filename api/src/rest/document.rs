//! The OpenAPI document: generated from the calls, with the guide's own examples where a type cannot carry them.

use poem_openapi::{OpenApi, OpenApiService};
use serde_json::{Map, Value, json};

use super::{GUIDE, PREFIX, admin, deployment, edit, ingress, job, logs, monitor, step, user_service};

/// Every call, as the document describes them.
pub(super) fn service() -> OpenApiService<impl OpenApi, ()> {
    let pod = (deployment::DeploymentApi, edit::EditApi, step::StepApi, ingress::IngressApi);
    let reads = (monitor::MonitorApi, logs::LogsApi);
    let order = (user_service::UserServiceApi, pod, reads);
    OpenApiService::new((GUIDE, order, job::JobApi, admin::CALLS), "vkube", env!("CARGO_PKG_VERSION"))
        .description(
            "A customer has paid for an order; run their containers on a Kubernetes somewhere in the world, on the \
             public ports that they chose.\n\nEvery failure, of every call, is \
             `{\"error\":{\"code\",\"message\",...}}`; no success has a top-level `error`.",
        )
        .server(PREFIX)
}

/// The document, as it is committed and served.
pub fn document() -> String {
    let mut document = parsed(&service());
    for (place, example) in examples() {
        if let Some(media) = document.pointer_mut(place).and_then(Value::as_object_mut) {
            media.insert("example".to_owned(), example);
        }
    }
    add_headers(&mut document);
    // The library says of every choice that it is an object, and one form of this is a list.
    if let Some(images) = document.pointer_mut("/components/schemas/UpdateImages").and_then(Value::as_object_mut) {
        images.remove("type");
    }
    // A value that was parsed a moment ago prints.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The document of a service, as a value.
pub(super) fn parsed<T: OpenApi>(service: &OpenApiService<T, ()>) -> Value {
    serde_json::from_str(&service.spec()).unwrap_or_default()
}

/// Says which headers answers have whatever the call: the edge puts them on.
fn add_headers(document: &mut Value) {
    if let Some(components) = object(document, "components") {
        let described = json!({
            "RequestId": {
                "description": "The request's id, as in our log and in `error.requestId`.",
                "schema": { "type": "string" },
            },
            "RetryAfter": {
                "description": "When to ask again, in seconds. Not on an error that is the end of a job (`jobId`).",
                "schema": { "type": "integer", "format": "uint64" },
            },
        });
        components.insert("headers".to_owned(), described);
    }
    let paths = object(document, "paths").into_iter().flatten();
    let operations = paths.filter_map(|(_, path)| path.as_object_mut()).flatten();
    for (status, answer) in operations.filter_map(|(_, operation)| object(operation, "responses")).flatten() {
        let Some(headers) = object(answer, "headers") else { continue };
        let mut add = |name: &str, place: &str| headers.insert(name.to_owned(), json!({ "$ref": place }));
        add("X-Request-Id", "#/components/headers/RequestId");
        if matches!(status.as_str(), "429" | "503") {
            add("Retry-After", "#/components/headers/RetryAfter");
        }
    }
}

/// The object of this name, made where there is none.
fn object<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut()?.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

/// The guide's examples of calls whose types cannot carry them: where in the document, and what.
fn examples() -> [(&'static str, Value); 7] {
    [
        (
            "/paths/~1k8s~1regions/get/responses/200/content/application~1json; charset=utf-8",
            json!(["region1", "region2", "region3"]),
        ),
        ("/paths/~1k8s~1images/get/parameters/0", json!("nginx")),
        ("/paths/~1k8s~1images/get/parameters/1", json!("stable")),
        (
            "/paths/~1k8s~1images/get/responses/400/content/application~1json; charset=utf-8",
            json!({"error": {"code": 400, "message": "image format not allow.Format: image:tag"}}),
        ),
        (
            "/paths/~1k8s~1images/get/responses/404/content/application~1json; charset=utf-8",
            json!({"error": {"code": 404, "message": "image does not exist."}}),
        ),
        (
            "/paths/~1k8s~1pod~1log/get/responses/200/content/application~1json; charset=utf-8",
            json!("/docker-entrypoint.sh: Configuration complete; ready for start up\n"),
        ),
        (
            "/paths/~1k8s~1pod~1status/get/responses/200/content/application~1json; charset=utf-8",
            json!({
                "name": "71b60598-e176-4357-95b0-0e75e586363a-c57f44868-s7drh",
                "podStatus": {
                    "phase": "Running",
                    "hostIP": "158.69.246.226",
                    "containerStatuses": [{
                        "name": "nginx-test",
                        "state": {"running": {"startedAt": "2021-05-13T08:37:52Z"}},
                        "ready": true,
                        "restartCount": 0,
                        "image": "docker.io/library/nginx:latest"
                    }]
                },
                "podSpec": {
                    "containers": [{
                        "name": "nginx-test",
                        "image": "nginx",
                        "ports": [{"hostPort": 2999, "containerPort": 80, "protocol": "TCP"}],
                        "resources": {"limits": {"memory": "2Gi"}}
                    }]
                },
                "annotations": {"kubernetes.io/egress-bandwidth": "1024M"},
                "observedAt": "2021-05-13T08:37:53Z",
                "stale": false,
                "domains": null
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let committed = include_str!("../../../openapi/openapi.json");
        assert!(document() == committed, "stale: cargo run -p api -- openapi > openapi/openapi.json");
    }

    #[test]
    fn every_example_has_its_place() {
        let document = parsed(&service());
        for (place, _) in examples() {
            assert!(document.pointer(place).is_some(), "{place}");
        }
    }

    fn operations(document: &Value) -> impl Iterator<Item = &Value> {
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    }

    #[test]
    fn a_body_is_required_where_it_has_something_to_say() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        for operation in operations(&document) {
            let Some(body) = operation.get("requestBody") else { continue };
            let name = body.pointer("/content/application~1json/schema/$ref").and_then(Value::as_str);
            let name = name.map(|name| name.rsplit('/').next().unwrap());
            let schema = name.map_or(&Value::Null, |name| &document["components"]["schemas"][name]);
            // A choice of forms, and a body of several parts of which it must have one.
            let says_something = matches!(name, Some("UpdateImages" | "UpdatePod")) || schema.get("required").is_some();
            assert_eq!(body["required"] == true, says_something, "{}", operation["operationId"]);
        }
    }

    #[test]
    fn what_the_edge_says_is_documented_of_every_call() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        for operation in operations(&document) {
            let (answers, id) = (operation["responses"].as_object().unwrap(), &operation["operationId"]);
            for status in ["408", "413", "415"] {
                assert_eq!(answers.contains_key(status), operation.get("requestBody").is_some(), "{id} {status}");
            }
            for (status, answer) in answers {
                assert!(answer["headers"]["X-Request-Id"].is_object(), "{id} {status}");
                let later = matches!(status.as_str(), "429" | "503");
                assert_eq!(answer["headers"].get("Retry-After").is_some(), later, "{id} {status}");
            }
        }
    }

    #[test]
    fn the_documented_bodies_are_read() {
        let document = parsed(&service());
        let example = |name: &str| document.pointer(&format!("/components/schemas/{name}/example")).cloned().unwrap();
        let order = crate::app::order_request::read(&example("MakeOrder")).unwrap();
        assert!(crate::app::pod_request::read(&example("Deploy"), &order.purchase).is_ok());
    }
}
