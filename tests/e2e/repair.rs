//! What NATS loses is made again without a person: from the record, and though nobody publishes anything meanwhile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream;
use common::failure::Reason;
use common::stream::{self, WORKER_CONSUMER};
use e2e::order::{Order, OrderOptions};
use e2e::pod::{idle, pod, web};
use e2e::system::{System, host_port};
use e2e::test::{Test, test};
use e2e::until::until;
use reqwest::Method;
use serde_json::json;

/// How soon what was lost runs: within two looks for jobs and one for queues, and the time in which the broker knows an id.
const REPAIRED_WITHIN: Duration = Duration::from_secs(100);

/// A system whose worker stands still, and an order of it whose job waits in the queue, which is then broken.
async fn loses(
    t: &Test,
    region: &str,
    lose: impl AsyncFnOnce(&jetstream::Context, &System) -> Result<()>,
) -> Result<()> {
    let system = t.system(region, 1, 1).await?;
    let order = t.order_of(&system, &OrderOptions::units(1)).await?;
    system.workers[0].process.pause().await?;
    let id = order.accepted(&pod(region, &[idle("idle")])).await?;
    marked(&system).await?;
    lose(&jetstream::new(system.nats.client().await?), &system).await?;
    system.workers[0].process.resume()?;
    let end = order.ended(&id, REPAIRED_WITHIN).await?;
    ensure!(end["state"] == "Succeeded", "{end}");
    Ok(())
}

/// Waits until the record knows that the broker has the job: from then on nobody but the relay looks for it.
async fn marked(system: &System) -> Result<()> {
    until("the job's place is on record", Duration::from_secs(10), async || {
        let placed = "select from jobs where stream_sequence is not null";
        Ok((!system.database.connect().await?.query(placed, &[]).await?.is_empty()).then_some(()))
    })
    .await
}

#[test]
fn a_job_runs_whose_queue_somebody_deleted() -> Result<()> {
    test(async |t| {
        loses(t, "dropped", async |jetstream, system| {
            jetstream.delete_stream(stream::jobs_name(&system.region)).await?;
            Ok(())
        })
        .await
    })
}

#[test]
fn a_job_runs_whose_message_somebody_deleted() -> Result<()> {
    test(async |t| {
        loses(t, "purged", async |jetstream, system| {
            let purged = jetstream.get_stream(stream::jobs_name(&system.region)).await?.purge().await?;
            ensure!(purged.purged > 0, "the worker was quicker");
            Ok(())
        })
        .await
    })
}

#[test]
fn a_job_runs_whose_queue_has_lost_its_consumer() -> Result<()> {
    test(async |t| {
        loses(t, "unread", async |jetstream, system| {
            jetstream.delete_consumer_from_stream(WORKER_CONSUMER, stream::jobs_name(&system.region)).await?;
            Ok(())
        })
        .await
    })
}

#[test]
fn a_cancelled_job_that_could_not_be_taken_out_of_its_queue_ends_though_its_region_is_away() -> Result<()> {
    test(async |t| {
        let system = t.system("clogged", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        system.workers[0].process.pause().await?;
        let id = order.accepted(&pod("clogged", &[idle("idle")])).await?;
        marked(&system).await?;
        system.nats.pause().await?;
        let cancelled = order.request(Method::DELETE, &format!("/jobs/{id}")).json(&json!({})).send().await;
        system.nats.resume()?;
        let cancelled = cancelled?.ok()?;
        ensure!(cancelled["state"] == "Queued", "the broker stood still: {cancelled}");
        let ended = order.ended(&id, Duration::from_secs(40)).await?;
        ensure!(ended["state"] == "Superseded", "{ended}");
        system.workers[0].process.resume()
    })
}

#[test]
fn a_port_that_an_older_copy_of_the_ledger_knows_nothing_of_is_given_to_nobody() -> Result<()> {
    test(async |t| {
        let mut system = t.system("restored", 2, 1).await?;
        let (owner, other) =
            (t.order_of(&system, &OrderOptions::units(1)).await?, t.order_of(&system, &OrderOptions::units(1)).await?);
        let copy = system.folder().join("older");
        system.nats.kill().await?;
        copy_all(system.data(), &copy)?;
        system.nats.start_again().await?;
        let body = pod("restored", &[web("web", host_port())]);
        deploys_patiently(&owner, &body, 200).await?;
        // Nothing runs on it: only ledger and record know that it is taken.
        stop(&owner).await?;

        system.nats.kill().await?;
        std::fs::remove_dir_all(system.data())?;
        copy_all(&copy, system.data())?;
        system.nats.start_again().await?;
        for api in &system.apis {
            deploys_patiently(&other.by(&api.client), &body, 409).await?;
        }
        deploys_patiently(&owner, &body, 200).await
    })
}

/// Asks for a deploy until it is answered other than with 503, which must be so.
async fn deploys_patiently(order: &Order, body: &serde_json::Value, status: u16) -> Result<()> {
    let answer = until("the deploy is answered", Duration::from_secs(100), async || {
        let answer = order.deploy(body).send().await?;
        Ok((answer.status != 503).then_some(answer))
    })
    .await?;
    match status {
        409 => answer.refused(409, Reason::PortOccupied).map(drop),
        status => answer.is(status).map(drop),
    }
}

async fn stop(order: &Order) -> Result<()> {
    order.request(Method::POST, "/k8s/pod/stop").json(&json!({})).send().await?.ok().map(drop)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
