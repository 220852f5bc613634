//! The guide's seven calls, as it prints them, but for host, secret and ids.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use e2e::cluster::page;
use e2e::order::{OrderOptions, text};
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

/// Where the calls are served: the guide prints both.
const PREFIXES: [&str; 2] = ["", "/"];

/// The body of the guide's deploy, to the letter.
const DEPLOY: &str = r#"{
"nodeSelector": {
"region": "ausrine"
},
"containers": [{
"name": "container1",
"imageName": "nginx",
"ports": [{
"containerPort": 80,
"hostPort": 2999
}],
"resource": {
"memory": "100Mi"
}
}]
}"#;

/// The body of the guide's port check, to the letter.
const PORTS: &str = r#"{
"region":"ausrine",
"ports":[22,3306,1234,1111]
}"#;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn query_valid_regions() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for prefix in PREFIXES {
            let regions = client.get(&format!("{prefix}/k8s/regions")).send().await?.ok()?;
            assert_eq!(regions, json!(["ausrine"]));
        }
        Ok(())
    })
}

#[test]
fn query_valid_regions_when_there_is_none() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("nowhere").await?;
        let api = system.new_api(&[]).await?;
        assert_eq!(api.client.get("/k8s/regions").send().await?.ok()?, json!([]));
        Ok(())
    })
}

#[test]
fn check_if_image_exist() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for prefix in PREFIXES {
            let get = |query: &str| client.get(&format!("{prefix}/k8s/images?{query}")).send();
            assert_eq!(get("image=nginx&tag=stable").await?.ok()?, json!({ "status": "OK" }));

            let error = get("image=nginx&tag=no-such-tag").await?.refused(404, Reason::ImageNotFound)?;
            assert_eq!(error["message"], "image does not exist.");
            let error = get("image=nginx&tag=").await?.refused(400, Reason::InvalidRequest)?;
            assert_eq!(error["message"], "image format not allow.Format: image:tag");
        }
        Ok(())
    })
}

#[test]
fn host_port_occupation_validation() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        // 22 is kept from customers by the region; 3306 is an order's.
        let order = t.order(&OrderOptions::units(1)).await?;
        order
            .deployed(&json!({
                "nodeSelector": { "region": "ausrine" },
                "containers": [{
                    "name": "database", "imageName": "pause:1", "resource": { "memory": "64Mi" },
                    "ports": [{ "containerPort": 3306, "hostPort": 3306 }]
                }]
            }))
            .await?;
        for prefix in PREFIXES {
            let path = format!("{prefix}/k8s/checkports");
            let post = |body: &str| client.post(&path).header("content-type", "application/json").body(body.to_owned());
            // The other api instance's word of the order's port may come a moment later than its own.
            let occupied = json!({ "occupied": [22, 3306], "status": "PortsOccupied" });
            until("3306 is occupied", Duration::from_secs(5), async || {
                let answer = post(PORTS).send().await?.ok()?;
                Ok((answer == occupied).then_some(()))
            })
            .await?;

            let free = post(r#"{"region":"ausrine","ports":[1234,1111]}"#).send().await?.ok()?;
            assert_eq!(free, json!({ "occupied": [], "status": "NotOccupied" }));
            let nowhere = post(r#"{"region":"atlantis","ports":[22]}"#).send().await?.ok()?;
            assert_eq!(nowhere, json!({ "occupied": [], "status": "NoResource" }));
            for missing in [r#"{"ports":[22]}"#, r#"{"region":"ausrine"}"#, "{}"] {
                let error = post(missing).send().await?.refused(400, Reason::InvalidRequest)?;
                assert_eq!(error["message"], "item field empty", "{missing}");
            }
        }
        Ok(())
    })
}

#[test]
fn query_order_information() -> Result<()> {
    test(async |t| {
        let (client, token) = (t.client().await?, &t.shared().await?.operator_token);
        let made = client.post("/admin/orders").operator(token).json(&json!({
            "serviceOptions": {
                "portSpecification": "User Specified Service Port",
                "resourceUnit": "2-Unit-Resource"
            },
            "duration": 100, "amount": 18000, "serviceID": "9a0b6e", "service": "Container Service",
            "serviceCategoryID": "category", "provider": "v-kube-service", "address": "wallet", "recipient": "merchant",
            "publicKey": ""
        }));
        let made = made.send().await?.is(201)?;
        let secret = text(&made, "/secret")?;

        // curl --location --request GET 'http://$Endpoint/api/v1/k8s/order' \--header 'secret: 2Vu3Kdxxxxxxxx'
        let url = format!("{}/api/v1/k8s/order", t.shared().await?.apis[0].url);
        let curl = Command::new("curl")
            .args(["--silent", "--show-error", "--location", "--request", "GET", &url])
            .args(["--header", &format!("secret: {secret}")])
            .stdin(Stdio::null())
            .output()
            .await?;
        ensure!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
        let order: Value = serde_json::from_slice(&curl.stdout)?;

        let mut found = keys(&order);
        found.sort_unstable();
        let mut documented = [
            "createdAt",
            "updatedAt",
            "duration",
            "serviceExpiredDate",
            "amount",
            "amountPaid",
            "serviceID",
            "service",
            "serviceCategoryID",
            "provider",
            "address",
            "recipient",
            "id",
            "serviceOptions",
            "status",
            "publicKey",
        ];
        documented.sort_unstable();
        assert_eq!(found, documented);
        for (field, value) in [
            ("duration", json!(100)),
            ("serviceExpiredDate", json!("")),
            ("amount", json!(18000)),
            ("amountPaid", json!(18000)),
            ("serviceID", json!("9a0b6e")),
            ("service", json!("Container Service")),
            ("serviceCategoryID", json!("category")),
            ("provider", json!("v-kube-service")),
            ("address", json!("wallet")),
            ("recipient", json!("merchant")),
            ("publicKey", json!("")),
            ("id", made["order"]["id"].clone()),
            ("status", json!("OrderFiled")),
        ] {
            assert_eq!(order[field], value, "{field}");
        }
        assert_eq!(order["serviceOptions"]["portSpecification"], "User Specified Service Port");
        assert_eq!(order["serviceOptions"]["resourceUnit"], "2-Unit-Resource");
        for time in ["createdAt", "updatedAt"] {
            let seconds = order[time].as_u64().context("unix seconds")?;
            assert!((1_600_000_000..4_000_000_000).contains(&seconds), "{time} is {seconds}");
        }
        let bare = client.get("//k8s/order").secret(&secret).send().await?.ok()?;
        assert_eq!(bare, order);
        Ok(())
    })
}

#[test]
fn pod_deployment_log_and_status() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        let deploy = |path: &str| {
            let request = order.request(Method::POST, path).header("content-type", "application/json");
            request.body(DEPLOY).send()
        };
        let answer = deploy("/k8s/deploy").await?.ok()?;
        assert_eq!(
            answer,
            json!({
                "id": answer["id"], "orderId": order.id, "revision": 1, "status": "Deployed",
                "ports": [{ "container": "container1", "containerPort": 80, "hostPort": 2999, "protocol": "TCP" }]
            })
        );
        order.ready().await?;
        for host in ["127.0.0.1", &t.stack.node_address] {
            assert!(page(host, 2999).await?.contains("Welcome to nginx!"), "{host}");
        }

        for prefix in PREFIXES {
            let get = |call: &str| order.request(Method::GET, &format!("{prefix}/k8s/pod/{call}")).send();
            let log = get("log").await?.ok()?;
            let log = log.as_str().context("a log is one string")?;
            let first =
                "/docker-entrypoint.sh: /docker-entrypoint.d/ is not empty, will attempt to perform configuration\n";
            assert!(log.starts_with(first), "{log}");
            assert!(log.contains("/docker-entrypoint.sh: Configuration complete; "), "{log}");

            let status = get("status").await?.ok()?;
            assert!(text(&status, "/name")?.starts_with(&format!("{}-", order.id)));
            check_status(&status);
        }

        // The same body again, by the other path: a new revision of the same pod.
        let again = deploy("//k8s/deploy").await?.ok()?;
        assert_eq!(again["revision"], 2);
        Ok(())
    })
}

/// Every field that the guide's tables name and that such a pod has.
fn check_status(status: &Value) {
    for (place, value) in [
        ("/podStatus/phase", json!("Running")),
        ("/podStatus/qosClass", json!("Burstable")),
        ("/podStatus/containerStatuses/0/name", json!("container1")),
        ("/podStatus/containerStatuses/0/ready", json!(true)),
        ("/podStatus/containerStatuses/0/started", json!(true)),
        ("/podStatus/containerStatuses/0/restartCount", json!(0)),
        ("/podStatus/containerStatuses/0/lastState", json!({})),
        ("/podSpec/containers/0/name", json!("container1")),
        ("/podSpec/containers/0/image", json!("nginx")),
        ("/podSpec/containers/0/ports/0/hostPort", json!(2999)),
        ("/podSpec/containers/0/ports/0/containerPort", json!(80)),
        ("/podSpec/containers/0/ports/0/protocol", json!("TCP")),
        ("/podSpec/containers/0/resources/limits/memory", json!("100Mi")),
        ("/podSpec/containers/0/resources/requests/memory", json!("100Mi")),
        ("/podSpec/containers/0/resources/requests/cpu", json!("25m")),
        ("/podSpec/containers/0/imagePullPolicy", json!("Always")),
        ("/podSpec/restartPolicy", json!("Always")),
        ("/podSpec/nodeSelector/region", json!("ausrine")),
        ("/podSpec/enableServiceLinks", json!(false)),
        ("/annotations/kubernetes.io~1egress-bandwidth", json!("1024M")),
        ("/annotations/kubernetes.io~1ingress-bandwidth", json!("1024M")),
        ("/domains", Value::Null),
        ("/stale", json!(false)),
    ] {
        assert_eq!(status.pointer(place), Some(&value), "{place} of {status}");
    }
    assert_eq!(status.pointer("/podSpec/containers/0/resources/limits/cpu"), None);
    for place in [
        "/podStatus/hostIP",
        "/podStatus/podIP",
        "/podStatus/podIPs/0/ip",
        "/podStatus/startTime",
        "/podStatus/conditions/0/type",
        "/podStatus/conditions/0/status",
        "/podStatus/conditions/0/lastTransitionTime",
        "/podStatus/containerStatuses/0/image",
        "/podStatus/containerStatuses/0/imageID",
        "/podStatus/containerStatuses/0/containerID",
        "/podStatus/containerStatuses/0/state/running/startedAt",
        "/podSpec/nodeName",
        "/podSpec/schedulerName",
        "/podSpec/serviceAccountName",
        "/observedAt",
    ] {
        let found = status.pointer(place).and_then(Value::as_str);
        assert!(found.is_some_and(|text| !text.is_empty()), "{place} of {status}");
    }
    let conditions = status.pointer("/podStatus/conditions").and_then(Value::as_array).unwrap();
    assert!(conditions.iter().all(|condition| condition.get("lastProbeTime") == Some(&Value::Null)), "nulls are kept");
}
