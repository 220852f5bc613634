//! Domains of an order: what stands in the cluster for them, whose they are, and that nothing is left of them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{pod, web};
use e2e::system::host_port;
use e2e::test::{Test, test};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

async fn send(order: &Order, method: Method, body: &Value) -> Result<e2e::http::Answer> {
    order.request(method, "/k8s/pod/ingress").json(body).header("prefer", "wait=60").send().await
}

fn binding(domain: &str) -> Value {
    json!({ "domain": domain, "isEncryByself": false, "containerPort": 80 })
}

/// What is said of a domain that was bound so.
fn bound(domain: &str) -> Value {
    json!({ "domain": domain, "containerPort": 80, "isHttps": false })
}

/// A domain that no other test knows.
fn domain(name: &str) -> String {
    format!("{name}-{}.example.com", uuid::Uuid::new_v4().simple())
}

/// The order's Services and Ingresses.
async fn objects(t: &Test, order: &Order) -> Result<(Vec<Value>, Vec<Value>)> {
    let namespace = order.namespace();
    let services = t.cluster.list(&format!("/api/v1/namespaces/{namespace}/services")).await?;
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses");
    Ok((services, t.cluster.list(&path).await?))
}

fn hosts(ingress: &Value) -> Vec<&str> {
    ingress["spec"]["rules"].as_array().into_iter().flatten().filter_map(|rule| rule["host"].as_str()).collect()
}

#[test]
fn domains_lead_to_the_pod_until_they_are_unbound_and_nothing_is_left() -> Result<()> {
    test(async |t| {
        let (first, second) = (domain("first"), domain("second"));
        let order = t.order(&OrderOptions::units(1)).await?;
        let before = order.running(&pod("ausrine", &[web("web", host_port())])).await?;
        assert_eq!(before["domains"], Value::Null);
        let job = send(&order, Method::POST, &binding(&first.to_ascii_uppercase())).await?.ok()?;
        assert_eq!((&job["verb"], &job["state"], &job["revision"]), (&json!("expose"), &json!("Succeeded"), &json!(1)));
        let added = json!({ "action": "Add", "domains": [second] });
        send(&order, Method::PATCH, &added).await?.ok()?;

        let (services, ingresses) = objects(t, &order).await?;
        let ([service], [ingress]) = (services.as_slice(), ingresses.as_slice()) else {
            anyhow::bail!("one Service and one Ingress: {services:?} {ingresses:?}")
        };
        assert_eq!(service["spec"]["ports"][0]["targetPort"], 80);
        assert_eq!(hosts(ingress), [first.as_str(), second.as_str()]);
        let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
        assert_eq!(
            (&backend["name"], &backend["port"]["number"]),
            (&service["metadata"]["name"], &service["spec"]["ports"][0]["port"])
        );
        // The Service leads to the pod.
        let status = order.status().await?.ok()?;
        let address = text(&status, "/podStatus/podIP")?;
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", order.namespace());
        until("the Service leads to the pod", Duration::from_secs(20), async || {
            let slices = t.cluster.list(&slices).await?;
            let mut addresses = slices.iter().filter_map(|slice| slice.pointer("/endpoints/0/addresses/0"));
            Ok(addresses.any(|found| *found == json!(address)).then_some(()))
        })
        .await?;
        assert_eq!(
            (&status["name"], &status["domains"]),
            (&before["name"], &json!([bound(&first), bound(&second)])),
            "the pod is left alone"
        );
        let policy = format!("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", order.namespace());
        let policy = t.cluster.list(&policy).await?;
        assert!(policy[0]["spec"]["ingress"].to_string().contains("80"), "{policy:?}");

        // A new revision, a stop and a start keep them.
        order.deployed(&pod("ausrine", &[web("web", host_port())])).await?;
        assert_eq!(hosts(&objects(t, &order).await?.1[0]), [first.as_str(), second.as_str()]);

        let removed = json!({ "action": "Del", "domains": [first] });
        send(&order, Method::PATCH, &removed).await?.ok()?;
        assert_eq!(hosts(&objects(t, &order).await?.1[0]), [second.as_str()]);
        send(&order, Method::DELETE, &json!({})).await?.ok()?;
        assert_eq!(objects(t, &order).await?, (vec![], vec![]));
        assert_eq!(order.status().await?.ok()?["domains"], Value::Null);
        let error = send(&order, Method::DELETE, &json!({})).await?.refused(404, Reason::NotFound)?;
        assert_eq!(error["message"], "no domain is bound; bind one with POST first");
        Ok(())
    })
}

#[test]
fn a_domain_is_one_orders() -> Result<()> {
    test(async |t| {
        let domain = domain("shop");
        let (one, two) = (t.order(&OrderOptions::units(1)).await?, t.order(&OrderOptions::units(1)).await?);
        for order in [&one, &two] {
            order.deployed(&pod("ausrine", &[web("web", host_port())])).await?;
        }
        send(&one, Method::POST, &binding(&domain)).await?.ok()?;
        let error = send(&two, Method::POST, &binding(&domain)).await?.refused(409, Reason::DomainTaken)?;
        assert_eq!(error["message"], format!("another order has bound {domain}; unbind there first, or choose others"));
        assert_eq!(objects(t, &two).await?, (vec![], vec![]));
        // Once more is the same domain of the same order.
        send(&one, Method::POST, &binding(&domain)).await?.ok()?;
        Ok(())
    })
}

#[test]
fn many_orders_that_want_one_domain_at_once_leave_it_with_one() -> Result<()> {
    test(async |t| {
        let domain = domain("race");
        let mut orders = Vec::new();
        for _ in 0..4 {
            let order = t.order(&OrderOptions::units(1)).await?;
            order.deployed(&pod("ausrine", &[web("web", host_port())])).await?;
            orders.push(order);
        }
        let body = binding(&domain);
        let answers = futures::future::join_all(orders.iter().map(|order| send(order, Method::POST, &body))).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409, 409]);
        let mut bound = 0;
        for order in &orders {
            bound += objects(t, order).await?.1.len();
        }
        assert_eq!(bound, 1);
        Ok(())
    })
}

#[test]
fn a_wrong_binding_names_every_problem_and_binds_nothing() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        send(&order, Method::POST, &binding("a.lt")).await?.refused(404, Reason::NotDeployed)?;
        order.deployed(&pod("ausrine", &[web("web", host_port())])).await?;
        let wrong = json!({ "domain": "localhost", "containerPort": 81, "isEncryByself": "no", "more": 1 });
        let error = send(&order, Method::POST, &wrong).await?.refused(400, Reason::InvalidRequest)?;
        let mut fields: Vec<&str> =
            error["details"].as_array().context("details")?.iter().filter_map(|d| d["field"].as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["containerPort", "domain", "isEncryByself", "more"]);
        send(&order, Method::PATCH, &json!({ "action": "Add", "domains": ["a.lt"] }))
            .await?
            .refused(404, Reason::NotFound)?;
        // The region of the tests issues no certificates, and says so.
        let issued = json!({ "domain": domain("issued"), "containerPort": 80, "isLetsencrypt": true });
        let error = send(&order, Method::POST, &issued).await?.refused(422, Reason::Refused)?;
        assert_eq!(error["message"], "the region issues no certificates; bind the domains without isLetsencrypt");
        assert_eq!(objects(t, &order).await?, (vec![], vec![]));
        // What came to nothing is no part of what comes after it.
        order.deployed(&pod("ausrine", &[web("web", host_port())])).await?;
        until("the record says so", Duration::from_secs(10), async || {
            Ok((order.status().await?.ok()?["domains"] == Value::Null).then_some(()))
        })
        .await
    })
}
