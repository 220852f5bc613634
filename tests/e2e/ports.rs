//! Host ports: whose they are, who gets them, and who is told.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use common::ledger::PortState;
use e2e::http::Client;
use e2e::ledger::Ledger;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::test;
use e2e::until::until;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// A container that does nothing and has these ports, inside as outside.
fn with_ports(ports: &[u16]) -> Value {
    let ports: Value = ports.iter().map(|port| json!({ "containerPort": port, "hostPort": port })).collect();
    with(idle("idle"), "ports", ports)
}

/// Which of these ports are occupied.
async fn occupied(client: &Client, body: &Value) -> Result<BTreeSet<u64>> {
    let answer = client.post("/k8s/checkports").json(body).send().await?.ok()?;
    let word = text(&answer, "/status")?;
    let ports = answer["occupied"].as_array().context("a list")?.iter().filter_map(Value::as_u64).collect();
    let fits = if BTreeSet::is_empty(&ports) { word == "NotOccupied" } else { word == "PortsOccupied" };
    ensure!(fits, "the word and the list differ: {answer}");
    Ok(ports)
}

/// Waits until a port is occupied, or free.
async fn becomes(client: &Client, port: u16, taken: bool) -> Result<()> {
    until(&format!("{port} is {}", if taken { "occupied" } else { "free" }), Duration::from_secs(100), async || {
        let found = occupied(client, &json!({ "region": "ausrine", "ports": [port] })).await?;
        Ok((found.is_empty() != taken).then_some(()))
    })
    .await
}

#[test]
fn a_port_of_another_order_is_refused_by_name_and_nothing_changes() -> Result<()> {
    test(async |t| {
        let (taken, free) = (host_port(), host_port());
        let (owner, other) = (t.order(&OrderOptions::units(1)).await?, t.order(&OrderOptions::units(2)).await?);
        owner.deployed(&pod("ausrine", &[with_ports(&[taken])])).await?;

        // By way of either api instance.
        for api in &t.shared().await?.apis {
            becomes(&api.client, taken, true).await?;
            let answer = other.by(&api.client).deploy(&pod("ausrine", &[with_ports(&[taken, free])])).send().await?;
            let message = text(&answer.refused(409, Reason::PortOccupied)?, "/message")?;
            assert!(message.contains(&taken.to_string()) && !message.contains(&free.to_string()), "{message}");
            assert!(!message.contains(&owner.id), "the holder is nobody's business: {message}");
            becomes(&api.client, free, false).await?;
        }
        let jobs = other.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"], json!([]));
        other.status().await?.refused(404, Reason::NotDeployed)?;
        Ok(())
    })
}

#[test]
fn ports_of_the_order_itself_count_as_free_when_it_asks() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions::units(1)).await?;
        let client = t.client().await?;
        order.running(&pod("ausrine", &[with_ports(&[port])])).await?;
        becomes(&client, port, true).await?;
        let ask = |more: Value| {
            let mut body = json!({ "region": "ausrine", "ports": [port] });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let all = BTreeSet::from([u64::from(port)]);
        for (case, more, expected) in [
            ("nobody", json!({}), &all),
            ("its owner", json!({ "userServiceID": order.id }), &BTreeSet::new()),
            ("another", json!({ "userServiceID": "somebody-else" }), &all),
            ("no order's id", json!({ "userServiceID": "No Order" }), &all),
            ("nobody by name", json!({ "userServiceID": "" }), &all),
            ("TCP", json!({ "protocol": "tcp" }), &all),
            ("UDP", json!({ "protocol": "UDP" }), &BTreeSet::new()),
            ("the region as people write it", json!({ "region": "Ausrine" }), &all),
        ] {
            assert_eq!(&occupied(&client, &ask(more)).await?, expected, "{case}");
        }
        Ok(())
    })
}

#[test]
fn a_foreign_pods_ports_are_occupied_while_it_is_there() -> Result<()> {
    test(async |t| {
        let (mapped, of_host) = (host_port(), host_port());
        let client = t.client().await?;
        let namespace = "e2e-foreign";
        t.cluster.make_namespace(namespace).await?;
        let foreign = |name: &str, host_network: bool, ports: Value| {
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
                "spec": {
                    "hostNetwork": host_network, "nodeSelector": { "region": "ausrine" },
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "idle", "image": "pause:1", "ports": ports }]
                }
            })
        };
        let mapped_port = json!([{ "containerPort": 80, "hostPort": mapped }]);
        t.cluster.make_pod(namespace, foreign("mapped", false, mapped_port)).await?;
        let of_host_port = json!([{ "containerPort": of_host }]);
        t.cluster.make_pod(namespace, foreign("of-host", true, of_host_port)).await?;

        let order = t.order(&OrderOptions::units(1)).await?;
        for port in [mapped, of_host] {
            becomes(&client, port, true).await?;
            let answer = order.deploy(&pod("ausrine", &[web("web", port)])).send().await?;
            let message = text(&answer.refused(409, Reason::PortOccupied)?, "/message")?;
            assert!(message.contains(&port.to_string()), "{message}");
        }
        t.cluster.delete_pod(namespace, "mapped").await?;
        t.cluster.delete_pod(namespace, "of-host").await?;
        for port in [mapped, of_host] {
            becomes(&client, port, false).await?;
        }
        order.running(&pod("ausrine", &[web("web", mapped)])).await?;
        Ok(())
    })
}

#[test]
fn a_port_that_a_process_of_the_host_listens_on_is_occupied() -> Result<()> {
    test(async |t| {
        let (tcp, udp) = (host_port(), host_port());
        let client = t.client().await?;
        let listener = std::net::TcpListener::bind(("0.0.0.0", tcp))?;
        let socket = std::net::UdpSocket::bind(("0.0.0.0", udp))?;
        becomes(&client, tcp, true).await?;
        let answer = occupied(&client, &json!({ "region": "ausrine", "ports": [udp], "protocol": "UDP" })).await?;
        assert_eq!(answer, BTreeSet::from([u64::from(udp)]));
        let order = t.order(&OrderOptions::units(1)).await?;
        let answer = order.deploy(&pod("ausrine", &[web("web", tcp)])).send().await?;
        answer.refused(409, Reason::PortOccupied)?;
        drop((listener, socket));
        becomes(&client, tcp, false).await?;
        order.deployed(&pod("ausrine", &[web("web", tcp)])).await?;
        Ok(())
    })
}

#[test]
fn ports_that_a_region_keeps_for_itself_are_occupied() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        let order = t.order(&OrderOptions::units(1)).await?;
        for port in [22, 2379, 6443, 10_250, 30_000, 32_767] {
            for protocol in ["TCP", "UDP"] {
                let ask = json!({ "region": "ausrine", "ports": [port], "protocol": protocol });
                assert_eq!(occupied(&client, &ask).await?, BTreeSet::from([port]), "{protocol} {port}");
            }
            let answer = order.deploy(&pod("ausrine", &[web("web", u16::try_from(port)?)])).send().await?;
            answer.refused(409, Reason::PortOccupied)?;
        }
        Ok(())
    })
}

#[test]
fn of_64_racers_for_one_port_one_wins() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("races").await?;
        for _ in 0..2 {
            // Nobody is turned away because many ask at once.
            let api = system.new_api(&[("VKUBE_POSTGRES_WAIT_TIMEOUT_MS", "20000")]).await?;
            system.apis.push(api);
        }
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let ledger = Ledger::open(&system.nats, &system.region).await?;
        let options = OrderOptions::units(1);
        let make = (0..64).map(|_| t.order_of(&system, &options));
        let orders = try_join_all(make).await?;
        let port = host_port();
        let body = pod("races", &[with_ports(&[port])]);
        let race = orders.iter().enumerate().map(|(number, order)| {
            let order = order.by(&system.apis[number % 2].client);
            let body = &body;
            async move { order.deploy(body).header("prefer", "respond-async").send().await }
        });
        let mut winners = Vec::new();
        for (order, answer) in orders.iter().zip(try_join_all(race).await?) {
            if answer.status == 202 {
                winners.push(order);
            } else {
                answer.refused(409, Reason::PortOccupied)?;
            }
        }
        let [winner] = winners.as_slice() else { panic!("{} winners", winners.len()) };
        let state = ledger.port(port).await?.context("the port is held")?;
        assert_eq!(state.order().as_str(), winner.id);
        for order in orders.iter().filter(|order| order.id != winner.id) {
            let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
            assert_eq!(jobs["jobs"], json!([]), "a loser has nothing");
        }
        Ok(())
    })
}

#[test]
fn of_two_orders_with_overlapping_ports_one_wins_them_all() -> Result<()> {
    test(async |t| {
        let system = t.system("overlaps", 2, 1).await?;
        let ledger = Ledger::open(&system.nats, &system.region).await?;
        for round in 0..10 {
            let ports: Vec<u16> = (0..6).map(|_| host_port()).collect();
            let sets = [&ports[..4], &ports[2..]];
            let orders = [
                t.order_of(&system, &OrderOptions::units(4)).await?,
                t.order_of(&system, &OrderOptions::units(4)).await?,
            ];
            let race = orders.iter().enumerate().map(|(number, order)| {
                let order: Order = order.by(&system.apis[(number + round) % 2].client);
                let body = pod("overlaps", &[with_ports(sets[number])]);
                async move { order.deploy(&body).header("prefer", "respond-async").send().await }
            });
            let answers = try_join_all(race).await?;
            let won: Vec<usize> = (0..2).filter(|number| answers[*number].status == 202).collect();
            let [winner] = won.as_slice() else { panic!("round {round}: {won:?} won: {answers:?}") };
            answers[1 - winner].clone().refused(409, Reason::PortOccupied)?;
            for port in &ports {
                let holder = ledger.port(*port).await?;
                let holder = holder.filter(|state| !matches!(state, PortState::Cooling { .. }));
                let expected = sets[*winner].contains(port).then_some(orders[*winner].id.as_str());
                assert_eq!(holder.as_ref().map(|state| state.order().as_str()), expected, "round {round}, port {port}");
            }
        }
        Ok(())
    })
}

#[test]
fn assigned_ports_are_never_those_of_others() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("few").await?;
        let api = system.new_api(&[]).await?;
        system.apis.push(api);
        // Four ports, one of them kept back, one the customer of another order has chosen.
        let settings = [("VKUBE_PORTS_RANDOM_RANGE", "26000-26003"), ("VKUBE_PORTS_DENY", "26001")];
        let worker = system.new_worker(&settings)?;
        system.workers.push(worker);
        system.ready().await?;
        let choosing = t.order_of(&system, &OrderOptions::units(1)).await?;
        choosing.accepted(&pod("few", &[with_ports(&[26_002])])).await?;

        let random = OrderOptions { random_ports: true, ..OrderOptions::units(2) };
        let order = t.order_of(&system, &random).await?;
        let two = with(idle("idle"), "ports", json!([{ "containerPort": 1 }, { "containerPort": 2 }]));
        let answer = order.deployed(&pod("few", &[two])).await?;
        let assigned: BTreeSet<u64> = (0..2).filter_map(|n| answer["ports"][n]["hostPort"].as_u64()).collect();
        assert_eq!(assigned, BTreeSet::from([26_000, 26_003]));

        let late = t.order_of(&system, &random).await?;
        let one = with(container("idle", "pause:1"), "ports", json!([{ "containerPort": 1 }]));
        let answer = late.deploy(&pod("few", &[one])).send().await?;
        answer.refused(503, Reason::PortsExhausted)?;
        Ok(())
    })
}
