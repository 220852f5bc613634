//! The life of an order: it stops at its end, starts again when it is extended, and is deleted long after; whoever is away
//! meanwhile.

use std::time::Duration;

use anyhow::Result;
use common::failure::Reason;
use common::ledger::PortState;
use e2e::cluster::page;
use e2e::ledger::Ledger;
use e2e::operator::{Operator, STEP_WITHIN};
use e2e::order::{Order, OrderOptions, number};
use e2e::pod::{idle, pod, web};
use e2e::system::{END_WITHIN, System, host_port};
use e2e::test::{Test, test};
use e2e::until::{never, until};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;

/// How soon a port that nobody has any more is free: it cools, and the workers must have looked since, who tell of it once a minute
/// where nothing changes (`design.md` §6).
const FREE_WITHIN: Duration = Duration::from_secs(90);
/// How often an api of these tests looks for what is due.
const OFTEN: &[(&str, &str)] = &[("VKUBE_ORDER_SWEEP_SECONDS", "1")];

/// A system of a test's own, of one worker, that looks often.
async fn system(t: &Test, region: &str, apis: usize) -> Result<System> {
    let mut system = t.empty_system(region).await?;
    for _ in 0..apis {
        let api = system.new_api(OFTEN).await?;
        system.apis.push(api);
    }
    let worker = system.new_worker(&[])?;
    system.workers.push(worker);
    system.ready().await?;
    Ok(system)
}

/// Orders that are deployed, and by the record too.
async fn deployed(t: &Test, system: &System, count: usize) -> Result<Vec<Order>> {
    let body = pod(system.region.as_str(), &[idle("idle")]);
    let operator = Operator::of(system)?;
    let deploy = (0..count).map(async |_| {
        let order = t.order_of(system, &OrderOptions::units(1)).await?;
        order.deployed(&body).await?;
        until("the order has an end", Duration::from_secs(20), async || {
            Ok((operator.details(&order).await?["order"]["endAt"] != 0).then_some(()))
        })
        .await?;
        Ok::<_, anyhow::Error>(order)
    });
    try_join_all(deploy).await
}

#[test]
fn an_order_stops_at_its_end_starts_again_when_extended_and_is_deleted_long_after() -> Result<()> {
    test(async |t| {
        let shared = t.shared().await?;
        let operator = Operator::of(shared)?;
        let ledger = Ledger::open(&shared.nats, &t.stack.region).await?;
        let port = host_port();
        let order = t.order(&OrderOptions { storage: false, ..OrderOptions::units(1) }).await?;
        order.running(&pod("ausrine", &[web("web", port)])).await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"));

        operator.move_ends(&[&order], 0).await?;
        operator.has_done(&order, "stop").await?;
        assert!(t.cluster.pods(&order.namespace()).await?.is_empty());
        assert_eq!(operator.details(&order).await?["serviceStatus"], "ServiceDone");
        let held = ledger.port(port).await?;
        assert!(matches!(held, Some(PortState::Bound { .. })), "its ports are kept: {held:?}");
        // Its customer still sees it, and can change nothing.
        for path in ["/k8s/order", "/k8s/pod/status", "/jobs"] {
            order.request(Method::GET, path).send().await?.ok()?;
        }
        for path in ["/k8s/pod/start", "/k8s/pod/restart", "/k8s/pod/stop"] {
            let request = order.request(Method::POST, path).json(&json!({}));
            let error = request.send().await?.refused(409, Reason::OrderEnded)?;
            assert!(error["message"].as_str().is_some_and(|text| text.contains("extended")), "{error}");
        }
        order.deploy(&pod("ausrine", &[idle("idle")])).send().await?.refused(409, Reason::OrderEnded)?;

        let extended = operator.extend(&order, 50).await?;
        let left = number(&extended, "/endAt")? - u64::try_from(jiff::Timestamp::now().as_second())?;
        assert!((50 * 3600 - 60..=50 * 3600).contains(&left), "what is paid for lies ahead: {left}");
        operator.has_done(&order, "start").await?;
        order.ready().await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"), "on the same port");
        assert_eq!(operator.details(&order).await?["serviceStatus"], "ServiceRunning");

        operator.move_ends(&[&order], 1).await?;
        until("it is warned of its end", STEP_WITHIN, async || {
            let history = operator.history(&order).await?;
            Ok((history.last().map(String::as_str) == Some("system: warned")).then_some(()))
        })
        .await?;
        operator.move_ends(&[&order], -72).await?;
        operator.has_done(&order, "delete").await?;
        assert!(!t.cluster.has_namespace(&order.namespace()).await?, "nothing is left");
        until("its port is free", FREE_WITHIN, async || Ok(ledger.port(port).await?.is_none().then_some(()))).await?;
        let details = operator.details(&order).await?;
        assert_eq!((&details["serviceStatus"], &details["ports"]), (&json!("ServiceDone"), &json!([])));
        order.request(Method::GET, "/k8s/order").send().await?.ok()?;
        order.deploy(&pod("ausrine", &[idle("idle")])).send().await?.refused(409, Reason::OrderEnded)?;
        operator.change(&order, "extend", &json!({ "hours": 1 })).send().await?.refused(409, Reason::OrderEnded)?;
        let history: Vec<String> = operator.history(&order).await?;
        let steps: Vec<&str> = history.iter().map(String::as_str).filter(|step| *step != "system: stopped").collect();
        let expected = ["e2e: created", "e2e: extended", "system: started", "system: warned", "system: deleted"];
        assert_eq!(steps, expected, "{history:?}");
        Ok(())
    })
}

#[test]
fn two_instances_take_each_step_once() -> Result<()> {
    test(async |t| {
        let system = system(t, "twice", 2).await?;
        let orders = deployed(t, &system, 8).await?;
        let operator = Operator::of(&system)?;
        // One of them was stopped by its customer.
        let (stopped, others) = (&orders[0], &orders[1..]);
        let stop = stopped.request(Method::POST, "/k8s/pod/stop").json(&json!({})).header("prefer", "wait=60");
        stop.send().await?.ok()?;
        let all: Vec<&Order> = orders.iter().collect();
        operator.move_ends(&all, 0).await?;
        for order in others {
            operator.has_done(order, "stop").await?;
        }
        for order in &orders {
            operator.extend(order, 1).await?;
        }
        for order in others {
            operator.has_done(order, "start").await?;
            assert_eq!(operator.jobs(order).await?, ["deploy Succeeded", "stop Succeeded", "start Succeeded"]);
        }
        never("another step is taken", Duration::from_secs(3), async || {
            for order in others {
                let jobs = operator.jobs(order).await?;
                if jobs.len() != 3 {
                    return Ok(Some(jobs));
                }
            }
            let jobs = operator.jobs(stopped).await?;
            Ok((jobs != ["deploy Succeeded", "stop Succeeded"]).then_some(jobs))
        })
        .await
    })
}

#[test]
fn an_order_that_ended_while_no_api_was_there_is_stopped_by_the_next() -> Result<()> {
    test(async |t| {
        let mut system = system(t, "nobody", 1).await?;
        let orders = deployed(t, &system, 1).await?;
        let order = &orders[0];
        system.apis[0].process.kill().await?;
        Operator::of(&system)?.move_ends(&[order], -1).await?;
        system.apis[0] = system.new_api(OFTEN).await?;
        let operator = Operator::of(&system)?;
        operator.has_done(&order.by(&system.client()?), "stop").await?;
        assert_eq!(operator.history(order).await?, ["e2e: created", "system: stopped"]);
        Ok(())
    })
}

#[test]
fn a_silent_region_finds_the_steps_waiting_and_loses_nothing_meanwhile() -> Result<()> {
    test(async |t| {
        let mut system = system(t, "quiet", 1).await?;
        let orders = deployed(t, &system, 1).await?;
        let order = &orders[0];
        system.workers[0].process.end(END_WITHIN).await?;
        let operator = Operator::of(&system)?;
        operator.move_ends(&[order], 0).await?;
        until("the stop waits", STEP_WITHIN, async || {
            Ok((operator.jobs(order).await?.last().map(String::as_str) == Some("stop Queued")).then_some(()))
        })
        .await?;
        never("anything more is asked of the region", Duration::from_secs(3), async || {
            let jobs = operator.jobs(order).await?;
            Ok((jobs.len() != 2).then_some(jobs))
        })
        .await?;
        assert_eq!(t.cluster.pods(&order.namespace()).await?.len(), 1, "what runs goes on");
        // Extended while it waits: it stops, and starts at once.
        operator.extend(order, 1).await?;
        until("the start waits", STEP_WITHIN, async || {
            Ok((operator.jobs(order).await?.last().map(String::as_str) == Some("start Queued")).then_some(()))
        })
        .await?;
        system.workers[0].start_again().await?;
        let operator = Operator::of(&system)?;
        operator.has_done(order, "start").await?;
        assert_eq!(t.cluster.pods(&order.namespace()).await?.len(), 1);
        Ok(())
    })
}

#[test]
fn too_many_deletes_at_once_wait_for_an_operators_word() -> Result<()> {
    test(async |t| {
        let system = system(t, "masses", 2).await?;
        let operator = Operator::of(&system)?;
        let orders = deployed(t, &system, 4).await?;
        let all: Vec<&Order> = orders.iter().collect();
        operator.move_ends(&all, -73).await?;
        let there = async || -> Result<usize> {
            let mut count = 0;
            for order in &orders {
                count += usize::from(t.cluster.has_namespace(&order.namespace()).await?);
            }
            Ok(count)
        };
        until("one is deleted, and three are held", STEP_WITHIN, async || {
            let held = number(&operator.region().await?, "/deletesHeld")?;
            Ok(((there().await?, held) == (3, 3)).then_some(()))
        })
        .await?;
        never("another is deleted", Duration::from_secs(4), async || {
            let held = number(&operator.region().await?, "/deletesHeld")?;
            Ok(Some((there().await?, held)).filter(|now| *now != (3, 3)))
        })
        .await?;
        let mut told = 0;
        for api in &system.apis {
            let log = std::fs::read_to_string(api.process.log())?;
            told += log.lines().filter(|line| line.contains("wait for an operator's word")).count();
        }
        assert!((1..=4).contains(&told), "it is said, and not in every round: {told}");

        let approved = operator.approve_deletes("all-of-them").await?.ok()?;
        assert_eq!(approved, json!({ "approved": 3 }));
        assert_eq!(operator.approve_deletes("all-of-them").await?.ok()?, approved);
        for order in &orders {
            operator.has_done(order, "delete").await?;
        }
        assert_eq!((there().await?, number(&operator.region().await?, "/deletesHeld")?), (0, 0));
        let mut named = 0;
        for order in &orders {
            named += usize::from(operator.history(order).await?.contains(&"e2e: delete_approved".to_owned()));
        }
        assert_eq!(named, 3);
        assert_eq!(operator.approve_deletes("again").await?.ok()?, json!({ "approved": 0 }));
        Ok(())
    })
}
