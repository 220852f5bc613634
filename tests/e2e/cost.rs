//! What calls cost, counted from outside (`facts.md` §7). A count is the least of several rounds: what else the
//! processes do now and then (heartbeats, sweeps) is not the call's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::cost::{Messages, Request, Requests, Statements, messages};
use e2e::order::{Order, OrderOptions};
use e2e::pod::{counter, idle, pod, web, with};
use e2e::system::{System, host_port};
use e2e::test::test;
use e2e::until::{never, until};
use serde_json::{Value, json};

/// What a round cost: messages of the api, and statements, each with how often it was run.
type Round = (Messages, BTreeMap<String, i64>);

/// Makes rounds until one costs no more than is enough, or there were so many; the cheapest of them.
async fn cheapest(
    system: &System,
    rounds: usize,
    enough: impl Fn(&Round) -> bool,
    mut round: impl AsyncFnMut(usize) -> Result<()>,
) -> Result<Round> {
    let statements = Statements::of(&system.database).await?;
    let mut costs: Vec<Round> = Vec::new();
    for number in 0..rounds {
        statements.forget().await?;
        let before = messages(&system.nats, "vkube-api/").await?;
        round(number).await?;
        let after = messages(&system.nats, "vkube-api/").await?;
        let cost = (after - before, statements.counted().await?);
        let done = enough(&cost);
        costs.push(cost);
        if done {
            break;
        }
    }
    let cost = |(messages, statements): &Round| (messages.sent + messages.received, statements.values().sum::<i64>());
    costs.into_iter().min_by_key(cost).context("at least one round")
}

/// Statements that change something.
fn writes(statements: &BTreeMap<String, i64>) -> BTreeMap<&str, i64> {
    let changes = |text: &str| ["insert ", "update ", "delete "].iter().any(|word| text.contains(word));
    let found = statements.iter().filter(|(text, _)| changes(text));
    found.map(|(text, calls)| (text.as_str(), *calls)).collect()
}

#[test]
fn a_port_check_costs_no_message_and_no_statement() -> Result<()> {
    test(async |t| {
        let system = t.system("checks", 1, 1).await?;
        let client = system.client()?;
        let body = json!({ "region": "checks", "ports": [22, 3306, 1234, 1111] });
        let nothing = (Messages::default(), BTreeMap::new());
        let cost = cheapest(
            &system,
            100,
            |cost| *cost == nothing,
            async |_| {
                for _ in 0..5 {
                    client.post("/k8s/checkports").json(&body).send().await?.ok()?;
                }
                Ok(())
            },
        )
        .await?;
        assert_eq!(cost, nothing);
        Ok(())
    })
}

#[test]
fn a_deploy_costs_one_accepting_statement_one_batch_and_one_publish() -> Result<()> {
    test(async |t| {
        let system = t.system("deploys", 1, 1).await?;
        // Only what is on the request's way: no worker goes on with the job.
        system.workers[0].process.pause().await?;
        for ports in [1, 3] {
            let options = OrderOptions::units(ports);
            let orders = futures::future::try_join_all((0..12).map(|_| t.order_of(&system, &options))).await?;
            let sent = u64::from(ports) + 1;
            let enough =
                |(messages, statements): &Round| messages.sent == sent && statements.values().sum::<i64>() <= 3;
            let (messages, statements) = cheapest(&system, orders.len(), enough, async |number| {
                let ports: Value = (0..ports)
                    .map(|_| host_port())
                    .map(|port| json!({ "containerPort": port, "hostPort": port }))
                    .collect();
                orders[number].accepted(&pod("deploys", &[with(idle("idle"), "ports", ports)])).await?;
                Ok(())
            })
            .await?;
            assert_eq!(messages.sent, sent, "one message a port, all of one batch, and the job");
            let writing = writes(&statements);
            let accepting: i64 =
                writing.iter().filter(|(text, _)| text.contains("insert into jobs")).map(|(_, n)| n).sum();
            let marking: i64 = writing.iter().filter(|(text, _)| text.contains("published_at")).map(|(_, n)| n).sum();
            assert_eq!(accepting, 1, "{statements:#?}");
            assert!(marking <= 1, "{statements:#?}");
            assert_eq!(writing.values().sum::<i64>(), accepting + marking, "{statements:#?}");
            // The other one looks the order up; nothing opens a transaction of several statements.
            assert_eq!(statements.values().sum::<i64>(), 1 + accepting + marking, "{statements:#?}");
        }
        Ok(())
    })
}

/// What workers ask about an order, but for their own looks at its Secrets: each looks at each in turn.
fn asked(requests: &Requests, order: &Order) -> Result<Vec<Request>> {
    let is_look = |request: &Request| request.verb == "patch" && request.uri.contains("/secrets/");
    Ok(requests.of_workers_about(&order.id)?.into_iter().filter(|request| !is_look(request)).collect())
}

#[test]
fn a_status_costs_the_apiserver_nothing_and_a_log_one_request() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.running(&pod("ausrine", &[counter("counter", 3)])).await?;
        // Until the job's own requests are over.
        for _ in 0..2 {
            let requests = Requests::from_now(t.stack)?;
            let about = async || Ok(asked(&requests, &order)?.pop());
            let _ = never("a worker asks about the order", Duration::from_secs(1), about).await;
        }

        let requests = Requests::from_now(t.stack)?;
        for _ in 0..10 {
            order.status().await?.ok()?;
        }
        let about = async || Ok(asked(&requests, &order)?.pop());
        never("a status asks the API server", Duration::from_secs(1), about).await?;

        let requests = Requests::from_now(t.stack)?;
        for query in ["", "?tailLines=1", "?container=counter"] {
            order.log_text(query).await?;
        }
        let asked = until("three requests are in the audit log", Duration::from_secs(5), async || {
            let asked = asked(&requests, &order)?;
            Ok((asked.len() >= 3).then_some(asked))
        })
        .await?;
        assert_eq!(asked.len(), 3, "{asked:#?}");
        assert!(asked.iter().all(|request| request.verb == "get" && request.uri.contains("/log")), "{asked:#?}");
        Ok(())
    })
}

#[test]
fn a_question_costs_one_message_there_and_one_back() -> Result<()> {
    test(async |t| {
        let system = t.system("asks", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("asks", &[web("web", host_port())])).await?;
        let enough = |(messages, statements): &Round| {
            (messages.sent, messages.received, statements.values().sum::<i64>()) == (1, 2, 1)
        };
        let (messages, statements) = cheapest(&system, 50, enough, async |_| {
            order.status().await?.ok()?;
            Ok(())
        })
        .await?;
        assert_eq!(messages.sent, 1);
        // The stream's word that it has the question, and the answer.
        assert!(messages.received <= 2, "{messages:?}");
        assert_eq!(statements.values().sum::<i64>(), 1, "the order is looked up once: {statements:#?}");
        assert!(writes(&statements).is_empty(), "{statements:#?}");
        Ok(())
    })
}
