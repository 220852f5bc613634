//! Every stream, consumer and bucket of the product: names and set-up (`design.md` §3). Made by the api, used by both.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::name::RegionCode;
use crate::subject;

/// The oldest nats-server whose JetStream keeps what this product relies on (`facts.md` §2).
pub const OLDEST_SERVER: (i64, i64, i64) = (2, 15, 0);
/// The stream of all results.
pub const RESULTS: &str = "RESULTS";
/// The bucket of the port ledger.
pub const HOSTPORTS: &str = "hostports";
/// The bucket of presence.
pub const REGIONS: &str = "regions";
/// The durable consumer that a region's workers share, of jobs and of reads.
pub const WORKER_CONSUMER: &str = "worker";
/// The durable consumer of results that all api instances share.
pub const API_CONSUMER: &str = "api";
/// How long a worker has for a sign of life about a job in its hands.
pub const JOB_ACK_WAIT: Duration = Duration::from_secs(30);

/// The longest that a result is kept for an api that was away.
const RESULTS_KEPT: Duration = Duration::from_hours(7 * 24);
/// The longest that anybody waits for a read.
const READ_MAX_AGE: Duration = Duration::from_mins(1);

/// How streams are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// Copies of each stream in a NATS cluster: 1, 3 or 5.
    pub replicas: usize,
}

/// The name of the stream of a region's jobs.
pub fn jobs_name(region: &RegionCode) -> String {
    format!("JOBS_{region}")
}

/// The name of the stream of a region's reads.
pub fn reads_name(region: &RegionCode) -> String {
    format!("READS_{region}")
}

/// The stream behind a bucket.
pub fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// Changes asked of a region: each stays until a worker has published its result.
pub fn jobs(region: &RegionCode, settings: StreamSettings) -> Config {
    Config {
        name: jobs_name(region),
        subjects: vec![subject::jobs(region)],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages: 100_000,
        // The server sets this much of its disk aside, for each region.
        max_bytes: 64 << 20,
        max_message_size: 1 << 20,
        // A job that was lost is not taken again before.
        duplicate_window: Duration::from_mins(1),
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// Questions asked of a region: kept in memory, each as long as somebody waits for the answer.
pub fn reads(region: &RegionCode, settings: StreamSettings) -> Config {
    Config {
        name: reads_name(region),
        subjects: vec![subject::reads(region)],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::Memory,
        discard: DiscardPolicy::New,
        max_messages: 10_000,
        max_bytes: 16 << 20,
        max_message_size: 1 << 20,
        max_age: READ_MAX_AGE,
        allow_message_ttl: true,
        duplicate_window: READ_MAX_AGE,
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// The ends of all jobs, one message a job: publishers expect an empty subject, so a second end is refused.
pub fn results(settings: StreamSettings) -> Config {
    Config {
        name: RESULTS.to_owned(),
        subjects: vec![subject::results()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_age: RESULTS_KEPT,
        max_message_size: 64 << 10,
        allow_direct: true,
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// A bucket, spelled as the stream that it is: the client's own `kv::Config` cannot say "atomic publish", and its
/// update switches it off.
fn bucket(name: &str, settings: StreamSettings) -> Config {
    Config {
        name: bucket_stream(name),
        subjects: vec![subject::bucket_subject(name, ">")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        // The ports in use of a region, some 80 bytes each, are one message.
        max_message_size: 1 << 20,
        // The server sets this much of its disk aside.
        max_bytes: 128 << 20,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: settings.replicas,
        ..Config::default()
    }
}

/// The port ledger: several keys change together or not at all.
pub fn hostports(settings: StreamSettings) -> Config {
    Config { allow_atomic_publish: true, ..bucket(HOSTPORTS, settings) }
}

/// Presence: one key a worker.
pub fn regions(settings: StreamSettings) -> Config {
    bucket(REGIONS, settings)
}

/// The consumer that a region's workers share, of its jobs.
pub fn jobs_consumer() -> pull::Config {
    pull::Config {
        durable_name: Some(WORKER_CONSUMER.to_owned()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        ack_wait: JOB_ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: 10_000,
        ..pull::Config::default()
    }
}

/// The consumer that a region's workers share, of its reads.
pub fn reads_consumer() -> pull::Config {
    pull::Config { ack_wait: READ_MAX_AGE, max_deliver: 3, memory_storage: true, ..jobs_consumer() }
}

/// The consumer of results that all api instances share.
pub fn results_consumer() -> pull::Config {
    pull::Config { durable_name: Some(API_CONSUMER.to_owned()), ..jobs_consumer() }
}
