//! Changes: sent again under one key, waited for, and ended with the right exit code.

use std::io::Write as _;

use super::scripted::{Api, Ended, answer, header, run};

const JOB: &str = r#"{"id":"j-1","orderId":"o-1","verb":"deploy","revision":1,"state":"Queued","attempts":0,"createdAt":"2026-01-02T03:04:05.6Z","startedAt":null,"finishedAt":null,"outcome":null}"#;
const DEPLOYED: &str = r#"{"id":"j-1","orderId":"o-1","revision":1,"status":"Deployed","ports":[{"container":"web","containerPort":80,"hostPort":2999,"protocol":"TCP"}]}"#;

/// A deploy of a file that holds an empty object.
async fn deploy(api: &Api, flags: &str) -> Ended {
    let file = std::env::temp_dir().join(format!("vkube-cli-{}.json", uuid::Uuid::new_v4()));
    std::fs::File::create(&file).unwrap().write_all(b"{ }").unwrap();
    let ended = run(&api.url, format!("deploy --secret s-1 -f {} {flags}", file.display()).trim_end()).await;
    std::fs::remove_file(file).unwrap();
    ended
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let failures = [String::new(), answer("502 Bad Gateway", "<html>")];
    let api = Api::start(failures.into_iter().chain([answer("200 OK", DEPLOYED)])).await;
    let ended = deploy(&api, "").await;
    assert_eq!(ended.code(), 0, "{:?}", ended.outcome);
    let expected = "\
Order     o-1
Status    Deployed
Revision  1
Job       j-1

CONTAINER  PORT  HOST PORT  PROTOCOL
web        80    2999       TCP
";
    assert_eq!(ended.out, expected);
    assert_eq!(ended.notes.matches("trying again").count(), 2, "{}", ended.notes);
    let asked = api.asked();
    let keys: Vec<_> = asked.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert!(keys.len() == 3 && keys[0].len() == 36 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    for request in &asked {
        assert!(request.starts_with("POST /api/v1/k8s/deploy HTTP/1.1\n") && request.ends_with("\n\n{ }"), "{request}");
        assert_eq!(header(request, "secret").as_deref(), Some("s-1"));
        assert_eq!(header(request, "content-type").as_deref(), Some("application/json"));
        assert_eq!(header(request, "prefer"), None);
    }
}

#[tokio::test]
async fn a_new_secret_that_was_lost_on_the_way_is_no_success() {
    let order = r#"{"order":{"id":"o-1"}}"#;
    for flags in ["", " --json"] {
        let api = Api::start([String::new(), answer("200 OK", order)]).await;
        let ended = run(&api.url, &format!("orders secret o-1 --operator-token t{flags}")).await;
        assert_eq!(ended.code(), 3);
        let expected = "vkube: the secret was replaced, but the answer with the new one was lost; run it again\n";
        assert_eq!(ended.outcome.unwrap_err().explain(), expected);
    }
}

#[tokio::test]
async fn a_refused_deploy_is_sent_once() {
    let body = r#"{"error":{"code":409,"message":"host port(s) occupied: TCP 2999","reason":"PORT_OCCUPIED"}}"#;
    let api = Api::start([answer("409 Conflict", body)]).await;
    let ended = deploy(&api, "--idempotency-key mine").await;
    assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
    assert_eq!(
        ended.outcome.unwrap_err().explain(),
        "vkube: host port(s) occupied: TCP 2999\n  reason: PORT_OCCUPIED\n"
    );
    let asked = api.asked();
    assert_eq!((asked.len(), header(&asked[0], "idempotency-key").as_deref()), (1, Some("mine")));
}

#[tokio::test]
async fn a_deploy_whose_job_has_ended_is_not_sent_again() {
    let body = r#"{"error":{"code":502,"message":"the registry does not answer","reason":"REGISTRY_UNREACHABLE","jobId":"j-1"}}"#;
    let api = Api::start([answer("502 Bad Gateway", body), answer("200 OK", DEPLOYED)]).await;
    let ended = deploy(&api, "--until available").await;
    assert_eq!((ended.code(), ended.out.as_str(), ended.notes.as_str()), (5, "", ""));
    assert_eq!(
        ended.outcome.unwrap_err().explain(),
        "vkube: the registry does not answer\n  reason: REGISTRY_UNREACHABLE\n  job: j-1\n"
    );
    assert_eq!(api.asked().len(), 1);
}

#[tokio::test]
async fn a_longer_wait_asks_again_for_the_same_job() {
    let api = Api::start([answer("202 Accepted", JOB), answer("200 OK", DEPLOYED)]).await;
    let ended = deploy(&api, "--wait 300 --until available").await;
    assert_eq!(ended.code(), 0, "{:?}", ended.outcome);
    let asked = api.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(header(&asked[0], "idempotency-key"), header(&asked[1], "idempotency-key"));
    for request in &asked {
        assert_eq!(header(request, "prefer").as_deref(), Some("wait=60"));
        assert!(request.starts_with("POST /api/v1/k8s/deploy?until=available "), "{request}");
    }
}

#[tokio::test]
async fn a_job_that_runs_on_is_shown() {
    for (flags, prefer) in [("", None), ("--async", Some("respond-async")), ("--wait 0", Some("wait=0"))] {
        let api = Api::start([answer("202 Accepted", JOB)]).await;
        let ended = deploy(&api, flags).await;
        assert_eq!(ended.code(), 4, "{flags}");
        assert!(ended.out.contains("State     Queued\n"), "{}", ended.out);
        assert_eq!(header(&api.asked()[0], "prefer").as_deref(), prefer, "{flags}");
        let told = ended.outcome.unwrap_err().explain();
        assert_eq!(told, "vkube: job j-1 is accepted and has not ended; vkube jobs watch j-1\n");
    }
}

#[tokio::test]
async fn an_operator_is_told_of_a_command_that_needs_no_secret_of_the_order() {
    let api = Api::start([answer("202 Accepted", &format!(r#"{{"job":{JOB}}}"#))]).await;
    let ended = run(&api.url, "orders abort o-1 --reason x --async --operator-token t").await;
    assert_eq!(ended.code(), 4);
    let expected = "vkube: job j-1 is accepted and has not ended; vkube orders show o-1\n";
    assert_eq!(ended.outcome.unwrap_err().explain(), expected);
}

#[tokio::test]
async fn an_abort_whose_delete_came_to_nothing_is_waited_for_no_longer() {
    for state in ["Failed", "Superseded"] {
        let job = |state: &str| answer("202 Accepted", &format!(r#"{{"job":{}}}"#, JOB.replace("Queued", state)));
        let api = Api::start([job("Running"), job(state), job("Succeeded")]).await;
        let ended = run(&api.url, "orders abort o-1 --reason x --wait 300 --operator-token t").await;
        assert_eq!((ended.code(), api.asked().len()), (5, 2), "{state}");
        assert!(ended.out.contains(&format!("State     {state}\n")), "{}", ended.out);
    }
}

#[tokio::test]
async fn a_watched_job_ends_the_command_with_its_end() {
    for (state, expected) in [("Succeeded", 0), ("Failed", 5), ("Superseded", 5)] {
        let end = JOB.replace("Queued", state);
        let api = Api::start([answer("200 OK", &JOB.replace("Queued", "Running")), answer("200 OK", &end)]).await;
        let ended = run(&api.url, "jobs watch j-1 --secret s --json").await;
        assert_eq!(ended.code(), expected, "{state}");
        assert_eq!(ended.out, format!("{end}\n"), "as it came");
        assert_eq!(ended.notes, "vkube: job j-1: Running\n");
    }
}

#[tokio::test]
async fn a_watch_goes_on_through_an_outage() {
    let away = || answer("503 Service Unavailable", "{}").replace("connection", "retry-after: 0\r\nconnection");
    for (line, seen, expected) in [
        ("jobs watch j-1", JOB.replace("Queued", "Succeeded"), 0),
        // Until the end of what is watched.
        ("status --watch", r#"{"error":{"code":404,"message":"nothing is deployed"}}"#.to_owned(), 1),
    ] {
        let first = answer("200 OK", if expected == 0 { JOB } else { "{}" });
        let last = answer(if expected == 0 { "200 OK" } else { "404 Not Found" }, &seen);
        let api = Api::start([first].into_iter().chain((0..9).map(|_| away())).chain([last])).await;
        let ended = run(&api.url, &format!("{line} --secret s")).await;
        assert_eq!((ended.code(), api.asked().len()), (expected, 11), "{line}: {}", ended.notes);
        assert_eq!(ended.notes.matches("asking again").count(), 9, "{line}: {}", ended.notes);
    }
}

#[tokio::test]
async fn a_watch_that_ends_before_the_job_shows_the_job() {
    let api = Api::start([answer("200 OK", JOB)]).await;
    let ended = run(&api.url, "jobs watch j-1 --secret s --wait 0 --json").await;
    assert_eq!((ended.code(), ended.out), (4, format!("{JOB}\n")));
}

#[tokio::test]
async fn programs_are_told_of_failures_where_they_read_answers() {
    let refused = r#"{"error":{"code":409,"message":"no","reason":"PORT_OCCUPIED"}}"#;
    for (given, expected) in [
        (answer("409 Conflict", refused), refused.to_owned()),
        (answer("202 Accepted", JOB), JOB.to_owned()),
        (
            answer("404 Not Found", "<html>"),
            r#"{"error":{"code":404,"message":"URL answered 404 Not Found"}}"#.to_owned(),
        ),
    ] {
        let api = Api::start([given]).await;
        let ended = deploy(&api, "--json").await;
        let url = format!("{}/api/v1/k8s/deploy", api.url);
        assert_eq!(ended.out, format!("{}\n", expected.replace("URL", &url)));
        assert_ne!(ended.code(), 0);
    }
    let ended = run("http://127.0.0.1:9", "status --json").await;
    let told: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code(), &told["error"]["code"]), (2, &0.into()), "{told}");
}

#[tokio::test]
async fn a_redirect_takes_the_secret_nowhere() {
    let found = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let api = Api::start([found.to_owned()]).await;
    let ended = run(&api.url, "status --secret s-1").await;
    assert_eq!(ended.code(), 3);
    assert!(ended.outcome.unwrap_err().explain().contains("answered 302 Found"));
}
