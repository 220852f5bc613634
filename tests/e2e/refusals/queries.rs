//! Wrong queries, and wrong bodies of `POST /k8s/checkports`.

use anyhow::Result;
use common::failure::Reason;
use e2e::order::OrderOptions;
use e2e::test::test;
use serde_json::{Value, json};

use super::{Problem, compare};

const PORT: &str = "must be a port number from 1 to 65535";
const WHOLE: &str = "must be a whole number";
const LINES: &str = "must be a whole number from 0 to 2147483647";
const SECONDS: &str = "must be a whole number from 1 to 2147483647";
const LIMIT: &str = "must be a whole number from 1 to 200";
const FLAG: &str = "must be true or false";
const NAME: &str = "must consist of lower case letters, digits and '-', and begin and end with a letter or a digit";
const AFTER: &str = "must be a whole number from 1 to 4294967295";
const EMPTY: &str = "item field empty";
const FORMAT: &str = "image format not allow.Format: image:tag";

/// What is wrong with a question.
pub(super) enum Wrong {
    /// Fields, each with its problem.
    Fields(Vec<Problem>),
    /// The guide's own text.
    Text(&'static str),
}

/// Path and query of a GET, or the body of `POST /k8s/checkports`; and what is wrong with it.
pub(super) struct Row(&'static str, Option<Value>, Wrong);

fn query(path: &'static str, problems: &[Problem]) -> Row {
    Row(path, None, Wrong::Fields(problems.to_vec()))
}

fn image(path: &'static str) -> Row {
    Row(path, None, Wrong::Text(FORMAT))
}

fn ports(body: Value, problems: &[Problem]) -> Row {
    Row("/k8s/checkports", Some(body), Wrong::Fields(problems.to_vec()))
}

fn empty(body: Value) -> Row {
    Row("/k8s/checkports", Some(body), Wrong::Text(EMPTY))
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        query("/k8s/pod/log?tailLines=x", &[("tailLines", LINES)]),
        query("/k8s/pod/log?tailLines=-1", &[("tailLines", LINES)]),
        query("/k8s/pod/log?tailLines=1.5", &[("tailLines", LINES)]),
        query("/k8s/pod/log?tailLines=2147483648", &[("tailLines", LINES)]),
        query("/k8s/pod/log?sinceSeconds=yesterday", &[("sinceSeconds", SECONDS)]),
        query("/k8s/pod/log?sinceSeconds=0", &[("sinceSeconds", SECONDS)]),
        query("/k8s/pod/log?previous=1", &[("previous", FLAG)]),
        query("/k8s/pod/log?timestamps=maybe", &[("timestamps", FLAG)]),
        query("/k8s/pod/log?container=Web", &[("container", NAME)]),
        query("/k8s/pod/log?container=a%00b", &[("container", NAME)]),
        query("/k8s/pod/log?tailLines=x&previous=x", &[("tailLines", LINES), ("previous", FLAG)]),
        query("/monitor?allTypes=1&allContainers=all", &[("allTypes", FLAG), ("allContainers", FLAG)]),
        query("/monitor?containers=web&containers=Web", &[("containers", NAME)]),
        query("/jobs?limit=0", &[("limit", LIMIT)]),
        query("/jobs?limit=201", &[("limit", LIMIT)]),
        query("/jobs?limit=-1", &[("limit", LIMIT)]),
        query("/jobs?limit=ten", &[("limit", LIMIT)]),
        query("/jobs?after=x", &[("after", AFTER)]),
        query("/jobs?after=0", &[("after", AFTER)]),
        image("/k8s/images"),
        image("/k8s/images?image=nginx"),
        image("/k8s/images?tag=stable"),
        image("/k8s/images?image=&tag=stable"),
        image("/k8s/images?image=nginx&tag="),
        image("/k8s/images?image=Nginx&tag=stable"),
        image("/k8s/images?image=nginx:stable&tag=stable"),
        image("/k8s/images?image=a..b&tag=1"),
        image("/k8s/images?image=nginx&tag=-stable"),
        image("/k8s/images?image=nginx&tag=a%20b"),
        image("/k8s/images?image=http://nginx&tag=stable"),
        image("/k8s/images?image=localhost:99999/nginx&tag=stable"),
        empty(json!({})),
        empty(json!({ "region": "ausrine" })),
        empty(json!({ "ports": [80] })),
        empty(json!({ "region": "", "ports": [80] })),
        empty(json!({ "region": "ausrine", "ports": [] })),
        empty(json!({ "region": null, "ports": [80] })),
        empty(json!({ "region": "ausrine", "ports": null })),
        ports(json!({ "region": "ausrine", "ports": [0] }), &[("ports[0]", PORT)]),
        ports(json!({ "region": "ausrine", "ports": [80, 65_536, -1] }), &[("ports[1]", PORT), ("ports[2]", PORT)]),
        ports(json!({ "region": "ausrine", "ports": ["80"] }), &[("ports[0]", WHOLE)]),
        ports(json!({ "region": "ausrine", "ports": [80.5] }), &[("ports[0]", WHOLE)]),
        ports(json!({ "region": "ausrine", "ports": [null] }), &[("ports[0]", WHOLE)]),
        ports(json!({ "region": "ausrine", "ports": 80 }), &[("ports", "must be a list")]),
        ports(json!({ "region": "ausrine", "ports": "80" }), &[("ports", "must be a list")]),
        ports(json!({ "region": 1, "ports": [80] }), &[("region", "must be a string")]),
        ports(json!({ "region": "ausrine", "ports": [80], "protocol": "SCTP" }), &[("protocol", "must be TCP or UDP")]),
        ports(json!({ "region": "ausrine", "ports": [80], "protocol": 6 }), &[("protocol", "must be a string")]),
        ports(
            json!({ "region": "ausrine", "ports": [80], "userServiceID": 1 }),
            &[("userServiceID", "must be a string")],
        ),
        ports(
            json!({ "region": "ausrine", "ports": [80], "zone": "a" }),
            &[("zone", "is not a known field; leave it out")],
        ),
        ports(json!({ "region": "ausrine", "ports": vec![80; 1025] }), &[("ports", "must have at most 1024 entries")]),
        ports(json!([]), &[("", "must be an object")]),
        ports(json!("ausrine"), &[("", "must be an object")]),
    ]
}

#[test]
fn every_wrong_question_is_refused() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let client = t.client().await?;
        for Row(path, body, wrong) in rows() {
            let case = format!("{path} {body:?}");
            let request = match &body {
                Some(body) => client.post(path).json(body),
                None => client.get(path).secret(&order.secret),
            };
            let error = request.send().await?.refused(400, Reason::InvalidRequest)?;
            match wrong {
                Wrong::Fields(problems) => compare(&case, &error, &problems),
                Wrong::Text(text) => {
                    assert_eq!(error["message"], text, "{case}");
                    assert_eq!(error.get("details"), None, "{case}");
                }
            }
        }
        Ok(())
    })
}
