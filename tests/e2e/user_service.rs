//! The order as existing clients see it, and what its customer says of it.

use std::time::Duration;

use anyhow::Result;
use common::failure::Reason;
use e2e::order::{OrderOptions, number, text};
use e2e::pod::{idle, pod};
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn a_user_service_tells_where_the_order_stands() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let show = async || order.request(Method::GET, "/k8s/userService").send().await?.ok();
        let paid = show().await?;
        assert_eq!((&paid["status"], &paid["serviceStatus"]), (&json!("ServicePending"), &json!("ServicePending")));
        for name in ["serviceActivateTS", "serviceRunningTS", "serviceDoneTS", "serviceAbortTS", "endAt"] {
            assert_eq!(paid[name], 0, "{name}");
        }
        // All that `GET /k8s/order` tells, with the same values but for the status.
        let plain = order.request(Method::GET, "/k8s/order").send().await?.ok()?;
        for (name, value) in plain.as_object().into_iter().flatten().filter(|(name, _)| *name != "status") {
            assert_eq!(&paid[name.as_str()], value, "{name}");
        }
        assert_eq!((&paid["description"], &paid["customizedLabel"]), (&json!(""), &json!("")));

        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        let running = until("the record says that it runs", Duration::from_secs(10), async || {
            let shown = show().await?;
            Ok((text(&shown, "/status")? == "ServiceRunning").then_some(shown))
        });
        let running = running.await?;
        let (since, end) = (number(&running, "/serviceActivateTS")?, number(&running, "/endAt")?);
        assert_eq!(end - since, 100 * 3600);
        Ok(())
    })
}

#[test]
fn a_customer_describes_and_labels_an_order() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let set = async |what: &str, body: Value| {
            order.request(Method::POST, &format!("/k8s/deployment/metadata/{what}")).json(&body).send().await
        };
        assert_eq!(set("annotation", json!({ "description": "Žąsų ūkis" })).await?.ok()?, json!({}));
        assert_eq!(set("label", json!({ "customizedLabel": "geese.v1" })).await?.ok()?, json!({}));
        let shown = order.request(Method::GET, "/k8s/userService").send().await?.ok()?;
        assert_eq!((&shown["description"], &shown["customizedLabel"]), (&json!("Žąsų ūkis"), &json!("geese.v1")));
        for (what, body, field) in [
            ("annotation", json!({ "description": "ab" }), "description"),
            ("annotation", json!({}), "description"),
            ("annotation", json!({ "description": "abc", "label": "x" }), "label"),
            ("label", json!({ "customizedLabel": "-a" }), "customizedLabel"),
            ("label", json!({ "customizedLabel": 7 }), "customizedLabel"),
        ] {
            let error = set(what, body).await?.refused(400, Reason::InvalidRequest)?;
            assert_eq!(error["details"][0]["field"], field, "{error}");
        }
        assert_eq!(order.request(Method::GET, "/k8s/userService").send().await?.ok()?, shown);

        let keyed = async |what: &str, body: Value| {
            let request = order.request(Method::POST, &format!("/k8s/deployment/metadata/{what}"));
            request.header("idempotency-key", "k").json(&body).send().await
        };
        let said = json!({ "description": "first" });
        keyed("annotation", said.clone()).await?.ok()?;
        set("annotation", json!({ "description": "second" })).await?.ok()?;
        assert_eq!(keyed("annotation", said).await?.ok()?, json!({}), "it was said before");
        keyed("annotation", json!({ "description": "third" })).await?.refused(422, Reason::IdempotencyKeyReused)?;
        keyed("label", json!({ "customizedLabel": "a" })).await?.refused(422, Reason::IdempotencyKeyReused)?;
        // It makes no job either, and takes none back.
        for (method, path) in [(Method::POST, "/k8s/pod/restart"), (Method::DELETE, "/jobs/nobody's")] {
            let request = order.request(method, path).header("idempotency-key", "k").json(&json!({}));
            request.send().await?.refused(422, Reason::IdempotencyKeyReused)?;
        }
        let shown = order.request(Method::GET, "/k8s/userService").send().await?.ok()?;
        assert_eq!((&shown["description"], &shown["customizedLabel"]), (&json!("second"), &json!("geese.v1")));
        Ok(())
    })
}
