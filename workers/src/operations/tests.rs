//! Every operation ends the same however often it runs, wherever it was cut off, and whoever came in between.

mod apiserver;
mod meanwhile;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Apiserver, Fault, Line};
use common::ingress::{Exposure, Ingress, Route, Tls};
use common::job::{JOB_VERSION, Run, Target, Verb};
use common::sealed::KeyRing;
use kube::core::DynamicObject;
use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::cluster::fence::Fences;
use crate::cluster::{Cluster, Mirrors};
use crate::kubernetes::{ANNOTATION_JOB, ANNOTATION_REVISION, ANNOTATION_SEQUENCE, Kind, LABEL_ORDER};
use crate::manifests::references;
use crate::settings::{IngressSettings, PodSettings};

const NAMESPACE: &str = "vkube-a";
/// The request by which a job that is not the first writes its Deployment: fence read and moved, 5 reads, 3 contents.
const DEPLOYMENT: usize = 2 + 5 + 3 + 1;

fn keys() -> KeyRing {
    KeyRing::from_hex(["01".repeat(32).as_str()]).unwrap()
}

/// A worker over this client, which sees nothing yet.
pub(super) fn context_over(client: kube::Client) -> Context {
    let mirrors = Mirrors::default();
    mirrors.pods.show(Vec::new());
    mirrors.deployments.show(Vec::new());
    Context {
        region: "ausrine".parse().unwrap(),
        keys: Arc::new(keys()),
        pods: PodSettings {
            termination_grace_seconds: 10,
            progress_deadline_seconds: 60,
            storage_class: None,
            runtime_class: None,
            egress_deny: Vec::new(),
            ingress: IngressSettings {
                class: None,
                issuer: None,
                tls_secret: None,
                passthrough: ("passthrough".to_owned(), "true".to_owned()),
            },
        },
        rollout_timeout: Duration::from_secs(90),
        cluster: Cluster::new(client),
        mirrors,
        facts: tokio::sync::watch::Sender::default(),
        fences: Fences {
            namespace: "vkube-system".to_owned(),
            worker: "worker-1".parse().unwrap(),
            region: "ausrine".parse().unwrap(),
        },
    }
}

/// A worker over this line, which sees the pod of every job at once, at its end, and no pod of a stopped order.
fn context(server: &Arc<Apiserver>, line: &Arc<Line>, jobs: &[&Job]) -> Context {
    let context = context_over(server.client(line));
    let pod = |job: &&Job| {
        let meta = json!({ "name": job.id, "namespace": NAMESPACE, "labels": { LABEL_ORDER: "a" },
            "annotations": { ANNOTATION_JOB: job.id } });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {},
            "status": { "phase": "Succeeded" } });
        serde_json::from_value::<DynamicObject>(pod).unwrap()
    };
    context.mirrors.pods.show(jobs.iter().map(pod).collect());
    // What a stop waits for: its Deployment has no pods.
    let stopped = jobs.iter().filter(|job| job.change.verb() == Verb::Stop).map(|job| {
        let meta = json!({ "name": "a", "namespace": NAMESPACE, "labels": { LABEL_ORDER: "a" },
            "annotations": { ANNOTATION_JOB: job.id } });
        let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "status": {} });
        serde_json::from_value::<DynamicObject>(deployment).unwrap()
    });
    context.mirrors.deployments.show(stopped.collect());
    context
}

fn job(sequence: u64, change: &serde_json::Value) -> Job {
    let job = json!({ "version": JOB_VERSION, "id": JobId::new(), "order": "a", "region": "ausrine",
        "sequence": sequence, "change": change });
    serde_json::from_value(job).unwrap()
}

/// A deploy of a revision that differs from every other in each kind of object.
fn deploy(sequence: u64) -> Job {
    let value: String = keys().public_key().seal(&format!("value {sequence}").into()).unwrap().into();
    let container = json!({ "name": "web", "image": "nginx", "memory": "100Mi",
        "ports": [{ "container_port": 80 + sequence, "protocol": "TCP", "host_port": 2000 + sequence }],
        "environment": [{ "name": "A", "value": value }], "command": [], "args": [], "mount_path": null,
        "config": { "path": "/etc/a.conf", "content": format!("a = {sequence}") },
        "login": { "username": "anna", "password": value } });
    let pod = json!({ "units": 2, "storage": "persistent", "containers": [container] });
    job(sequence, &json!({ "deploy": { "revision": sequence, "until": "created", "pod": pod } }))
}

fn delete(sequence: u64) -> Job {
    job(sequence, &json!({ "delete": {} }))
}

/// A job of this verb about the revision of an earlier deploy.
fn about(deploy: &Job, sequence: u64, verb: Verb) -> Job {
    let Change::Deploy(target) = &deploy.change else { panic!("{:?} is no deploy", deploy.change.verb()) };
    let (run, pod_job) = match verb {
        Verb::Stop => (Run::Stopped, Some(deploy.id)),
        Verb::Expose => (Run::Running, Some(deploy.id)),
        _ => (Run::Running, None),
    };
    let exposure = match verb {
        Verb::Expose => bound(&["a.lt"]),
        _ => target.exposure.clone(),
    };
    let change = Change::new(verb, Some(Target { run, pod_job, exposure, ..target.clone() })).unwrap();
    Job { id: JobId::new(), sequence: sequence.try_into().unwrap(), change, ..deploy.clone() }
}

/// A job that goes back to an earlier deploy: its revision, and its pod.
fn cancel_to(deploy: &Job, sequence: u64) -> Job {
    let mut job = about(deploy, sequence, Verb::Cancel);
    let Change::Cancel(target) = &mut job.change else { panic!("{:?}", job.change.verb()) };
    target.pod_job = Some(deploy.id);
    job
}

fn bound(domains: &[&str]) -> Exposure {
    let route = Route { container_port: 81.try_into().unwrap(), tls: Tls::Region };
    Exposure::Bound(Ingress { domains: domains.iter().map(|domain| (domain.parse().unwrap(), route)).collect() })
}

/// A job whose target has this exposure.
fn exposing(mut job: Job, exposed: &Exposure) -> Job {
    match &mut job.change {
        Change::Deploy(target) | Change::Expose(target) | Change::Restart(target) => {
            target.exposure = exposed.clone();
        }
        other => panic!("{:?}", other.verb()),
    }
    job
}

fn slot() -> Slot {
    Slot::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap())
}

/// Delivers a job until it has an end: `succeeded` or `superseded`.
async fn deliver(context: &Context, job: &Job) -> &'static str {
    for _ in 0..20 {
        match run_job(context, job, slot()).await {
            Ok(()) => return "succeeded",
            Err(OperationError::Superseded { .. } | OperationError::Overtaken { .. }) => return "superseded",
            Err(OperationError::Refused(failure) | OperationError::Unready(failure)) => panic!("{failure:?}"),
            Err(OperationError::Retry(_)) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    panic!("the job has no end");
}

/// What must be there after a job, and nothing else.
fn assert_is(server: &Apiserver, job: &Job, case: &str) {
    let objects = server.dump(NAMESPACE);
    if matches!(job.change, Change::Delete(_)) {
        assert!(objects.is_empty(), "{case}: {:?}", objects.keys());
        return;
    }
    let deployment = &objects[&format!("{}/a", Kind::Deployment.path(NAMESPACE))];
    let (Change::Deploy(target)
    | Change::Restart(target)
    | Change::Stop(target)
    | Change::Start(target)
    | Change::Expose(target)
    | Change::Cancel(target)
    | Change::Repair(target)) = &job.change
    else {
        panic!("{case}")
    };
    for kind in [Kind::Service, Kind::Ingress] {
        let there = objects.keys().any(|path| path.starts_with(&kind.path(NAMESPACE)));
        assert_eq!(there, target.exposure.ingress().is_some(), "{case}: {kind:?}");
    }
    if let Some(ingress) = target.exposure.ingress() {
        let rules = &objects[&format!("{}/pod", Kind::Ingress.path(NAMESPACE))]["spec"]["rules"];
        let hosts: Vec<_> = rules.as_array().unwrap().iter().map(|rule| rule["host"].as_str().unwrap()).collect();
        assert_eq!(hosts, ingress.domains.keys().map(common::ingress::Domain::as_str).collect::<Vec<_>>(), "{case}");
    }
    assert_eq!(deployment["metadata"]["annotations"][ANNOTATION_JOB], job.id.to_string(), "{case}");
    let template = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(template[ANNOTATION_JOB], target.pod_job.unwrap_or(job.id).to_string(), "{case}");
    assert_eq!(template[ANNOTATION_REVISION], target.revision.to_string(), "{case}");
    let expected: BTreeSet<String> =
        references(deployment).into_iter().map(|(kind, name)| format!("{}/{name}", kind.path(NAMESPACE))).collect();
    let is = |path: &&String, kind: Kind| path.starts_with(&kind.path(NAMESPACE));
    let contents = objects.keys().filter(|path| is(path, Kind::Secret) || is(path, Kind::ConfigMap));
    assert_eq!(contents.cloned().collect::<BTreeSet<_>>(), expected, "{case}");
    assert_eq!(expected.len(), 3, "{case}");
    let policy = &objects[&format!("{}/pod", Kind::NetworkPolicy.path(NAMESPACE))];
    assert_eq!(policy["metadata"]["annotations"][ANNOTATION_SEQUENCE], job.sequence.to_string(), "{case}");
    let replicas = i32::from(job.change.verb() != Verb::Stop);
    assert_eq!(deployment["spec"]["replicas"], replicas, "{case}");
    for kind in [Kind::ServiceAccount, Kind::ResourceQuota, Kind::PersistentVolumeClaim] {
        assert!(objects.keys().any(|path| path.starts_with(&kind.path(NAMESPACE))), "{case}: {kind:?}");
    }
}

/// A fresh apiserver on which these jobs were done.
async fn after(jobs: &[&Job]) -> Arc<Apiserver> {
    let server = Arc::new(Apiserver::default());
    let calm = context(&server, &Arc::default(), jobs);
    for job in jobs {
        assert_eq!(deliver(&calm, job).await, "succeeded");
    }
    server
}

/// How many requests a job makes, on an apiserver on which these jobs were done.
async fn requests(before: &[&Job], job: &Job) -> usize {
    let (server, line) = (after(before).await, Arc::default());
    let all: Vec<&Job> = before.iter().chain([&job]).copied().collect();
    assert_eq!(deliver(&context(&server, &line, &all), job).await, "succeeded");
    assert_is(&server, job, "undisturbed");
    line.requests()
}

#[tokio::test(start_paused = true)]
async fn every_verb_has_an_operation_which_runs_twice_and_changes_nothing_the_second_time() {
    for verb in Verb::ALL {
        let job = match verb {
            Verb::Deploy => deploy(2),
            Verb::Restart | Verb::Stop | Verb::Start | Verb::Expose | Verb::Cancel | Verb::Repair => {
                about(&deploy(1), 2, verb)
            }
            Verb::Delete => delete(2),
        };
        for before in [&[][..], &[&deploy(1)]] {
            let server = after(before).await;
            let calm = context(&server, &Arc::default(), &[&job]);
            assert_eq!(deliver(&calm, &job).await, "succeeded", "{verb:?}");
            assert_is(&server, &job, verb.as_str());
            let once = server.dump("vkube");
            assert_eq!(deliver(&calm, &job).await, "succeeded", "{verb:?} again");
            assert_eq!(server.dump("vkube"), once, "{verb:?} again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_costs_what_its_file_says() {
    let (first, second) = (deploy(1), deploy(2));
    // Fence read and made, namespace, 4 lasting objects, 3 contents, Deployment, fence read.
    assert_eq!(requests(&[], &first).await, 2 + 1 + 4 + 3 + 1 + 1);
    // Fence read and moved, 6 reads, policy, 3 contents and Deployment written, fence read, 3 contents looked at and removed.
    assert_eq!(requests(&[&first], &second).await, 2 + 6 + 5 + 1 + 6);
    // Fence read and moved, 6 reads, Deployment and policy written, Service and Ingress read and written, fence read.
    assert_eq!(requests(&[&first], &about(&first, 2, Verb::Expose)).await, 2 + 6 + 2 + 4 + 1);
    // Fence read and moved, 6 reads, Deployment and policy written, fence read.
    assert_eq!(requests(&[&first], &cancel_to(&first, 2)).await, 2 + 6 + 2 + 1);
    // Fence read and moved, 6 reads, account and quota written, 3 contents looked at and written, Deployment and policy written,
    // fence read.
    assert_eq!(requests(&[&first], &about(&first, 2, Verb::Repair)).await, 2 + 6 + 2 + 6 + 2 + 1);
    // Fence read and moved, namespace read and deleted, fence read, namespace read.
    assert_eq!(requests(&[&first], &delete(2)).await, 2 + 2 + 1 + 1);
}

#[tokio::test(start_paused = true)]
async fn no_lost_answer_and_no_short_absence_of_the_apiserver_changes_the_end() {
    for (before, job) in [(vec![], deploy(1)), (vec![deploy(1)], deploy(2)), (vec![deploy(1)], delete(2))] {
        let before: Vec<_> = before.iter().collect();
        let begin = after(&before).await;
        for at in 1..=requests(&before, &job).await {
            for fault in [Fault::AnswerLost, Fault::Away] {
                let server = begin.copy();
                let disturbed = context(&server, &Line::with(at, fault), &[&job]);
                let case = format!("{:?} at request {at} of {:?}", fault, job.change.verb());
                assert_eq!(deliver(&disturbed, &job).await, "succeeded", "{case}");
                assert_is(&server, &job, &case);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_is_refused_leaves_the_one_before_with_all_that_it_uses() {
    let (first, second) = (deploy(1), deploy(2));
    let server = after(&[&first]).await;
    let contents = |server: &Apiserver| {
        let objects = server.dump(NAMESPACE);
        let kinds = [Kind::Secret, Kind::ConfigMap, Kind::NetworkPolicy, Kind::Deployment];
        let kinds = kinds.map(|kind| kind.path(NAMESPACE));
        objects.into_iter().filter(|(path, _)| kinds.iter().any(|kind| path.starts_with(kind))).collect::<Vec<_>>()
    };
    let before = contents(&server);
    let refusing = context(&server, &Line::with(DEPLOYMENT, Fault::Refused), &[&second]);
    assert!(matches!(run_job(&refusing, &second, slot()).await, Err(OperationError::Refused(_))));
    assert_eq!(contents(&server), before);
}

#[tokio::test(start_paused = true)]
async fn after_somebody_deleted_the_deployment_nothing_stays_of_the_revisions_before() {
    let (first, second) = (deploy(1), deploy(2));
    let server = after(&[&first]).await;
    let calm = context(&server, &Arc::default(), &[&second]);
    calm.cluster.delete(Kind::Deployment, NAMESPACE, "a", None).await.unwrap();
    let line = Arc::default();
    let copy = server.copy();
    assert_eq!(deliver(&context(&copy, &line, &[&second]), &second).await, "succeeded");
    assert_is(&copy, &second, "undisturbed");
    for at in 1..=line.requests() {
        let server = server.copy();
        let disturbed = context(&server, &Line::with(at, Fault::Away), &[&second]);
        assert_eq!(deliver(&disturbed, &second).await, "succeeded", "away at request {at}");
        assert_is(&server, &second, &format!("away at request {at}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_once_is_refused_whenever_it_is_delivered_again_until_a_newer_job_comes() {
    let (first, second, third) = (deploy(1), deploy(2), deploy(3));
    let sealed = |mut job: Job| {
        let Change::Deploy(target) = &mut job.change else { panic!() };
        let other = KeyRing::from_hex(["02".repeat(32).as_str()]).unwrap().public_key().seal(&"a".into()).unwrap();
        target.pod.containers[0].environment[0].value = other;
        job
    };
    let refused = async |context: &Context, job: &Job| {
        let end = run_job(context, job, slot()).await;
        let Err(OperationError::Refused(failure)) = end else { panic!("{end:?}") };
        failure
    };
    for (case, job, line) in [
        ("by the cluster", second.clone(), Line::with(DEPLOYMENT, Fault::Refused)),
        ("before the fence was moved", sealed(second.clone()), Arc::default()),
    ] {
        let server = after(&[&first]).await;
        let failure = refused(&context(&server, &line, &[&job]), &job).await;
        // Nothing stands in its way any more.
        let calm = context(&server, &Arc::default(), &[&second, &third]);
        assert_eq!(refused(&calm, &Job { id: job.id, ..second.clone() }).await, failure, "{case}");
        assert_eq!(deliver(&calm, &third).await, "succeeded", "{case}");
        assert_is(&server, &third, case);
        assert_eq!(deliver(&calm, &second).await, "superseded", "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_refused_after_its_deployment_was_written_does_not_say_that_nothing_changed() {
    let (first, second) = (deploy(1), deploy(2));
    let server = after(&[&first]).await;
    // The policy, which was read.
    let refusing = context(&server, &Line::with(DEPLOYMENT + 2, Fault::Refused), &[&second]);
    let end = run_job(&refusing, &second, slot()).await;
    assert!(matches!(end, Err(OperationError::Unready(_))), "{end:?}");
    assert_eq!(deliver(&context(&server, &Arc::default(), &[&second]), &second).await, "succeeded");
    assert_is(&server, &second, "written");
}
