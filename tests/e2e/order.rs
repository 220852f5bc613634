//! Orders: made by operators, shown to their owners.

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::order::{OrderOptions, text};
use e2e::pod::{idle, pod};
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn an_order_of_a_chosen_id_is_made_once() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let id = format!("e2e-{}", uuid::Uuid::new_v4().simple());
        let body = |email: &str| {
            let mut body = OrderOptions::units(2).body();
            body["id"] = json!(id);
            body["email"] = json!(email);
            body
        };
        let ask = |number: usize, email: &str| {
            let request = system.apis[number].client.post("/admin/orders").operator(&system.operator_token);
            request.json(&body(email)).send()
        };
        let made = ask(0, "a@example.com").await?.is(201)?;
        assert_eq!(made["order"]["id"], id.as_str());
        assert!(text(&made, "/secret")?.len() >= 43, "256 bits");
        let again = ask(1, "a@example.com").await?.ok()?;
        assert_eq!((&again["order"], again.get("secret")), (&made["order"], None));
        ask(0, "b@example.com").await?.refused(409, Reason::OrderExists)?;
        Ok(())
    })
}

#[test]
fn an_operator_sees_an_order_with_its_revisions_jobs_and_ports_but_no_secret() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let port = e2e::system::host_port();
        let order = t.order(&OrderOptions::units(1)).await?;
        let body = pod("ausrine", &[e2e::pod::web("web", port)]);
        let answer = order.deployed(&body).await?;
        let details = until("the port is bound", Duration::from_secs(30), async || {
            let request = order.request(Method::GET, &format!("/admin/orders/{}", order.id));
            let details = request.operator(&system.operator_token).send().await?.ok()?;
            Ok(details.to_string().contains("bound").then_some(details))
        })
        .await?;
        assert_eq!(details["order"]["id"], order.id.as_str());
        assert_eq!(details["serviceStatus"], "ServiceRunning");
        assert_eq!(details["order"]["serviceStatus"], "ServiceRunning");
        assert_eq!(details["madeBy"], "e2e");
        assert_eq!(details["jobs"][0]["id"], answer["id"]);
        assert_eq!(details["revisions"][0]["revision"], 1);
        assert!(details["ports"].to_string().contains(&port.to_string()), "{details}");
        assert!(!details.to_string().contains(&order.secret));
        Ok(())
    })
}

#[test]
fn orders_are_listed_newest_first_in_pages_and_filtered() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let client = system.client()?;
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let mut made = Vec::new();
        for number in 0..5 {
            let mut body = OrderOptions::units(1).body();
            body["email"] = json!(email);
            if number == 3 {
                body["serviceOptions"]["region"] = json!("North America");
            }
            let answer =
                client.post("/admin/orders").operator(&system.operator_token).json(&body).send().await?.is(201)?;
            made.push(text(&answer, "/order/id")?);
        }
        made.reverse();
        let list = async |query: String| -> Result<(Vec<String>, Option<String>)> {
            let request = client.get(&format!("/admin/orders?email={email}{query}")).operator(&system.operator_token);
            let page = request.send().await?.ok()?;
            let ids = page["orders"].as_array().context("a list")?.iter().map(|order| text(order, "/id"));
            Ok((ids.collect::<Result<_>>()?, page.get("next").and_then(Value::as_str).map(str::to_owned)))
        };
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let (ids, next) = list(format!("&limit=2{after}")).await?;
            listed.extend(ids);
            let Some(next) = next else { break };
            after = format!("&after={next}");
        }
        assert_eq!(listed, made);
        assert_eq!(list("&region=north-america".to_owned()).await?.0, [made[1].clone()]);
        assert_eq!(list("&status=ServicePending".to_owned()).await?.0, made);
        assert_eq!(list("&status=ServiceRunning".to_owned()).await?.0, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn an_orders_paid_time_begins_with_its_first_successful_deploy() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let info = async || order.request(Method::GET, "/k8s/order").send().await?.ok();
        assert_eq!(info().await?["serviceExpiredDate"], "");
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        let running = until("the order runs", Duration::from_secs(5), async || {
            let info = info().await?;
            Ok((info["serviceExpiredDate"] != "").then_some(info))
        })
        .await?;
        let end: jiff::Timestamp = text(&running, "/serviceExpiredDate")?.parse()?;
        let hours = (end.as_second() - jiff::Timestamp::now().as_second()) / 3600;
        assert!((99..=100).contains(&hours), "{running}");
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        assert_eq!(info().await?["serviceExpiredDate"], running["serviceExpiredDate"], "only the first");
        Ok(())
    })
}

#[test]
fn an_order_keeps_the_region_of_its_first_deploy() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let containers = json!([idle("idle")]);
        let nowhere = order.deploy(&pod("atlantis", &[idle("idle")])).send().await?;
        let error = nowhere.refused(400, Reason::RegionUnknown)?;
        assert_eq!(error["details"][0]["field"], "nodeSelector.region");
        assert!(text(&error, "/message")?.contains("ausrine"), "it says which there are: {error}");
        order.deployed(&pod("Ausrine", &[idle("idle")])).await?;
        order.deployed(&json!({ "containers": containers })).await?;
        let other = order.deploy(&pod("atlantis", &[idle("idle")])).send().await?;
        other.refused(400, Reason::InvalidRequest)?;
        Ok(())
    })
}
