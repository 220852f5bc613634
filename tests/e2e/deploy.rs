//! What can be deployed, and that it runs as it was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use common::ledger::PortState;
use e2e::cluster::{echo, page};
use e2e::ledger::Ledger;
use e2e::order::{OrderOptions, number, text};
use e2e::pod::{container, envs, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::test;
use e2e::until::until;
use serde_json::{Value, json};

/// How long a port may take from the end of its cooling on: workers tell what they see at least every minute.
const FREE_WITHIN: Duration = Duration::from_secs(100);

#[test]
fn two_containers_answer_on_ports_of_their_own() -> Result<()> {
    test(async |t| {
        let (first, second) = (host_port(), host_port());
        let order = t.order(&OrderOptions::units(2)).await?;
        let two = with(container("two", "web:2"), "ports", json!([{ "containerPort": 8080, "hostPort": second }]));
        let two = with(two, "envs", envs(&[("PORT", "8080".to_owned())]));
        let answer = order.deployed(&pod("ausrine", &[web("one", first), two])).await?;
        assert_eq!(
            answer["ports"],
            json!([
                { "container": "one", "containerPort": 80, "hostPort": first, "protocol": "TCP" },
                { "container": "two", "containerPort": 8080, "hostPort": second, "protocol": "TCP" },
            ])
        );
        order.ready().await?;
        assert!(page(&t.stack.node_address, first).await?.contains("Welcome to web-1!"));
        assert!(page(&t.stack.node_address, second).await?.contains("Welcome to web-2!"));
        Ok(())
    })
}

#[test]
fn a_config_file_is_in_its_container() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions::units(1)).await?;
        let content = "<p>\"quoted\", $(HOME), ${HOME}, žąsis\n  indented: yes\n</p>\n";
        let container = with(web("web", port), "configMountPath", json!("/usr/share/nginx/html/index.html"));
        let body = pod("ausrine", &[with(container, "config", json!(content))]);
        order.running(&body).await?;
        assert_eq!(page(&t.stack.node_address, port).await?, content);

        let container = with(web("web", port), "configMountPath", json!("/usr/share/nginx/html/index.html"));
        order.running(&pod("ausrine", &[with(container, "config", json!("another"))])).await?;
        until("the new file is served", Duration::from_secs(20), async || {
            Ok((page(&t.stack.node_address, port).await? == "another").then_some(()))
        })
        .await
    })
}

#[test]
fn a_private_image_runs_with_the_right_login_and_only_with_it() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions::units(2)).await?;
        let image = format!("{}/private/web:1", t.stack.private_registry);
        let private = with(container("web", &image), "ports", json!([{ "containerPort": 80, "hostPort": port }]));
        let body = |password: &str| {
            let login = json!({ "username": t.stack.private_username, "password": password });
            let public = json!({ "username": "", "password": "" });
            with(pod("ausrine", &[private.clone(), idle("idle")]), "pvtLogin", json!([login, public]))
        };
        order.running(&body(&t.stack.private_password)).await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"));

        let request = order.request(reqwest::Method::POST, "/k8s/deploy?until=available").json(&body("wrong"));
        let answer = request.header("prefer", "wait=60").send().await?;
        answer.refused(422, Reason::ImagePullRefused)?;
        Ok(())
    })
}

#[test]
fn a_volume_keeps_its_data_across_a_redeploy() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions { storage: true, ..OrderOptions::units(1) }).await?;
        // The page is written once, when there is none.
        let body = |page: &str| {
            let web = with(web("web", port), "mountPath", json!("/data"));
            let env = [("ROOT", "/data".to_owned()), ("PAGE", page.to_owned())];
            pod("ausrine", &[with(web, "envs", envs(&env))])
        };
        order.running(&body("the first")).await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to the first!"));
        let before = order.status().await?.ok()?;
        order.running(&body("the second")).await?;
        let after = order.status().await?.ok()?;
        assert_ne!(before["name"], after["name"], "it is another pod");
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to the first!"));
        Ok(())
    })
}

#[test]
fn datagrams_reach_a_udp_port() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions::units(2)).await?;
        // The same numbers, TCP and UDP: they are different ports.
        let ports = json!([{ "containerPort": 7, "hostPort": port, "protocol": "UDP" }]);
        let udp = with(container("echo", "udp-echo:1"), "ports", ports);
        let tcp = with(container("web", "web:1"), "ports", json!([{ "containerPort": 7, "hostPort": port }]));
        let tcp = with(tcp, "envs", envs(&[("PORT", "7".to_owned())]));
        let answer = order.deployed(&pod("ausrine", &[udp, tcp])).await?;
        assert_eq!(answer["ports"][0]["protocol"], "UDP");
        order.ready().await?;
        assert_eq!(echo(&t.stack.node_address, port, b"labas").await?, b"labas");
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"));
        Ok(())
    })
}

#[test]
fn commands_and_arguments_are_given_as_lines_or_as_lists() -> Result<()> {
    test(async |t| {
        let lines = json!("/bin/sh\n-c\necho \"$0 $GREETING and two  blanks\"; tail -f /dev/null");
        let list = json!(["-c", "echo $0 $1; tail -f /dev/null", "first word", "second"]);
        for (case, field, value, log) in [
            ("lines", "command", lines, "/bin/sh labas and two  blanks\n"),
            ("a list", "args", list, "first word second\n"),
        ] {
            let order = t.order(&OrderOptions::units(1)).await?;
            let container = with(container("shell", "busybox:1"), field, value);
            let container = match field {
                "args" => with(container, "command", json!("/bin/sh")),
                _ => container,
            };
            let container = with(container, "envs", envs(&[("GREETING", "labas".to_owned())]));
            order.running(&pod("ausrine", &[container])).await?;
            let found = until("something is logged", Duration::from_secs(10), async || {
                Ok(Some(order.log_text("").await?).filter(|log| !log.is_empty()))
            })
            .await?;
            assert_eq!(found, log, "{case}");
        }
        Ok(())
    })
}

#[test]
fn the_later_form_of_the_body_is_deployed_as_well() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions { region: Some("ausrine".to_owned()), ..OrderOptions::units(2) }).await?;
        let body = json!({
            "name": "sent by very old clients",
            "containers": [{
                "name": "web", "imageName": "nginx:stable", "resourceUnit": 1,
                "ports": [{ "containerPort": 80, "hostPort": port, "protocol": "tcp" }],
                "envs": [{ "name": "PAGE", "value": "later" }],
                "command": "", "args": "", "mountPath": "", "configMountPath": "", "config": ""
            }],
            "pvtLogin": [{ "username": "", "password": "" }]
        });
        let status = order.running(&body).await?;
        assert_eq!(status["podSpec"]["containers"][0]["resources"]["limits"]["memory"], "1Gi");
        assert_eq!(status["podSpec"]["containers"][0]["resources"]["requests"]["cpu"], "256m");
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to later!"));
        Ok(())
    })
}

#[test]
fn the_system_assigns_ports_and_keeps_them_across_a_redeploy() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions { random_ports: true, ..OrderOptions::units(2) }).await?;
        let web = with(container("web", "web:1"), "ports", json!([{ "containerPort": 80 }]));
        let echoes = with(container("echo", "udp-echo:1"), "ports", json!([{ "containerPort": 7, "protocol": "UDP" }]));
        let body = pod("ausrine", &[web.clone(), echoes]);
        let first = order.deployed(&body).await?;
        let port = |answer: &Value, index: usize| number(&answer["ports"][index], "/hostPort");
        let (tcp, udp) = (u16::try_from(port(&first, 0)?)?, u16::try_from(port(&first, 1)?)?);
        assert!((27_000..28_000).contains(&tcp) && (27_000..28_000).contains(&udp), "{first}");

        let status = order.ready().await?;
        assert_eq!(status["podSpec"]["containers"][0]["ports"][0]["hostPort"], tcp);
        assert!(page(&t.stack.node_address, tcp).await?.contains("Welcome to web-1!"));
        assert_eq!(echo(&t.stack.node_address, udp, b"labas").await?, b"labas");

        let second = order.deployed(&pod("ausrine", &[with(web, "imageName", json!("web:2"))])).await?;
        assert_eq!(port(&second, 0)?, u64::from(tcp), "a customer's clients know the port");
        Ok(())
    })
}

#[test]
fn a_redeploy_replaces_the_pod_and_never_lets_go_of_its_ports() -> Result<()> {
    test(async |t| {
        let (port, another) = (host_port(), host_port());
        let order = t.order(&OrderOptions::units(2)).await?;
        let before = order.running(&pod("ausrine", &[web("web", port)])).await?;
        let system = t.shared().await?;
        let ledger = Ledger::open(&system.nats, &system.region).await?;
        until("the port is bound", Duration::from_secs(30), async || {
            Ok(ledger.port(port).await?.filter(|state| matches!(state, PortState::Bound { .. })))
        })
        .await?;

        let watch = ledger.watch(&[port]).await?;
        let ports = json!([{ "containerPort": 80, "hostPort": port }, { "containerPort": 81, "hostPort": another }]);
        let second = with(container("web", "web:2"), "ports", ports);
        let answer = order.deployed(&pod("ausrine", &[second])).await?;
        assert_eq!(answer["revision"], 2);
        let after = order.ready().await?;
        assert_ne!(before["name"], after["name"]);
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-2!"));
        until("the ledger has followed", Duration::from_secs(30), async || {
            let state = ledger.port(another).await?;
            Ok(state.filter(|state| matches!(state, PortState::Bound { sequence, .. } if sequence.get() == 2)))
        })
        .await?;

        let state = ledger.port(port).await?.context("the port is held")?;
        assert!(matches!(&state, PortState::Bound { order: holder, .. } if holder.as_str() == order.id), "{state:?}");
        let seen = watch.seen().await?;
        for (key, state) in &seen {
            let held = state
                .as_ref()
                .is_some_and(|state| state.order().as_str() == order.id && !matches!(state, PortState::Cooling { .. }));
            assert!(held, "a gap: {key} {state:?} in {seen:?}");
        }
        Ok(())
    })
}

#[test]
fn a_redeploy_with_another_port_lets_the_old_one_cool_and_then_go() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("cooling").await?;
        let api = system.new_api(&[("VKUBE_PORT_COOLING_MS", "10000")]).await?;
        system.apis.push(api);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let ledger = Ledger::open(&system.nats, &system.region).await?;
        let (old, new) = (host_port(), host_port());
        let watch = ledger.watch(&[old]).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let other = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("cooling", &[web("web", old)])).await?;
        order.deployed(&pod("cooling", &[web("web", new)])).await?;

        // While it cools, nobody else gets it.
        until("the old port cools", Duration::from_secs(30), async || {
            Ok(ledger.port(old).await?.filter(|state| matches!(state, PortState::Cooling { .. })))
        })
        .await?;
        other.deploy(&pod("cooling", &[web("web", old)])).send().await?.refused(409, Reason::PortOccupied)?;

        until("the old port is free", FREE_WITHIN, async || Ok(ledger.port(old).await?.is_none().then_some(())))
            .await?;
        let states: Vec<_> = watch.seen().await?.into_iter().map(|(_, state)| state).collect();
        let order_of_states = |state: &Option<PortState>| match state {
            Some(PortState::Reserved { .. }) => 0,
            Some(PortState::Bound { .. }) => 1,
            Some(PortState::Cooling { .. }) => 2,
            None => 3,
        };
        assert!(states.iter().map(order_of_states).is_sorted(), "{states:?}");
        let kinds: BTreeSet<_> = states.iter().map(order_of_states).collect();
        assert!(kinds.is_superset(&BTreeSet::from([0, 1, 2])), "{states:?}");
        other.deployed(&pod("cooling", &[web("web", old)])).await?;
        Ok(())
    })
}

#[test]
fn the_customer_is_told_of_an_image_that_does_not_exist() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let body = pod("ausrine", &[container("web", "no-such-image:1")]);
        // The pod is made, so the deploy is done; what it waits for stands in its status.
        order.deployed(&body).await?;
        let waiting = until("the status tells", Duration::from_mins(1), async || {
            let status = order.status().await?.ok()?;
            let reason = status.pointer("/podStatus/containerStatuses/0/state/waiting/reason");
            let reason = reason.and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff").then_some(status))
        })
        .await?;
        assert_eq!(waiting["podStatus"]["phase"], "Pending");

        let request = order.request(reqwest::Method::POST, "/k8s/deploy?until=available").json(&body);
        let answer = request.header("prefer", "wait=60").send().await?;
        let error = answer.refused(404, Reason::ImageNotFound)?;
        assert!(text(&error, "/message")?.contains("web"), "{error}");
        let job = text(&error, "/jobId")?;

        // The answer comes from the region itself; the record follows within moments.
        until("the job's end is on record", Duration::from_secs(10), async || {
            let jobs = order.request(reqwest::Method::GET, "/jobs").send().await?.ok()?;
            let newest = jobs.pointer("/jobs/0").context("a job")?;
            let reason = newest.pointer("/outcome/reason").and_then(Value::as_str);
            assert_eq!(newest["id"], job.as_str());
            Ok((newest["state"] == "Failed" && reason == Some("IMAGE_NOT_FOUND")).then_some(()))
        })
        .await?;
        Ok(())
    })
}

#[test]
fn a_deploy_until_available_answers_when_the_page_does() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions::units(1)).await?;
        let body = pod("ausrine", &[web("web", port)]);
        let request = order.request(reqwest::Method::POST, "/k8s/deploy?until=available").json(&body);
        request.header("prefer", "wait=60").send().await?.ok()?;
        let status = order.status().await?.ok()?;
        assert_eq!(status["podStatus"]["containerStatuses"][0]["ready"], true, "{status}");
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to web-1!"));
        Ok(())
    })
}

#[test]
fn a_container_that_ends_again_and_again_is_told() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        // One that never becomes ready: without probes, a container that runs is ready.
        let broken = with(container("broken", "busybox:1"), "command", json!("/no/such/program"));
        let request = order.request(reqwest::Method::POST, "/k8s/deploy?until=available");
        let answer = request.json(&pod("ausrine", &[broken])).header("prefer", "wait=60").send().await?;
        let error = answer.refused(422, Reason::CrashLoop)?;
        assert!(text(&error, "/message")?.contains("broken"), "{error}");
        Ok(())
    })
}

#[test]
fn an_aborted_order_leaves_nothing_behind() -> Result<()> {
    test(async |t| {
        let (port, system) = (host_port(), t.shared().await?);
        let order = t.order(&OrderOptions { storage: true, ..OrderOptions::units(1) }).await?;
        let body = pod("ausrine", &[with(web("web", port), "mountPath", json!("/data"))]);
        order.running(&body).await?;
        let path = format!("/admin/orders/{}/abort", order.id);
        let request = order.request(reqwest::Method::POST, &path).operator(&system.operator_token);
        let answer = request.json(&json!({ "reason": "not paid" })).send().await?;
        assert!(matches!(answer.status, 200 | 202), "{}", answer.body);
        let id = text(&answer.body, "/job/id")?;
        let job = order.ended(&id, Duration::from_mins(1)).await?;
        assert_eq!((&job["verb"], &job["state"]), (&json!("delete"), &json!("Succeeded")));

        until("the namespace is gone", Duration::from_mins(1), async || {
            Ok((!t.cluster.has_namespace(&order.namespace()).await?).then_some(()))
        })
        .await?;
        let ledger = Ledger::open(&system.nats, &system.region).await?;
        until("the port is free", FREE_WITHIN, async || Ok(ledger.port(port).await?.is_none().then_some(()))).await?;
        order.deploy(&body).send().await?.refused(409, Reason::OrderEnded)?;
        let info = order.request(reqwest::Method::GET, "/k8s/order").send().await?.ok()?;
        assert_eq!(info["status"], "OrderAbort");
        Ok(())
    })
}
