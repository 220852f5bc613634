//! Wrong headers, methods, paths and bodies that are no JSON: the same for every call.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use common::failure::Reason;
use e2e::door::Doors;
use e2e::http::Client;
use e2e::order::OrderOptions;
use e2e::pod::{idle, pod};
use e2e::test::{Test, test};
use reqwest::Method;
use serde_json::json;

const UNAUTHORIZED: &str = "the secret, or the operator's token, is missing or not valid";

/// An id that no job, no order and no region has.
const NOBODYS: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

/// Secrets that open nothing.
const SECRETS: [&str; 4] = ["", "x", "2Vu3Kdxxxxxxxxxxxxxxxxxxxxxxxx", "' or 1=1 --"];

/// Values of `Authorization` that open nothing.
const TOKENS: [&str; 5] = ["", "Bearer", "Bearer x", "Basic ZTJlOmUyZQ==", "e2e"];

/// Paths that are not there; `//` begins a path outside `/api/v1`.
const PATHS: [&str; 9] =
    ["", "/", "/k8s", "/k8s/", "/k8s/orders", "/k8s/pod/log/x", "//", "//k8s/nothing", "//api/v2/k8s/regions"];

/// Bodies that are no JSON, with what is said of them.
const NO_JSON: [&str; 7] = ["", "{", "nodeSelector=x", "{} {}", "[1,]", "\u{feff}{}", "{\"a\":1e999999}"];

/// Content types that are not JSON's.
const CONTENT_TYPES: [&str; 4] =
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json-ish"];

/// Every call that a scheme of the document opens: method and path.
async fn opened_by(t: &Test, scheme: &str) -> Result<Vec<(String, String)>> {
    let doors = Doors::of(t.shared().await?).await?;
    let opened = doors.operations.values().filter(|operation| operation.security.as_deref() == Some(scheme));
    let calls: Vec<_> = opened.map(|operation| (operation.method.clone(), operation.path_to(NOBODYS))).collect();
    ensure!(calls.len() > 5, "the document says what {scheme} opens: {calls:?}");
    Ok(calls)
}

fn request(client: &Client, method: &str, path: &str) -> Result<e2e::http::Request> {
    let method: Method = method.parse()?;
    let changes = method != Method::GET;
    let request = client.request(method, path);
    Ok(if changes { request.json(&json!({})) } else { request })
}

#[test]
fn without_a_secret_that_opens_an_order_everything_is_answered_in_the_same_way() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (method, path) in &opened_by(t, "OrderSecret").await? {
            for secret in [None].into_iter().chain(SECRETS.map(Some)) {
                let request = request(&client, method, path)?;
                let request = if let Some(secret) = secret { request.secret(secret) } else { request };
                let error = request.send().await?.refused(401, Reason::Unauthorized)?;
                assert_eq!(error["message"], UNAUTHORIZED, "{method} {path} {secret:?}");
                assert_eq!(error.get("details"), None, "{method} {path} {secret:?}");
            }
        }
        // Nobody's body is not looked at.
        client.post("/k8s/deploy").body("{").send().await?.refused(401, Reason::Unauthorized)?;
        Ok(())
    })
}

#[test]
fn without_an_operators_token_nothing_of_the_operators_side_is_answered() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (method, path) in &opened_by(t, "OperatorToken").await? {
            for token in [None].into_iter().chain(TOKENS.map(Some)) {
                let request = request(&client, method, path)?;
                let request = if let Some(token) = token { request.header("authorization", token) } else { request };
                let error = request.send().await?.refused(401, Reason::Unauthorized)?;
                assert_eq!(error["message"], UNAUTHORIZED, "{method} {path} {token:?}");
            }
        }
        client.post("/admin/orders").body("{").send().await?.refused(401, Reason::Unauthorized)?;
        Ok(())
    })
}

#[test]
fn a_secret_opens_no_other_order_and_not_the_operators_side() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        let (one, other) = (t.order(&OrderOptions::units(1)).await?, t.order(&OrderOptions::units(1)).await?);
        let job = one.accepted(&pod(t.stack.region.as_str(), &[idle("a")])).await?;
        let foreign = other.request(Method::GET, &format!("/jobs/{job}")).send().await?;
        let error = foreign.refused(404, Reason::NotFound)?;
        assert_eq!(error["message"], "the order has no job with this id");
        let as_operator = client.get(&format!("/admin/orders/{}", one.id)).secret(&one.secret).operator(&one.secret);
        as_operator.send().await?.refused(401, Reason::Unauthorized)?;
        Ok(())
    })
}

#[test]
fn without_a_token_in_the_settings_the_operators_side_is_not_there() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("closed").await?;
        let api = system.new_api(&[("VKUBE_OPERATOR_TOKENS", "")]).await?;
        for (method, path) in &opened_by(t, "OperatorToken").await? {
            let request = request(&api.client, method, path)?.operator("x");
            request.send().await?.refused(404, Reason::NotFound)?;
        }
        api.client.post("/admin/orders").operator("x").body("{").send().await?.refused(404, Reason::NotFound)?;
        Ok(())
    })
}

#[test]
fn a_method_that_a_path_does_not_know_is_told_those_that_it_knows() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        let mut paths = BTreeMap::<String, BTreeSet<String>>::new();
        for operation in Doors::of(t.shared().await?).await?.operations.values() {
            let known = paths.entry(operation.path_to(NOBODYS)).or_default();
            known.insert(operation.method.clone());
            if operation.method == "GET" {
                known.insert("HEAD".to_owned());
            }
        }
        for (path, known) in &paths {
            for method in
                ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().filter(|method| !known.contains(*method))
            {
                let answer = client.request(method.parse()?, path).send().await?;
                let told = answer.header("allow").unwrap_or_default().split(", ").map(str::to_owned).collect();
                assert_eq!(*known, told, "{method} {path}");
                answer.refused(405, Reason::MethodNotAllowed)?;
            }
        }
        Ok(())
    })
}

#[test]
fn head_is_answered_as_get_is_but_without_a_body() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (path, status) in [("/k8s/regions", 200), ("//k8s/regions", 200), ("/k8s/order", 401), ("/k8s/deploy", 405)]
        {
            let answer = client.request(Method::HEAD, path).send_raw().await?;
            assert_eq!(answer.status(), status, "{path}");
            assert!(answer.headers().contains_key("x-request-id"), "{path}");
            assert!(answer.bytes().await?.is_empty(), "{path}");
        }
        Ok(())
    })
}

#[test]
fn a_path_that_is_not_there_is_not_found() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for path in PATHS {
            client.get(path).send().await?.refused(404, Reason::NotFound)?;
            client.post(path).json(&json!({})).send().await?.refused(404, Reason::NotFound)?;
        }
        Ok(())
    })
}

#[test]
fn a_body_that_is_no_json_is_refused() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let (client, token) = (t.client().await?, &t.shared().await?.operator_token);
        for body in NO_JSON {
            for path in ["/k8s/deploy", "/k8s/checkports", "/admin/orders"] {
                let request = client.post(path).secret(&order.secret).operator(token);
                let answer = request.header("content-type", "application/json").body(body).send().await?;
                answer.refused(400, Reason::InvalidRequest)?;
            }
        }
        let deep = "[".repeat(100_000);
        let request = order.request(Method::POST, "/k8s/deploy").header("content-type", "application/json");
        request.body(deep).send().await?.refused(400, Reason::InvalidRequest)?;
        let request = order.request(Method::POST, "/k8s/deploy").header("content-type", "application/json");
        request.body(vec![b'"', 0xff, 0xfe, b'"']).send().await?.refused(400, Reason::InvalidRequest)?;
        Ok(())
    })
}

#[test]
fn a_body_that_says_it_is_not_json_is_refused() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        for (method, path) in opened_by(t, "OrderSecret").await?.iter().filter(|(method, _)| method != "GET") {
            for kind in CONTENT_TYPES {
                let request = order.request(method.parse()?, path).header("content-type", kind).body("{}");
                request.send().await?.refused(415, Reason::UnsupportedMediaType)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_body_without_bounds_is_refused() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let large = format!("{{\"name\":\"{}\"}}", "a".repeat(4 << 20));
        let request = order.request(Method::POST, "/k8s/deploy").header("content-type", "application/json");
        request.body(large.clone()).send().await?.refused(413, Reason::PayloadTooLarge)?;
        // Without a declared length the limit holds as well.
        let chunks =
            large.into_bytes().chunks(65_536).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        let request = order.request(Method::POST, "/k8s/deploy").header("content-type", "application/json");
        request.body(body).send().await?.refused(413, Reason::PayloadTooLarge)?;
        Ok(())
    })
}

#[test]
fn wrong_idempotency_keys_and_preferences_are_refused_or_ignored_as_their_rules_say() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let body = pod(t.stack.region.as_str(), &[idle("a")]);
        let long = "k".repeat(256);
        for key in ["", long.as_str()] {
            let answer = order.deploy(&body).header("idempotency-key", key).send().await?;
            let error = answer.refused(400, Reason::InvalidRequest)?;
            assert_eq!(error["details"][0]["field"], "Idempotency-Key", "{key:?}");
        }
        let wrong = order.deploy(&body).header_bytes("idempotency-key".parse()?, b"\xff\xfe")?;
        wrong.send().await?.refused(400, Reason::InvalidRequest)?;
        // A preference that is not understood is no error (RFC 7240 §2).
        let odd = order.deploy(&body).header("prefer", "wait=soon, handling=strict, respond-async; foo=\"a,b\"");
        odd.send().await?.is(202)?;
        Ok(())
    })
}

#[test]
fn credentials_for_an_image_are_base64_of_text() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (username, password) in [("not base64!", "eA=="), ("eA==", "*"), ("/w==", "eA==")] {
            let request = client.get("/k8s/images?image=nginx&tag=stable");
            let answer = request.header("Username", username).header("Password", password).send().await?;
            answer.refused(400, Reason::InvalidRequest)?;
        }
        Ok(())
    })
}

#[test]
fn browsers_may_call_with_the_headers_of_the_contract() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (path, method) in [("/k8s/deploy", "POST"), ("/k8s/order", "GET"), ("//k8s/order", "GET")] {
            let request = client.request(Method::OPTIONS, path).header("origin", "https://market.example.com");
            let request = request.header("access-control-request-method", method);
            let asked = "secret,idempotency-key,last-event-id,content-type,username,password,\
                         address,public-key,signature,x-sdk-time";
            let answer = request.header("access-control-request-headers", asked).send_raw().await?;
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(matches!(header("access-control-allow-origin"), "*" | "https://market.example.com"), "{path}");
            let allowed = header("access-control-allow-headers").to_lowercase();
            for name in asked.split(',') {
                assert!(allowed.split(',').any(|one| one.trim() == name), "{path}: {name} in {allowed}");
            }
            assert!(header("access-control-allow-methods").contains(method), "{path}");
        }
        // Failures carry the header too: else a browser hides them from the page.
        let refused = client.get("/k8s/order").header("origin", "https://market.example.com").send().await?;
        assert!(refused.header("access-control-allow-origin").is_some());
        refused.refused(401, Reason::Unauthorized)?;
        Ok(())
    })
}

#[test]
fn headers_that_old_clients_send_change_nothing() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let mut request = order.request(Method::GET, "/k8s/order");
        for (name, value) in [
            ("x-sdk-time", "1620962741"),
            ("address", "0xabc"),
            ("public-key", "04abc"),
            ("signature", "deadbeef"),
            ("user-agent", "market command line v1.0"),
            ("host", "ausrine.vkube.example.com"),
        ] {
            request = request.header(name, value);
        }
        request.send().await?.ok()?;
        Ok(())
    })
}
