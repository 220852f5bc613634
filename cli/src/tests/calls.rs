//! What each command asks, and what it shows of the answer.

use super::scripted::{Api, answer, header, run};

const ORDER: &str = r#"{"id":"o-1","status":"OrderFiled","serviceStatus":"ServiceRunning","duration":5,"createdAt":1620962741,"serviceExpiredDate":"","endAt":1620980741,"serviceOptions":{"resourceUnit":"2-Unit-Resource"},"description":"a\nb"}"#;
const SHOWN_ORDER: &str = "\
Order        o-1
Status       ServiceRunning
Resources    2-Unit-Resource
Hours        5
Created      2021-05-14T03:25:41Z
End at       2021-05-14T08:25:41Z
Description  a\\nb
";

#[tokio::test]
async fn every_command_asks_what_the_contract_says() {
    let order = format!(r#"{{"order":{ORDER}}}"#);
    let job = r#"{"id":"j-1","state":"Queued"}"#;
    for (line, request, body, given, shown) in [
        ("info", "GET /api/v1/k8s/userService", "", ORDER, SHOWN_ORDER),
        ("restart", "POST /api/v1/k8s/pod/restart", "{}", "{}", "restart: done\n"),
        ("stop", "POST /api/v1/k8s/pod/stop", "{}", "{}", "stop: done\n"),
        ("start", "POST /api/v1/k8s/pod/start", "{}", "{}", "start: done\n"),
        ("jobs show j-1", "GET /api/v1/jobs/j-1", "", job, "Job    j-1\nState  Queued\n"),
        ("jobs cancel j-1", "DELETE /api/v1/jobs/j-1", "", job, "Job    j-1\nState  Queued\n"),
        ("orders extend o-1 --hours 24", "POST /api/v1/admin/orders/o-1/extend", r#"{"hours":24}"#, ORDER, SHOWN_ORDER),
        (
            "orders extend o-1 --hours 24",
            "POST /api/v1/admin/orders/o-1/extend",
            r#"{"hours":24}"#,
            &order,
            SHOWN_ORDER,
        ),
        ("orders secret o-1", "POST /api/v1/admin/orders/o-1/secret", "{}", r#"{"secret":"x"}"#, "Secret  x\n"),
        (
            "orders secret o-1 --overlap 60",
            "POST /api/v1/admin/orders/o-1/secret",
            r#"{"overlapSeconds":60}"#,
            r#"{"secret":"x"}"#,
            "Secret  x\n",
        ),
        (
            "orders abort o-1 --reason unpaid",
            "POST /api/v1/admin/orders/o-1/abort",
            r#"{"reason":"unpaid"}"#,
            "{}",
            "aborted; nothing was deployed\n",
        ),
        ("orders show a/..%2f", "GET /api/v1/admin/orders/a%2F..%252f", "", &order, SHOWN_ORDER),
        ("regions", "GET /api/v1/k8s/regions", "", r#"["a","b"]"#, "a\nb\n"),
        (
            "regions --operator",
            "GET /api/v1/admin/regions",
            "",
            r#"{"regions":[]}"#,
            "REGION  LIVE  CLUSTER  NODES  CPU  MEMORY  PORTS  QUEUE  OLDEST  HELD\n\nWORKER  REGION  VERSION  READY  IN HAND  LAST SEEN\n",
        ),
        (
            "logs -c web --tail 5 --since 60 --previous --timestamps",
            "GET /api/v1/k8s/pod/log?container=web&tailLines=5&sinceSeconds=60&previous=true&timestamps=true",
            "",
            r#""\u001b[31mred\n""#,
            "\x1b[31mred\n",
        ),
        (
            "ports check --region ausrine 80 2999 --protocol udp --order o-1",
            "POST /api/v1/k8s/checkports",
            r#"{"ports":[80,2999],"protocol":"UDP","region":"ausrine","userServiceID":"o-1"}"#,
            r#"{"status":"PortsOccupied","occupied":[80]}"#,
            "PORT  PROTOCOL  STATE\n80    UDP       occupied\n2999  UDP       free\n",
        ),
        (
            "image a.example:5000/x",
            "GET /api/v1/k8s/images?image=a.example%3A5000%2Fx&tag=latest",
            "",
            r#"{"status":"OK"}"#,
            "a.example:5000/x:latest exists\n",
        ),
    ] {
        for json in [false, true] {
            let api = Api::start([answer("200 OK", given)]).await;
            let flags = if json { " --json" } else { "" };
            let ended = run(&api.url, &format!("{line} --secret s-1 --operator-token t-1{flags}")).await;
            assert_eq!(ended.code(), 0, "{line}: {:?}", ended.outcome);
            if json {
                assert_eq!(ended.out, format!("{given}\n"), "{line}");
            } else {
                assert_eq!(ended.out, shown, "{line}");
            }
            let asked = api.asked().remove(0);
            assert!(asked.starts_with(&format!("{request} HTTP/1.1\n")), "{line}: {asked}");
            assert!(asked.ends_with(&format!("\n\n{body}")), "{line}: {asked}");
            let operator = request.contains("/admin/");
            let anyone = ["/k8s/regions", "/k8s/checkports", "/k8s/images"].iter().any(|path| request.contains(path));
            assert_eq!(header(&asked, "authorization").is_some(), operator, "{line}");
            assert_eq!(header(&asked, "secret").is_some(), !operator && !anyone, "{line}");
        }
    }
}

#[tokio::test]
async fn the_dates_of_an_order_are_told_once_each_in_words_that_stay_true() {
    let details = r#"{"order":{"id":"o-1","status":"OrderFiled","serviceStatus":"ServiceDone","serviceExpiredDate":"2021-05-14T08:25:41Z","warnAt":1620979741,"endAt":1620980741,"deleteAt":1620981741},"serviceStatus":"ServiceDone","madeBy":"shop"}"#;
    let api = Api::start([answer("200 OK", details)]).await;
    let ended = run(&api.url, "orders show o-1 --operator-token t").await;
    let expected = "\
Order        o-1
Status       ServiceDone
Warning at   2021-05-14T08:09:01Z
End at       2021-05-14T08:25:41Z
Deletion at  2021-05-14T08:42:21Z
Made by      shop
";
    assert_eq!(ended.out, expected);
}

#[tokio::test]
async fn ports_that_cannot_be_told_of_are_a_failure_in_one_document() {
    for (status, expected) in [
        ("NoResource", "no region x is there at the moment; see vkube regions"),
        ("NotAvailable", "it cannot be told at the moment which ports are free; try again"),
    ] {
        let given = || answer("200 OK", &format!(r#"{{"status":"{status}"}}"#));
        let api = Api::start([given(), given()]).await;
        let ended = run(&api.url, "ports check --region x 80 --json").await;
        let document = format!("{{\"error\":{{\"code\":0,\"message\":\"{expected}\"}}}}\n");
        assert_eq!((ended.code(), ended.out), (3, document), "{status}");
        let ended = run(&api.url, "ports check --region x 80").await;
        assert_eq!((ended.code(), ended.out.as_str()), (3, ""), "{status}");
    }
}

#[tokio::test]
async fn pages_are_turned_only_if_all_are_wanted() {
    let pages = || {
        let page = |id: &str, next: &str| answer("200 OK", &format!(r#"{{"orders":[{{"id":"{id}"}}]{next}}}"#));
        [page("long-id", r#","next":"c/1""#), page("b", "")]
    };
    let api = Api::start(pages()).await;
    let ended = run(&api.url, "orders list --operator-token t --limit 1").await;
    assert_eq!(api.asked().len(), 1);
    assert_eq!(ended.notes, "vkube: there are more: --all, or --after c/1\n");

    let api = Api::start(pages()).await;
    let ended = run(&api.url, "orders list --operator-token t --limit 1 --all --region a --status S --email e").await;
    assert_eq!(
        ended.out.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>(),
        ["ORDER", "long-id", "b"]
    );
    let lines: Vec<String> = api.asked().iter().map(|asked| asked.lines().next().unwrap().to_owned()).collect();
    let query = "GET /api/v1/admin/orders?region=a&status=S&email=e&limit=1";
    assert_eq!(lines, [format!("{query} HTTP/1.1"), format!("{query}&after=c%2F1 HTTP/1.1")]);
}

#[tokio::test]
async fn a_private_registrys_login_is_sent_in_headers() {
    let file = std::env::temp_dir().join(format!("vkube-cli-{}", uuid::Uuid::new_v4()));
    std::fs::write(&file, "pass word\n").unwrap();
    let api = Api::start([answer("200 OK", r#"{"status":"OK"}"#)]).await;
    let ended = run(&api.url, &format!("image x:1 --username me --password-file {}", file.display())).await;
    std::fs::remove_file(file).unwrap();
    assert_eq!(ended.code(), 0, "{:?}", ended.outcome);
    let asked = api.asked().remove(0);
    // In lower case, as all headers are kept here.
    let [user, password] = ["username", "password"].map(|name| header(&asked, name).unwrap());
    assert_eq!((user.as_str(), password.as_str()), ("bwu=", "cgfzcyb3b3jk"));
}

#[tokio::test]
async fn an_answer_that_is_none_of_vkubes_is_no_success() {
    for (given, expected) in [
        (answer("200 OK", "<html>"), 3),
        (answer("200 OK", r#"{"error":{"code":404,"message":"gone"}}"#), 3),
        (answer("404 Not Found", "<html>"), 1),
        (answer("500 Internal Server Error", r#"{"error":{"code":500,"message":"server error"}}"#), 3),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[]".to_owned(), 3),
    ] {
        let api = Api::start([given.clone()]).await;
        let ended = run(&api.url, "regions").await;
        assert_eq!((ended.code(), ended.out.as_str()), (expected, ""), "{given}");
    }
}
