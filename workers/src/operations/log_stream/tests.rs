//! Pages and follows of a kubelet in memory, for what a healthy one never does at will: to break off, to be ahead of the
//! watch of pods, to have rotated a log away.

mod follows;
mod pages;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::log::{Mark, PageHead, RunId, take_head, take_line};
use common::read::{LogPageQuery, LogStart};
use futures::future::{BoxFuture, ready};
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use kube::core::DynamicObject;
use serde_json::json;
use tokio::sync::Notify;

use super::super::Operation as _;
use super::super::tests::context_over;
use super::seek::now_ns;
use crate::cluster::Facts;
use crate::context::Context;
use crate::kubernetes::LABEL_ORDER;

const SECOND: i64 = 1_000_000_000;
const UID: &str = "aaaaaaaa-0000-0000-0000-000000000000";
const OTHER_UID: &str = "bbbbbbbb-0000-0000-0000-000000000000";

type Answer = Response<StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>>;

/// How a follow ends once all lines were sent.
#[derive(Clone, Copy)]
enum End {
    Broken,
    Clean,
    /// It does not: the last line comes again every second.
    Busy,
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
    /// Whether its node is lost.
    lost: Mutex<bool>,
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
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        context_over(kube::Client::new(service, "default"))
    }

    /// An answer, which begins with its first byte.
    fn answer(&self, uri: &str) -> BoxFuture<'static, Answer> {
        self.asked.lock().unwrap().push(uri.to_owned());
        let field = |name: &str| uri.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let pod = uri.split("/pods/").nth(1).unwrap().split('/').next().unwrap();
        let logs = self.logs.lock().unwrap();
        let lost = *self.lost.lock().unwrap();
        let Some(lines) = logs.get(&(pod.to_owned(), field("previous").is_some())).filter(|_| !lost) else {
            let code = if lost { 500 } else { 400 };
            let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": "", "message": "no" });
            let body = stream::iter([Ok(Frame::data(status.to_string().into()))]).boxed();
            return ready(Response::builder().status(code).body(StreamBody::new(body)).unwrap()).boxed();
        };
        let since = field("sinceTime").map(|time| time.replace("%3A", ":").parse::<jiff::Timestamp>().unwrap());
        let since = since.map_or(i64::MIN, |since| i64::try_from(since.as_nanosecond()).unwrap());
        let first = lines.len() - field("tailLines").map_or(lines.len(), |n| n.parse().unwrap()).min(lines.len());
        let kept = lines[first..].iter().filter(|(time, _)| *time >= since);
        let time = |time_ns: i64| jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap();
        // Of a line in parts only the first that is shown has its time.
        let (mut text, mut within) = (String::new(), false);
        for (at, part) in kept {
            if !within {
                text += &time(*at).to_string();
                text.push(' ');
            }
            text += part;
            within = !part.ends_with('\n');
        }
        text.truncate(field("limitBytes").map_or(text.len(), |n| n.parse().unwrap()));
        let silent = text.is_empty();
        let sent = stream::iter([Ok(Frame::data(Bytes::from(text)))]);
        let answer = |end: BoxStream<'static, _>| Response::new(StreamBody::new(sent.chain(end).boxed()));
        match field("follow").map(|_| self.ends.lock().unwrap().pop_front()) {
            None | Some(Some(End::Clean)) => ready(answer(stream::empty().boxed())).boxed(),
            Some(Some(End::Broken)) => ready(answer(stream::iter([Err(io::Error::other("cut"))]).boxed())).boxed(),
            Some(Some(End::Busy)) => {
                let (time, text) = lines.last().cloned().unwrap();
                let line = format!("{} {text}", jiff::Timestamp::from_nanosecond(i128::from(time)).unwrap());
                let again = stream::repeat(line).then(async |line| {
                    seconds(1).await;
                    Ok(Frame::data(Bytes::from(line)))
                });
                ready(answer(again.boxed())).boxed()
            }
            Some(None) => {
                let ended = Arc::clone(&self.end_all).notified_owned();
                if silent {
                    let answer = answer(stream::empty().boxed());
                    return ended.map(|()| answer).boxed();
                }
                ready(answer(stream::once(ended).filter_map(async |()| None).boxed())).boxed()
            }
        }
    }
}

/// The runtime's id of the run of this hex digit.
fn id(run: &str) -> String {
    format!("containerd://{}", run.repeat(16))
}

fn run_id(run: &str) -> RunId {
    RunId::of(UID, &id(run)).unwrap()
}

/// The pod `p`, or that of another name and uid, with its container's run, whether that goes on, and the run before.
fn pod(name: &str, run: &str, live: bool, before: Option<&str>) -> serde_json::Value {
    let ended = |run: &str| json!({ "terminated": { "containerID": id(run) } });
    let state = if live { json!({ "running": {} }) } else { ended(run) };
    let last = before.map_or(json!({}), ended);
    let status = json!({ "name": "web", "containerID": id(run), "state": state, "lastState": last });
    let uid = if name == "p" { UID } else { OTHER_UID };
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "vkube-a", "uid": uid, "labels": { LABEL_ORDER: "a" } },
        "spec": { "containers": [{ "name": "web" }] }, "status": { "containerStatuses": [status] } })
}

/// The same pod, whose container's present run started at this second.
fn started(mut pod: serde_json::Value, second: i64) -> serde_json::Value {
    let at = jiff::Timestamp::from_second(second).unwrap().to_string();
    let states = pod.pointer_mut("/status/containerStatuses/0/state").unwrap();
    states.as_object_mut().unwrap().values_mut().for_each(|state| state["startedAt"] = json!(at));
    pod
}

/// A pod that leaves: evicted, as its object is kept, or on a node that is lost.
fn leaving(mut pod: serde_json::Value, evicted: bool) -> serde_json::Value {
    if evicted {
        pod["status"]["phase"] = json!("Failed");
    } else {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    pod
}

fn show_pods(context: &Context, pods: Vec<serde_json::Value>) {
    let pods = pods.into_iter().map(|pod| serde_json::from_value::<DynamicObject>(pod).unwrap());
    context.mirrors.pods.show(pods.collect());
}

fn show(context: &Context, run: &str, live: bool, before: Option<&str>) {
    show_pods(context, vec![pod("p", run, live, before)]);
}

/// Shows the Deployment, which wants so many pods.
fn show_deployment(context: &Context, wanted: u32) {
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "a", "namespace": "vkube-a", "labels": { LABEL_ORDER: "a" } },
        "spec": { "replicas": wanted, "template": { "spec": { "containers": [{ "name": "web" }] } } }, "status": {} });
    context.mirrors.deployments.show(vec![serde_json::from_value::<DynamicObject>(deployment).unwrap()]);
}

fn mark(time_ns: i64, nth: u32) -> Mark {
    Mark { time_ns, nth }
}

async fn page(context: &Context, run: Option<&str>, from: LogStart) -> (PageHead, Vec<(Mark, String)>) {
    let query = LogPageQuery { container: run.map(|_| "web".parse().unwrap()), run: run.map(run_id), from };
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

/// Has the cluster found that its nodes are gone.
fn lose_nodes(context: &Context) {
    context.facts.send_replace(Facts { answers: true, ..Facts::default() });
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}
