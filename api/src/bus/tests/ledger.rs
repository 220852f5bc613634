//! Reservations, alone and against others.

use std::collections::BTreeSet;

use common::ledger::{Observed, ObservedPort, PortState};
use common::name::JobId;
use common::port::{HostPort, Protocol};
use futures::future::join_all;
use jiff::Timestamp;

use super::super::batch::{WriteError, Writer};
use super::super::plan::Write;
use super::super::{Ledger, ReserveError, Stale};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_64_racers_on_one_port_one_wins() {
    let (server, first) = start().await;
    let second = connect(&server).await;
    for round in 0..5 {
        let wanted = tcps([8000 + round]);
        let racers = (0..64).map(|racer| {
            let ledger = if racer % 2 == 0 { first.ledger.clone() } else { second.ledger.clone() };
            let wanted = wanted.clone();
            tokio::spawn(async move {
                let order = order(&format!("order-{racer}"));
                (racer, ledger.reserve(&region(), &order, JobId::new(), &wanted).await)
            })
        });
        let mut winners = Vec::new();
        for ended in join_all(racers).await {
            match ended.unwrap() {
                (racer, Ok(_)) => winners.push(racer),
                (_, Err(ReserveError::Occupied(ports))) => assert_eq!(ports, [tcp(8000 + round)]),
                (racer, Err(error)) => panic!("racer {racer}: {error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let holder = order(&format!("order-{}", winners[0]));
        for bus in [&first, &second] {
            let holds = async || bus.ledger.held_by(&region(), &holder).iter().any(|(host, _)| wanted.contains(host));
            until("the winner holds it everywhere", holds).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_with_overlapping_ports_one_wins_whole() {
    let (server, first) = start().await;
    let second = connect(&server).await;
    for round in 0..20 {
        let base = 9000 + round * 10;
        let (left, right) = (tcps(base..base + 4), tcps(base + 3..base + 8));
        let (here, one, two) = (region(), order("one"), order("two"));
        let (left_ended, right_ended) = tokio::join!(
            first.ledger.reserve(&here, &one, JobId::new(), &left),
            second.ledger.reserve(&here, &two, JobId::new(), &right),
        );
        let (winner, loser) = match (&left_ended, &right_ended) {
            (Ok(_), Err(ReserveError::Occupied(ports))) | (Err(ReserveError::Occupied(ports)), Ok(_)) => {
                assert_eq!(*ports, [tcp(base + 3)]);
                if left_ended.is_ok() { ((one, left), two) } else { ((two, right), one) }
            }
            other => panic!("round {round}: {other:?}"),
        };
        let holds = |bus: &Bus, order| -> BTreeSet<HostPort> {
            bus.ledger.held_by(&region(), order).into_iter().map(|(host, _)| host).collect()
        };
        let is_here = |port: &HostPort| (base..base + 8).contains(&i64::from(port.port.get()));
        for bus in [&first, &second] {
            until("the winner holds all", async || holds(bus, &winner.0).is_superset(&winner.1)).await;
            assert!(!holds(bus, &loser).iter().any(is_here), "round {round}: the loser holds something");
        }
    }
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let (_server, bus) = start().await;
    let writer = Writer::new(bus.inner.link.clone());
    let write = |port, expected| Write {
        host: tcp(port),
        expected,
        state: Some(PortState::Reserved {
            order: order("one"),
            job: JobId::new(),
            since: Timestamp::now(),
            cooling: None,
        }),
    };
    for (case, writes) in [
        ("the first is wrong", [write(1, 7), write(2, 0), write(3, 0)]),
        ("the middle is wrong", [write(1, 0), write(2, 7), write(3, 0)]),
        ("the last is wrong", [write(1, 0), write(2, 0), write(3, 7)]),
    ] {
        assert!(matches!(writer.write(&region(), &writes).await, Err(WriteError::Conflict)), "{case}");
    }
    // Each key is still as if never written: revision 0 is what it expects.
    let written = writer.write(&region(), &[write(1, 0), write(2, 0), write(3, 0)]).await.unwrap();
    let revisions: Vec<_> = written.iter().map(|(_, entry)| entry.revision).collect();
    assert_eq!(revisions, (revisions[0]..revisions[0] + 3).collect::<Vec<_>>());
    // The revisions are the keys' own: each can be deleted by it.
    let deletes: Vec<_> =
        written.iter().map(|(host, entry)| Write { host: *host, expected: entry.revision, state: None }).collect();
    writer.write(&region(), &deletes).await.unwrap();
}

#[tokio::test]
async fn a_reservation_that_is_released_leaves_what_was_before() {
    let (_server, bus) = start().await;
    let (region, one) = (region(), order("one"));
    let first = bus.ledger.reserve(&region, &one, JobId::new(), &tcps([1, 2])).await.unwrap();
    let before = bus.ledger.held_by(&region, &one);
    let taken_over = bus.ledger.reserve(&region, &one, JobId::new(), &tcps([1, 2, 3])).await.unwrap();
    assert_eq!(bus.ledger.held_by(&region, &one).len(), 3);
    bus.ledger.release(taken_over).await;
    assert_eq!(bus.ledger.held_by(&region, &one), before);
    // Its entries have changed meanwhile: the first reservation is no longer there to be released.
    bus.ledger.release(first).await;
    assert_eq!(bus.ledger.held_by(&region, &one), before);
}

#[tokio::test]
async fn one_of_several_ports_that_changed_does_not_keep_the_others_from_release() {
    let (_server, bus) = start().await;
    let (region, one) = (region(), order("one"));
    let first = bus.ledger.reserve(&region, &one, JobId::new(), &tcps([1, 2, 3])).await.unwrap();
    let _ = bus.ledger.reserve(&region, &one, JobId::new(), &tcps([2])).await.unwrap();
    bus.ledger.release(first).await;
    let held: Vec<_> = bus.ledger.held_by(&region, &one).into_iter().map(|(host, _)| host).collect();
    assert_eq!(held, [tcp(2)]);
}

#[tokio::test]
async fn a_port_is_occupied_by_the_ledger_by_observation_and_by_denial() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    let (region, one) = (region(), order("one"));
    let _ = bus.ledger.reserve(&region, &one, JobId::new(), &tcps([80])).await.unwrap();
    let seen = |port: i64, order| ObservedPort { protocol: Protocol::Tcp, port: port.try_into().unwrap(), order };
    let ports = vec![seen(81, None), seen(82, Some(one.clone())), seen(83, Some(order("two")))];
    observe(&worker, &Observed { ports, denied: vec![range("90-91")], ..nothing_observed() }).await;

    let all: Vec<_> = (80..=92).map(tcp).collect();
    let occupied = |own| bus.ledger.occupied(&region, &all, own).unwrap();
    until("the observation is known", async || occupied(None).len() > 1).await;
    assert_eq!(occupied(None), [80, 81, 82, 83, 90, 91].map(tcp));
    assert_eq!(occupied(Some(&one)), [81, 83, 90, 91].map(tcp));
    let udp = HostPort { protocol: Protocol::Udp, port: tcp(81).port };
    assert!(bus.ledger.occupied(&region, &[udp], None).unwrap().is_empty());
    let elsewhere = "vega".parse().unwrap();
    assert!(bus.ledger.occupied(&elsewhere, &all, None).unwrap().is_empty());

    let refused = bus.ledger.reserve(&region, &one, JobId::new(), &tcps(80..=84)).await;
    assert!(matches!(refused, Err(ReserveError::Occupied(ports)) if ports == [81, 83].map(tcp)));
}

#[tokio::test]
async fn assigned_ports_are_free_and_different_until_there_is_none() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    observe(&worker, &Observed { denied: vec![range("20001-20002")], ..nothing_observed() }).await;
    until("the denial is known", async || !bus.ledger.occupied(&region(), &[tcp(20001)], None).unwrap().is_empty())
        .await;
    let (one, range) = (order("one"), range("20000-20005"));
    let wanted = [Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Tcp];
    let (_reserved, ports) = bus.ledger.reserve_random(&region(), &one, JobId::new(), &wanted, range).await.unwrap();
    assert_eq!(ports.iter().map(|host| host.protocol).collect::<Vec<_>>(), wanted);
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 4);
    assert!(ports.iter().all(|host| range.contains(host.port) && ![20001, 20002].contains(&host.port.get())));

    let more = [Protocol::Tcp, Protocol::Tcp];
    let exhausted = bus.ledger.reserve_random(&region(), &one, JobId::new(), &more, range).await;
    assert!(matches!(exhausted, Err(ReserveError::Exhausted)));
    assert_eq!(bus.ledger.held_by(&region(), &one).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn racers_for_assigned_ports_share_the_range() {
    let (server, first) = start().await;
    let second = connect(&server).await;
    let racers = (0..40).map(|racer| {
        let ledger: Ledger = if racer % 2 == 0 { first.ledger.clone() } else { second.ledger.clone() };
        tokio::spawn(async move {
            let order = order(&format!("order-{racer}"));
            ledger.reserve_random(&region(), &order, JobId::new(), &[Protocol::Tcp; 2], range("20000-20999")).await
        })
    });
    let mut ports = BTreeSet::new();
    for ended in join_all(racers).await {
        let (_reserved, assigned) = ended.unwrap().unwrap();
        ports.extend(assigned);
    }
    assert_eq!(ports.len(), 80);
}

#[tokio::test]
async fn a_ledger_that_was_never_completed_is_not_asked() {
    let server = NatsServer::start().await;
    let bus = connect(&server).await;
    assert_eq!(bus.ledger.occupied(&region(), &[tcp(80)], None), Err(Stale::Incomplete));
    let refused = bus.ledger.reserve(&region(), &order("one"), JobId::new(), &tcps([80])).await;
    assert!(matches!(refused, Err(ReserveError::Stale(Stale::Incomplete))));
    assert_eq!(bus.health().not_ready, ["the port ledger is being rebuilt"]);
    bus.ledger.complete().await.unwrap();
    bus.ledger.complete().await.unwrap();
    assert_eq!(bus.ledger.occupied(&region(), &[tcp(80)], None), Ok(Vec::new()));
    assert!(bus.health().is_ready());
    assert!(connect(&server).await.ledger.is_complete());
}

/// `design.md` §4 and the budgets of the product: a look costs nothing, a change one batch.
#[tokio::test]
async fn looking_costs_no_message_and_reserving_one_batch() {
    let (_server, bus) = start().await;
    let (region, one, job) = (region(), order("one"), JobId::new());
    let sent = || bus.inner.link.client.statistics().out_messages.load(std::sync::atomic::Ordering::Relaxed);
    let mut before = sent();
    let mut cost = || sent() - std::mem::replace(&mut before, sent());

    for _ in 0..100 {
        bus.ledger.occupied(&region, &[tcp(1), tcp(2)], None).unwrap();
        bus.ledger.held_by(&region, &one);
        bus.ledger.due();
        bus.regions.live();
        bus.health();
    }
    assert_eq!(cost(), 0, "looks");
    let _ = bus.ledger.reserve(&region, &one, job, &tcps([1, 2, 3])).await.unwrap();
    assert_eq!(cost(), 3, "one batch of three keys");
    let _ = bus.ledger.reserve(&region, &one, job, &tcps([1, 2, 3])).await.unwrap();
    assert_eq!(cost(), 0, "the same again");
    let _ = bus.ledger.reserve(&region, &one, job, &tcps([4])).await.unwrap();
    assert_eq!(cost(), 1, "one key");
    bus.ensure_region(&region).await.unwrap();
    cost();
    bus.publish_job(&super::job(), true).await.unwrap();
    assert_eq!(cost(), 1, "a job");
}
