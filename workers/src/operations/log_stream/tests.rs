//! Pages and follows of a kubelet in memory, for what a healthy one never does at will: to break off, to be ahead of the
//! watch of pods, to have rotated a log away.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::log::{Begins, FollowEnd, Mark, PAGE_BYTES, PageHead, RunId, take_head, take_line};
use common::read::{LogFollowQuery, LogPageQuery, LogStart};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use kube::core::DynamicObject;
use serde_json::json;
use tokio::sync::Notify;

use super::super::Operation as _;
use super::super::tests::context_over;
use super::{Listener, follow};
use crate::context::Context;
use crate::kubernetes::LABEL_ORDER;

const SECOND: i64 = 1_000_000_000;
const UID: &str = "aaaaaaaa-0000-0000-0000-000000000000";

/// How a follow ends once all lines were sent.
#[derive(Clone, Copy)]
enum End {
    Broken,
    Clean,
}

/// `(pod, previous)` to its lines, each with its time.
type Logs = BTreeMap<(String, bool), Vec<(i64, String)>>;

/// A kubelet.
#[derive(Default)]
struct Kubelet {
    logs: Mutex<Logs>,
    /// How the next follows end; those after them do when they are ended.
    ends: Mutex<VecDeque<End>>,
    end_all: Arc<Notify>,
    asked: Mutex<Vec<String>>,
}

impl Kubelet {
    fn set(&self, pod: &str, previous: bool, lines: &[(i64, &str)]) {
        let lines = lines.iter().map(|(time, text)| (*time, (*text).to_owned())).collect();
        self.logs.lock().unwrap().insert((pod.to_owned(), previous), lines);
    }

    fn context(self: &Arc<Self>) -> Context {
        let kubelet = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = kubelet.answer(request.uri().to_string().as_str());
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        context_over(kube::Client::new(service, "default"))
    }

    fn answer(&self, uri: &str) -> Response<StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>> {
        self.asked.lock().unwrap().push(uri.to_owned());
        let field = |name: &str| uri.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let pod = uri.split("/pods/").nth(1).unwrap().split('/').next().unwrap();
        let logs = self.logs.lock().unwrap();
        let Some(lines) = logs.get(&(pod.to_owned(), field("previous").is_some())) else {
            let status =
                json!({ "kind": "Status", "status": "Failure", "code": 400, "reason": "BadRequest", "message": "no" });
            let body = stream::iter([Ok(Frame::data(status.to_string().into()))]).boxed();
            return Response::builder().status(400).body(StreamBody::new(body)).unwrap();
        };
        let since = field("sinceTime").map(|time| time.replace("%3A", ":").parse::<jiff::Timestamp>().unwrap());
        let since = since.map_or(i64::MIN, |since| i64::try_from(since.as_nanosecond()).unwrap());
        let first = lines.len() - field("tailLines").map_or(lines.len(), |n| n.parse().unwrap()).min(lines.len());
        let kept = lines[first..].iter().filter(|(time, _)| *time >= since);
        let time = |time_ns: i64| jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap();
        let text: Vec<_> = kept.map(|(at, text)| format!("{} {text}", time(*at))).collect();
        let sent = stream::iter([Ok(Frame::data(Bytes::from(text.concat())))]);
        let end = field("follow").map(|_| self.ends.lock().unwrap().pop_front());
        let end = match end {
            None | Some(Some(End::Clean)) => stream::empty().boxed(),
            Some(Some(End::Broken)) => stream::iter([Err(io::Error::other("cut"))]).boxed(),
            Some(None) => {
                let ended = Arc::clone(&self.end_all).notified_owned();
                stream::once(ended).filter_map(async |()| None).boxed()
            }
        };
        Response::new(StreamBody::new(sent.chain(end).boxed()))
    }
}

/// The runtime's id of the run of this hex digit.
fn id(run: &str) -> String {
    format!("containerd://{}", run.repeat(16))
}

fn run_id(run: &str) -> RunId {
    RunId::of(UID, &id(run)).unwrap()
}

/// Shows the pod `p` with its container's present run, whether that goes on, and the run before.
fn show(context: &Context, run: &str, live: bool, before: Option<&str>) {
    let ended = |run: &str| json!({ "terminated": { "containerID": id(run) } });
    let state = if live { json!({ "running": {} }) } else { ended(run) };
    let last = before.map_or(json!({}), ended);
    let status = json!({ "name": "web", "containerID": id(run), "state": state, "lastState": last });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "namespace": "vkube-a", "uid": UID, "labels": { LABEL_ORDER: "a" } },
        "spec": { "containers": [{ "name": "web" }] }, "status": { "containerStatuses": [status] } });
    context.mirrors.pods.show(vec![serde_json::from_value::<DynamicObject>(pod).unwrap()]);
}

fn mark(time_ns: i64, nth: u32) -> Mark {
    Mark { time_ns, nth }
}

async fn page(context: &Context, run: Option<&str>, from: LogStart) -> (PageHead, Vec<(Mark, String)>) {
    let query = LogPageQuery { container: None, run: run.map(run_id), from };
    let mut page = Bytes::from(query.run(context, &"a".parse().unwrap()).await.unwrap());
    let (head, mut lines) = (take_head(&mut page).unwrap(), Vec::new());
    while let Some(line) = take_line(&mut page).unwrap() {
        lines.push((line.mark, String::from_utf8(line.text.to_vec()).unwrap()));
    }
    (head, lines)
}

fn texts(lines: &[(Mark, String)]) -> Vec<&str> {
    lines.iter().map(|(_, text)| text.as_str()).collect()
}

/// Writes down what is told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Listener for Notes {
    async fn line(&mut self, _: Mark, text: &[u8]) -> Result<(), FollowEnd> {
        self.0.push(String::from_utf8(text.to_vec()).unwrap());
        Ok(())
    }

    async fn gap(&mut self) -> Result<(), FollowEnd> {
        self.0.push("GAP".to_owned());
        Ok(())
    }

    async fn during<T: Send>(&mut self, wait: impl Future<Output = T> + Send) -> Result<T, FollowEnd> {
        Ok(wait.await)
    }
}

/// Follows until the end, while this happens.
async fn followed(
    context: &Context,
    after: Option<Mark>,
    happens: impl Future<Output = ()>,
) -> (FollowEnd, Vec<String>) {
    let (order, mut notes) = ("a".parse().unwrap(), Notes::default());
    let query = LogFollowQuery { container: "web".parse().unwrap(), run: run_id("b"), after };
    let (end, ()) = tokio::join!(follow(context, &order, &query, &mut notes), happens);
    (end, notes.0)
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_begins_where_it_is_asked_to() {
    let kubelet = Arc::new(Kubelet::default());
    let lines =
        [(10 * SECOND, "a\n"), (20 * SECOND, "b\n"), (20 * SECOND, "c\n"), (19 * SECOND, "d\n"), (30 * SECOND, "e")];
    kubelet.set("p", false, &lines);
    let context = kubelet.context();
    show(&context, "b", true, None);
    for (case, from, begins, expected) in [
        ("beginning", LogStart::Beginning, Begins::There, &["a", "b", "c", "d"][..]),
        ("the last ones", LogStart::Tail(3), Begins::There, &["c", "d"]),
        ("since", LogStart::Since(20), Begins::There, &["b", "c", "d"]),
        ("at", LogStart::At(mark(20 * SECOND, 1)), Begins::There, &["c", "d"]),
        ("after", LogStart::After(mark(20 * SECOND, 0)), Begins::There, &["c", "d"]),
        ("after the last", LogStart::After(mark(19 * SECOND, 0)), Begins::There, &[]),
        ("rotated away", LogStart::After(mark(15 * SECOND, 0)), Begins::Later, &["b", "c", "d"]),
        ("at one that was rotated away", LogStart::At(mark(9 * SECOND, 0)), Begins::Later, &["a", "b", "c", "d"]),
    ] {
        let (head, lines) = page(&context, None, from).await;
        assert_eq!((head.begins, texts(&lines)), (begins, expected.to_vec()), "{case}");
        assert!(head.at_end && head.run == run_id("b") && head.present == Some(run_id("b")), "{case}: {head:?}");
    }
    // Once nothing is written to it any more, what has no end is a line.
    show(&context, "b", false, None);
    let (_, lines) = page(&context, None, LogStart::After(mark(20 * SECOND, 1))).await;
    assert_eq!(texts(&lines), ["d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn pages_make_the_whole_log() {
    let kubelet = Arc::new(Kubelet::default());
    // Many lines of one time, and times that go back and forth.
    let text = |number: i64| format!("{number:->300}");
    let lines: Vec<_> = (0..6000).map(|n| ((n / 7 + n % 3) * 100_000_000, text(n) + "\n")).collect();
    kubelet.logs.lock().unwrap().insert(("p".to_owned(), false), lines.clone());
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (mut found, mut from) = (Vec::new(), LogStart::Beginning);
    loop {
        let (head, lines) = page(&context, Some("b"), from).await;
        assert_eq!(head.begins, Begins::There);
        let bytes: usize = lines.iter().map(|(_, text)| text.len()).sum();
        assert!(bytes <= PAGE_BYTES);
        from = LogStart::After(lines.last().unwrap().0);
        found.extend(lines.into_iter().map(|(_, text)| text + "\n"));
        if head.at_end {
            break;
        }
    }
    assert!(found.iter().eq(lines.iter().map(|(_, text)| text)));
    assert!(kubelet.asked.lock().unwrap().len() >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_found_after_its_container_has_restarted() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", true, &[(10 * SECOND, "old\n"), (11 * SECOND, "last")]);
    kubelet.set("p", false, &[(20 * SECOND, "new\n")]);
    let context = kubelet.context();
    show(&context, "c", true, Some("b"));
    let (head, lines) = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))).await;
    assert_eq!((head.begins, texts(&lines)), (Begins::There, vec!["last"]));
    assert_eq!((head.run, head.present), (run_id("b"), Some(run_id("c"))));

    // The watch of pods is behind: the kubelet shows the new run's log already.
    show(&context, "b", true, None);
    let behind = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0)));
    let ((head, lines), ()) = tokio::join!(behind, async {
        seconds(1).await;
        show(&context, "c", true, Some("b"));
    });
    assert_eq!((head.begins, texts(&lines)), (Begins::There, vec!["last"]));

    // After one more restart nothing is left of it.
    show(&context, "d", true, Some("c"));
    let (head, lines) = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))).await;
    assert_eq!((head.begins, lines.len(), head.present), (Begins::Nowhere, 0, Some(run_id("d"))));
}

#[tokio::test(start_paused = true)]
async fn a_follow_goes_on_after_its_last_line_whatever_breaks_off() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (20 * SECOND, "b\n"), (20 * SECOND, "half of")]);
    kubelet.ends.lock().unwrap().extend([End::Broken, End::Broken, End::Clean]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, Some(mark(10 * SECOND, 0)), async {
        // Opened three times by then, and a fourth time after a long silence.
        seconds(250).await;
        let ended = [(20 * SECOND, "b\n"), (20 * SECOND, "half of it\n"), (30 * SECOND, "end")];
        kubelet.set("p", true, &ended);
        kubelet.set("p", false, &[(40 * SECOND, "new\n")]);
        kubelet.end_all.notify_waiters();
        // The watch of pods is behind.
        seconds(2).await;
        show(&context, "c", true, Some("b"));
    })
    .await;
    assert_eq!((end, told), (FollowEnd::ContainerRestarted, vec!["b".into(), "half of it".into(), "end".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_says_when_lines_are_lost() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(50 * SECOND, "rotated\n")]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, Some(mark(10 * SECOND, 0)), async {
        seconds(60).await;
        kubelet.logs.lock().unwrap().clear();
        kubelet.end_all.notify_waiters();
        seconds(20).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["GAP".into(), "rotated".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_before_all_was_read_is_told_as_a_gap() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
    kubelet.ends.lock().unwrap().push_back(End::Broken);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, None, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kubelet.logs.lock().unwrap().clear();
        seconds(20).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["a".into(), "GAP".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_run_that_is_over_waits_for_the_next_one() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (11 * SECOND, "b")]);
    let context = kubelet.context();
    show(&context, "b", false, None);
    let (end, told) = followed(&context, None, async {
        seconds(3000).await;
        assert_eq!(kubelet.asked.lock().unwrap().len(), 1, "nothing is asked while nothing happens");
        // Whatever became of its log: all of it was told.
        kubelet.logs.lock().unwrap().clear();
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["a".into(), "b".into()]));
}
