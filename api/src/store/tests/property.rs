//! Whatever is accepted and however it ends: the order's target is that of its newest job that may still come true, and
//! what is deployed that of the newest that stands. Random sequences, compared with the plainest model that says so.

use common::ingress::Exposure;
use common::job::{JobStarted, Outcome, Run, Until, Verb};
use common::name::{JobId, OrderId, Revision};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::super::Store;
use super::super::acceptance::{Acceptance, Accepted};
use super::super::jobs::Job;
use super::super::target::StoredTarget;
use super::cluster::{shared_database, shared_store};
use super::{
    at, end, failed, fresh_order, now, overtaken, pod, region, superseded, try_abort, try_deploy, try_step, unready,
};

/// How many sequences are tried: more find more.
const ROUNDS: u64 = 150;
/// How many things happen in each.
const STEPS: usize = 24;

/// What may be asked of an order.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Deploy,
    Edit(Revision),
    Step(Verb),
    Cancel(JobId),
    Abort,
}

/// An order as it should be: its jobs in their sequence, and how those ended that did.
#[derive(Debug, Default)]
struct Model {
    jobs: Vec<(Job, Option<Outcome>)>,
    begun: Vec<JobId>,
    revisions: u64,
    is_aborted: bool,
}

/// What was asked is not to be accepted.
#[derive(Debug, PartialEq, Eq)]
struct Refused;

/// Whether what a job was to make is there.
fn stands(job: &Job, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Succeeded => true,
        Outcome::Unready(_) | Outcome::Overtaken { .. } => job.target.is_some(),
        Outcome::Failed(_) | Outcome::Superseded { .. } => false,
    }
}

impl Model {
    /// The target of the newest of these jobs that has not ended, or that stands.
    fn target_of(jobs: &[(Job, Option<Outcome>)]) -> Option<StoredTarget> {
        let may_be = |(job, outcome): &&(Job, Option<Outcome>)| outcome.as_ref().is_none_or(|end| stands(job, end));
        jobs.iter().rev().find(may_be).and_then(|(job, _)| job.target.clone())
    }

    fn target(&self) -> Option<StoredTarget> {
        Self::target_of(&self.jobs)
    }

    fn deployed(&self) -> Option<StoredTarget> {
        let ended = self.jobs.iter().rev().filter_map(|(job, outcome)| Some((job, outcome.as_ref()?)));
        ended.into_iter().find(|(job, outcome)| stands(job, outcome)).and_then(|(job, _)| job.target.clone())
    }

    fn is_active(&self) -> bool {
        let runs = |job: &Job| job.target.as_ref().is_some_and(|target| target.run.is_running());
        self.jobs.iter().any(|(job, outcome)| *outcome == Some(Outcome::Succeeded) && runs(job))
    }

    /// The target of the job that is to be accepted under this id.
    fn accepts(&self, asked: Asked, id: JobId) -> Result<Option<StoredTarget>, Refused> {
        let revision = (self.revisions + 1).try_into().unwrap();
        let next = |run| StoredTarget { revision, run, pod_job: id, exposure: Exposure::Never };
        if self.is_aborted {
            return Err(Refused);
        }
        let target = self.target().ok_or(Refused);
        match asked {
            Asked::Deploy => Ok(Some(next(Run::Running))),
            Asked::Edit(base) => match target? {
                target if target.revision == base => Ok(Some(next(target.run))),
                _ => Err(Refused),
            },
            Asked::Step(Verb::Stop) => Ok(Some(StoredTarget { run: Run::Stopped, ..target? })),
            // One that runs is left alone.
            Asked::Step(Verb::Start) => match target? {
                target if target.run.is_running() => Ok(Some(target)),
                target => Ok(Some(StoredTarget { run: Run::Running, pod_job: id, ..target })),
            },
            Asked::Step(_) => match target? {
                target if target.run.is_running() => Ok(Some(StoredTarget { pod_job: id, ..target })),
                _ => Err(Refused),
            },
            Asked::Cancel(job) => match self.jobs.split_last() {
                Some(((newest, None), before))
                    if newest.id == job && newest.verb != Verb::Cancel && !self.begun.contains(&job) =>
                {
                    Ok(Self::target_of(before))
                }
                _ => Err(Refused),
            },
            Asked::Abort if self.jobs.is_empty() => Err(Refused),
            Asked::Abort => Ok(None),
        }
    }

    fn accepted(&mut self, asked: Asked, job: Job) {
        self.revisions += u64::from(matches!(asked, Asked::Deploy | Asked::Edit(_)));
        self.is_aborted |= matches!(asked, Asked::Abort);
        self.jobs.push((job, None));
    }
}

async fn ask(store: &Store, order: &OrderId, asked: Asked) -> Option<Job> {
    let acceptance = Acceptance { order, region: &region(), job: JobId::new(), idempotency: None };
    let accepted = match asked {
        Asked::Deploy => try_deploy(store, order, &region(), &pod(&[80]), None).await,
        Asked::Edit(base) => store.accept_deploy(&acceptance, &pod(&[80]), Until::Created, Some(base)).await.unwrap(),
        Asked::Step(verb) => try_step(store, order, verb).await.0,
        Asked::Cancel(job) => store.accept_cancel(&acceptance, job).await.unwrap(),
        Asked::Abort => try_abort(store, order, &region()).await,
    };
    match accepted {
        Accepted::Yes(job) => Some(job),
        Accepted::No => None,
        Accepted::KeyTaken => panic!("there is no key"),
    }
}

/// Something that a client may ask now.
fn any_request(random: &mut StdRng, model: &Model) -> Asked {
    let any_job = model.jobs.choose(random).map(|(job, _)| job.id);
    let newest = model.jobs.last().map(|(job, _)| job.id);
    match random.random_range(0..100) {
        0..30 => Asked::Deploy,
        30..45 => {
            let newest = model.target().map_or(1, |target| target.revision.get());
            let base = if random.random_bool(0.8) { newest } else { random.random_range(1..=model.revisions.max(1)) };
            Asked::Edit(base.try_into().unwrap())
        }
        45..58 => Asked::Step(Verb::Stop),
        58..71 => Asked::Step(Verb::Start),
        71..82 => Asked::Step(Verb::Restart),
        82..97 => newest.filter(|_| random.random_bool(0.8)).or(any_job).map_or(Asked::Deploy, Asked::Cancel),
        _ => Asked::Abort,
    }
}

fn any_outcome(random: &mut StdRng) -> Outcome {
    let outcomes = [Outcome::Succeeded, Outcome::Succeeded, failed(), unready(), superseded(), overtaken()];
    outcomes.choose(random).unwrap().clone()
}

/// What a round has seen so far, for whoever has to find out what went wrong.
fn told(seed: u64, events: &[String]) -> String {
    format!("seed {seed}:\n{}", events.join("\n"))
}

#[tokio::test]
async fn any_sequence_of_changes_and_ends_leaves_the_newest_that_may_come_true() {
    let store = shared_store().await;
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let order = fresh_order(&store).await;
        let (mut model, mut events) = (Model::default(), Vec::new());
        for _ in 0..STEPS {
            let open: Vec<usize> = (0..model.jobs.len()).filter(|n| model.jobs[*n].1.is_none()).collect();
            let one = open.choose(&mut random).copied();
            match one {
                Some(n) if random.random_bool(0.4) => {
                    let outcome = any_outcome(&mut random);
                    let job = &model.jobs[n].0;
                    events.push(format!("{} ends {outcome:?}", job.sequence));
                    store.job_ended(&region(), &end(job, outcome.clone())).await.unwrap();
                    model.jobs[n].1 = Some(outcome);
                }
                Some(n) if random.random_bool(0.1) => {
                    let id = model.jobs[n].0.id;
                    events.push(format!("{} begins", model.jobs[n].0.sequence));
                    store.job_started(&JobStarted { id, attempts: 1, started_at: at(0) }).await.unwrap();
                    model.begun.push(id);
                }
                _ => {
                    let asked = any_request(&mut random, &model);
                    let job = ask(&store, &order, asked).await;
                    let said = job.as_ref().map(|job| (job.sequence, &job.target));
                    events.push(format!("{asked:?}: {said:?}"));
                    let expected = model.accepts(asked, job.as_ref().map_or_else(JobId::new, |job| job.id));
                    assert_eq!(
                        job.as_ref().map(|job| job.target.clone()).ok_or(Refused),
                        expected,
                        "{}",
                        told(seed, &events)
                    );
                    if let Some(job) = job {
                        model.accepted(asked, job);
                    }
                }
            }
            let whole = now(&store, &order).await;
            assert_eq!(whole.target, model.target(), "target, {}", told(seed, &events));
            assert_eq!(whole.deployed, model.deployed(), "deployed, {}", told(seed, &events));
            assert_eq!(whole.activated_at.is_some(), model.is_active(), "paid time, {}", told(seed, &events));
        }
    }
}

/// What two clients and many ends do at once: nothing is known of the order in which they come, but of the end.
#[tokio::test]
async fn changes_and_ends_that_come_at_once_leave_the_newest_that_stands() {
    let store = shared_database().await.store_with(|settings| settings.pool_size = 8);
    for seed in 0..ROUNDS / 3 {
        let mut random = StdRng::seed_from_u64(seed);
        let order = fresh_order(&store).await;
        let mut model = Model::default();
        while model.jobs.len() < STEPS {
            let open: Vec<usize> = (0..model.jobs.len()).filter(|n| model.jobs[*n].1.is_none()).collect();
            for n in open {
                model.jobs[n].1 = random.random_bool(0.7).then(|| any_outcome(&mut random));
            }
            let ending = model.jobs.iter().filter_map(|(job, outcome)| Some((job, outcome.clone()?)));
            let ends: Vec<_> = ending.map(|(job, outcome)| end(job, outcome)).collect();
            let here = region();
            let ended = join_all(ends.iter().map(|end| store.job_ended(&here, end)));
            let asked: Vec<Asked> = (0..4).map(|_| any_request(&mut random, &model)).collect();
            let asked = asked.into_iter().map(|one| if matches!(one, Asked::Abort) { Asked::Deploy } else { one });
            let accepted = join_all(asked.clone().map(async |one| ask(&store, &order, one).await));
            let (ended, accepted) = futures::join!(ended, accepted);
            for ended in ended {
                ended.unwrap();
            }
            for (one, accepted) in asked.zip(&accepted) {
                if let (Asked::Cancel(id), Some(canceller)) = (one, accepted) {
                    let (cancelled, _) = model.jobs.iter().find(|(job, _)| job.id == id).unwrap();
                    let made = cancelled.verb == Verb::Deploy;
                    assert!(
                        !made || canceller.revision < cancelled.revision,
                        "seed {seed}: {cancelled:?} by {canceller:?}"
                    );
                }
            }
            let mut accepted: Vec<Job> = accepted.into_iter().flatten().collect();
            accepted.sort_by_key(|job| job.sequence);
            model.jobs.extend(accepted.into_iter().map(|job| (job, None)));
            let whole = now(&store, &order).await;
            assert_eq!((whole.target, whole.deployed), (model.target(), model.deployed()), "seed {seed}: {model:#?}");
        }
    }
}
