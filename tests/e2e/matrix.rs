//! Who may do what, and when: every operation that an order's secret opens, by each state that an order may be in, through
//! both doors. No secret but its own opens an order, and another's opens only the other.
//!
//! A new operation is one line of [`table`].

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use e2e::door::{Call, Door, Doors, Operation};
use e2e::expected::Expected;
use e2e::operator::Operator;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, idle, pod, with};
use e2e::test::{Test, test};
use e2e::until::until;
use serde_json::json;

/// What an order is like whose secret a call has. A path names the order's own job unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It runs; paths name the job of another order.
    Other,
    /// It ran, and is aborted.
    Aborted,
    /// It ran, and is stopped.
    Stopped,
    /// It was never deployed; paths name the job of another order.
    Never,
    /// It ran, and its paid time is over.
    Over,
}

impl State {
    /// The columns of [`table`].
    const ALL: [Self; 5] = [Self::Other, Self::Aborted, Self::Stopped, Self::Never, Self::Over];
}

/// Every operation with a call that is right, and what it is answered with by [`State::ALL`].
fn table(region: &str) -> Vec<(Call, [Expected; 5])> {
    use Expected as E;
    const TOLD: E = E::DONE;
    const GONE: E = E::NOT_DEPLOYED;
    let call = Call::of;
    let deploy = |operation| call(operation).body(pod(region, &[idle("idle")]).to_string());
    let say = |operation, field: &str| call(operation).body(json!({ field: "said" }).to_string());
    let step = |operation| call(operation).body("{}");
    let settings = call("update_pod").body(json!({ "environment": { "idle": {} } }).to_string());
    let images = call("update_pod_images").body(json!([{ "image": "pause:1" }]).to_string());
    let bind = call("bind_domain").body(json!({ "domain": "a.example.com", "containerPort": 80 }).to_string());
    let add = call("update_domains").body(json!({ "action": "Add", "domains": ["a.example.com"] }).to_string());
    // The pods of the scene have no ports.
    let portless = E::Wrong(&["containerPort"]);
    vec![
        //                                      another order, aborted, stopped, never deployed, paid time over
        (call("get_order"), [TOLD, TOLD, TOLD, TOLD, TOLD]),
        (call("get_user_service"), [TOLD, TOLD, TOLD, TOLD, TOLD]),
        (call("list_jobs"), [TOLD, TOLD, TOLD, TOLD, TOLD]),
        (call("get_job"), [E::ABSENT, TOLD, TOLD, E::ABSENT, TOLD]),
        (call("watch_job"), [E::ABSENT, TOLD, TOLD, E::ABSENT, TOLD]),
        (call("get_pod_log"), [TOLD, GONE, E::NO_LOG, GONE, E::NO_LOG]),
        (call("get_pod_status"), [TOLD, GONE, TOLD, GONE, TOLD]),
        (call("follow_pod_logs").with("unfollow", "true"), [TOLD, GONE, E::NO_LOG, GONE, E::NO_LOG]),
        (call("get_usage"), [TOLD, GONE, TOLD, GONE, TOLD]),
        (call("get_deployment_info"), [TOLD, GONE, TOLD, GONE, TOLD]),
        (call("get_pod_configmap"), [TOLD, GONE, TOLD, GONE, TOLD]),
        (say("set_order_description", "description"), [E::DONE, E::ENDED, E::DONE, E::DONE, E::ENDED]),
        (say("set_order_label", "customizedLabel"), [E::DONE, E::ENDED, E::DONE, E::DONE, E::ENDED]),
        (step("cancel_job"), [E::ABSENT, E::BEGUN, E::BEGUN, E::ABSENT, E::BEGUN]),
        (step("restart_pod"), [E::ACCEPTED, E::ENDED, E::STOPPED, GONE, E::ENDED]),
        (step("stop_pod"), [E::ACCEPTED, E::ENDED, E::ACCEPTED, GONE, E::ENDED]),
        (step("start_pod"), [E::ACCEPTED, E::ENDED, E::ACCEPTED, GONE, E::ENDED]),
        (bind, [portless, E::ENDED, portless, GONE, E::ENDED]),
        (add, [E::ABSENT, E::ENDED, E::ABSENT, GONE, E::ENDED]),
        (step("unbind_domains"), [E::ABSENT, E::ENDED, E::ABSENT, GONE, E::ENDED]),
        (deploy("deploy_pod"), [E::ACCEPTED, E::ENDED, E::ACCEPTED, E::ACCEPTED, E::ENDED]),
        (deploy("create_deployment"), [E::ACCEPTED, E::ENDED, E::ACCEPTED, E::ACCEPTED, E::ENDED]),
        (deploy("update_deployment"), [E::ACCEPTED, E::ENDED, E::ACCEPTED, E::ACCEPTED, E::ENDED]),
        (settings, [E::ACCEPTED, E::ENDED, E::ACCEPTED, GONE, E::ENDED]),
        (images, [E::ACCEPTED, E::ENDED, E::ACCEPTED, GONE, E::ENDED]),
    ]
}

/// An order that was deployed, and the job that did it.
struct Deployed {
    order: Order,
    job: String,
}

/// Orders in all states, and one that no secret of a call opens.
struct Scene {
    /// No call may see or change it.
    hidden: Deployed,
    other: Deployed,
    aborted: Deployed,
    stopped: Deployed,
    never: Order,
    over: Deployed,
}

impl Scene {
    async fn set(t: &Test, doors: &Doors, token: &str) -> Result<Self> {
        let [hidden, other, aborted, stopped, over] =
            futures::future::try_join_all(std::array::from_fn::<_, 5, _>(|_| deployed(t)))
                .await?
                .try_into()
                .map_err(|_| anyhow!("as many were deployed as were asked for"))?;
        let abort = Call::of("abort_order").operator(token).with("id", &aborted.order.id);
        let abort = abort.body(r#"{"reason":"test"}"#).with("Prefer", "wait=60");
        let stop = Call::of("stop_pod").with("secret", &stopped.order.secret).with("Prefer", "wait=60");
        for call in [abort, stop] {
            doors.ask(Door::Rest, &call).await?.ok()?;
        }
        end(t, &over.order).await?;
        Ok(Self { hidden, other, aborted, stopped, never: t.order(&OrderOptions::units(1)).await?, over })
    }

    /// The order of a state, and the job that a path names.
    fn of(&self, state: State) -> (&Order, &str) {
        match state {
            State::Other => (&self.other.order, &self.hidden.job),
            State::Aborted => (&self.aborted.order, &self.aborted.job),
            State::Stopped => (&self.stopped.order, &self.stopped.job),
            State::Never => (&self.never, &self.hidden.job),
            State::Over => (&self.over.order, &self.over.job),
        }
    }

    /// Brings an order that took a change back into its state. On record it is so at once.
    async fn restore(&mut self, t: &Test, doors: &Doors, state: State) -> Result<()> {
        let (order, back) = match state {
            State::Other => (&self.other.order, "start_pod"),
            State::Stopped => (&self.stopped.order, "stop_pod"),
            State::Never => {
                self.never = t.order(&OrderOptions::units(1)).await?;
                return Ok(());
            }
            State::Aborted | State::Over => anyhow::bail!("an order that has ended takes no change"),
        };
        let call = Call::of(back).with("secret", &order.secret).with("Prefer", "respond-async");
        doors.ask(Door::Rest, &call).await?.is(202).map(drop)
    }
}

/// Moves the order's end into the past, and waits until that has stopped it.
async fn end(t: &Test, order: &Order) -> Result<()> {
    Operator::of(t.shared().await?)?.move_ends(&[order], -1).await?;
    until("its end has stopped the order", Duration::from_mins(1), async || {
        let status = order.status().await?.ok()?;
        Ok((status["podStatus"] == json!({})).then_some(()))
    })
    .await
}

/// Runs a container that has the order's id in its command, its log and its configuration file.
async fn deployed(t: &Test) -> Result<Deployed> {
    let order = t.order(&OrderOptions::units(1)).await?;
    let script = format!("/bin/sh\n-c\necho {}; tail -f /dev/null", order.id);
    let marked = with(container("idle", "busybox:1"), "command", json!(script));
    let marked = with(with(marked, "configMountPath", json!("/etc/app.conf")), "config", json!(order.id));
    let job = text(&order.deployed(&pod(t.stack.region.as_str(), &[marked])).await?, "/id")?;
    order.ready().await?;
    order.ended(&job, Duration::from_secs(30)).await?;
    until("the id is logged", Duration::from_secs(30), async || {
        Ok(order.log_text("").await?.contains(&order.id).then_some(()))
    })
    .await?;
    Ok(Deployed { order, job })
}

/// A call as it is made for an order: with a secret, with the job that its path names, and waiting for nothing.
fn asked(call: &Call, operation: &Operation, secret: Option<&str>, job: &str) -> Call {
    let takes = |name: &str| operation.parameters.contains_key(name);
    let call = if let Some(secret) = secret { call.clone().with("secret", secret) } else { call.clone() };
    let call = if takes("id") { call.with("id", job) } else { call };
    if takes("Prefer") { call.with("Prefer", "respond-async") } else { call }
}

/// Asks for an order in a state: what comes must be what is expected, and tell of this order and not of the hidden one.
async fn ask(scene: &Scene, doors: &Doors, door: Door, state: State, call: &Call, expected: Expected) -> Result<()> {
    let (order, job) = scene.of(state);
    let operation = &doors.operations[&call.operation];
    let body = expected.check(doors.ask(door, &asked(call, operation, Some(&order.secret), job)).await?)?;
    let told = body.to_string();
    let hidden = [&scene.hidden.order.id, &scene.hidden.order.secret, &scene.hidden.job];
    ensure!(!hidden.iter().any(|hidden| told.contains(*hidden)), "another order is told of: {told}");
    // Figures name no order.
    let names = operation.method == "GET" && expected.is_success() && call.operation != "get_usage";
    ensure!(!names || state != State::Other || told.contains(&order.id), "it tells nothing of its order: {told}");
    Ok(())
}

#[test]
fn every_operation_of_an_order_answers_by_its_secret_and_state() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let doors = Doors::of(system).await?;
        let table = table(t.stack.region.as_str());
        let secured = doors.operations.iter().filter(|(_, one)| one.security.as_deref() == Some("OrderSecret"));
        let listed: BTreeSet<&String> = table.iter().map(|(call, _)| &call.operation).collect();
        assert_eq!(listed, secured.map(|(id, _)| id).collect(), "every operation with a secret has a line");
        let mut scene = Scene::set(t, &doors, &system.operator_token).await?;
        let details = Call::of("get_order_details").operator(&system.operator_token).with("id", &scene.hidden.order.id);
        let before = doors.ask(Door::Rest, &details).await?.ok()?;
        let mut failures = Vec::new();
        // What changes an order comes after what reads it.
        let (reads, changes): (Vec<_>, Vec<_>) =
            table.into_iter().partition(|(call, _)| doors.operations[&call.operation].method == "GET");
        for (call, by_state) in reads.into_iter().chain(changes) {
            for (state, expected) in State::ALL.into_iter().zip(by_state) {
                for door in Door::ALL {
                    if let Err(error) = ask(&scene, &doors, door, state, &call, expected).await {
                        failures.push(format!("{} by {door:?}: {state:?}: {expected:?}: {error:#}", call.operation));
                    }
                    if expected == Expected::ACCEPTED {
                        scene.restore(t, &doors, state).await?;
                    }
                }
            }
        }
        ensure!(failures.is_empty(), "{} cells fail:\n{}", failures.len(), failures.join("\n"));
        assert_eq!(doors.ask(Door::Rest, &details).await?.ok()?, before, "nothing has changed the hidden order");
        Ok(())
    })
}

#[test]
fn no_operation_of_an_order_is_open_without_its_secret() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let doors = Doors::of(system).await?;
        let Deployed { order, job } = deployed(t).await?;
        let details = Call::of("get_order_details").operator(&system.operator_token).with("id", &order.id);
        let before = doors.ask(Door::Rest, &details).await?.ok()?;
        let (most, twice) = (&order.secret[1..], order.secret.repeat(2));
        let wrong = [None, Some(""), Some(most), Some(&twice), Some(&order.id), Some(&system.operator_token)];
        for (call, _) in table(t.stack.region.as_str()) {
            for (secret, door) in wrong.iter().flat_map(|secret| Door::ALL.map(|door| (*secret, door))) {
                let call = asked(&call, &doors.operations[&call.operation], secret, &job);
                Expected::UNAUTHORIZED.check(doors.ask(door, &call).await?)?;
            }
        }
        assert_eq!(doors.ask(Door::Rest, &details).await?.ok()?, before, "nothing has changed it");
        Ok(())
    })
}
