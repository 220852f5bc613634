//! What operators change and see: each change once for each key, with their names on record.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use common::stream;
use e2e::operator::Operator;
use e2e::order::{OrderOptions, number, text};
use e2e::pod::{idle, pod, web};
use e2e::system::host_port;
use e2e::test::test;
use e2e::until::until;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn an_order_is_extended_once_for_each_key() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let operator = Operator::of(system)?;
        let order = t.order(&OrderOptions::units(1)).await?;
        let longer = operator.extend(&order, 20).await?;
        assert_eq!((number(&longer, "/duration")?, &longer["endAt"]), (120, &json!(0)), "it has no end yet");
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        let dates = async || -> Result<[u64; 3]> {
            let details = operator.details(&order).await?;
            let date = |name| number(&details, &format!("/order/{name}"));
            Ok([date("warnAt")?, date("endAt")?, date("deleteAt")?])
        };
        let [warn, end, delete] = until("the order has its dates", Duration::from_secs(10), async || {
            Ok(Some(dates().await?).filter(|dates| *dates != [0; 3]))
        })
        .await?;
        // A tenth of its 120 hours is 12, and it is deleted 3 days after its end.
        assert_eq!((end - warn, delete - end), (12 * 3600, 72 * 3600));

        let extend = |api: usize, hours: u32| {
            let path = format!("/admin/orders/{}/extend", order.id);
            let request = system.apis[api].client.post(&path).operator(&system.operator_token);
            request.header("idempotency-key", "once").json(&json!({ "hours": hours })).send()
        };
        for answer in try_join_all((0..16).map(|n| extend(n % 2, 100))).await? {
            assert_eq!(number(&answer.ok()?, "/order/duration")?, 220);
        }
        extend(0, 101).await?.refused(422, Reason::IdempotencyKeyReused)?;
        let later = dates().await?;
        assert_eq!(later, [end + 100 * 3600 - 22 * 3600, end + 100 * 3600, end + 172 * 3600]);
        let own = order.request(Method::GET, "/k8s/order").send().await?.ok()?;
        let expires: jiff::Timestamp = text(&own, "/serviceExpiredDate")?.parse()?;
        assert_eq!((u64::try_from(expires.as_second())?, number(&own, "/duration")?), (later[1], 220));
        assert_eq!(operator.history(&order).await?, ["e2e: created", "e2e: extended", "e2e: extended"]);
        Ok(())
    })
}

#[test]
fn a_replaced_secret_opens_its_order_until_its_overlap_is_over() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let operator = Operator::of(system)?;
        let order = t.order(&OrderOptions::units(1)).await?;
        let opens = async |secret: &str| -> Result<bool> {
            let answer = system.apis[1].client.get("/k8s/order").secret(secret).send().await?;
            if answer.status == 200 {
                assert_eq!(answer.body["id"], order.id.as_str());
                return Ok(true);
            }
            let error = answer.refused(401, Reason::Unauthorized)?;
            assert_eq!(error["message"], "the secret, or the operator's token, is missing or not valid");
            Ok(false)
        };
        let replace = async |overlap: Value| -> Result<String> {
            let answer = operator.change(&order, "secret", &overlap).send().await?.ok()?;
            assert_eq!(answer["order"]["id"], order.id.as_str());
            text(&answer, "/secret")
        };
        let second = replace(json!({ "overlapSeconds": 600 })).await?;
        assert!(opens(&order.secret).await? && opens(&second).await?, "both, meanwhile");
        let database = system.database.connect().await?;
        let over = "update orders set old_secret_until = now() where id = $1";
        database.execute(over, &[&order.id]).await?;
        assert!(!opens(&order.secret).await? && opens(&second).await?);
        let third = replace(json!({})).await?;
        assert!(!opens(&second).await? && opens(&third).await?, "without an overlap at once");

        // A key's secret is shown once.
        let keyed = async || {
            let request = operator.change(&order, "secret", &json!({})).header("idempotency-key", "once");
            request.send().await?.ok()
        };
        let fourth = text(&keyed().await?, "/secret")?;
        let again = keyed().await?;
        assert_eq!((&again["order"]["id"], again.get("secret")), (&json!(order.id), None));
        assert!(opens(&fourth).await? && !opens(&third).await?);
        let details = operator.details(&order).await?;
        assert_eq!(details["history"].as_array().context("a history")?.len(), 4, "{details}");
        assert_eq!(details["history"][2]["overlapSeconds"], 600);
        for secret in [&order.secret, &second, &third, &fourth] {
            assert!(!details.to_string().contains(secret.as_str()));
        }
        Ok(())
    })
}

#[test]
fn an_order_is_made_and_aborted_once_for_each_key() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let operator = Operator::of(system)?;
        let key = uuid::Uuid::new_v4().to_string();
        let make = |units: u32| {
            let request = system.apis[0].client.post("/admin/orders").operator(&system.operator_token);
            request.header("idempotency-key", &key).json(&OrderOptions::units(units).body()).send()
        };
        let first = make(1).await?.is(201)?;
        let again = make(1).await?.ok()?;
        assert_eq!((&again["order"], again.get("secret")), (&first["order"], None));
        make(2).await?.refused(422, Reason::IdempotencyKeyReused)?;

        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        // The customer's keys are other keys.
        let restart = order.request(Method::POST, "/k8s/pod/restart").header("idempotency-key", "once");
        restart.json(&json!({})).header("prefer", "wait=60").send().await?.ok()?;
        let abort = async |reason: &str| {
            let request = operator.change(&order, "abort", &json!({ "reason": reason }));
            request.header("idempotency-key", "once").header("prefer", "wait=60").send().await
        };
        let jobs = try_join_all((0..8).map(|_| abort("moved away"))).await?;
        let jobs = jobs.into_iter().map(e2e::http::Answer::ok).collect::<Result<Vec<_>>>()?;
        let job = jobs[0].clone();
        assert!(jobs.iter().all(|one| *one == job), "{jobs:?}");
        assert_eq!((&job["job"]["verb"], &job["job"]["state"]), (&json!("delete"), &json!("Succeeded")));
        assert_eq!(abort("moved away").await?.ok()?, job);
        abort("another").await?.refused(422, Reason::IdempotencyKeyReused)?;
        operator.change(&order, "abort", &json!({ "reason": "x" })).send().await?.refused(409, Reason::OrderEnded)?;
        operator.change(&order, "extend", &json!({ "hours": 1 })).send().await?.refused(409, Reason::OrderEnded)?;
        let details = operator.details(&order).await?;
        let aborted = &details["history"][0];
        assert_eq!((&aborted["by"], &aborted["event"]), (&json!("e2e"), &json!("aborted")));
        assert_eq!((&aborted["reason"], &aborted["jobId"]), (&json!("moved away"), &job["job"]["id"]));

        // One that never ran has no job to show, and says the same again.
        let unplaced = t.order(&OrderOptions::units(1)).await?;
        let abort = || {
            let request = operator.change(&unplaced, "abort", &json!({ "reason": "a mistake" }));
            request.header("idempotency-key", "once").send()
        };
        for answer in try_join_all((0..8).map(|_| abort())).await? {
            assert_eq!(answer.ok()?, json!({}));
        }
        Ok(())
    })
}

#[test]
fn the_regions_are_shown_with_their_workers_clusters_ports_and_queues() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let operator = Operator::of(system)?;
        let order = t.order(&OrderOptions::units(1)).await?;
        order.running(&pod("ausrine", &[web("web", host_port())])).await?;
        let region = operator.region().await?;
        assert_eq!(region["live"], true);
        let workers = region["workers"].as_array().context("workers")?;
        assert_eq!(workers.len(), 2, "{region}");
        for worker in workers {
            assert_eq!((&worker["version"], &worker["ready"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(true)));
            let seen: jiff::Timestamp = text(worker, "/lastSeen")?.parse()?;
            let ago = jiff::Timestamp::now().duration_since(seen).as_secs();
            assert!((0..20).contains(&ago), "{worker}");
        }
        assert!(text(&region, "/clusterVersion")?.starts_with("v1."), "{region}");
        assert_eq!(region["nodes"][0]["ready"], true);
        for what in ["/capacity/cpuMillis", "/capacity/memoryBytes", "/portsUsed"] {
            assert!(number(&region, what)? > 0, "{what}: {region}");
        }
        until("the pod's requests are counted", Duration::from_secs(20), async || {
            let region = operator.region().await?;
            let (cpu, memory) = (number(&region, "/requests/cpuMillis")?, number(&region, "/requests/memoryBytes")?);
            Ok((cpu >= 16 && memory >= 64 << 20).then_some(()))
        })
        .await?;
        assert_eq!(region["deletesHeld"], 0);
        Ok(())
    })
}

#[test]
fn a_region_that_is_silent_is_shown_with_what_waits_for_it() -> Result<()> {
    test(async |t| {
        let mut system = t.system("silent", 1, 1).await?;
        let placed = OrderOptions { region: Some("silent".to_owned()), ..OrderOptions::units(1) };
        let order = t.order_of(&system, &placed).await?;
        system.workers[0].process.end(e2e::system::END_WITHIN).await?;
        let operator = Operator::of(&system)?;
        order.accepted(&pod("silent", &[idle("idle")])).await?;
        let region = operator.region().await?;
        assert_eq!((number(&region, "/queueLength")?, &region["live"]), (1, &json!(false)));
        assert!(number(&region, "/oldestJobSeconds")? < 60, "{region}");
        assert_eq!(region["workers"][0]["ready"], false);
        Ok(())
    })
}

#[test]
fn a_region_that_nothing_was_heard_of_for_long_is_shown_while_it_has_orders() -> Result<()> {
    test(async |t| {
        let mut system = t.system("forgotten", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("forgotten", &[idle("idle")])).await?;
        until("the order has an end", Duration::from_secs(20), async || {
            Ok((Operator::of(&system)?.details(&order).await?["order"]["endAt"] != 0).then_some(()))
        })
        .await?;
        system.workers[0].process.end(e2e::system::END_WITHIN).await?;
        // An api that never heard of it.
        let jetstream = async_nats::jetstream::new(system.nats.client().await?);
        let presence = jetstream.get_key_value(stream::REGIONS).await?;
        presence.stream.purge().await?;
        system.apis[0] = system.new_api(&[]).await?;
        let region = Operator::of(&system)?.region().await?;
        assert_eq!((&region["live"], &region["workers"]), (&json!(false), &json!([])));
        let order = order.by(&system.apis[0].client);
        let refused = order.deploy(&pod("forgotten", &[idle("idle")])).send().await?;
        assert!(refused.header("retry-after").is_some());
        refused.refused(503, Reason::RegionUnavailable)?;
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "nothing was accepted");
        Ok(())
    })
}
