//! What a look at a rollout says, look by look.

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::*;
use crate::cluster::Seen as _;
use crate::kubernetes::ANNOTATION_JOB;

fn job() -> JobId {
    "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
}

fn pod(job: &str, status: &Value) -> Arc<PodSeen> {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "annotations": { ANNOTATION_JOB: job } },
        "spec": { "containers": [{ "name": "web" }] }, "status": status });
    Arc::new(PodSeen::from_object(serde_json::from_value::<DynamicObject>(pod).unwrap()))
}

fn mine(status: &Value) -> Vec<Arc<PodSeen>> {
    vec![pod(&job().to_string(), status)]
}

fn waiting(reason: &str, message: &str) -> Vec<Arc<PodSeen>> {
    let waiting = json!({ "reason": reason, "message": message });
    let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error" } });
    mine(&json!({ "containerStatuses": [
        { "name": "web", "restartCount": 2, "state": { "waiting": waiting }, "lastState": ended }] }))
}

fn deployment(seen: &DeploymentSeen) -> DeploymentSeen {
    DeploymentSeen { job: Some(job()), observed: true, ..seen.clone() }
}

/// Looks at the same picture twice, with this time in between, and says what the second look says.
fn verdict(want: Want, apart: Duration, seen: Option<&DeploymentSeen>, pods: &[Arc<PodSeen>]) -> String {
    let mut rollout = Rollout::new(job(), job(), want);
    let now = Instant::now();
    let first = rollout.look(now, seen, pods);
    let verdict = if first == Verdict::Wait { rollout.look(now + apart, seen, pods) } else { first };
    match verdict {
        Verdict::Failed(failure) => format!("{:?}: {}", failure.reason, failure.message),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pod_that_was_made_is_enough_unless_more_is_asked_for() {
    let progressing = deployment(&DeploymentSeen::default());
    let complete = deployment(&DeploymentSeen { complete: true, ..DeploymentSeen::default() });
    let another = vec![pod("01890a5d-ac96-774b-bcce-b302099a8058", &json!({}))];
    let nothing = json!({});
    for (case, want, seen, pods, expected) in [
        ("nothing yet", Want::Created, None, vec![], "Wait"),
        ("no pod yet", Want::Created, Some(&progressing), vec![], "Wait"),
        ("another job's pod", Want::Created, Some(&progressing), another.clone(), "Wait"),
        ("made", Want::Created, Some(&progressing), mine(&nothing), "Done"),
        ("made, before the Deployment is seen", Want::Created, None, mine(&nothing), "Done"),
        ("made, not yet available", Want::Available, Some(&progressing), mine(&nothing), "Wait"),
        ("available", Want::Available, Some(&complete), mine(&nothing), "Done"),
        ("available, but another job's", Want::Available, Some(&complete), another, "Wait"),
    ] {
        assert_eq!(verdict(want, Duration::from_secs(1), seen, &pods), expected, "{case}");
    }
}

#[tokio::test]
async fn a_deployment_of_another_job_or_none_makes_suspicious_once_ours_was_seen() {
    let ours = deployment(&DeploymentSeen::default());
    let another = DeploymentSeen { job: Some(JobId::new()), ..ours.clone() };
    for (case, seen) in [("another", Some(&another)), ("none", None)] {
        let mut rollout = Rollout::new(job(), job(), Want::Created);
        assert_eq!(rollout.look(Instant::now(), seen, &[]), Verdict::Wait, "{case}");
        assert_eq!(rollout.look(Instant::now(), Some(&ours), &[]), Verdict::Wait, "{case}");
        assert_eq!(rollout.look(Instant::now(), seen, &[]), Verdict::Replaced, "{case}");
    }
}

#[tokio::test]
async fn a_refusal_to_make_the_pod_is_told_when_it_lasts() {
    let refused = |words: &str| {
        deployment(&DeploymentSeen { replica_failure: Some(words.to_owned()), ..DeploymentSeen::default() })
    };
    let quota = refused("pods \"a\" is forbidden: exceeded quota: pod, requested: limits.memory=3Gi");
    let uncounted = refused("pods \"a\" is forbidden: status unknown for quota: pod");
    let policy = refused("pods \"a\" is forbidden: ValidatingAdmissionPolicy 'x' denied request: no host path");
    let old = vec![pod("01890a5d-ac96-774b-bcce-b302099a8058", &json!({ "phase": "Running" }))];
    let told = "QuotaExceeded: the pod needs more than the order's units allow; ask for less memory or more units";
    for (case, seconds, seen, pods, expected) in [
        ("just now", 1, &quota, vec![], "Wait"),
        ("for a while", 4, &quota, vec![], told),
        ("while the old pod goes", 4, &quota, old, "Wait"),
        ("quota not counted yet", 60, &uncounted, vec![], "Wait"),
        ("admission", 4, &policy, vec![], "Refused: the region does not allow this pod: no host path"),
    ] {
        let verdict = verdict(Want::Created, Duration::from_secs(seconds), Some(seen), &pods);
        assert_eq!(verdict, expected, "{case}");
    }
}

#[tokio::test]
async fn what_keeps_a_pod_from_being_available_is_told_in_words_for_customers() {
    let unschedulable = |words: &str| {
        mine(&json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words }] }))
    };
    let seen = deployment(&DeploymentSeen::default());
    let given_up = deployment(&DeploymentSeen { deadline_exceeded: true, ..DeploymentSeen::default() });
    let missing = "ImageNotFound: the image of container web does not exist for linux/amd64, or is private; check its name, \
                   tag and login";
    for (case, seconds, seen, pods, expected) in [
        ("pull failed once", 60, &seen, waiting("ErrImagePull", "not found"), "Wait"),
        ("no such image", 0, &seen, waiting("ImagePullBackOff", "web:9: not found"), missing),
        ("no image by its name", 0, &seen, waiting("InvalidImageName", ""), missing),
        (
            "login refused",
            0,
            &seen,
            waiting("ImagePullBackOff", "unexpected status: 401 Unauthorized"),
            "ImagePullRefused: the image of container web does not exist, or its registry refuses the login",
        ),
        ("registry away", 20, &seen, waiting("ImagePullBackOff", "dial tcp: i/o timeout"), "Wait"),
        ("a name that sounds like a refusal", 20, &seen, waiting("ImagePullBackOff", "denied:401: EOF"), "Wait"),
        ("a disk that is full", 20, &seen, waiting("ImagePullBackOff", "no space left on device"), "Wait"),
        (
            "registry away for long",
            31,
            &seen,
            waiting("ImagePullBackOff", "dial tcp: i/o timeout"),
            "RegistryUnreachable: the registry of container web does not answer; try again later",
        ),
        (
            "crashing",
            0,
            &seen,
            waiting("CrashLoopBackOff", ""),
            "CrashLoop: container web ends again and again, last with exit code 3; see its log with previous=true",
        ),
        ("no room, just now", 5, &seen, unschedulable("0/1 nodes are available"), "Wait"),
        (
            "no room",
            11,
            &seen,
            unschedulable("0/1 nodes are available: 1 Insufficient memory."),
            "NoRoom: no node of the region has room for the pod at the moment; try again later or ask for less",
        ),
        (
            "host port taken",
            11,
            &seen,
            unschedulable("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."),
            "NoRoom: a host port of the pod is in use on every node of the region; choose another one",
        ),
        ("given up, on the revision before", 60, &given_up, vec![], "Wait"),
        ("given up, just now", 1, &given_up, mine(&json!({})), "Wait"),
        (
            "given up",
            4,
            &given_up,
            mine(&json!({})),
            "RolloutTimeout: the pod did not become ready in time; see its status and log",
        ),
    ] {
        let verdict = verdict(Want::Available, Duration::from_secs(seconds), Some(seen), &pods);
        assert_eq!(verdict, expected, "{case}");
    }
}

#[tokio::test]
async fn a_grace_period_begins_anew_when_things_look_well_in_between() {
    let seen = deployment(&DeploymentSeen::default());
    let away = waiting("ImagePullBackOff", "dial tcp: i/o timeout");
    let mut rollout = Rollout::new(job(), job(), Want::Available);
    let now = Instant::now();
    for (after, pods) in [(0, &away), (20, &mine(&json!({}))), (40, &away), (69, &away)] {
        assert_eq!(rollout.look(now + Duration::from_secs(after), Some(&seen), pods), Verdict::Wait, "{after} s");
    }
    assert!(matches!(rollout.look(now + Duration::from_secs(70), Some(&seen), &away), Verdict::Failed(_)));
}

#[tokio::test]
async fn an_order_is_stopped_when_no_pod_is_left() {
    let scaled = deployment(&DeploymentSeen::default());
    let ending = deployment(&DeploymentSeen { pods: 1, ..DeploymentSeen::default() });
    let unseen = DeploymentSeen { observed: false, ..scaled.clone() };
    let finished = json!({ "phase": "Succeeded" });
    let mut removed = mine(&finished);
    Arc::get_mut(&mut removed[0]).unwrap().terminating = true;
    for (case, seen, pods, expected) in [
        ("nothing seen yet", None, vec![], "Wait"),
        ("not seen by the controller", Some(&unseen), vec![], "Wait"),
        ("counted", Some(&ending), vec![], "Wait"),
        ("still ending", Some(&scaled), mine(&json!({})), "Wait"),
        ("ended, still being removed", Some(&scaled), removed, "Wait"),
        ("gone", Some(&scaled), vec![], "Done"),
        ("at its end", Some(&scaled), mine(&finished), "Done"),
    ] {
        assert_eq!(verdict(Want::Gone, Duration::from_secs(1), seen, &pods), expected, "{case}");
    }
}
