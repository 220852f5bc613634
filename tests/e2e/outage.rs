//! What happens while something is away: every accepted job still ends, exactly once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use common::failure::Reason;
use common::job::JobResult;
use e2e::cluster::page;
use e2e::ledger::{Ledger, results};
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{idle, pod, web, with};
use e2e::system::{System, host_port};
use e2e::test::{Test, test, test_alone};
use e2e::until::{never, until};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Waits until every job has ended well, and makes sure that RESULTS holds one result of each.
async fn all_end_once(system: &System, jobs: &[(Order, String)]) -> Result<BTreeMap<String, JobResult>> {
    for (order, id) in jobs {
        let job = order.ended(id, Duration::from_secs(90)).await?;
        anyhow::ensure!(job["state"] == "Succeeded", "{job}");
    }
    let mut found = BTreeMap::new();
    for result in results(&system.nats, &system.region).await? {
        let id = result.id.to_string();
        anyhow::ensure!(found.insert(id.clone(), result).is_none(), "two results of job {id}");
    }
    for (_, id) in jobs {
        anyhow::ensure!(found.contains_key(id), "no result of job {id}");
    }
    Ok(found)
}

async fn accept(t: &Test, system: &System, count: usize, body: &Value) -> Result<Vec<(Order, String)>> {
    let options = OrderOptions::units(1);
    let accept = (0..count).map(async |number| {
        let order = t.order_of(system, &options).await?;
        let api = &system.apis[number % system.apis.len()];
        let request = order.by(&api.client).deploy(body).header("prefer", "respond-async");
        let accepted = request.header("idempotency-key", "once").send_patiently().await?.is(202)?;
        Ok::<_, anyhow::Error>((order, text(&accepted, "/id")?))
    });
    try_join_all(accept).await
}

#[test]
fn a_job_waits_for_a_worker_that_comes_later() -> Result<()> {
    test(async |t| {
        let mut system = t.system("late", 1, 1).await?;
        let placed = OrderOptions { region: Some("late".to_owned()), ..OrderOptions::units(1) };
        let order = t.order_of(&system, &placed).await?;
        let nowhere = t.order_of(&system, &OrderOptions::units(1)).await?;
        system.workers[0].process.end(e2e::system::END_WITHIN).await?;
        let client = system.client()?;
        until("the region is gone", Duration::from_secs(25), async || {
            let regions = client.get("/k8s/regions").send().await?.ok()?;
            Ok((regions == json!([])).then_some(()))
        })
        .await?;

        // Changes of its orders are accepted, as the region was there not long ago; questions are not, nor new orders.
        let answer = order.deploy(&pod("late", &[idle("idle")])).header("prefer", "wait=1").send().await?;
        let id = text(&answer.is(202)?, "/id")?;
        let elsewhere = nowhere.deploy(&pod("late", &[idle("idle")])).send().await?;
        elsewhere.refused(503, Reason::RegionUnavailable)?;
        order.status().await?.refused(503, Reason::RegionUnavailable)?;
        order.log("").await?.refused(503, Reason::RegionUnavailable)?;
        let ports = json!({ "region": "late", "ports": [80] });
        let checked = client.post("/k8s/checkports").json(&ports).send().await?.ok()?;
        assert_eq!(checked, json!({ "occupied": [], "status": "NoResource" }));
        never("the job ends without a worker", Duration::from_secs(1), async || {
            let job = order.job(&id).await?;
            Ok((job["state"] != "Queued").then_some(job))
        })
        .await?;

        system.workers[0].start_again().await?;
        all_end_once(&system, &[(order.clone(), id)]).await?;
        until("the status is there", Duration::from_secs(20), async || {
            Ok((order.status().await?.status == 200).then_some(()))
        })
        .await
    })
}

#[test]
fn a_change_is_answered_in_time_though_the_broker_is_silent() -> Result<()> {
    test(async |t| {
        let system = t.system("mute", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("mute", &[idle("idle")])).await?;
        system.nats.pause().await?;
        let asked = Instant::now();
        let stop = order.request(Method::POST, "/k8s/pod/stop").json(&json!({})).header("prefer", "wait=6");
        let answer = stop.send().await;
        let took = asked.elapsed();
        system.nats.resume()?;
        let id = text(&answer?.is(202)?, "/id")?;
        assert!((5..9).contains(&took.as_secs()), "{took:?}");
        all_end_once(&system, &[(order, id)]).await.map(drop)
    })
}

#[test]
fn two_workers_and_two_apis_end_each_job_once() -> Result<()> {
    test(async |t| {
        let system = t.system("crowd", 2, 2).await?;
        let body = pod("crowd", &[idle("idle")]);
        let jobs = accept(t, &system, 24, &body).await?;
        let ended = all_end_once(&system, &jobs).await?;
        let workers: std::collections::BTreeSet<_> = ended.values().map(|result| result.worker.to_string()).collect();
        assert_eq!(workers.len(), 2, "both workers work: {workers:?}");
        assert!(ended.values().all(|result| result.attempts == 1), "{ended:?}");
        Ok(())
    })
}

#[test]
fn the_newest_of_many_changes_is_what_runs() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let (ports, order) = ([host_port(), host_port()], t.order(&OrderOptions::units(1)).await?);
        let bodies: Vec<Value> = (0..8)
            .map(|number| {
                let image = format!("web:{}", 1 + number % 2);
                pod("ausrine", &[with(web("web", ports[number % 2]), "imageName", json!(image))])
            })
            .collect();
        let mut jobs = Vec::new();
        for (number, body) in bodies.iter().enumerate() {
            jobs.push(order.by(&system.apis[number % 2].client).accepted(body).await?);
        }
        let mut ends = Vec::new();
        for id in &jobs {
            ends.push(text(&order.ended(id, Duration::from_secs(90)).await?, "/state")?);
        }
        assert_eq!(ends.last().map(String::as_str), Some("Succeeded"), "{ends:?}");
        assert!(ends.iter().all(|state| state == "Succeeded" || state == "Superseded"), "{ends:?}");
        let status = order.ready().await?;
        assert_eq!(status["podSpec"]["containers"][0]["ports"][0]["hostPort"], ports[1]);
        assert!(page(&t.stack.node_address, ports[1]).await?.contains("Welcome to web-2!"));
        let pods = t.cluster.pods(&order.namespace()).await?;
        let living = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
        assert_eq!(living, 1, "one pod");
        Ok(())
    })
}

#[test]
fn a_killed_worker_leaves_its_job_to_another() -> Result<()> {
    test(async |t| {
        let mut system = t.system("killed", 1, 2).await?;
        let body = pod("killed", &[idle("idle")]);
        let mut jobs = Vec::new();
        // Killed while jobs are in its hands, wherever in them it may be.
        for _ in 0..3 {
            jobs.extend(accept(t, &system, 6, &body).await?);
            system.workers[0].process.kill().await?;
            system.workers[0].start_again().await?;
        }
        all_end_once(&system, &jobs).await?;
        Ok(())
    })
}

#[test]
fn an_api_that_is_killed_while_a_client_waits_loses_nothing() -> Result<()> {
    test(async |t| {
        let mut system = t.system("apikill", 2, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let port = host_port();
        let body = pod("apikill", &[web("web", port)]);
        system.workers[0].process.pause().await?;
        let request = order.by(&system.apis[1].client).deploy(&body).header("idempotency-key", "once");
        let waiting = tokio::spawn(request.send());
        let id = until("the deploy is accepted", Duration::from_secs(30), async || {
            let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
            Ok(jobs.pointer("/jobs/0/id").and_then(Value::as_str).map(str::to_owned))
        })
        .await?;
        system.apis[1].process.kill().await?;
        assert!(waiting.await?.is_err(), "the client's connection ends");
        system.apis[1].start_again().await?;

        // The client asks again, first while the job is under way, then when it is done.
        let again = order.by(&system.apis[1].client);
        let repeat = async |prefer: &str| {
            let request = again.deploy(&body).header("idempotency-key", "once").header("prefer", prefer);
            request.send().await
        };
        assert_eq!(text(&repeat("wait=1").await?.is(202)?, "/id")?, id);
        system.workers[0].process.resume()?;
        let answer = repeat("wait=40").await?.ok()?;
        assert_eq!((text(&answer, "/id")?, &answer["status"]), (id.clone(), &json!("Deployed")));
        assert_eq!(repeat("wait=40").await?.ok()?, answer);
        all_end_once(&system, &[(order.clone(), id)]).await?;
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1));
        let ledger = Ledger::open(&system.nats, &system.region).await?;
        assert_eq!(ledger.port(port).await?.context("the port is held")?.order().as_str(), order.id);
        Ok(())
    })
}

#[test]
fn apis_that_are_killed_again_and_again_lose_no_accepted_job() -> Result<()> {
    test(async |t| {
        let mut system = t.system("chaos", 2, 1).await?;
        let body = pod("chaos", &[idle("idle")]);
        let mut jobs = Vec::new();
        for round in 0..4 {
            let options = OrderOptions::units(1);
            let orders = try_join_all((0..6).map(|_| t.order_of(&system, &options))).await?;
            let victim = round % 2;
            let requests: Vec<_> = orders
                .iter()
                .map(|order| {
                    let request = order.by(&system.apis[victim].client).deploy(&body);
                    tokio::spawn(request.header("prefer", "respond-async").header("idempotency-key", "once").send())
                })
                .collect();
            // Somewhere between the first and the last answer.
            tokio::task::yield_now().await;
            let other = system.apis[1 - victim].client.clone();
            until("something is accepted", Duration::from_secs(30), async || {
                for order in &orders {
                    let jobs = order.by(&other).request(Method::GET, "/jobs").send().await?.ok()?;
                    if jobs.pointer("/jobs/0").is_some() {
                        return Ok(Some(()));
                    }
                }
                Ok(None)
            })
            .await?;
            system.apis[victim].process.kill().await?;
            for request in requests {
                // Answered or cut off.
                let _ = request.await?;
            }
            system.apis[victim].start_again().await?;
            system.apis[victim].knows(&system.region).await?;
            for order in orders {
                // Whatever became of it: the same key is the same job.
                let request = order.by(&system.apis[1 - victim].client).deploy(&body);
                let request = request.header("prefer", "respond-async").header("idempotency-key", "once");
                let answer = request.send_patiently().await?;
                anyhow::ensure!(matches!(answer.status, 200 | 202), "{}", answer.body);
                let id = text(&answer.body, "/id")?;
                jobs.push((order, id));
            }
        }
        let ended = all_end_once(&system, &jobs).await?;
        assert_eq!(ended.len(), jobs.len(), "one job an order, none more");
        Ok(())
    })
}

#[test]
fn a_restarted_nats_loses_no_job_and_no_port() -> Result<()> {
    test(async |t| {
        let mut system = t.system("nats", 2, 1).await?;
        let port = host_port();
        let holder = t.order_of(&system, &OrderOptions::units(1)).await?;
        holder.deployed(&pod("nats", &[web("web", port)])).await?;
        system.workers[0].process.pause().await?;
        let body = pod("nats", &[idle("idle")]);
        let jobs = accept(t, &system, 4, &body).await?;

        system.nats.kill().await?;
        // While it is away: a port check says that it cannot tell, a deploy is refused in a form that says when to retry.
        let check = json!({ "region": "nats", "ports": [port] });
        for api in &system.apis {
            until("the port check says so", Duration::from_secs(40), async || {
                let answer = api.client.post("/k8s/checkports").json(&check).send().await?.ok()?;
                Ok((answer == json!({ "occupied": [], "status": "InternalErr" })).then_some(()))
            })
            .await?;
        }
        let late = t.order_of(&system, &OrderOptions::units(1)).await?;
        let answer = late.deploy(&pod("nats", &[web("web", port)])).send().await?;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.header("retry-after").is_some());

        system.nats.start_again().await?;
        system.workers[0].process.resume()?;
        all_end_once(&system, &jobs).await?;
        for api in &mut system.apis {
            api.ready().await?;
            api.knows(&system.region).await?;
            until("the ledger is known again", Duration::from_secs(40), async || {
                let answer = api.client.post("/k8s/checkports").json(&check).send().await?.ok()?;
                Ok((answer == json!({ "occupied": [port], "status": "PortsOccupied" })).then_some(()))
            })
            .await?;
        }
        until("the region answers", Duration::from_secs(20), async || {
            Ok((holder.status().await?.status == 200).then_some(()))
        })
        .await?;
        late.deploy(&pod("nats", &[web("web", port)])).send().await?.refused(409, Reason::PortOccupied)?;
        late.deployed(&body).await?;
        Ok(())
    })
}

#[test]
fn a_job_that_meets_a_restarting_apiserver_is_done_when_it_is_back() -> Result<()> {
    test_alone(async |t| {
        let system = t.shared().await?;
        let port = host_port();
        let before = t.order(&OrderOptions::units(1)).await?;
        before.running(&pod("ausrine", &[web("web", port)])).await?;
        t.stack.control(&["kill", "apiserver"]).await?;

        // What runs goes on; what is asked is accepted.
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"));
        let order = t.order(&OrderOptions::units(1)).await?;
        let answer =
            order.deploy(&pod("ausrine", &[web("web", host_port())])).header("prefer", "wait=2").send().await?;
        let id = text(&answer.is(202)?, "/id")?;

        t.stack.control(&["start", "apiserver"]).await?;
        let jobs = [(order.clone(), id)];
        all_end_once(system, &jobs).await?;
        order.ready().await?;
        before.ready().await?;
        Ok(())
    })
}
