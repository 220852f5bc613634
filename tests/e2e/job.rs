//! Jobs as clients see them: waited for or not, repeated, listed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::order::{OrderOptions, number, text};
use e2e::pod::{idle, pod, web, with};
use e2e::system::{System, host_port};
use e2e::test::{Test, test};
use e2e::until::until;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// A system whose worker is there and does nothing: what is accepted stays queued.
async fn paused(t: &Test, region: &str) -> Result<System> {
    let system = t.system(region, 1, 1).await?;
    system.workers[0].process.pause().await?;
    Ok(system)
}

#[test]
fn an_answer_at_once_is_the_job_and_the_job_tells_its_way() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let body = pod("ausrine", &[idle("idle")]);
        let answer = order.deploy(&body).header("prefer", "respond-async").send().await?;
        let location = answer.header("location").context("a location")?.to_owned();
        let accepted = answer.is(202)?;
        let id = text(&accepted, "/id")?;
        assert_eq!(location, format!("/api/v1/jobs/{id}"));
        let mut members: Vec<&String> = accepted.as_object().context("an object")?.keys().collect();
        members.sort();
        let documented = [
            "attempts",
            "createdAt",
            "finishedAt",
            "id",
            "orderId",
            "outcome",
            "revision",
            "startedAt",
            "state",
            "verb",
        ];
        assert_eq!(members, documented);
        assert_eq!((&accepted["orderId"], &accepted["verb"]), (&json!(order.id), &json!("deploy")));
        assert_eq!((&accepted["revision"], &accepted["state"]), (&json!(1), &json!("Queued")));
        assert_eq!((&accepted["outcome"], &accepted["finishedAt"]), (&Value::Null, &Value::Null));

        let ended = order.ended(&id, Duration::from_secs(30)).await?;
        assert_eq!((&ended["state"], &ended["outcome"]), (&json!("Succeeded"), &json!({ "status": "succeeded" })));
        assert_eq!(ended["attempts"], 1);
        let times = ["createdAt", "startedAt", "finishedAt"].map(|name| text(&ended, &format!("/{name}")));
        let times: Vec<jiff::Timestamp> = times.into_iter().map(|time| Ok(time?.parse()?)).collect::<Result<_>>()?;
        assert!(times.is_sorted(), "{times:?}");
        Ok(())
    })
}

#[test]
fn a_client_waits_as_long_as_it_prefers() -> Result<()> {
    test(async |t| {
        let system = paused(t, "waits").await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let body = pod("waits", &[idle("idle")]);
        for (prefer, least, most) in
            [("wait=1", 0.9, 15.0), ("wait=0", 0.0, 15.0), ("respond-async, wait=30", 0.0, 15.0)]
        {
            let begun = Instant::now();
            let answer = order.deploy(&body).header("prefer", prefer).send().await?;
            let took = begun.elapsed().as_secs_f64();
            assert!((least..most).contains(&took), "{prefer} took {took} s");
            assert!(answer.header("location").is_some(), "{prefer}");
            let state = answer.is(202)?["state"].clone();
            assert_eq!(state, "Queued", "{prefer}");
        }
        system.workers[0].process.resume()?;
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        for job in jobs["jobs"].as_array().context("a list")? {
            let ended = order.ended(&text(job, "/id")?, Duration::from_mins(1)).await?;
            let state = text(&ended, "/state")?;
            // The newest is what runs; whether an older one was begun before it does not matter.
            let newest = number(&ended, "/revision")? == 3;
            assert!(state == "Succeeded" || (state == "Superseded" && !newest), "{ended}");
        }
        Ok(())
    })
}

#[test]
fn one_key_is_one_job_whoever_is_asked_and_however_often() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let apis = &t.shared().await?.apis;
        let body = pod("ausrine", &[web("web", host_port())]);
        let key = "order-2021/05/13,once".to_owned();
        let send = |number: usize, body: Value| {
            let order = order.by(&apis[number % 2].client);
            let key = key.clone();
            async move {
                let request = order.deploy(&body).header_bytes("idempotency-key".parse()?, key.as_bytes())?;
                request.send().await
            }
        };
        let answers = try_join_all((0..8).map(|number| send(number, body.clone()))).await?;
        let bodies = answers.into_iter().map(e2e::http::Answer::ok).collect::<Result<Vec<_>>>()?;
        for answer in &bodies {
            assert_eq!(answer, &bodies[0]);
        }
        assert_eq!(send(0, body.clone()).await?.ok()?, bodies[0], "also when it is done");

        // The order of members and white space do not make another body.
        let spaced = serde_json::to_string_pretty(&body)?;
        let request = order.request(Method::POST, "/k8s/deploy").header("content-type", "application/json");
        let request = request.header_bytes("idempotency-key".parse()?, key.as_bytes())?.body(spaced);
        assert_eq!(request.send().await?.ok()?, bodies[0]);

        let other = with(body.clone(), "containers", json!([idle("idle")]));
        send(1, other).await?.refused(422, Reason::IdempotencyKeyReused)?;
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs}");

        // Keys belong to their order.
        let stranger = t.order(&OrderOptions::units(1)).await?;
        let request = stranger.deploy(&pod("ausrine", &[idle("idle")]));
        let answer = request.header_bytes("idempotency-key".parse()?, key.as_bytes())?.send().await?.ok()?;
        assert_ne!(answer["id"], bodies[0]["id"]);
        Ok(())
    })
}

#[test]
fn a_refused_request_does_not_use_its_key_up() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let wrong = pod("ausrine", &[with(idle("idle"), "imageName", json!("NOT AN IMAGE"))]);
        let request = order.deploy(&wrong).header("idempotency-key", "again");
        request.send().await?.refused(400, Reason::InvalidRequest)?;
        let request = order.deploy(&pod("ausrine", &[idle("idle")])).header("idempotency-key", "again");
        request.send().await?.ok()?;
        Ok(())
    })
}

#[test]
fn jobs_are_listed_newest_first_in_pages() -> Result<()> {
    test(async |t| {
        let system = paused(t, "pages").await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(order.accepted(&pod("pages", &[idle("idle")])).await?);
        }
        made.reverse();
        let (mut listed, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = order.request(Method::GET, &format!("/jobs?limit=2{after}")).send().await?.ok()?;
            pages += 1;
            for job in page["jobs"].as_array().context("a list")? {
                let mut alone = order.job(&text(job, "/id")?).await?;
                let queue = alone.as_object_mut().and_then(|job| job.remove("queue"));
                assert!(queue.is_some(), "one that is shown alone tells where it waits");
                assert_eq!(alone, *job, "the list shows what the job is");
                listed.push(text(job, "/id")?);
            }
            let Some(next) = page.get("next") else { break };
            after = format!("&after={}", next.as_str().context("a text")?);
        }
        assert_eq!((listed, pages), (made, 3));
        let all = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(all["jobs"].as_array().map(Vec::len), Some(5));
        assert_eq!(all.get("next"), None);
        Ok(())
    })
}

#[test]
fn a_job_that_is_not_the_orders_is_not_there() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        for id in ["0190163d-8694-739b-aea5-966c26f8ad91", "x", "%2e%2e", "1%20or%201=1"] {
            let answer = order.request(Method::GET, &format!("/jobs/{id}")).send().await?;
            answer.refused(404, Reason::NotFound)?;
        }
        Ok(())
    })
}

#[test]
fn jobs_that_only_wait_hold_up_no_other() -> Result<()> {
    test(async |t| {
        let mut system = t.system("waiting", 1, 0).await?;
        let worker = system.new_worker(&[("VKUBE_JOB_CONCURRENCY", "1")])?;
        system.workers.push(worker);
        system.ready().await?;
        let (stuck, other) =
            (t.order_of(&system, &OrderOptions::units(1)).await?, t.order_of(&system, &OrderOptions::units(1)).await?);
        let body = pod("waiting", &[idle("idle")]);
        stuck.deployed(&body).await?;
        t.cluster.hold(&stuck.namespace()).await?;
        let seen = async {
            let abort = stuck.request(Method::POST, &format!("/admin/orders/{}/abort", stuck.id));
            let abort = abort.operator(&system.operator_token).header("prefer", "respond-async");
            let id = text(&abort.json(&json!({ "reason": "not paid" })).send().await?.is(202)?, "/job/id")?;
            until("the job is in work", Duration::from_secs(20), async || {
                Ok((stuck.job(&id).await?["state"] == "Running").then_some(()))
            })
            .await?;
            other.deployed(&body).await?;
            anyhow::Ok((stuck.job(&id).await?, id))
        }
        .await;
        t.cluster.release(&stuck.namespace()).await?;
        let (job, id) = seen?;
        assert_eq!(job["state"], "Running", "it waits until all is gone");
        assert_eq!(stuck.ended(&id, Duration::from_mins(1)).await?["state"], "Succeeded");
        Ok(())
    })
}
