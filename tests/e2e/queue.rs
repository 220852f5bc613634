//! Jobs that wait in their region's queue: cancelled, watched, and where they stand.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use common::stream;
use e2e::operator::{Operator, STEP_WITHIN};
use e2e::order::{Order, OrderOptions, number, text};
use e2e::pod::{idle, pod, web};
use e2e::system::{END_WITHIN, System, host_port};
use e2e::test::{Test, test};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

/// A system whose worker is there and does nothing: what is accepted stays queued.
async fn paused(t: &Test, region: &str) -> Result<System> {
    let system = t.system(region, 1, 1).await?;
    system.workers[0].process.pause().await?;
    Ok(system)
}

/// Ends a system's worker and waits until its region has none.
async fn without_worker(system: &mut System) -> Result<()> {
    system.workers.remove(0).process.end(END_WITHIN).await?;
    let client = system.client()?;
    until("the region has no worker", Duration::from_secs(40), async || {
        Ok((client.get("/k8s/regions").send().await?.ok()? == json!([])).then_some(()))
    })
    .await
}

async fn cancel(order: &Order, id: &str) -> Result<e2e::http::Answer> {
    order.request(Method::DELETE, &format!("/jobs/{id}")).json(&json!({})).send().await
}

#[test]
fn a_job_that_has_not_begun_is_cancelled_at_once_and_the_order_is_as_it_was() -> Result<()> {
    test(async |t| {
        let system = t.system("cancels", 2, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let (first, second) = (host_port(), host_port());
        order.deployed(&pod("cancels", &[web("web", first)])).await?;
        let worker = &system.workers[0].process;
        worker.pause().await?;
        let id = order.accepted(&pod("cancels", &[web("web", second)])).await?;
        let cancelled = cancel(&order.by(&system.apis[1].client), &id).await?.ok()?;
        assert_eq!(
            (&cancelled["state"], &cancelled["outcome"]["status"]),
            (&json!("Superseded"), &json!("superseded"))
        );
        // It is on record while the region is still away, and its port is free again.
        let ended = order.ended(&id, Duration::from_secs(10)).await?;
        assert_eq!(ended["outcome"], cancelled["outcome"]);
        assert_eq!(cancel(&order, &id).await?.ok()?, ended, "once more changes nothing");
        worker.resume()?;
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        let newest = &jobs["jobs"][0];
        assert_eq!((&newest["verb"], number(newest, "/revision")?), (&json!("cancel"), 1));
        let end = order.ended(&text(newest, "/id")?, Duration::from_mins(1)).await?;
        assert_eq!(end["state"], "Succeeded", "{end}");
        let status = order.status().await?.ok()?;
        assert_eq!(status["podSpec"]["containers"][0]["ports"][0]["hostPort"], first);
        assert_eq!(status["stale"], false);
        Ok(())
    })
}

#[test]
fn a_cancelled_job_whose_end_nobody_told_ends_all_the_same() -> Result<()> {
    test(async |t| {
        let system = paused(t, "untold").await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let id = order.accepted(&pod("untold", &[web("web", host_port())])).await?;
        // As whoever cancels a job leaves it that dies between taking it out of its queue and telling its end.
        let jetstream = async_nats::jetstream::new(system.nats.client().await?);
        let queue = jetstream.get_stream(stream::jobs_name(&system.region)).await?;
        let first = queue.cached_info().state.first_sequence;
        until("the job's place is on record", Duration::from_secs(10), async || {
            let placed = "select from jobs where stream_sequence is not null";
            Ok((!system.database.connect().await?.query(placed, &[]).await?.is_empty()).then_some(()))
        })
        .await?;
        queue.delete_message(first).await?;
        cancel(&order, &id).await?.ok()?;
        let ended = order.ended(&id, Duration::from_secs(20)).await?;
        assert_eq!((&ended["state"], &ended["outcome"]["by"]), (&json!("Superseded"), &json!(2)), "{ended}");
        system.workers[0].process.resume()?;
        Ok(())
    })
}

#[test]
fn a_first_deploy_that_is_cancelled_leaves_an_order_that_can_be_deployed() -> Result<()> {
    test(async |t| {
        let system = paused(t, "undone").await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let body = pod("undone", &[idle("idle")]);
        let id = order.accepted(&body).await?;
        cancel(&order, &id).await?.ok()?;
        order.request(Method::GET, "/k8s/deployment/info").send().await?.refused(404, Reason::NotDeployed)?;
        system.workers[0].process.resume()?;
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        let end = order.ended(&text(&jobs, "/jobs/0/id")?, Duration::from_mins(1)).await?;
        assert_eq!(
            (&end["verb"], &end["state"], &end["revision"]),
            (&json!("cancel"), &json!("Succeeded"), &Value::Null)
        );
        assert!(!t.cluster.has_namespace(&order.namespace()).await?);
        assert_eq!(number(&order.deployed(&body).await?, "/revision")?, 2);
        Ok(())
    })
}

#[test]
fn a_job_that_has_begun_or_is_not_the_newest_is_not_cancelled() -> Result<()> {
    test(async |t| {
        let system = t.system("begun", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let body = pod("begun", &[idle("idle")]);
        let done = text(&order.deployed(&body).await?, "/id")?;
        let error = cancel(&order, &done).await?.refused(409, Reason::JobBegun)?;
        assert_eq!(error["message"], "the job cannot be cancelled: it has ended");
        system.workers[0].process.pause().await?;
        let former = order.accepted(&body).await?;
        let newest = order.accepted(&body).await?;
        let error = cancel(&order, &former).await?.refused(409, Reason::JobBegun)?;
        assert!(text(&error, "/message")?.contains("is not the order's newest"), "{error}");
        let other = t.order_of(&system, &OrderOptions::units(1)).await?;
        cancel(&other, &newest).await?.refused(404, Reason::NotFound)?;
        cancel(&order, &newest).await?.ok()?;
        system.workers[0].process.resume()?;
        order.ended(&former, Duration::from_mins(1)).await?;
        Ok(())
    })
}

#[test]
fn a_silent_region_has_so_many_changes_of_an_order_waiting_and_no_more() -> Result<()> {
    test(async |t| {
        let system = paused(t, "silent").await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let body = pod("silent", &[idle("idle")]);
        let mut newest = String::new();
        for _ in 0..32 {
            newest = order.accepted(&body).await?;
        }
        let stop = order.request(Method::POST, "/k8s/pod/stop").json(&json!({})).send().await?;
        for answer in [order.deploy(&body).send().await?, stop] {
            let error = answer.refused(503, Reason::Overloaded)?;
            assert!(text(&error, "/message")?.starts_with("32 changes of the order have not ended; wait"), "{error}");
        }
        system.workers[0].process.resume()?;
        order.ended(&newest, Duration::from_mins(1)).await?;
        until("there is room again", Duration::from_mins(1), async || {
            Ok((order.deploy(&body).header("prefer", "respond-async").send().await?.status == 202).then_some(()))
        })
        .await
    })
}

#[test]
fn the_stop_of_an_orders_end_is_not_cancelled() -> Result<()> {
    test(async |t| {
        let system = t.system("unstoppable", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let done = text(&order.deployed(&pod("unstoppable", &[idle("idle")])).await?, "/id")?;
        let operator = Operator::of(&system)?;
        until("the order has an end", Duration::from_secs(20), async || {
            Ok((operator.details(&order).await?["order"]["endAt"] != 0).then_some(()))
        })
        .await?;
        system.workers[0].process.pause().await?;
        operator.move_ends(&[&order], 0).await?;
        let stop = until("its end stops the order", STEP_WITHIN, async || {
            let newest = order.request(Method::GET, "/jobs").send().await?.ok()?["jobs"][0].clone();
            Ok((newest["verb"] == "stop").then_some(newest))
        })
        .await?;
        cancel(&order, &text(&stop, "/id")?).await?.refused(409, Reason::OrderEnded)?;
        cancel(&order, &done).await?.refused(409, Reason::JobBegun)?;
        system.workers[0].process.resume()?;
        operator.has_done(&order, "stop").await
    })
}

#[test]
fn a_job_that_waits_says_where_it_stands_and_that_nobody_is_there() -> Result<()> {
    test(async |t| {
        let mut system = t.system("waiting", 1, 1).await?;
        let (one, two) =
            (t.order_of(&system, &OrderOptions::units(1)).await?, t.order_of(&system, &OrderOptions::units(1)).await?);
        let body = pod("waiting", &[idle("idle")]);
        for order in [&one, &two] {
            order.deployed(&body).await?;
        }
        without_worker(&mut system).await?;
        let first = one.accepted(&body).await?;
        let answer = two.deploy(&body).header("prefer", "respond-async").send().await?.is(202)?;
        assert_eq!((&answer["queue"]["position"], &answer["queue"]["workers"]), (&json!(1), &json!(0)), "{answer}");
        let job = one.job(&first).await?;
        assert_eq!((&job["queue"]["position"], &job["queue"]["workers"]), (&json!(0), &json!(0)), "{job}");
        assert!(number(&job, "/queue/oldestAgeSeconds")? < 60);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let ended = one.ended(&first, Duration::from_mins(1)).await?;
        assert_eq!((&ended["state"], ended.get("queue")), (&json!("Succeeded"), None));
        Ok(())
    })
}

#[test]
fn a_change_is_answered_as_accepted_though_its_queue_cannot_be_told() -> Result<()> {
    test(async |t| {
        let mut system = t.system("untellable", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("untellable", &[idle("idle")])).await?;
        without_worker(&mut system).await?;
        // The change waits for the order's row, and behind it somebody who then lets nobody ask for jobs.
        let (holder, closer) = (system.database.connect().await?, system.database.connect().await?);
        holder.batch_execute(&format!("begin; select from orders where id = '{}' for update", order.id)).await?;
        let waiting = async |count: i64| {
            let sql = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = $1";
            until("they wait", Duration::from_secs(4), async || {
                let row = system.database.connect_beside().await?.query_one(sql, &[&system.database.name()]).await?;
                Ok((row.get::<_, i64>(0) >= count).then_some(()))
            })
            .await
        };
        let stop = order.request(Method::POST, "/k8s/pod/stop").json(&json!({})).header("prefer", "respond-async");
        let close = async || {
            waiting(1).await?;
            let lock = closer.batch_execute("begin; lock table jobs in access exclusive mode");
            let go_on = async {
                waiting(2).await?;
                Ok(holder.batch_execute("commit").await?)
            };
            let (locked, gone_on): (_, Result<()>) = tokio::join!(lock, go_on);
            locked?;
            gone_on
        };
        let (answer, arranged) = tokio::join!(stop.send(), close());
        closer.batch_execute("commit").await?;
        arranged?;
        let job = answer?.is(202)?;
        assert_eq!((&job["verb"], job.get("queue")), (&json!("stop"), None), "{job}");
        assert_eq!(order.job(&text(&job, "/id")?).await?["state"], "Queued");
        Ok(())
    })
}

#[test]
fn a_watched_job_tells_each_change_until_its_end() -> Result<()> {
    test(async |t| {
        let system = paused(t, "watched").await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let id = order.accepted(&pod("watched", &[idle("idle")])).await?;
        let response = order.request(Method::GET, &format!("/jobs/{id}/events")).send_raw().await?;
        let kind = response.headers().get("content-type").context("a content type")?.to_str()?.to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        system.workers[0].process.resume()?;
        // It ends by itself with the job.
        let body = response.text().await?;
        let events: Vec<Value> = body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| Ok(serde_json::from_str(data)?))
            .collect::<Result<_>>()?;
        let states: Vec<String> = events.iter().map(|job| text(job, "/state")).collect::<Result<_>>()?;
        assert_eq!(
            (states.first().map(String::as_str), states.last().map(String::as_str)),
            (Some("Queued"), Some("Succeeded"))
        );
        assert_eq!(events.last(), Some(&order.job(&id).await?));
        let unknown = order.request(Method::GET, "/jobs/0190163d-8694-739b-aea5-966c26f8ad91/events").send().await?;
        unknown.refused(404, Reason::NotFound)?;
        Ok(())
    })
}

#[test]
fn an_orders_jobs_are_watched_so_often_at_a_time_and_no_more() -> Result<()> {
    test(async |t| {
        let system = paused(t, "stared-at").await?;
        let options = OrderOptions::units(1);
        let (one, two) = (t.order_of(&system, &options).await?, t.order_of(&system, &options).await?);
        let body = pod("stared-at", &[idle("idle")]);
        let (watched, others) = (one.accepted(&body).await?, two.accepted(&body).await?);
        let mut streams = Vec::new();
        for _ in 0..16 {
            streams.push(one.request(Method::GET, &format!("/jobs/{watched}/events")).send_raw().await?);
        }
        assert!(streams.iter().all(|stream| stream.status() == 200));
        let refused = one.request(Method::GET, &format!("/jobs/{watched}/events")).send().await?;
        let error = refused.refused(503, Reason::Overloaded)?;
        assert!(text(&error, "/message")?.contains("watched too many times"), "{error}");
        let other = two.request(Method::GET, &format!("/jobs/{others}/events")).send_raw().await?;
        assert_eq!(other.status(), 200, "another order has its own places");
        drop(streams);
        // That a client has gone is seen when something is sent to it.
        until("there is a place again", Duration::from_mins(1), async || {
            let again = one.request(Method::GET, &format!("/jobs/{watched}/events")).send_raw().await?;
            Ok((again.status() == 200).then_some(()))
        })
        .await?;
        system.workers[0].process.resume()
    })
}
