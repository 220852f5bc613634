//! Bodies and queries of changes other than a deploy (`wire.md` §5), of what a customer says of an order, and of a
//! cancellation.

use anyhow::Result;
use common::failure::Reason;
use e2e::order::OrderOptions;
use e2e::pod::{container, idle, pod, with};
use e2e::test::test;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Problem, compare};

const OBJECT: &str = "must be an object";
const STRING: &str = "must be a string";
const REQUIRED: &str = "is required";
const UNKNOWN: &str = "is not a known field; leave it out";
const UNTIL: &str = "must be created or available";
const NEITHER: &str = "must name at least one container in config or environment";
const NO_CONTAINER: &str = "is no container of the pod, which has web, idle";
const NO_FILE: &str = "must be left out: the container has no configMountPath; deploy it with one";
const COUNT: &str = "must have 1 to 2 images, at most one for each container";
const TWICE: &str = "must be for another container than the images before it";
const DESCRIPTION: &str = "must have 3 to 253 characters";
const LABEL: &str = "must have at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit";
const REPOSITORY: &str = "must have the repository of exactly one container; deploy anew to change it. The pod has \
                          web (web:1), idle (pause:1)";

/// Method and path, the body, and its problems.
pub(super) struct Row(&'static str, &'static str, Value, Vec<Problem>);

fn update(body: Value, problems: &[Problem]) -> Row {
    Row("PUT", "/k8s/pod/update", body, problems.to_vec())
}

fn images(body: Value, problems: &[Problem]) -> Row {
    Row("PATCH", "/k8s/pod/images", body, problems.to_vec())
}

fn describe(body: Value, problem: Problem) -> Row {
    Row("POST", "/k8s/deployment/metadata/annotation", body, vec![problem])
}

fn label(body: Value, problem: Problem) -> Row {
    Row("POST", "/k8s/deployment/metadata/label", body, vec![problem])
}

/// For an order that runs `web`, with a configuration file, and `idle`, without.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        update(json!([]), &[("", OBJECT)]),
        update(json!({}), &[("", NEITHER)]),
        update(json!({ "config": null }), &[("", NEITHER)]),
        update(json!({ "config": {}, "environment": {} }), &[("", NEITHER)]),
        update(json!({ "config": [] }), &[("config", OBJECT)]),
        update(json!({ "config": { "db": "x" } }), &[("config.db", NO_CONTAINER)]),
        update(json!({ "config": { "web": 1 } }), &[("config.web", STRING)]),
        update(json!({ "config": { "idle": "x" } }), &[("config.idle", NO_FILE)]),
        update(json!({ "environment": {} }), &[("", NEITHER)]),
        update(json!({ "environment": { "web": [] } }), &[("environment.web", OBJECT)]),
        update(json!({ "environment": { "web": { "A": 1 } } }), &[("environment.web.A", STRING)]),
        update(
            json!({ "config": { "db": "x" }, "environment": { "db": {} } }),
            &[("config.db", NO_CONTAINER), ("environment.db", NO_CONTAINER)],
        ),
        update(json!({ "config": { "web": "x" }, "images": [] }), &[("images", UNKNOWN)]),
        images(json!("web:2"), &[("", "must be a list")]),
        images(json!({}), &[("images", REQUIRED)]),
        images(json!({ "images": ["busybox:1"] }), &[("images[0]", REPOSITORY)]),
        images(json!([]), &[("", COUNT)]),
        images(json!([{}, {}, {}]), &[("", COUNT)]),
        images(json!(["web:2"]), &[("[0]", OBJECT)]),
        images(json!([{}]), &[("[0].image", REQUIRED)]),
        images(json!([{ "image": 1 }]), &[("[0].image", STRING)]),
        images(json!([{ "image": "busybox:1" }]), &[("[0].image", REPOSITORY)]),
        images(json!([{ "image": "web:2" }, { "image": "web:3" }]), &[("[1]", TWICE)]),
        images(json!([{ "image": "web:2", "tag": "2" }]), &[("[0].tag", UNKNOWN)]),
        images(json!([{ "image": "web:2", "login": "x" }]), &[("[0].login", OBJECT)]),
        describe(json!([]), ("", OBJECT)),
        describe(json!({}), ("description", REQUIRED)),
        describe(json!({ "description": 1 }), ("description", STRING)),
        describe(json!({ "description": "ab" }), ("description", DESCRIPTION)),
        describe(json!({ "description": "a".repeat(254) }), ("description", DESCRIPTION)),
        describe(json!({ "description": "my shop", "label": "x" }), ("label", UNKNOWN)),
        label(json!([]), ("", OBJECT)),
        label(json!({}), ("customizedLabel", REQUIRED)),
        label(json!({ "customizedLabel": true }), ("customizedLabel", STRING)),
        label(json!({ "customizedLabel": "a b" }), ("customizedLabel", LABEL)),
        label(json!({ "customizedLabel": "-a" }), ("customizedLabel", LABEL)),
        label(json!({ "customizedLabel": "a".repeat(64) }), ("customizedLabel", LABEL)),
        label(json!({ "customizedLabel": "shop", "description": "x" }), ("description", UNKNOWN)),
        Row("PUT", "/k8s/pod/update?until=ever", json!({}), vec![("until", UNTIL)]),
        Row("PATCH", "/k8s/pod/images?until=available,created", json!([]), vec![("until", UNTIL)]),
        Row("POST", "/k8s/deployment?until=ready", json!({}), vec![("until", UNTIL)]),
        Row("POST", "/k8s/deployment/update?until=Created", json!({}), vec![("until", UNTIL)]),
        Row("POST", "/k8s/pod/restart?until=now", json!({}), vec![("until", UNTIL)]),
        Row("POST", "/k8s/pod/start?until=now", json!({}), vec![("until", UNTIL)]),
    ];
    let nothing_to_say = [
        ("POST", "/k8s/pod/restart"),
        ("POST", "/k8s/pod/stop"),
        ("POST", "/k8s/pod/start"),
        ("DELETE", "/jobs/0190163d-8694-739b-aea5-966c26f8ad91"),
    ];
    for (method, path) in nothing_to_say {
        rows.push(Row(method, path, json!([]), vec![("", OBJECT)]));
        rows.push(Row(method, path, json!({ "now": true }), vec![("now", UNKNOWN)]));
    }
    rows
}

#[test]
fn every_wrong_change_is_refused_with_each_of_its_problems() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        let file = with(with(container("web", "web:1"), "configMountPath", json!("/etc/a.conf")), "config", json!("a"));
        order.accepted(&pod(t.stack.region.as_str(), &[file, idle("idle")])).await?;
        for Row(method, path, body, problems) in rows() {
            let request = order.request(method.parse()?, path).json(&body);
            let error = request.send().await?.refused(400, Reason::InvalidRequest)?;
            compare(&format!("{method} {path} {body}"), &error, &problems);
        }
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "nothing of a refused change remains: {jobs}");
        let service = order.request(Method::GET, "/k8s/userService").send().await?.ok()?;
        assert_eq!((&service["description"], &service["customizedLabel"]), (&json!(""), &json!("")));
        Ok(())
    })
}
