//! The service on a real nats-server, with routes of the tests' own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use poem::{Body, Request, Response, endpoint};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{ServiceLimits, open};
use crate::bus::tests::server::NatsServer;

/// The longest that anything in these tests is waited for.
const LIMIT: Duration = Duration::from_secs(30);
const LIMITS: ServiceLimits = ServiceLimits { max_in_flight: 2, max_streams: 1, longest_stream: LIMIT };

/// What the routes of these tests share with the tests.
#[derive(Default)]
struct Scene {
    /// How many requests have come to a route.
    called: AtomicUsize,
    /// Lets those that wait go on.
    go_on: Notify,
}

fn document() -> String {
    let call = |id: &str| json!({ "get": { "operationId": id, "responses": {} } });
    let paths = json!({
        "/echo/{id}": { "post": {
            "operationId": "echo",
            "parameters": [{ "name": "id", "in": "path" }, { "name": "q", "in": "query" }],
            "responses": {},
        } },
        "/long": call("long"), "/stream": call("stream"), "/endless": call("endless"), "/wait": call("wait"),
        "/break": call("break_off"),
    });
    json!({ "servers": [{ "url": "/v" }], "paths": paths }).to_string()
}

async fn route(scene: Arc<Scene>, mut request: Request) -> Response {
    scene.called.fetch_add(1, Ordering::Relaxed);
    let chunks = |chunks: Vec<Result<&'static str, std::io::Error>>| {
        let body = Body::from_bytes_stream(stream::iter(chunks));
        Response::builder().content_type("text/event-stream").body(body)
    };
    match request.uri().path() {
        "/v/long" => Response::builder().body("0123456789".repeat(150_000)),
        "/v/stream" => chunks(vec![Ok("one\n"), Ok(""), Ok("two\n")]),
        "/v/break" => chunks(vec![Ok("one\n"), Err(std::io::Error::other("cut"))]),
        "/v/endless" => {
            let ticks = stream::unfold((), async |()| {
                time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>("\n"), ()))
            });
            let body = Body::from_bytes_stream(ticks);
            Response::builder().content_type("text/event-stream").body(body)
        }
        "/v/wait" => {
            scene.go_on.notified().await;
            Response::builder().body("{}")
        }
        _ => {
            let body = request.take_body().into_string().await.unwrap();
            let echo = json!({ "method": request.method().as_str(), "uri": request.uri().to_string(), "body": body });
            Response::builder().content_type("application/json").body(echo.to_string())
        }
    }
}

/// An instance of the service.
struct Instance {
    /// Lives longer than the service, as the bus does: what is published is not sent yet.
    _client: Client,
    scene: Arc<Scene>,
    shutdown: CancellationToken,
    run: JoinHandle<()>,
}

impl Instance {
    async fn start(server: &NatsServer, limits: ServiceLimits) -> Self {
        Self::start_with_grace(server, limits, LIMIT).await
    }

    async fn start_with_grace(server: &NatsServer, limits: ServiceLimits, grace: Duration) -> Self {
        let (scene, shutdown) = (Arc::new(Scene::default()), CancellationToken::new());
        let shared = scene.clone();
        let routes = endpoint::make(move |request| {
            let scene = shared.clone();
            async move { route(scene, request).await }
        });
        let client = client(server).await;
        let door = open(client.clone(), &document(), routes, limits, shutdown.clone()).await.unwrap();
        // What was sent before a request of ours is there when its answer is.
        client.flush().await.unwrap();
        let run = tokio::spawn(door.run(grace));
        Self { _client: client, scene, shutdown, run }
    }

    fn called(&self) -> usize {
        self.scene.called.load(Ordering::Relaxed)
    }
}

async fn client(server: &NatsServer) -> Client {
    async_nats::connect(server.url()).await.unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(time::timeout(LIMIT, waiting).await.is_ok(), "waited in vain until {what}");
}

/// All messages of one answer.
async fn follow(client: &Client, call: &str) -> Vec<Message> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(format!("vkube.api.{call}"), inbox, Bytes::new()).await.unwrap();
    let mut messages = Vec::new();
    loop {
        let message = time::timeout(LIMIT, answers.next()).await.expect("no whole answer").unwrap();
        let single = header(&message, "Vkube-Part").is_none();
        messages.push(message);
        if single {
            return messages;
        }
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

async fn ask(client: &Client, call: &str, headers: HeaderMap, body: &'static str) -> Message {
    let request = async_nats::Request::new().headers(headers).payload(body.into()).timeout(Some(LIMIT));
    client.send_request(format!("vkube.api.{call}"), request).await.unwrap()
}

/// A request that need not be answered.
async fn try_ask(client: &Client, call: &str) -> Result<Message, RequestError> {
    let request = async_nats::Request::new().timeout(Some(Duration::from_secs(1)));
    client.send_request(format!("vkube.api.{call}"), request).await
}

fn nobody_there(answer: Result<Message, RequestError>) -> bool {
    answer.is_err_and(|error| error.kind() == RequestErrorKind::NoResponders)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_the_request_of_rest_and_its_answer_one_message() {
    let server = NatsServer::start().await;
    let (_instance, client) = (Instance::start(&server, LIMITS).await, client(&server).await);
    let headers = HeaderMap::from_iter([("id".parse().unwrap(), "../x".into()), ("Q".parse().unwrap(), "a b".into())]);
    let answer = ask(&client, "echo", headers, "{\"a\":1}").await;
    let echo: Value = serde_json::from_slice(&answer.payload).unwrap();
    let expected = json!({ "method": "POST", "uri": "/v/echo/%2E%2E%2Fx?q=a%20b", "body": "{\"a\":1}" });
    assert_eq!(echo, expected);
    assert_eq!((header(&answer, "Vkube-Status"), header(&answer, "Vkube-Part")), (Some("200"), None));

    let refused = ask(&client, "echo", HeaderMap::new(), "").await;
    let error: Value = serde_json::from_slice(&refused.payload).unwrap();
    assert_eq!(error["error"]["message"], "id is required");
    assert_eq!(header(&refused, "Nats-Service-Error"), Some("id is required"));
    assert_eq!(header(&refused, "Nats-Service-Error-Code"), Some("400"));
    assert_eq!(header(&refused, "X-Request-Id"), error["error"]["requestId"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_comes_in_parts_and_ends_with_an_empty_message() {
    let server = NatsServer::start().await;
    let (_instance, client) = (Instance::start(&server, LIMITS).await, client(&server).await);
    for (call, parts, whole, code) in [
        ("long", 3, "0123456789".repeat(150_000), None),
        ("stream", 2, "one\ntwo\n".to_owned(), None),
        ("break_off", 1, "one\n".to_owned(), Some("500")),
    ] {
        let messages = follow(&client, call).await;
        let (end, rest) = messages.split_last().unwrap();
        let numbers: Vec<_> = rest.iter().map(|message| header(message, "Vkube-Part").unwrap().to_owned()).collect();
        assert_eq!(numbers, (0..parts).map(|number| number.to_string()).collect::<Vec<_>>(), "{call}");
        assert!(rest.iter().all(|message| message.payload.len() <= 512 << 10), "{call}");
        assert_eq!(header(&rest[0], "Vkube-Status"), Some("200"), "{call}");
        let text: Vec<u8> = rest.iter().flat_map(|message| message.payload.to_vec()).collect();
        assert!(text == whole.as_bytes(), "{call}: {} bytes", text.len());
        assert!(end.payload.is_empty(), "{call}");
        assert_eq!(header(end, "Vkube-End"), Some("true"), "{call}");
        assert_eq!(header(end, "Nats-Service-Error-Code"), code, "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_follower_is_gone_and_makes_room_for_another() {
    let server = NatsServer::start().await;
    let (_instance, client) = (Instance::start(&server, LIMITS).await, client(&server).await);
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply("vkube.api.endless", inbox, Bytes::new()).await.unwrap();
    answers.next().await.unwrap();

    let second = ask(&client, "endless", HeaderMap::new(), "").await;
    assert_eq!(header(&second, "Nats-Service-Error-Code"), Some("503"), "one stream at a time");

    drop(answers);
    until("there is room for a stream", async || {
        header(&ask(&client, "endless", HeaderMap::new(), "").await, "Vkube-Part").is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_goes_on_for_ever() {
    let server = NatsServer::start().await;
    let limits = ServiceLimits { longest_stream: Duration::from_millis(200), ..LIMITS };
    let (_instance, client) = (Instance::start(&server, limits).await, client(&server).await);
    let end = follow(&client, "endless").await.pop().unwrap();
    assert_eq!((header(&end, "Vkube-End"), header(&end, "Nats-Service-Error-Code")), (Some("true"), Some("504")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_at_once_and_what_nobody_waits_for_is_not_done() {
    let server = NatsServer::start().await;
    let (instance, client) = (Instance::start(&server, LIMITS).await, client(&server).await);
    client.publish("vkube.api.wait", Bytes::new()).await.unwrap();
    let streams = async_nats::jetstream::new(client.clone());
    let config = async_nats::jetstream::stream::Config { name: "OURS".to_owned(), ..Default::default() };
    streams.create_stream(config).await.unwrap();
    // An empty end mark would be a request to delete the stream.
    client.publish_with_reply("vkube.api.stream", "$JS.API.STREAM.DELETE.OURS", Bytes::new()).await.unwrap();
    let waiting = [0, 1].map(|_| {
        let client = client.clone();
        tokio::spawn(async move { ask(&client, "wait", HeaderMap::new(), "").await })
    });
    until("two requests are in work", async || instance.called() == 2).await;
    let refused = ask(&client, "long", HeaderMap::new(), "").await;
    let error: Value = serde_json::from_slice(&refused.payload).unwrap();
    assert_eq!(error["error"]["reason"], "OVERLOADED");
    assert_eq!((header(&refused, "Vkube-Status"), header(&refused, "Retry-After")), (Some("503"), Some("1")));
    instance.scene.go_on.notify_waiters();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().payload, "{}");
    }
    assert_eq!(instance.called(), 2, "those without an inbox never came to a route");
    streams.get_stream("OURS").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_shutdown_what_is_in_work_ends_and_nothing_new_begins() {
    let server = NatsServer::start().await;
    let (instance, client) = (Instance::start(&server, LIMITS).await, client(&server).await);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "wait", HeaderMap::new(), "").await }
    });
    let streamed = tokio::spawn({
        let client = client.clone();
        async move { follow(&client, "endless").await }
    });
    until("both are in work", async || instance.called() == 2).await;
    instance.shutdown.cancel();
    let end = streamed.await.unwrap().pop().unwrap();
    assert_eq!((header(&end, "Vkube-End"), header(&end, "Nats-Service-Error-Code")), (Some("true"), Some("503")));
    until("nobody offers the service", async || nobody_there(try_ask(&client, "stream").await)).await;
    instance.scene.go_on.notify_waiters();
    assert_eq!(waiting.await.unwrap().payload, "{}");
    time::timeout(LIMIT, instance.run).await.expect("it ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_within_the_grace_period_is_cut_off() {
    const GRACE: Duration = Duration::from_millis(100);
    let server = NatsServer::start().await;
    let (instance, client) = (Instance::start_with_grace(&server, LIMITS, GRACE).await, client(&server).await);
    let waiting = tokio::spawn(async move { try_ask(&client, "wait").await });
    until("it is in work", async || instance.called() == 1).await;
    instance.shutdown.cancel();
    time::timeout(LIMIT, instance.run).await.expect("it ends").unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), RequestErrorKind::TimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_the_requests_and_go_on_after_the_server_was_away() {
    let mut server = NatsServer::start().await;
    let limits = ServiceLimits { max_in_flight: 64, ..LIMITS };
    let (one, other) = (Instance::start(&server, limits).await, Instance::start(&server, limits).await);
    let client = client(&server).await;
    let both = async |times: usize| {
        for _ in 0..times {
            assert_eq!(follow(&client, "stream").await.len(), 3);
        }
    };
    both(50).await;
    assert_eq!(one.called() + other.called(), 50);
    assert!(one.called() > 5 && other.called() > 5, "{} and {}", one.called(), other.called());

    server.restart().await;
    let before = (one.called(), other.called());
    until("both answer again", async || {
        drop(try_ask(&client, "stream").await);
        one.called() > before.0 && other.called() > before.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_makes_itself_known() {
    let server = NatsServer::start().await;
    let (_instance, client) = (Instance::start(&server, LIMITS).await, client(&server).await);
    let told = async |verb: &str| -> Value {
        let answer = client.send_request(format!("$SRV.{verb}.vkube"), async_nats::Request::new()).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    };
    assert_eq!(told("PING").await["name"], "vkube");
    let information = told("INFO").await;
    let echo = information["endpoints"].as_array().unwrap().iter().find(|one| one["name"] == "echo").unwrap().clone();
    assert_eq!((&echo["subject"], &echo["metadata"]["method"]), (&"vkube.api.echo".into(), &"POST".into()));
    follow(&client, "stream").await;
    until("the request is counted", async || {
        let counted = told("STATS").await;
        let count = |one: &Value| one["name"] == "stream" && one["num_requests"] == 1;
        counted["endpoints"].as_array().unwrap().iter().any(count)
    })
    .await;
    assert!(nobody_there(try_ask(&client, "nothing").await));
}
