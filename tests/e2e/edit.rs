//! Parts of a pod are changed, each time as a whole new revision, and the current body says what there is.

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::cluster::page;
use e2e::order::{Order, OrderOptions, number, text};
use e2e::pod::{container, counter, envs, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::test;
use reqwest::Method;
use serde_json::{Value, json};

/// A shell that prints what it finds in its environment and its configuration file, and waits.
fn printer(name: &str) -> Value {
    let script = json!("/bin/sh\n-c\necho \"MODE=$MODE LEVEL=$LEVEL\"; cat /etc/app.conf; tail -f /dev/null");
    let printer = with(container(name, "busybox:1"), "command", script);
    let printer = with(printer, "envs", envs(&[("MODE", "old".to_owned()), ("LEVEL", "1".to_owned())]));
    with(with(printer, "configMountPath", json!("/etc/app.conf")), "config", json!("old file\n"))
}

async fn update(order: &Order, body: &Value) -> Result<e2e::http::Answer> {
    order.request(Method::PUT, "/k8s/pod/update").json(body).header("prefer", "wait=60").send().await
}

async fn info(order: &Order) -> Result<Value> {
    order.request(Method::GET, "/k8s/deployment/info").send().await?.ok()
}

/// The environment of the n-th container of a body, as an object.
fn environment(info: &Value, place: usize) -> Result<Value> {
    let variables = info["containers"][place]["envs"].as_array().context("envs")?;
    let pairs = variables.iter().map(|v| Ok((text(v, "/name")?, v["value"].clone())));
    Ok(Value::Object(pairs.collect::<Result<_>>()?))
}

#[test]
fn environment_and_config_of_named_containers_are_replaced_as_a_new_revision() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        order.running(&pod("ausrine", &[printer("one"), printer("two")])).await?;
        assert_eq!(order.log_text("?container=one").await?, "MODE=old LEVEL=1\nold file\n");

        let body =
            json!({ "config": { "one": "new file\n" }, "environment": { "one": { "MODE": "žąsis \"$HOME\"" } } });
        let answer = update(&order, &body).await?.ok()?;
        assert_eq!((number(&answer, "/revision")?, text(&answer, "/status")?), (2, "Deployed".to_owned()));
        order.ready().await?;
        assert_eq!(order.log_text("?container=one").await?, "MODE=žąsis \"$HOME\" LEVEL=\nnew file\n");
        assert_eq!(order.log_text("?container=two").await?, "MODE=old LEVEL=1\nold file\n");

        let config = order.request(Method::GET, "/k8s/pod/configmap").send().await?.ok()?;
        assert_eq!(config, json!({ "one": "new file\n", "two": "old file\n" }));
        let info = info(&order).await?;
        assert_eq!(environment(&info, 0)?, json!({ "MODE": "žąsis \"$HOME\"" }));
        assert_eq!(environment(&info, 1)?, json!({ "MODE": "old", "LEVEL": "1" }));
        assert_eq!(info["containers"][0]["config"], "new file\n");
        Ok(())
    })
}

#[test]
fn an_image_goes_to_the_container_with_its_repository_on_the_same_port() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions::units(2)).await?;
        order.running(&pod("ausrine", &[web("web", port), idle("idle")])).await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"));
        let patch = async |body: Value| {
            let request = order.request(Method::PATCH, "/k8s/pod/images?until=available").json(&body);
            request.header("prefer", "wait=60").send().await
        };
        let answer = patch(json!([{ "image": "web:2" }])).await?.ok()?;
        assert_eq!((number(&answer, "/revision")?, number(&answer, "/ports/0/hostPort")?), (2, u64::from(port)));
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-2!"));
        let answer = patch(json!([{ "image": "busybox:1" }])).await?.refused(400, Reason::InvalidRequest)?;
        assert!(text(&answer, "/details/0/problem")?.contains("web (web:2), idle (pause:1)"), "{answer}");
        assert_eq!(info(&order).await?["containers"][0]["imageName"], "web:2");
        Ok(())
    })
}

#[test]
fn a_change_of_a_stopped_order_shows_when_it_is_started() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.running(&pod("ausrine", &[printer("one")])).await?;
        let step = async |verb: &str| {
            order.request(Method::POST, &format!("/k8s/pod/{verb}")).header("prefer", "wait=60").send().await?.ok()
        };
        step("stop").await?;
        let answer = update(&order, &json!({ "environment": { "one": { "MODE": "new" } } })).await?.ok()?;
        assert_eq!(number(&answer, "/revision")?, 2);
        assert!(t.cluster.pods(&order.namespace()).await?.is_empty(), "it is still stopped");
        assert_eq!(number(&step("start").await?, "/revision")?, 2);
        order.ready().await?;
        assert_eq!(order.log_text("").await?, "MODE=new LEVEL=\nold file\n");
        Ok(())
    })
}

#[test]
fn changes_of_two_clients_at_once_are_both_made() -> Result<()> {
    test(async |t| {
        let apis = &t.shared().await?.apis;
        let order = t.order(&OrderOptions::units(2)).await?;
        order.deployed(&pod("ausrine", &[printer("one"), printer("two")])).await?;
        let (one, two) = (order.by(&apis[0].client), order.by(&apis[1].client));
        let change = async |order: &Order, container: &str, level: u32| {
            let body = json!({ "environment": { container: { "LEVEL": level.to_string() } } });
            let request = order.request(Method::PUT, "/k8s/pod/update").json(&body);
            request.header("prefer", "respond-async").send_patiently().await?.is(202)
        };
        for level in 2..6 {
            futures::try_join!(change(&one, "one", level), change(&two, "two", level))?;
            let info = info(&order).await?;
            let expected = json!({ "LEVEL": level.to_string() });
            assert_eq!((environment(&info, 0)?, environment(&info, 1)?), (expected.clone(), expected));
        }
        Ok(())
    })
}

#[test]
fn a_wrong_change_names_every_problem_and_changes_nothing() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        let body = json!({ "environment": { "one": {} } });
        update(&order, &body).await?.refused(404, Reason::NotDeployed)?;
        for path in ["/k8s/pod/configmap", "/k8s/deployment/info"] {
            order.request(Method::GET, path).send().await?.refused(404, Reason::NotDeployed)?;
        }
        order.deployed(&pod("ausrine", &[counter("one", 1), idle("two")])).await?;
        let before = info(&order).await?;
        let wrong = json!({ "config": { "one": "x", "db": "x" }, "environment": { "two": { "9": 9 } }, "more": 1 });
        let error = update(&order, &wrong).await?.refused(400, Reason::InvalidRequest)?;
        let fields: Vec<_> =
            error["details"].as_array().context("details")?.iter().map(|d| d["field"].clone()).collect();
        assert_eq!(fields, ["more", "config.db", "config.one", "environment.two.9", "environment.two.9"]);
        let none = order.request(Method::GET, "/k8s/pod/configmap").send().await?.refused(404, Reason::NotFound)?;
        assert_eq!(none["message"], "no container of the pod has a configuration file");
        assert_eq!(info(&order).await?, before);
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"].as_array().context("a list")?.len(), 1);
        Ok(())
    })
}

#[test]
fn one_key_is_one_change() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[counter("one", 1)])).await?;
        let send = async |value: &str| {
            let body = json!({ "environment": { "one": { "COUNT": value } } });
            let request = order.request(Method::PUT, "/k8s/pod/update").json(&body).header("idempotency-key", "k");
            request.header("prefer", "wait=60").send().await
        };
        let first = send("2").await?.ok()?;
        assert_eq!(send("2").await?.ok()?, first);
        send("3").await?.refused(422, Reason::IdempotencyKeyReused)?;
        assert_eq!(number(&first, "/revision")?, 2);
        Ok(())
    })
}

#[test]
fn the_current_body_can_be_deployed_as_it_is() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions { random_ports: true, ..OrderOptions::units(3) }).await?;
        let web = with(container("web", "web:1"), "ports", json!([{ "containerPort": 80 }]));
        let body =
            pod("ausrine", &[web, printer("one"), with(counter("three", 3), "resource", json!({ "memory": "1Gi" }))]);
        let ports = order.deployed(&body).await?["ports"].clone();
        let first = info(&order).await?;
        assert_eq!(first["nodeSelector"]["region"], "ausrine");
        assert_eq!(first["containers"][2]["resourceUnit"], 1);
        assert_eq!(first["containers"][0]["ports"], json!([{ "containerPort": 80, "protocol": "TCP" }]));
        let request = order.request(Method::POST, "/k8s/deployment/update").json(&first);
        let again = request.header("prefer", "wait=60").send().await?.ok()?;
        assert_eq!((number(&again, "/revision")?, &again["ports"]), (2, &ports));
        assert_eq!(info(&order).await?, first);
        Ok(())
    })
}

#[test]
fn a_deployment_is_made_and_shown_without_the_registrys_password() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let image = format!("{}/private/web:1", t.stack.private_registry);
        let login = json!({ "username": t.stack.private_username, "password": t.stack.private_password });
        let body = with(pod("ausrine", &[container("web", &image)]), "pvtLogin", json!([login]));
        let request = order.request(Method::POST, "/k8s/deployment").json(&body).header("prefer", "wait=60");
        assert_eq!(request.send().await?.ok()?["status"], "Deployed");
        let shown = info(&order).await?;
        assert_eq!(shown["pvtLogin"], json!([{ "username": t.stack.private_username, "password": "" }]));
        assert!(!shown.to_string().contains(&t.stack.private_password));
        Ok(())
    })
}
