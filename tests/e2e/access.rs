//! Who may do what on NATS: every identity that vkube ships against every class of subject, on a real server; and a process
//! that lacks a permission.

mod compose;
mod tls;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_nats::{Client, ConnectOptions, Event, ServerError};
use e2e::nats::{Denied, Identity, OPERATOR, OTHER_REGION, SERVICE};
use e2e::process::tail;
use e2e::test::test;
use e2e::until::until;

/// The region of the worker; the other worker's is [`OTHER_REGION`].
const OWN: &str = "mine";
/// How long a server may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// To what nobody may publish.
const FORBIDDEN: &str = "forbidden";
/// How long a process may take to find that it may not do its work.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

use Identity::{Api, Operator, OtherWorker, Service, Worker};

/// Subjects, and who may publish to them: own = of the region `mine`.
const PUBLISH: [(&[&str], &[Identity]); 32] = [
    (&["vkube.jobs.mine.deploy", "vkube.reads.mine.log"], &[Api]),
    (&["vkube.jobs.elsewhere.deploy", "vkube.reads.elsewhere.log"], &[Api]),
    (&["vkube.jobs.unknown.deploy", "vkube.reads.unknown.log", "vkube.results.unknown.a"], &[]),
    (&["vkube.results.mine.a"], &[Api, Worker]),
    (&["vkube.results.elsewhere.a"], &[Api, OtherWorker]),
    (&["$KV.hostports.mine.observed"], &[Api, Worker]),
    (&["$KV.hostports.elsewhere.observed"], &[Api, OtherWorker]),
    (&["$KV.hostports.mine.tcp.80", "$KV.hostports.elsewhere.tcp.80"], &[Api]),
    (&["$KV.regions.mine.a"], &[Api, Worker]),
    (&["$KV.regions.elsewhere.a"], &[Api, OtherWorker]),
    (&["$KV.hostports.unknown.observed", "$KV.regions.unknown.a", "$KV.other.a"], &[]),
    (&["$JS.API.CONSUMER.MSG.NEXT.JOBS_mine.worker", "$JS.API.CONSUMER.MSG.NEXT.READS_mine.worker"], &[Worker]),
    (&["$JS.API.CONSUMER.MSG.NEXT.JOBS_elsewhere.worker"], &[OtherWorker]),
    (&["$JS.ACK.JOBS_mine.worker.1.1.1.1.1", "$JS.ACK._.G.JOBS_mine.worker.1.1.1.1.1.a"], &[Worker]),
    (&["$JS.ACK.READS_elsewhere.worker.1.1.1.1.1", "$JS.ACK._.G.JOBS_elsewhere.worker.1.1.1.1.1.a"], &[OtherWorker]),
    (&["$JS.API.CONSUMER.INFO.JOBS_mine.worker"], &[Api, Worker, Operator]),
    (&["$JS.API.CONSUMER.INFO.READS_elsewhere.worker"], &[Api, OtherWorker, Operator]),
    (&["$JS.API.CONSUMER.MSG.NEXT.RESULTS.api", "$JS.ACK.RESULTS.api.1.1.1.1.1"], &[Api]),
    (&["$JS.API.STREAM.CREATE.JOBS_mine", "$JS.API.STREAM.UPDATE.READS_mine", "$JS.API.STREAM.CREATE.RESULTS"], &[Api]),
    (&["$JS.API.STREAM.CREATE.KV_hostports", "$JS.API.STREAM.UPDATE.KV_regions"], &[Api]),
    (&["$JS.API.CONSUMER.CREATE.JOBS_mine.worker", "$JS.API.CONSUMER.CREATE.KV_hostports"], &[Api]),
    (
        &["$JS.API.STREAM.MSG.GET.RESULTS", "$JS.API.STREAM.MSG.GET.JOBS_mine", "$JS.API.STREAM.MSG.DELETE.JOBS_mine"],
        &[Api],
    ),
    (&["$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.CREATE.JOBS_unknown", "$JS.API.CONSUMER.CREATE.OTHER.a"], &[]),
    (
        &[
            "$JS.API.STREAM.DELETE.RESULTS",
            "$JS.API.STREAM.DELETE.JOBS_mine",
            "$JS.API.STREAM.PURGE.JOBS_mine",
            "$JS.API.STREAM.PURGE.KV_hostports",
            "$JS.API.STREAM.MSG.DELETE.RESULTS",
            "$JS.API.STREAM.SNAPSHOT.JOBS_mine",
            "$JS.API.STREAM.RESTORE.JOBS_mine",
            "$JS.API.STREAM.PEER.REMOVE.RESULTS",
            "$JS.API.STREAM.LEADER.STEPDOWN.RESULTS",
            "$JS.API.CONSUMER.DELETE.JOBS_mine.worker",
            "$JS.API.CONSUMER.PAUSE.JOBS_mine.worker",
            "$JS.API.META.LEADER.STEPDOWN",
            "$JS.API.ACCOUNT.PURGE.G",
        ],
        &[],
    ),
    (&["$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.KV_hostports", "$JS.API.INFO"], &[Operator]),
    (&["$JS.API.CONSUMER.LIST.RESULTS", "$JS.API.CONSUMER.NAMES.JOBS_mine"], &[Operator]),
    (&["$JS.API.DIRECT.GET.RESULTS.vkube.results.mine.a", "$JS.API.STREAM.PURGE.KV_regions"], &[Api]),
    (&["$JS.API.DIRECT.GET.KV_hostports", "$JS.API.DIRECT.GET.JOBS_mine"], &[]),
    (&["vkube.api.list_regions", "vkube.api.deploy_pod", "$SRV.PING", "$SRV.INFO.vkube"], &[Service, Operator]),
    (&["_INBOX.api-1.a"], &[Api, Worker, OtherWorker]),
    (&["_INBOX_mine.worker-1.a", "_INBOX_elsewhere.worker-1.a", "_INBOX_market.a", "_INBOX_anna.a"], &[Api]),
    (&["_INBOX_unknown.a", "anything", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ"], &[]),
];

/// Subjects, and who may subscribe to them.
const SUBSCRIBE: [(&[&str], &[Identity]); 8] = [
    (&["_INBOX.>", "_INBOX.api-1.>"], &[Api]),
    (&["_INBOX_mine.>", "_INBOX_mine.worker-1.*"], &[Worker]),
    (&["_INBOX_elsewhere.>"], &[OtherWorker]),
    (&["_INBOX_market.>"], &[Service]),
    (&["_INBOX_anna.>"], &[Operator]),
    (&["vkube.api.list_regions", "$SRV.PING", "$SRV.INFO.vkube.a", "vkube.results.mine.a"], &[Api]),
    (&["vkube.jobs.>", "vkube.jobs.mine.deploy", "vkube.reads.mine.log", "vkube.>"], &[]),
    (&[">", "*.>", "$KV.>", "$KV.hostports.mine.observed", "$JS.>", "$JS.API.>", "_INBOX_unknown.>", "$SYS.>"], &[]),
];

/// A client, and what the server refused it.
struct Tried {
    client: Client,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Tried {
    async fn connect(nats: &e2e::nats::Nats, who: Identity) -> Result<Self> {
        let inbox = match who {
            Api => "_INBOX.api-1.r".to_owned(),
            Worker => format!("_INBOX_{OWN}"),
            OtherWorker => format!("_INBOX_{OTHER_REGION}"),
            Service => format!("_INBOX_{SERVICE}"),
            Operator => format!("_INBOX_{OPERATOR}"),
        };
        let refused = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&refused);
        let options = ConnectOptions::new().custom_inbox_prefix(inbox).event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(problem)) = event {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
            }
            std::future::ready(())
        });
        Ok(Self { client: nats.client_of(who, options).await?, refused })
    }

    /// What was refused so far: the server tells one after another, and at last of what nobody may.
    async fn refused(&self) -> Result<BTreeSet<String>> {
        self.client.publish(FORBIDDEN, "".into()).await?;
        let subject = |problem: &String| problem.split('"').nth(1).map(str::to_owned);
        until("the server has refused what nobody may", ANSWERS_WITHIN, async || {
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let refused: BTreeSet<String> = refused.iter().filter_map(subject).collect();
            Ok(refused.contains(FORBIDDEN).then_some(refused))
        })
        .await
    }
}

#[test]
fn each_identity_may_do_what_it_must_and_nothing_else() -> Result<()> {
    test(async |t| {
        let system = t.empty_system(OWN).await?;
        for who in Identity::ALL {
            let tried = Tried::connect(&system.nats, who).await?;
            for subject in PUBLISH.iter().flat_map(|(subjects, _)| *subjects) {
                tried.client.publish(*subject, "".into()).await?;
            }
            let refused = tried.refused().await?;
            check("publish to", who, &PUBLISH, &refused);

            let tried = Tried::connect(&system.nats, who).await?;
            let mut subscribed = Vec::new();
            for subject in SUBSCRIBE.iter().flat_map(|(subjects, _)| *subjects) {
                subscribed.push(tried.client.subscribe(*subject).await?);
            }
            let refused = tried.refused().await?;
            check("subscribe to", who, &SUBSCRIBE, &refused);
        }
        Ok(())
    })
}

fn check(what: &str, who: Identity, table: &[(&[&str], &[Identity])], refused: &BTreeSet<String>) {
    for (subjects, allowed) in table {
        for subject in *subjects {
            let (expected, found) = (allowed.contains(&who), !refused.contains(*subject));
            assert_eq!(found, expected, "{who:?} may {what} {subject}: {refused:?}");
        }
    }
}

#[test]
fn what_is_not_said_to_be_somebody_is_nobody() -> Result<()> {
    test(async |t| {
        let system = t.empty_system(OWN).await?;
        let key = nkeys::KeyPair::new_user().seed()?;
        let stranger = ConnectOptions::new().nkey(key);
        assert!(system.nats.client_with(stranger).await.is_err(), "a key that nobody has is taken");
        Ok(())
    })
}

#[test]
fn a_process_that_lacks_a_permission_names_it_and_ends() -> Result<()> {
    test(async |t| {
        let system = t.empty_system(OWN).await?;
        let denied: Denied<'_> = (Api, &["$JS.FC.>", "$JS.API.STREAM.CREATE.RESULTS"]);
        system.nats.deny(Some(denied)).await?;
        let mut api = system.spawn_api(&[])?;
        let status = api.process.wait(ENDS_WITHIN).await?;
        let log = tail(api.process.log(), 5);
        for missing in ["publish $JS.API.STREAM.CREATE.RESULTS", "publish $JS.FC.>"] {
            assert!(!status.success() && log.contains(missing), "{status} {log}");
        }

        system.nats.deny(None).await?;
        let mut api = system.spawn_api(&[])?;
        api.ready().await?;
        system.nats.deny(Some((Worker, &["vkube.results.>", "$JS.ACK.>"]))).await?;
        let mut worker = system.new_worker(&[])?;
        let status = worker.process.wait(ENDS_WITHIN).await?;
        let log = tail(worker.process.log(), 5);
        for missing in ["publish vkube.results.mine.*", "publish $JS.ACK.JOBS_mine.worker.*.*.*.*.*"] {
            assert!(!status.success() && log.contains(missing), "{status} {log}");
        }
        until("no connection of it is left", ENDS_WITHIN, async || {
            let connections = system.nats.connections().await?;
            Ok((!connections.iter().any(|connection| connection.name.contains("worker"))).then_some(()))
        })
        .await
    })
}
