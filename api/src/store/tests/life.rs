//! The steps of orders' lives: each once, when it is due, however many take them, and not too many deletes at once.

mod deleting;
mod extending;

use std::collections::BTreeSet;
use std::time::Duration;

use common::job::{Change, Outcome, Verb};
use common::name::OrderId;
use futures::future::join_all;
use jiff::Timestamp;

use super::super::history::{Event, Word};
use super::super::jobs::Job;
use super::super::life::{Due, Taken};
use super::super::orders::{Order, ServiceStatus};
use super::cluster::{Database, database};
use crate::app::life::{Dates, LifeSettings};

use super::{abort, deploy_pod, end, failed, fresh_order, now, pod, region, step, succeed, try_deploy, try_step, word};

/// How long after its end an order is deleted, in seconds.
const DELETE_AFTER: f64 = 3600.0;
/// How long before its end a long order is warned, in seconds.
const WARN: f64 = 60.0;
/// More hours than any order has.
const MOST: u32 = 1_000_000;

/// A database of a test's own: a sweep takes whatever is due in it.
struct Lives(Database);

impl Lives {
    async fn new() -> Self {
        Self(database().await)
    }

    /// An order that runs.
    async fn running(&self) -> OrderId {
        let order = fresh_order(&self.0.store).await;
        let job = deploy_pod(&self.0.store, &order, &pod(&[80])).await;
        succeed(&self.0.store, &job).await;
        order
    }

    /// Orders that run, whose end was so many seconds ago; the first one's the longest.
    async fn ended(&self, count: usize, seconds_ago: i64) -> Vec<OrderId> {
        let mut orders = Vec::new();
        for n in 0..count {
            let order = self.running().await;
            self.move_end(&order, -seconds_ago - 10 * i64::try_from(count - n).unwrap()).await;
            orders.push(order);
        }
        orders
    }

    /// Moves an order's end to so many seconds from now.
    async fn move_end(&self, order: &OrderId, seconds: i64) {
        self.0.run(&format!("update orders set ends_at = now() + interval '{seconds} s' where id = '{order}'")).await;
    }

    async fn now(&self, order: &OrderId) -> Order {
        now(&self.0.store, order).await
    }

    async fn take(&self, due: Due) -> Vec<Taken> {
        self.0.store.take_steps(due, DELETE_AFTER).await.unwrap()
    }

    async fn deletes(&self) -> Vec<OrderId> {
        orders(&self.0.store.accept_deletes(&region(), DELETE_AFTER).await.unwrap())
    }

    async fn held(&self) -> u64 {
        let held = self.0.store.deletes_held(DELETE_AFTER).await.unwrap();
        held.iter().filter(|(place, _)| *place == region()).map(|(_, held)| held).sum()
    }

    async fn job(&self, taken: &Taken) -> Job {
        self.0.store.job(&taken.order, taken.job).await.unwrap().unwrap()
    }

    /// Records the end of a step.
    async fn ends(&self, taken: &Taken, outcome: Outcome) {
        self.0.store.job_ended(&region(), &end(&self.job(taken).await, outcome)).await.unwrap();
    }

    /// What happened to an order, oldest first.
    async fn events(&self, order: &OrderId) -> Vec<Event> {
        let history = self.0.store.history(order, 100).await.unwrap();
        history.iter().rev().map(|entry| entry.event).collect()
    }

    /// Lets the pause after a step that was tried be over.
    async fn rest(&self) {
        self.0.run("update orders set step_after = now()").await;
    }
}

fn orders(taken: &[Taken]) -> Vec<OrderId> {
    taken.iter().map(|taken| taken.order.clone()).collect()
}

#[tokio::test]
async fn an_order_stops_at_its_end_and_not_before() {
    let lives = Lives::new().await;
    let (over, running) = (lives.running().await, lives.running().await);
    lives.move_end(&over, 0).await;
    lives.move_end(&running, 3).await;
    let taken = lives.take(Due::Stop).await;
    let [stop] = taken.as_slice() else { panic!("{taken:?}") };
    let message = stop.message.clone().unwrap();
    assert_eq!((&stop.order, stop.verb, message.id, message.region.clone()), (&over, Verb::Stop, stop.job, region()));
    let Change::Stop(target) = message.change else { panic!() };
    assert_eq!((target.pod, target.run.is_running()), (pod(&[80]), false));
    assert!(lives.take(Due::Stop).await.is_empty(), "it is under way");
    lives.ends(stop, Outcome::Succeeded).await;
    lives.rest().await;
    assert!(lives.take(Due::Stop).await.is_empty(), "it is stopped");

    let order = lives.now(&over).await;
    assert_eq!(order.service_status(), ServiceStatus::Done);
    assert_eq!(order.deployed_revision().map(u64::from), Some(1), "what it has is kept");
    let held = lives.0.store.holdings(&region(), &over).await.unwrap();
    assert!(held.deployed.unwrap().1.contains(&super::tcp(80)), "its ports are kept");
    assert_eq!(lives.events(&over).await, [Event::Created, Event::Stopped]);
    let entry = &lives.0.store.history(&over, 1).await.unwrap()[0];
    assert_eq!((entry.actor.as_str(), entry.job), ("system", Some(stop.job.as_uuid())));
    assert_eq!(lives.events(&running).await, [Event::Created]);
}

#[tokio::test]
async fn an_order_that_does_not_run_has_nothing_to_stop() {
    let lives = Lives::new().await;
    let store = &lives.0.store;
    let never = fresh_order(store).await;
    let (stopped, gone) = (lives.running().await, lives.running().await);
    let stop = step(store, &stopped, Verb::Stop).await;
    abort(store, &gone).await;
    for order in [&never, &stopped, &gone] {
        lives
            .0
            .run(&format!("update orders set ends_at = now() where id = '{order}' and activated_at is not null"))
            .await;
    }
    assert!(lives.take(Due::Stop).await.is_empty(), "not even while its customer's stop is under way");
    // Should that come to nothing, it runs after all.
    store.job_ended(&region(), &end(&stop, failed())).await.unwrap();
    assert_eq!(orders(&lives.take(Due::Stop).await), [stopped]);
}

#[tokio::test]
async fn a_deploy_that_is_under_way_at_the_end_is_stopped_too() {
    let lives = Lives::new().await;
    let order = lives.running().await;
    let second = deploy_pod(&lives.0.store, &order, &pod(&[81])).await;
    lives.move_end(&order, 0).await;
    let taken = lives.take(Due::Stop).await;
    let stop = lives.job(&taken[0]).await;
    assert_eq!((stop.revision, stop.sequence.get()), (second.revision, second.sequence.get() + 1));
    succeed(&lives.0.store, &second).await;
    assert!(lives.take(Due::Stop).await.is_empty());
}

#[tokio::test]
async fn a_stop_that_came_to_nothing_is_tried_again_ever_later() {
    let lives = Lives::new().await;
    let order = lives.running().await;
    lives.move_end(&order, 0).await;
    let pause = format!("select extract(epoch from step_after - now())::bigint from orders where id = '{order}'");
    for expected in [30, 60, 120, 240] {
        let taken = lives.take(Due::Stop).await;
        lives.ends(&taken[0], failed()).await;
        let pause = lives.0.number(&pause).await;
        assert!((expected - 5..=expected).contains(&pause), "{pause} instead of {expected}");
        assert!(lives.take(Due::Stop).await.is_empty(), "not at once");
        lives.rest().await;
    }
    lives.0.run("update orders set step_tries = 1000000").await;
    lives.take(Due::Stop).await;
    assert!((3595..=3600).contains(&lives.0.number(&pause).await), "an hour at most");
}

#[tokio::test]
async fn a_pause_that_was_begun_while_the_clock_was_ahead_holds_no_step_up() {
    let lives = Lives::new().await;
    let order = lives.running().await;
    lives.move_end(&order, 0).await;
    for (pause, taken) in [("59 minutes", 0), ("61 minutes", 1)] {
        lives.0.run(&format!("update orders set step_after = now() + interval '{pause}'")).await;
        assert_eq!(lives.take(Due::Stop).await.len(), taken, "{pause}");
    }
}

#[tokio::test]
async fn each_step_is_taken_once_by_however_many() {
    let lives = Lives::new().await;
    let (ended, warned) = (lives.ended(30, 10).await, lives.running().await);
    lives.move_end(&warned, 30).await;
    let stores: Vec<_> = (0..8).map(|_| lives.0.store_with(|settings| settings.pool_size = 2)).collect();
    let taken = join_all(stores.iter().map(|store| store.take_steps(Due::Stop, DELETE_AFTER))).await;
    let stopped: Vec<Taken> = taken.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(stopped.len(), 30);
    assert_eq!(orders(&stopped).into_iter().collect::<BTreeSet<_>>(), ended.iter().cloned().collect());
    let jobs: BTreeSet<_> = stopped.iter().map(|taken| taken.job).collect();
    assert_eq!(jobs.len(), 30);
    let warnings = join_all(stores.iter().map(|store| store.warn_of_ends(WARN))).await;
    assert_eq!(warnings.into_iter().map(Result::unwrap).sum::<u64>(), 1);

    for order in &ended {
        lives.0.store.extend_order(order, 1, MOST, &word()).await.unwrap();
    }
    let taken = join_all(stores.iter().map(|store| store.take_steps(Due::Start, DELETE_AFTER))).await;
    assert_eq!(taken.into_iter().map(|taken| taken.unwrap().len()).sum::<usize>(), 30);
    for order in &ended {
        assert_eq!(lives.events(order).await, [Event::Created, Event::Stopped, Event::Extended, Event::Started]);
    }
}

#[tokio::test]
async fn an_order_is_warned_once_and_again_of_a_new_end() {
    let lives = Lives::new().await;
    let warn = async || lives.0.store.warn_of_ends(WARN).await.unwrap();
    // A tenth of an hour is more than a minute, and of 36 seconds it is less.
    let (long, over) = (lives.running().await, lives.running().await);
    lives.move_end(&long, 62).await;
    lives.move_end(&over, 0).await;
    assert_eq!(warn().await, 0);
    lives.move_end(&long, 58).await;
    assert_eq!((warn().await, warn().await), (1, 0));
    lives.0.store.extend_order(&long, 1, MOST, &word()).await.unwrap();
    assert_eq!(warn().await, 0);
    lives.move_end(&long, 58).await;
    assert_eq!(warn().await, 1);
    assert_eq!(lives.events(&long).await, [Event::Created, Event::Warned, Event::Extended, Event::Warned]);

    let short = lives.running().await;
    lives.0.run(&format!("update orders set duration_hours = 1 where id = '{short}'")).await;
    lives.move_end(&short, 365).await;
    assert_eq!(lives.0.store.warn_of_ends(86_400.0).await.unwrap(), 0, "a tenth of an hour is 360 s");
    lives.move_end(&short, 355).await;
    assert_eq!(lives.0.store.warn_of_ends(86_400.0).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_done_is_what_the_dates_say() {
    let lives = Lives::new().await;
    let settings = LifeSettings {
        warn: Duration::from_secs_f64(WARN),
        delete_after: Duration::from_secs_f64(DELETE_AFTER),
        sweep_every: Duration::from_secs(1),
    };
    let mut expected = Vec::new();
    // From an hour and a half before the end to an hour and a half after it; no moment is within seconds of a date.
    for n in 0..40_u32 {
        let order = lives.running().await;
        lives.0.run(&format!("update orders set duration_hours = {} where id = '{order}'", 1 + n % 7 * 100)).await;
        lives.move_end(&order, 5450 - 271 * i64::from(n)).await;
        expected.push(order);
    }
    lives.0.store.warn_of_ends(WARN).await.unwrap();
    lives.take(Due::Stop).await;
    lives.0.store.approve_deletes(&region(), DELETE_AFTER, &word()).await.unwrap();
    lives.take(Due::ApprovedDelete).await;
    let mut seen = BTreeSet::new();
    for order in expected {
        let as_it_is = lives.now(&order).await;
        let dates = Dates::of(as_it_is.ends_at.unwrap(), as_it_is.purchase.duration_hours, &settings);
        let now = Timestamp::now();
        let due = match now {
            now if now < dates.warn_at => &[][..],
            now if now < dates.end_at => &[Event::Warned],
            now if now < dates.delete_at => &[Event::Stopped],
            _ => &[Event::Stopped, Event::DeleteApproved, Event::Deleted],
        };
        assert_eq!(lives.events(&order).await[1..], *due, "{dates:?} at {now}");
        seen.insert(due.last().map(|event| event.as_str()));
    }
    assert_eq!(seen, [None, Some("deleted"), Some("stopped"), Some("warned")].into(), "each of them");
}
