//! The same query begins with the same line, however often and by however many it is asked.

use common::log::Mark;

use super::super::log_anchors::AnchorKey;
use super::cluster::shared_store;
use super::*;

fn mark(time_ns: i64) -> Mark {
    Mark { time_ns, nth: 3 }
}

#[tokio::test]
async fn the_first_anchor_of_a_query_holds() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let (container, runs) = ("web".parse().unwrap(), ["1a2b3c4d-0123456789ab", "1a2b3c4d-ffffffffffff"]);
    let runs = runs.map(|run| run.parse().unwrap());
    let key = |run: usize, tail_lines, start_at| AnchorKey {
        order: &order,
        container: &container,
        run: &runs[run],
        tail_lines,
        start_at,
    };
    assert_eq!(store.log_anchor(&key(0, 10, 0), Some(mark(1))).await.unwrap(), Some(mark(1)));
    assert_eq!(store.log_anchor(&key(0, 10, 0), Some(mark(2))).await.unwrap(), Some(mark(1)));
    assert_eq!(store.log_anchor(&key(0, 11, 0), Some(mark(2))).await.unwrap(), Some(mark(2)));
    assert_eq!(store.log_anchor(&key(0, 10, 5), Some(mark(3))).await.unwrap(), Some(mark(3)));
    assert_eq!(store.log_anchor(&key(1, 10, 0), None).await.unwrap(), None);
    assert_eq!(store.log_anchor(&key(1, 10, 0), Some(mark(4))).await.unwrap(), None, "the beginning holds as well");

    let many: Vec<_> = (0..16).map(|number| (key(1, 99, 0), Some(mark(number)))).collect();
    let kept = many.iter().map(|(key, first)| store.log_anchor(key, *first));
    let kept = futures::future::try_join_all(kept).await.unwrap();
    assert!(kept.iter().all(|anchor| *anchor == kept[0]), "{kept:?}");
}

#[tokio::test]
async fn an_order_has_so_many_anchors_and_keeps_the_latest() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let (container, run) = ("web".parse().unwrap(), "1a2b3c4d-0123456789ab".parse().unwrap());
    let key = |tail_lines| AnchorKey { order: &order, container: &container, run: &run, tail_lines, start_at: 0 };
    for number in 0..300 {
        store.log_anchor(&key(number), Some(mark(i64::from(number)))).await.unwrap();
    }
    assert_eq!(store.log_anchor(&key(299), Some(mark(-1))).await.unwrap(), Some(mark(299)));
    assert_eq!(store.log_anchor(&key(0), Some(mark(-1))).await.unwrap(), Some(mark(-1)), "it was forgotten");
    store.forget_old_log_anchors().await.unwrap();
    assert_eq!(store.log_anchor(&key(298), Some(mark(-1))).await.unwrap(), Some(mark(298)), "it is not old");
}
