//! Who may do what on NATS: the permissions of each identity, as narrow as its work allows. The server's configuration is
//! printed from them (`vkube-api nats-users`), each process compares its own with what it was granted, and tests try them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::name::{RegionCode, ServiceName};
use crate::stream::{API_CONSUMER, HOSTPORTS, REGIONS, RESULTS, WORKER_CONSUMER, bucket_stream, jobs_name, reads_name};
use crate::subject::{self, LEDGER_COMPLETE_KEY, bucket_subject, observed_key, worker_inbox_prefix};

/// Asks the server who one is, and what one may do.
pub const USER_INFO: &str = "$SYS.REQ.USER.INFO";

/// What an identity may publish to and subscribe to: subjects, with the wildcards of NATS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Publish.
    pub publish: BTreeSet<String>,
    /// Subscribe.
    pub subscribe: BTreeSet<String>,
}

impl Access {
    fn new<const P: usize, const S: usize>(publish: [String; P], subscribe: [String; S]) -> Self {
        let publish = publish.into_iter().chain([USER_INFO.to_owned()]).collect();
        Self { publish, subscribe: subscribe.into_iter().collect() }
    }

    /// An api of these regions, which answers these services besides. Without any: what it needs of all.
    pub fn of_api(regions: &[RegionCode], services: &[ServiceName]) -> Self {
        let (ports, presence) = (bucket_stream(HOSTPORTS), bucket_stream(REGIONS));
        let mut access = Self::new(
            [
                "_INBOX.>".to_owned(),
                format!("$JS.API.CONSUMER.CREATE.{RESULTS}.{API_CONSUMER}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{RESULTS}.{API_CONSUMER}"),
                // What follows a bucket is a consumer without a name, whose flow is controlled.
                format!("$JS.API.CONSUMER.CREATE.{ports}"),
                format!("$JS.API.CONSUMER.CREATE.{presence}"),
                "$JS.FC.>".to_owned(),
                bucket_subject(HOSTPORTS, LEDGER_COMPLETE_KEY),
                format!("$JS.API.STREAM.MSG.GET.{RESULTS}"),
                // The end of one job, before it is on record.
                format!("$JS.API.DIRECT.GET.{RESULTS}.>"),
                // Workers that were not heard for a day.
                format!("$JS.API.STREAM.PURGE.{presence}"),
                format!("$JS.API.STREAM.MSG.GET.{ports}"),
            ],
            ["_INBOX.>".to_owned(), subject::call("*"), "$SRV.>".to_owned(), subject::results()],
        );
        access.publish.extend(acks(RESULTS, API_CONSUMER));
        for stream in [RESULTS.to_owned(), ports, presence] {
            access.publish.extend(made(&stream));
        }
        for region in regions {
            access.publish.extend([
                subject::jobs(region),
                subject::reads(region),
                format!("vkube.results.{region}.*"),
                bucket_subject(HOSTPORTS, &format!("{region}.>")),
                bucket_subject(REGIONS, &format!("{region}.*")),
                format!("{}.>", worker_inbox_prefix(region)),
                format!("$JS.API.STREAM.MSG.GET.{}", jobs_name(region)),
                format!("$JS.API.STREAM.MSG.DELETE.{}", jobs_name(region)),
            ]);
            for stream in [jobs_name(region), reads_name(region)] {
                access.publish.extend(made(&stream));
                let calls =
                    ["CREATE", "INFO"].map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.{WORKER_CONSUMER}"));
                access.publish.extend(calls);
            }
        }
        access.publish.extend(services.iter().map(|service| format!("{}.>", service_inbox_prefix(service))));
        access
    }

    /// A worker of a region: its own queues, its own keys, its own results, and answers.
    pub fn of_worker(region: &RegionCode) -> Self {
        let mut access = Self::new(
            [
                "_INBOX.>".to_owned(),
                format!("vkube.results.{region}.*"),
                bucket_subject(HOSTPORTS, &observed_key(region)),
                bucket_subject(REGIONS, &format!("{region}.*")),
            ],
            [format!("{}.>", worker_inbox_prefix(region))],
        );
        for stream in [jobs_name(region), reads_name(region)] {
            let calls = ["INFO", "MSG.NEXT"].map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.{WORKER_CONSUMER}"));
            access.publish.extend(calls);
            access.publish.extend(acks(&stream, WORKER_CONSUMER));
        }
        access
    }

    /// Another service, which calls the api.
    pub fn of_service(service: &ServiceName) -> Self {
        Self::new([subject::call("*"), "$SRV.>".to_owned()], [format!("{}.>", service_inbox_prefix(service))])
    }

    /// A person who runs the product: calls of the api, and looks at what NATS holds.
    pub fn of_operator(operator: &ServiceName) -> Self {
        let mut access = Self::of_service(operator);
        let calls = ["INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.*", "CONSUMER.NAMES.*", "CONSUMER.LIST.*"];
        access.publish.extend(calls.map(|call| format!("$JS.API.{call}")));
        access.publish.insert("$JS.API.CONSUMER.INFO.*.*".to_owned());
        access
    }

    /// What of this is not granted: `publish vkube.jobs.eu.*`.
    pub fn missing(&self, granted: &Granted) -> Vec<String> {
        let missing = |verb: &'static str, wanted: &BTreeSet<String>, rules: &Option<Rules>| {
            let is_missing = |subject: &&String| rules.as_ref().is_some_and(|rules| !rules.grant(subject));
            wanted.iter().filter(is_missing).map(|subject| format!("{verb} {subject}")).collect::<Vec<_>>()
        };
        let permissions = &granted.permissions;
        let publish = missing("publish", &self.publish, &permissions.publish);
        [publish, missing("subscribe", &self.subscribe, &permissions.subscribe)].concat()
    }
}

/// One user of a server's configuration, who is known by the public half of an `NKey`.
pub fn print_user(key: &str, access: &Access) -> String {
    let list = |subjects: &BTreeSet<String>| {
        let lines: Vec<String> = subjects.iter().map(|subject| format!("      \"{subject}\"\n")).collect();
        lines.concat()
    };
    let (publish, subscribe) = (list(&access.publish), list(&access.subscribe));
    format!(
        "  {{ nkey: {key}, permissions: {{\n    publish: {{ allow: [\n{publish}    ] }}\n    \
         subscribe: {{ allow: [\n{subscribe}    ] }}\n  }} }}\n"
    )
}

/// The prefix of the inboxes of another service, which nobody else hears.
pub fn service_inbox_prefix(service: &ServiceName) -> String {
    format!("_INBOX_{service}")
}

/// Both forms of an acknowledgement: that of today, and that with the account, which is coming. The first has a count of
/// tokens that the second never has, else the one of a stream would be the other of a stream named elsewhere in it.
fn acks(stream: &str, consumer: &str) -> [String; 2] {
    [format!("$JS.ACK.{stream}.{consumer}.*.*.*.*.*"), format!("$JS.ACK.*.*.{stream}.{consumer}.*.*.*.*.>")]
}

/// What makes a stream, or makes it what it should be.
fn made(stream: &str) -> [String; 2] {
    ["CREATE", "UPDATE"].map(|call| format!("$JS.API.STREAM.{call}.{stream}"))
}

/// What a server says that a connection may do: the answer to [`USER_INFO`].
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Granted {
    /// None = everything.
    #[serde(default)]
    permissions: Permissions,
}

/// The answer to [`USER_INFO`], around.
#[derive(Debug, Clone, Deserialize)]
pub struct UserInfo {
    /// Of the connection that asked.
    pub data: Granted,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Permissions {
    publish: Option<Rules>,
    subscribe: Option<Rules>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rules {
    /// Empty = everything.
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Rules {
    fn grant(&self, subject: &str) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|pattern| covers(pattern, subject));
        allowed && !self.deny.iter().any(|pattern| meets(pattern, subject))
    }
}

/// Whether every subject that one pattern stands for is one of the other's.
fn covers(pattern: &str, subject: &str) -> bool {
    compare(pattern, subject, |pattern, subject| pattern == subject || (pattern == "*" && subject != ">"))
}

/// Whether any subject is one of both patterns.
fn meets(one: &str, other: &str) -> bool {
    let same = |one: &str, other: &str| one == other || [one, other].contains(&"*");
    compare(one, other, same) || compare(other, one, same)
}

/// Compares token by token, of which `>` stands for the rest.
fn compare(pattern: &str, subject: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    let (mut patterns, mut subjects) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), subjects.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some(one), Some(other)) if same(one, other) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(publish: &str) -> Granted {
        let text = format!(r#"{{"data":{{"user":"a","permissions":{{"publish":{publish}}}}}}}"#);
        serde_json::from_str::<UserInfo>(&text).unwrap().data
    }

    #[test]
    fn a_pattern_covers_what_it_stands_for() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.*", true),
            ("a.*", "a.>", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a.*", true),
            ("a.>", "a.>", true),
            ("a.>", "a", false),
            (">", "a.>", true),
            ("a.b", "a.*", false),
            ("a.b.>", "a.>", false),
        ] {
            assert_eq!(covers(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn patterns_meet_where_a_subject_is_of_both() {
        for (one, other, expected) in [
            ("a.b", "a.*", true),
            ("a.>", "a.b.c", true),
            ("a.*.c", "a.b.*", true),
            ("a.b", "a.c", false),
            ("a", "a.>", false),
        ] {
            assert_eq!((meets(one, other), meets(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_granted_is_named() {
        let access = Access::new(["a.*".to_owned(), "b.c".to_owned()], ["_INBOX.>".to_owned()]);
        let info = format!("publish {USER_INFO}");
        for (case, publish, expected) in [
            ("all", r#"{"allow":[">"]}"#, vec![]),
            ("no list", r#"{"deny":["x"]}"#, vec![]),
            ("one denied", r#"{"deny":["b.>"]}"#, vec!["publish b.c"]),
            ("part of one denied", r#"{"allow":[">"],"deny":["a.secret"]}"#, vec!["publish a.*"]),
            ("too narrow", r#"{"allow":["a.b","b.*"]}"#, vec![&*info, "publish a.*"]),
        ] {
            assert_eq!(access.missing(&granted(publish)), expected, "{case}");
        }
        assert_eq!(access.missing(&Granted::default()), Vec::<String>::new(), "no permissions are all of them");
    }

    #[test]
    fn a_worker_has_nothing_of_another_region() {
        let (own, other): (RegionCode, RegionCode) = ("eu".parse().unwrap(), "us".parse().unwrap());
        let (own, other) = (Access::of_worker(&own), Access::of_worker(&other));
        let shared: Vec<_> = own.publish.intersection(&other.publish).map(String::as_str).collect();
        assert_eq!(shared, [USER_INFO, "_INBOX.>"]);
        assert_eq!(own.subscribe.intersection(&other.subscribe).count(), 0);
        for subject in other.publish.iter().filter(|subject| !shared.contains(&subject.as_str())) {
            assert!(!own.publish.iter().any(|pattern| meets(pattern, subject)), "{subject}");
        }
    }
}
