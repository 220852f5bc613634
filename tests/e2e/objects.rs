//! The Kubernetes objects of an order (`design.md` §7), as they stand in the cluster.

use anyhow::{Context as _, Result};
use e2e::order::{OrderOptions, text};
use e2e::pod::{container, envs, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::test;
use serde_json::{Value, json};

#[test]
fn an_orders_objects_are_confined_and_named_after_it() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions { storage: true, ..OrderOptions::units(2) }).await?;
        let container = with(web("web", port), "mountPath", json!("/data"));
        let container = with(container, "envs", envs(&[("TOKEN", "x".to_owned())]));
        let answer = order.deployed(&pod("ausrine", &[container])).await?;
        let job = text(&answer, "/id")?;
        let status = order.ready().await?;
        let namespace = order.namespace();
        let of = |group: &str, kind: &str| format!("/{group}/namespaces/{namespace}/{kind}");

        let deployment = t.cluster.raw(&of("apis/apps/v1", "deployments"), &order.id).await?;
        let claim = t.cluster.list(&of("api/v1", "persistentvolumeclaims")).await?;
        let policies = t.cluster.list(&of("apis/networking.k8s.io/v1", "networkpolicies")).await?;
        let quotas = t.cluster.list(&of("api/v1", "resourcequotas")).await?;
        let space = t.cluster.raw("/api/v1/namespaces", &namespace).await?;
        for (what, object, place, value) in [
            ("namespace", &space, "/metadata/labels/vkube.dev~1order", json!(order.id)),
            ("namespace", &space, "/metadata/labels/pod-security.kubernetes.io~1enforce", json!("privileged")),
            ("namespace", &space, "/metadata/labels/pod-security.kubernetes.io~1warn", json!("restricted")),
            ("deployment", &deployment, "/spec/replicas", json!(1)),
            ("deployment", &deployment, "/spec/strategy/type", json!("Recreate")),
            ("deployment", &deployment, "/metadata/labels/vkube.dev~1order", json!(order.id)),
            ("deployment", &deployment, "/metadata/annotations/vkube.dev~1revision", json!("1")),
            ("deployment", &deployment, "/metadata/annotations/vkube.dev~1job", json!(job)),
            ("claim", &claim[0], "/spec/resources/requests/storage", json!("16Gi")),
            ("pod", &status, "/podSpec/automountServiceAccountToken", json!(false)),
            ("pod", &status, "/podSpec/enableServiceLinks", json!(false)),
            ("pod", &status, "/podSpec/dnsPolicy", json!("Default")),
            ("pod", &status, "/podSpec/securityContext/seccompProfile/type", json!("RuntimeDefault")),
            ("pod", &status, "/podSpec/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
            ("pod", &status, "/podSpec/containers/0/ports/0/hostPort", json!(port)),
        ] {
            assert_eq!(object.pointer(place), Some(&value), "{place} of the {what} {object}");
        }
        for absent in ["hostNetwork", "hostPID", "hostIPC"] {
            let value = status["podSpec"].get(absent);
            assert!(value.is_none_or(|value| *value == json!(false)), "{absent}: {value:?}");
        }
        let volumes = status["podSpec"]["volumes"].as_array().context("volumes")?;
        assert!(volumes.iter().all(|volume| volume.get("hostPath").is_none()), "{volumes:?}");
        assert_eq!(quotas.len(), 1);
        let directions = |policy: &Value| policy["spec"]["policyTypes"].to_string();
        assert!(policies.iter().any(|policy| directions(policy).contains("Egress")), "{policies:?}");
        assert!(policies.iter().any(|policy| directions(policy).contains("Ingress")), "{policies:?}");
        Ok(())
    })
}

#[test]
fn what_a_revision_no_longer_has_is_removed() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        let named = |kind: &str| format!("/api/v1/namespaces/{}/{kind}", order.namespace());
        let config = with(idle("one"), "configMountPath", json!("/etc/one.conf"));
        let config = with(config, "config", json!("one"));
        let private = format!("{}/private/web:1", t.stack.private_registry);
        let login = json!({ "username": t.stack.private_username, "password": t.stack.private_password });
        let none = json!({ "username": "", "password": "" });
        let body = with(pod("ausrine", &[config, container("two", &private)]), "pvtLogin", json!([none, login]));
        order.running(&body).await?;
        let own = async |kind: &str| -> Result<usize> {
            let all = t.cluster.list(&named(kind)).await?;
            let own = all.iter().filter(|object| object.pointer("/metadata/labels/vkube.dev~1order").is_some());
            Ok(own.count())
        };
        assert!(own("configmaps").await? > 0 && own("secrets").await? > 0);
        order.running(&pod("ausrine", &[idle("one")])).await?;
        assert_eq!((own("configmaps").await?, own("secrets").await?), (0, 0));
        Ok(())
    })
}
