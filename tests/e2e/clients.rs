//! Clients of the original product: the bodies that they send, and the members that they read without a guard.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::order::{Order, OrderOptions, text};
use e2e::system::host_port;
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

/// Sends a body as existing clients do, with their headers, and expects exactly 200 and no failure in the body.
async fn send(order: &Order, method: Method, path: &str, body: &Value) -> Result<Value> {
    let request = order.request(method, path).json(body).header("User-Agent", "market command line v1.0");
    let signed = request.header("address", "AU").header("public-key", "k").header("signature", "s");
    let answer = signed.header("x-sdk-time", "1").send().await?;
    anyhow::ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
    let answer = answer.ok()?;
    anyhow::ensure!(answer.get("error").is_none() && answer.get("message").is_none(), "{path}: {answer}");
    Ok(answer)
}

/// A container as the deploy dialog of an existing client makes it.
fn container(port: u16) -> Value {
    json!({
        "name": "web", "imageName": "web:1", "resourceUnit": 1, "ports": [{ "containerPort": 80, "hostPort": port }],
        "envs": [{ "name": "PAGE", "value": "one" }], "mountPath": "", "command": "", "args": "",
        "configMountPath": "/etc/web.conf", "config": "first"
    })
}

#[test]
fn an_existing_client_does_all_that_its_menu_has() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions { region: Some("ausrine".to_owned()), ..OrderOptions::units(1) }).await?;
        let login = json!([{ "username": "", "password": "" }]);
        let body = json!({ "containers": [container(port)], "pvtLogin": login });
        send(&order, Method::POST, "/k8s/deployment", &body).await?;
        order.ready().await?;

        // The status page.
        let status = order.status().await?.ok()?;
        let shown = status["podStatus"]["containerStatuses"].as_array().context("container statuses")?;
        for container in shown {
            let state = container["state"].as_object().context("a state")?;
            assert_eq!(state.len(), 1, "{container}");
            assert!(container["name"].is_string() && container["image"].is_string(), "{container}");
            assert!(container["restartCount"].is_u64(), "{container}");
        }
        text(&status, "/podStatus/hostIP")?;
        text(&status, "/podSpec/containers/0/resources/limits/memory")?;
        // The figures: whatever is not null has numbers.
        let usage = order.request(Method::GET, "/monitor?allTypes=True&containers=web").send().await?.ok()?;
        for figure in ["/cpu/web", "/memory/web", "/networkDownload", "/networkUpload", "/storage"] {
            let figure = usage.pointer(figure).with_context(|| format!("{figure}: {usage}"))?;
            let known = figure.as_object().into_iter().flatten().all(|(_, number)| number.is_number());
            assert!(figure.is_null() || known, "{usage}");
        }

        // The dialog of configuration and environment sends both, and one of them empty.
        let env = json!({ "config": {}, "environment": { "web": { "PAGE": "two" } } });
        send(&order, Method::PUT, "/k8s/pod/update", &env).await?;
        let config = json!({ "config": { "web": "second" }, "environment": {} });
        send(&order, Method::PUT, "/k8s/pod/update", &config).await?;
        let file = order.request(Method::GET, "/k8s/pod/configmap").send().await?.ok()?;
        assert_eq!(file, json!({ "web": "second" }));

        // The images of two generations of clients.
        let image = json!([{ "image": "web:2", "login": { "username": "", "password": "" } }]);
        send(&order, Method::PATCH, "/k8s/pod/images", &image).await?;
        send(&order, Method::PATCH, "/k8s/pod/images", &json!({ "images": ["web:1"] })).await?;

        // What is shown can be deployed again as it stands.
        let info = order.request(Method::GET, "/k8s/deployment/info").send().await?.ok()?;
        assert_eq!(
            (&info["containers"][0]["resourceUnit"], &info["containers"][0]["config"]),
            (&json!(1), &json!("second"))
        );
        send(&order, Method::POST, "/k8s/deployment/update", &info).await?;

        for verb in ["restart", "stop", "start"] {
            let answer = send(&order, Method::POST, &format!("/k8s/pod/{verb}"), &json!({})).await?;
            assert_eq!(answer["status"], "OK", "{verb}: {answer}");
        }
        send(&order, Method::POST, "/k8s/deployment/metadata/label", &json!({ "customizedLabel": "mine" })).await?;
        let text = json!({ "description": "what it is for" });
        send(&order, Method::POST, "/k8s/deployment/metadata/annotation", &text).await?;
        Ok(())
    })
}

#[test]
fn an_existing_client_binds_domains_beside_those_that_are_bound() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions { region: Some("ausrine".to_owned()), ..OrderOptions::units(2) }).await?;
        let mut web = container(host_port());
        web["ports"] =
            json!([{ "containerPort": 80, "hostPort": host_port() }, { "containerPort": 81, "hostPort": host_port() }]);
        send(&order, Method::POST, "/k8s/deployment", &json!({ "containers": [web] })).await?;
        let base = format!("{}.lt", order.id);
        let bind = async |domain: &str, port: u16, https: Option<bool>| {
            let mut body = json!({ "domain": domain, "isEncryByself": false, "containerPort": port });
            if let Some(https) = https {
                body["isLetsencrypt"] = json!(https);
            }
            send(&order, Method::POST, "/k8s/pod/ingress", &body).await
        };
        let (www, shop) = (format!("www.{base}"), format!("shop.{base}"));
        bind(&www, 80, Some(false)).await?;
        // The flag is asked for with the first domain of a base only.
        bind(&shop, 81, None).await?;
        let domains = order.status().await?.ok()?["domains"].clone();
        let row = |domain: &str, port: u16| json!({ "domain": domain, "containerPort": port, "isHttps": false });
        assert_eq!(domains, json!([row(&shop, 81), row(&www, 80)]));
        let path = format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses", order.namespace());
        let ingress = t.cluster.list(&path).await?.pop().context("an Ingress")?;
        let ports = ingress["spec"]["rules"].as_array().context("rules")?.iter().map(|rule| {
            let port = &rule["http"]["paths"][0]["backend"]["service"]["port"]["number"];
            (rule["host"].as_str().unwrap_or_default(), port.as_u64().unwrap_or_default())
        });
        assert_eq!(ports.collect::<Vec<_>>(), [(shop.as_str(), 81), (www.as_str(), 80)]);

        let unbind = json!({ "action": "Del", "domains": [shop] });
        send(&order, Method::PATCH, "/k8s/pod/ingress", &unbind).await?;
        send(&order, Method::DELETE, "/k8s/pod/ingress", &json!({})).await?;
        assert_eq!(order.status().await?.ok()?["domains"], Value::Null);
        Ok(())
    })
}

#[test]
fn the_command_for_pipelines_deploys_with_its_form_of_files() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions { region: Some("ausrine".to_owned()), ..OrderOptions::units(1) }).await?;
        let mut web = container(host_port());
        let fields = web.as_object_mut().context("an object")?;
        fields.retain(|name, _| !["config", "configMountPath"].contains(&name.as_str()));
        fields.extend([
            ("configMap".to_owned(), json!({ "/etc/web.conf": "of a pipeline" })),
            ("exposedPorts".to_owned(), json!([])),
            ("command".to_owned(), json!([])),
            ("args".to_owned(), json!([])),
        ]);
        send(&order, Method::POST, "/k8s/deployment", &json!({ "containers": [web] })).await?;
        until("the file is shown", Duration::from_secs(10), async || {
            let file = order.request(Method::GET, "/k8s/pod/configmap").send().await?;
            Ok((file.ok()? == json!({ "web": "of a pipeline" })).then_some(()))
        })
        .await
    })
}
