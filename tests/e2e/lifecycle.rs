//! Processes: how they start, say whether they are ready, and end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::job::Outcome;
use e2e::ledger::results;
use e2e::order::OrderOptions;
use e2e::pod::{idle, pod};
use e2e::process::{Process, tail};
use e2e::stack::Stack;
use e2e::system::{END_WITHIN, System};
use e2e::test::test;
use e2e::until::{never, until};
use futures::future::try_join_all;
use serde_json::json;

#[test]
fn several_api_instances_start_at_once_on_an_empty_database() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("together").await?;
        for _ in 0..5 {
            let api = system.spawn_api(&[])?;
            system.apis.push(api);
        }
        try_join_all(system.apis.iter_mut().map(e2e::system::Api::ready)).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        for api in &system.apis {
            order.by(&api.client).request(reqwest::Method::GET, "/k8s/order").send().await?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn a_process_says_what_it_lives_on_and_what_it_misses() -> Result<()> {
    test(async |t| {
        let mut system = t.system("readiness", 1, 1).await?;
        for url in [&system.apis[0].url, &system.workers[0].url] {
            let answer = e2e::http::plain()?.get(format!("{url}/healthz")).send().await?;
            assert_eq!(answer.status(), 200);
            assert!(answer.json::<serde_json::Value>().await?.is_object());
        }

        system.database.allow_connections(false).await?;
        let said = until("the api says that PostgreSQL is away", Duration::from_secs(20), async || {
            let (status, body) = system.apis[0].readiness().await?;
            Ok((status == 503).then_some(body.to_string()))
        })
        .await?;
        assert!(said.contains("PostgreSQL") && !said.contains("NATS"), "{said}");
        // A customer is told too, and soon.
        let answer = system.apis[0].client.get("/k8s/order").secret("x").send().await?;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.header("retry-after").is_some());
        system.database.allow_connections(true).await?;
        system.apis[0].ready().await?;

        system.nats.kill().await?;
        for url in [system.apis[0].url.clone(), system.workers[0].url.clone()] {
            let said = until("it says that NATS is away", Duration::from_secs(20), async || {
                let answer = e2e::http::plain()?.get(format!("{url}/readyz")).send().await?;
                let status = answer.status();
                Ok(Some(answer.text().await?).filter(|_| status == 503))
            })
            .await?;
            assert!(said.to_lowercase().contains("nats"), "{said}");
            // Its life goes on.
            assert_eq!(e2e::http::plain()?.get(format!("{url}/healthz")).send().await?.status(), 200);
        }
        system.nats.start_again().await?;
        system.apis[0].ready().await?;
        system.workers[0].ready().await
    })
}

#[test]
fn a_worker_says_that_its_cluster_is_away() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("clusterless").await?;
        let api = system.new_api(&[]).await?;
        system.apis.push(api);
        // A cluster that refuses connections.
        let kubeconfig = std::fs::read_to_string(&t.stack.kubeconfig)?;
        let server = kubeconfig.lines().find(|line| line.trim().starts_with("server:")).context("a server")?;
        let away = kubeconfig.replace(server.trim(), "server: https://127.0.0.1:9");
        let file = t.stack.folder.join("kubeconfig-away");
        std::fs::write(&file, away)?;
        let worker = system.new_worker(&[("VKUBE_KUBE_KUBECONFIG", &file.display().to_string())])?;
        let said = until("the worker says that its cluster is away", Duration::from_secs(20), async || {
            let Ok((status, body)) = worker.readiness().await else { return Ok(None) };
            Ok((status == 503).then_some(body.to_string()))
        })
        .await?;
        assert!(said.to_lowercase().contains("cluster") || said.contains("apiserver"), "{said}");
        never("a worker without its cluster takes work", Duration::from_secs(3), async || {
            let regions = system.apis[0].client.get("/k8s/regions").send().await?.ok()?;
            Ok((regions != json!([])).then_some(regions))
        })
        .await
    })
}

#[test]
fn an_api_that_is_asked_to_end_answers_first() -> Result<()> {
    test(async |t| {
        let mut system = t.system("apidrain", 2, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        system.workers[0].process.pause().await?;
        let waiting = order.by(&system.apis[1].client);
        let body = pod("apidrain", &[idle("idle")]);
        let request = waiting.deploy(&body).header("prefer", "wait=30");
        let answer = tokio::spawn(request.send());
        until("the deploy is accepted", Duration::from_secs(30), async || {
            let jobs = order.request(reqwest::Method::GET, "/jobs").send().await?.ok()?;
            Ok(jobs.pointer("/jobs/0").map(|_| ()))
        })
        .await?;

        system.apis[1].process.ask_to_end()?;
        until("it takes no new work", Duration::from_secs(10), async || {
            let ready = system.apis[1].readiness().await;
            Ok((!matches!(ready, Ok((200, _)))).then_some(()))
        })
        .await?;
        system.workers[0].process.resume()?;
        // The answer comes, be it the end of the job or the job itself.
        let answer = answer.await??;
        assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
        system.apis[1].process.end(END_WITHIN).await?;
        let job = order.request(reqwest::Method::GET, "/jobs").send().await?.ok()?;
        let id = job.pointer("/jobs/0/id").and_then(|id| id.as_str()).context("a job")?.to_owned();
        assert_eq!(order.ended(&id, Duration::from_secs(30)).await?["state"], "Succeeded");
        Ok(())
    })
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_what_it_has_begun() -> Result<()> {
    test(async |t| {
        let mut system = t.system("drain", 1, 2).await?;
        let mut accepted = Vec::new();
        for _ in 0..6 {
            let order = t.order_of(&system, &OrderOptions::units(1)).await?;
            let id = order.accepted(&pod("drain", &[idle("idle")])).await?;
            accepted.push((order, id));
        }
        system.workers[0].process.end(END_WITHIN).await?;
        for (order, id) in &accepted {
            let job = order.ended(id, Duration::from_mins(1)).await?;
            assert_eq!(job["state"], "Succeeded", "{job}");
            // Every delivery ended here: none was dropped, and none was lost to a worker that had gone.
            let again = said_of(&system, id, "job is tried again")?;
            assert_eq!(job["attempts"], 1 + again, "{job}");
            assert_eq!(said_of(&system, id, "job is given back at shutdown")?, 0, "{job}");
        }
        let results = results(&system.nats, &system.region).await?;
        assert_eq!(results.len(), accepted.len());
        assert!(results.iter().all(|result| result.outcome == Outcome::Succeeded));
        Ok(())
    })
}

/// How often the workers' logs say this of a job.
fn said_of(system: &System, job: &str, words: &str) -> Result<usize> {
    let mut count = 0;
    for worker in &system.workers {
        let log = std::fs::read_to_string(worker.process.log())?;
        count += log.lines().filter(|line| line.contains(words) && line.contains(job)).count();
    }
    Ok(count)
}

#[test]
fn an_idle_process_ends_at_once() -> Result<()> {
    test(async |t| {
        let mut system = t.system("idle", 1, 1).await?;
        system.workers[0].process.end(Duration::from_secs(5)).await?;
        system.apis[0].process.end(Duration::from_secs(5)).await
    })
}

#[test]
fn every_wrong_setting_is_told_at_once() -> Result<()> {
    test(async |_| {
        let stack = Stack::get()?;
        let wrong = [
            (
                &stack.api_binary,
                vec![
                    ("VKUBE_HTTP_LISTEN", "nowhere"),
                    ("VKUBE_NATS_URL", "nats://[oops"),
                    ("VKUBE_POSTGRES_URL", "mysql://x"),
                    ("VKUBE_SECRET_KEY_FILES", "/no/such/file"),
                    ("VKUBE_LOG_FORMAT", "xml"),
                ],
            ),
            (
                &stack.worker_binary,
                vec![
                    ("VKUBE_REGION", "No Code"),
                    ("VKUBE_HEALTH_LISTEN", "nowhere"),
                    ("VKUBE_SEAL_PRIVATE_KEY_FILES", "/no/such/file"),
                    ("VKUBE_LOG_FORMAT", "xml"),
                ],
            ),
        ];
        for (number, (binary, settings)) in wrong.into_iter().enumerate() {
            let log = stack.folder.join(format!("wrong-settings-{number}.log"));
            let env: Vec<(&str, String)> = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            let mut process = Process::start("wrong settings", binary, &[], &env, &log)?;
            let status = process.wait(Duration::from_secs(10)).await?;
            let said = tail(&log, 50);
            assert!(!status.success(), "{said}");
            for (name, _) in settings {
                assert!(said.contains(name), "{name} in {said}");
            }
        }
        Ok(())
    })
}
