//! A log that is followed through what breaks.

use super::scripted::{Api, answer, header, run, stream};

const END: &str = "event:end\ndata:{\"reason\":\"ContainerRestarted\",\"message\":\"the container restarted\"}\n\n";

#[tokio::test]
async fn a_broken_stream_goes_on_after_the_last_whole_line() {
    let api = Api::start([
        stream("id:p/1\nevent:message\ndata:one\n\n\n\nid:p/2\nevent:message\ndata:   two\n\nid:p/3\nevent:message\ndata:thr"),
        stream("id:p/3\nevent:message\ndata:three\ndata:100%\n\nevent:end\ndata:{\"reason\":\"ServerShutdown\",\"message\":\"bye\"}\n\n"),
        answer("503 Service Unavailable", r#"{"error":{"code":503,"message":"not ready"}}"#),
        stream("event:end\ndata:{\"reason\":\"RegionUnavailable\",\"message\":\"the rest\"}\n\n"),
        stream(&format!("id:p/5\nevent:gap\ndata:{{\"message\":\"line 4 was rotated away\"}}\n\nid:p/6\nevent:message\ndata:\n\n{END}")),
    ])
    .await;
    let ended = run(&api.url, "logs -f --secret s-1 -c web --tail 9").await;
    assert_eq!(ended.code(), 0, "{:?}", ended.outcome);
    assert_eq!(ended.out, "one\n  two\nthree\r100%\n\n");
    let asked = api.asked();
    let ids: Vec<_> = asked.iter().map(|request| header(request, "last-event-id")).collect();
    assert_eq!(
        ids,
        [None, Some("p/2".to_owned()), Some("p/3".to_owned()), Some("p/3".to_owned()), Some("p/3".to_owned())]
    );
    for request in &asked {
        assert!(request.starts_with("GET /api/v1/k8s/pod/logs?container=web&tailLines=9 "), "{request}");
        assert_eq!(header(request, "accept").as_deref(), Some("text/event-stream"));
    }
    for told in
        ["lines are missing: line 4 was rotated away\n", "bye; connecting again\n", "vkube: the container restarted\n"]
    {
        assert!(ended.notes.contains(told), "{told}: {}", ended.notes);
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_any_line_is_asked_for_as_it_was() {
    let shutdown = "id:p\nevent:end\ndata:{\"reason\":\"ServerShutdown\",\"message\":\"bye\"}\n\n";
    let api = Api::start([stream(shutdown), stream(&format!("id:p/9\ndata:nine\n\n{END}"))]).await;
    let ended = run(&api.url, "logs -f --secret s-1 --tail 1").await;
    assert_eq!((ended.code(), ended.out.as_str()), (0, "nine\n"));
    let ids: Vec<_> = api.asked().iter().map(|request| header(request, "last-event-id")).collect();
    assert_eq!(ids, [None, None], "the id of an end is no place to go on from");
}

#[tokio::test]
async fn programs_get_each_line_with_its_id() {
    let api = Api::start([stream(&format!("id:1\nevent:message\ndata:say \"x\"\n\n{END}"))]).await;
    let ended = run(&api.url, "logs -f --secret s-1 --json").await;
    assert_eq!(ended.out, "{\"data\":\"say \\\"x\\\"\",\"id\":\"1\"}\n");
}

#[tokio::test]
async fn a_since_means_the_same_lines_after_a_broken_connection() {
    let api = Api::start([stream(""), stream(END)]).await;
    run(&api.url, "logs -f --secret s-1 --since 60").await;
    let lines: Vec<String> = api.asked().iter().map(|asked| asked.lines().next().unwrap().to_owned()).collect();
    assert!(lines[0].starts_with("GET /api/v1/k8s/pod/logs?startTimestamp=") && lines[0] == lines[1], "{lines:?}");
}

#[tokio::test]
async fn a_secret_that_was_replaced_ends_a_log_as_a_refusal() {
    let line = "id:1\nevent:message\ndata:x\n\n";
    let end = "event:end\ndata:{\"reason\":\"SecretRevoked\",\"message\":\"the secret was replaced\"}\n\n";
    for (flag, expected) in [
        ("", "x\n"),
        (
            " --json",
            "{\"data\":\"x\",\"id\":\"1\"}\n{\"error\":{\"code\":401,\"message\":\"the secret was replaced\"}}\n",
        ),
    ] {
        let api = Api::start([stream(&format!("{line}{end}"))]).await;
        let ended = run(&api.url, &format!("logs -f --secret s-1{flag}")).await;
        assert_eq!((ended.code(), ended.out.as_str()), (1, expected));
        assert_eq!(ended.outcome.unwrap_err().explain(), "vkube: the secret was replaced\n");
    }
}

#[tokio::test]
async fn a_refusal_is_told_at_once_and_also_later() {
    let refused = || answer("400 Bad Request", r#"{"error":{"code":400,"message":"name a container: one, two"}}"#);
    for answers in [vec![refused()], vec![stream("id:1\ndata:x\n\n"), refused()]] {
        let api = Api::start(answers).await;
        let ended = run(&api.url, "logs -f --secret s-1").await;
        assert_eq!(ended.code(), 1);
        assert_eq!(ended.outcome.unwrap_err().explain(), "vkube: name a container: one, two\n");
    }
}
