//! Every subject, key and header of the product, spelled once. Tokens come from checked names only, so no text of a
//! customer can widen a subject.

use crate::job::Verb;
use crate::name::{Instance, JobId, RegionCode};
use crate::port::{HostPort, PortKey};
use crate::read::Query;

/// Header: where the answer of a job or read goes. (JetStream uses the reply field itself.)
pub const HEADER_REPLY: &str = "Vkube-Reply";
/// Header of a read: for how many milliseconds somebody waits for the answer. No time of a clock: those of the parts may be apart.
pub const HEADER_WITHIN: &str = "Vkube-Within";
/// Header of an answer: [`AnswerKind`](crate::read::AnswerKind).
pub const HEADER_ANSWER: &str = "Vkube-Answer";
/// Header of an answer in several messages: which part this is, from 0.
pub const HEADER_PART: &str = "Vkube-Part";
/// Header of an answer in several messages: how many parts there are.
pub const HEADER_PARTS: &str = "Vkube-Parts";

/// Header of an answer of the service: the status of REST.
pub const HEADER_STATUS: &str = "Vkube-Status";
/// Header of the message that ends an answer in several: of a service the empty one, of a follow its last chunk, with a
/// [`FollowEnd`](crate::log::FollowEnd).
pub const HEADER_END: &str = "Vkube-End";

/// The name of the service that offers every call of REST (NATS ADR-32).
pub const SERVICE: &str = "vkube";

/// The subject of a call of the service, by the call's `operationId` in the OpenAPI document.
pub fn call(operation: &str) -> String {
    format!("vkube.api.{operation}")
}

/// Whether a reply subject that a stranger chose is an inbox, as servers may have rewritten it for another account (`_R_`) or
/// cluster (`_GR_`). To answer to any other subject would be to publish there what the stranger may not.
pub fn is_inbox(reply: &str) -> bool {
    let routed = reply.strip_prefix("_GR_.").and_then(|rest| rest.splitn(3, '.').nth(2));
    let reply = routed.unwrap_or(reply);
    reply.starts_with("_INBOX") || reply.starts_with("_R_.")
}
/// Header of a follow's chunk: what came between the chunk before and this one is lost.
pub const HEADER_GAP: &str = "Vkube-Gap";

/// The subject of a region's jobs of one verb.
pub fn job(region: &RegionCode, verb: Verb) -> String {
    format!("vkube.jobs.{region}.{}", verb.as_str())
}

/// All jobs of a region.
pub fn jobs(region: &RegionCode) -> String {
    format!("vkube.jobs.{region}.*")
}

/// The subject of a region's reads of one kind.
pub fn read(region: &RegionCode, query: &Query) -> String {
    format!("vkube.reads.{region}.{}", query.verb())
}

/// All reads of a region.
pub fn reads(region: &RegionCode) -> String {
    format!("vkube.reads.{region}.*")
}

/// Where the one result of a job is published.
pub fn result(region: &RegionCode, job: JobId) -> String {
    format!("vkube.results.{region}.{job}")
}

/// All results of all regions.
pub fn results() -> String {
    "vkube.results.*.*".to_owned()
}

/// The prefix of everything that is sent to one api instance, for its one subscription `<prefix>.>`.
pub fn inbox_prefix(instance: &Instance) -> String {
    format!("_INBOX.{instance}")
}

/// Where the answer to one job or read goes.
pub fn inbox(instance: &Instance, token: JobId) -> String {
    format!("{}.{token}", inbox_prefix(instance))
}

/// The token at the end of an inbox of ours.
pub fn inbox_token(subject: &str) -> Option<JobId> {
    subject.rsplit('.').next()?.parse().ok()
}

/// The prefix of the inboxes that a region's workers use for their own requests.
pub fn worker_inbox_prefix(region: &RegionCode) -> String {
    format!("_INBOX_{region}")
}

/// The subject of the credits that one worker's follows are given, for its one subscription `<prefix>.*`.
pub fn credit_prefix(region: &RegionCode, worker: &Instance) -> String {
    format!("{}.{worker}", worker_inbox_prefix(region))
}

/// Whether a subject that a worker of this region named is one of its region's inboxes.
pub fn is_worker_inbox(region: &RegionCode, subject: &str) -> bool {
    let rest = subject.strip_prefix(&worker_inbox_prefix(region)).and_then(|rest| rest.strip_prefix('.'));
    let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    rest.is_some_and(|rest| rest.len() <= 128 && rest.split('.').all(token))
}

/// The ledger's key of one port.
pub fn port_key(region: &RegionCode, host: HostPort) -> String {
    PortKey { region: region.clone(), host }.to_string()
}

/// The key that says: this ledger holds all that PostgreSQL knows of.
pub const LEDGER_COMPLETE_KEY: &str = "_complete";

/// The key under which a region's workers tell which ports they see in use.
pub fn observed_key(region: &RegionCode) -> String {
    format!("{region}.observed")
}

/// The region of an observed key, if it is one.
pub fn region_of_observed_key(key: &str) -> Option<RegionCode> {
    key.strip_suffix(".observed")?.parse().ok()
}

/// The presence key of one worker.
pub fn presence_key(region: &RegionCode, worker: &Instance) -> String {
    format!("{region}.{worker}")
}

/// The region and worker of a presence key.
pub fn parse_presence_key(key: &str) -> Option<(RegionCode, Instance)> {
    let (region, worker) = key.split_once('.')?;
    Some((region.parse().ok()?, worker.parse().ok()?))
}

/// The subject behind a key of a bucket.
pub fn bucket_subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inboxes_are_answered() {
        for (reply, expected) in [
            ("_INBOX.a.b", true),
            ("_INBOX_eu.a", true),
            ("_R_.a.b", true),
            ("_GR_.cluster.server._INBOX.a", true),
            ("_GR_.cluster.server.$JS.API.STREAM.DELETE.RESULTS", false),
            ("_GR_.a", false),
            ("$JS.API.STREAM.DELETE.RESULTS", false),
            ("$KV.hostports.eu.tcp.80", false),
            ("vkube.jobs.eu.delete", false),
            ("", false),
        ] {
            assert_eq!(is_inbox(reply), expected, "{reply}");
        }
    }

    #[test]
    fn subjects_and_keys_read_back() {
        let region: RegionCode = "north-america".parse().unwrap();
        let instance = Instance::unique("api");
        let token = JobId::new();
        assert_eq!(inbox_token(&inbox(&instance, token)), Some(token));
        assert_eq!(parse_presence_key(&presence_key(&region, &instance)), Some((region.clone(), instance)));
        assert_eq!(region_of_observed_key(&observed_key(&region)), Some(region.clone()));
        assert_eq!(region_of_observed_key("ausrine.tcp.80"), None);
        assert_eq!(job(&region, Verb::Deploy), "vkube.jobs.north-america.deploy");
    }

    #[test]
    fn credits_go_to_inboxes_of_the_region_only() {
        let region: RegionCode = "ausrine".parse().unwrap();
        let credit = format!("{}.{}", credit_prefix(&region, &Instance::unique("worker")), JobId::new());
        for (subject, valid) in [
            (credit.as_str(), true),
            ("_INBOX_other.worker-1.a", false),
            ("_INBOX_ausrine-2.worker-1.a", false),
            ("_INBOX_ausrine.*", false),
            ("_INBOX_ausrine.>", false),
            ("_INBOX_ausrine.a..b", false),
            ("_INBOX_ausrine.", false),
            ("vkube.jobs.ausrine.delete", false),
        ] {
            assert_eq!(is_worker_inbox(&region, subject), valid, "{subject}");
        }
    }
}
