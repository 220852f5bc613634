//! Pages.

use std::sync::Arc;

use common::log::{Begins, FollowEnd, PAGE_BYTES};
use common::read::LogStart;

use super::*;
use crate::cluster::NodeSeen;
use crate::operations::OperationError;

#[tokio::test(start_paused = true)]
async fn a_page_begins_where_it_is_asked_to() {
    let kubelet = Arc::new(Kubelet::default());
    let lines =
        [(10 * SECOND, "a\n"), (20 * SECOND, "b\n"), (20 * SECOND, "c\n"), (19 * SECOND, "d\n"), (30 * SECOND, "e")];
    kubelet.set("p", false, &lines);
    let context = kubelet.context();
    show(&context, "b", true, None);
    for (case, from, begins, expected) in [
        ("beginning", LogStart::Beginning, Begins::There, &["a", "b", "c", "d"][..]),
        ("the last ones, of which one is not whole", LogStart::Tail(3), Begins::There, &["b", "c", "d"]),
        ("the last one, which is not whole", LogStart::Tail(1), Begins::There, &["d"]),
        ("since", LogStart::Since(20), Begins::There, &["b", "c", "d"]),
        ("at", LogStart::At(mark(20 * SECOND, 1)), Begins::There, &["c", "d"]),
        ("after", LogStart::After(mark(20 * SECOND, 0)), Begins::There, &["c", "d"]),
        ("after the last", LogStart::After(mark(19 * SECOND, 0)), Begins::There, &[]),
        ("rotated away", LogStart::After(mark(15 * SECOND, 0)), Begins::Later, &["b", "c", "d"]),
        ("at one that was rotated away", LogStart::At(mark(9 * SECOND, 0)), Begins::Later, &["a", "b", "c", "d"]),
    ] {
        let (head, lines) = page(&context, None, from).await;
        assert_eq!((head.begins, texts(&lines)), (begins, expected.to_vec()), "{case}");
        assert!(head.at_end && head.run == run_id("b") && head.present == Some(run_id("b")), "{case}: {head:?}");
    }
    // Once nothing is written to it any more, what has no end is a line.
    show(&context, "b", false, None);
    let (_, lines) = page(&context, None, LogStart::After(mark(20 * SECOND, 1))).await;
    assert_eq!(texts(&lines), ["d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn pages_make_the_whole_log() {
    let kubelet = Arc::new(Kubelet::default());
    // Many lines of one time, and times that go back and forth.
    let text = |number: i64| format!("{number:->300}");
    let lines: Vec<_> = (0..6000).map(|n| ((n / 7 + n % 3) * 100_000_000, text(n) + "\n")).collect();
    kubelet.logs.lock().unwrap().insert(("p".to_owned(), false), lines.clone());
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (mut found, mut from) = (Vec::new(), LogStart::Beginning);
    loop {
        let (head, lines) = page(&context, Some("b"), from).await;
        assert_eq!(head.begins, Begins::There);
        let bytes: usize = lines.iter().map(|(_, text)| text.len()).sum();
        assert!(bytes <= PAGE_BYTES);
        from = LogStart::After(lines.last().unwrap().0);
        found.extend(lines.into_iter().map(|(_, text)| text + "\n"));
        if head.at_end {
            break;
        }
    }
    assert!(found.iter().eq(lines.iter().map(|(_, text)| text)));
    assert!(kubelet.asked.lock().unwrap().len() >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_found_after_its_container_has_restarted() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", true, &[(10 * SECOND, "old\n"), (11 * SECOND, "last")]);
    kubelet.set("p", false, &[(20 * SECOND, "new\n")]);
    let context = kubelet.context();
    show(&context, "c", true, Some("b"));
    let (head, lines) = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))).await;
    assert_eq!((head.begins, texts(&lines)), (Begins::There, vec!["last"]));
    assert_eq!((head.run, head.present), (run_id("b"), Some(run_id("c"))));

    // The watch of pods is behind: the kubelet shows the new run's log already.
    show(&context, "b", true, None);
    let behind = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0)));
    let ((head, lines), ()) = tokio::join!(behind, async {
        seconds(1).await;
        show(&context, "c", true, Some("b"));
    });
    assert_eq!((head.begins, texts(&lines)), (Begins::There, vec!["last"]));

    // After one more restart nothing is left of it.
    show(&context, "d", true, Some("c"));
    let (head, lines) = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))).await;
    assert_eq!((head.begins, lines.len(), head.present), (Begins::Nowhere, 0, Some(run_id("d"))));
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_are_whole_lines_of_the_log_whose_places_are_found_again() {
    // As the kubelet shows a long line: its parts are entries of their own, and only the first one has its time.
    let kubelet = Arc::new(Kubelet::default());
    let whole = "long longer longest";
    for (case, [one, two, three], expected) in [
        ("at once", [20, 20, 20], (20 * SECOND, whole)),
        ("slowly", [20, 21, 22], (20 * SECOND, whole)),
        ("over a long time", [20, 30, 50], (50 * SECOND + 2, "longest")),
    ] {
        let [one, two, three] = [one * SECOND, two * SECOND + 1, three * SECOND + 2];
        kubelet.set("p", false, &[(10 * SECOND, "a\n"), (one, "long "), (two, "longer "), (three, "longest\n")]);
        let context = kubelet.context();
        show(&context, "b", true, None);
        let (head, lines) = page(&context, None, LogStart::Tail(1)).await;
        assert_eq!((head.begins, texts(&lines)), (Begins::There, vec![expected.1]), "{case}");
        assert_eq!(lines[0].0, mark(expected.0, 0), "{case}");
        let (head, lines) = page(&context, Some("b"), LogStart::After(lines[0].0)).await;
        assert_eq!((head.begins, lines.len()), (Begins::There, 0), "{case}: it is found again");
    }
    // Of lines of one time the first is known.
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (10 * SECOND, "b\n"), (10 * SECOND, "c\n")]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (_, lines) = page(&context, None, LogStart::Tail(1)).await;
    assert_eq!((texts(&lines), lines[0].0), (vec!["a", "b", "c"], mark(10 * SECOND, 0)));
}

#[tokio::test(start_paused = true)]
async fn no_line_of_a_run_that_is_not_shown_yet_is_told_as_one_of_the_run_before() {
    let now = now_ns();
    let hour_ago = now / SECOND - 3600;
    for (case, from) in [
        ("all", LogStart::Beginning),
        ("the last ones", LogStart::Tail(2)),
        ("since a time", LogStart::Since(hour_ago)),
    ] {
        let kubelet = Arc::new(Kubelet::default());
        kubelet.set("p", true, &[(hour_ago * SECOND, "old\n")]);
        kubelet.set("p", false, &[(now, "new\n"), (now + 1, "newer\n")]);
        let context = kubelet.context();
        show_pods(&context, vec![started(pod("p", "b", true, None), hour_ago)]);
        let ((head, lines), ()) = tokio::join!(page(&context, None, from), async {
            seconds(1).await;
            show_pods(&context, vec![started(pod("p", "c", true, Some("b")), now / SECOND)]);
        });
        assert_eq!((head.run, texts(&lines)), (run_id("c"), vec!["new", "newer"]), "{case}");
        // The run before the last is told apart by when the last one started.
        show_pods(&context, vec![started(pod("p", "c", true, Some("b")), hour_ago + 100)]);
        kubelet.set("p", true, &[((hour_ago + 100) * SECOND, "of c\n")]);
        let ((head, lines), ()) = tokio::join!(page(&context, Some("b"), from), async {
            seconds(1).await;
            show_pods(&context, vec![started(pod("p", "d", true, Some("c")), now / SECOND)]);
        });
        assert_eq!((head.begins, lines.len()), (Begins::Nowhere, 0), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn young_lines_of_a_run_that_is_surely_shown_are_told_at_once() {
    let (now, second) = (now_ns(), now_ns() / SECOND);
    let old = (now - 3600 * SECOND, "first\n");
    for (case, from, starts, lines, asked) in [
        ("it has just started", LogStart::Beginning, second, &[(now, "a\n"), (now + 1, "b\n")][..], 1),
        ("its log begins long ago", LogStart::Beginning, 0, &[old, (now, "b\n")], 1),
        ("so it does beyond the last lines", LogStart::Tail(1), 0, &[old, (now, "b\n")], 3),
        ("so it does beyond a time", LogStart::Since(second), 0, &[old, (now, "b\n")], 2),
        ("at a line", LogStart::At(mark(now, 0)), 0, &[(now, "b\n")], 1),
        ("nothing was written yet", LogStart::Beginning, 0, &[], 1),
    ] {
        let kubelet = Arc::new(Kubelet::default());
        kubelet.set("p", false, lines);
        let context = kubelet.context();
        show_pods(&context, vec![started(pod("p", "b", true, None), starts)]);
        let begun = tokio::time::Instant::now();
        let (_, told) = page(&context, None, from).await;
        assert_eq!(told.last().map(|(_, text)| text.as_str()), (!lines.is_empty()).then_some("b"), "{case}");
        assert_eq!((begun.elapsed(), kubelet.asked.lock().unwrap().len()), (Duration::ZERO, asked), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_order_that_was_stopped_a_run_is_over_and_no_other_has_a_log() {
    let context = Arc::new(Kubelet::default()).context();
    show_pods(&context, Vec::new());
    show_deployment(&context, 0);
    for container in [None, Some("web".parse().unwrap())] {
        let from = LogStart::After(mark(10 * SECOND, 0));
        let query = LogPageQuery { container, run: Some(run_id("b")), from };
        let head = take_head(&mut query.run(&context, &"a".parse().unwrap()).await.unwrap().into()).unwrap();
        assert_eq!((head.begins, head.over, head.present), (Begins::Nowhere, Some(FollowEnd::PodStopped), None));
        let query = LogPageQuery { run: None, ..query };
        match query.run(&context, &"a".parse().unwrap()).await {
            Err(OperationError::Refused(failure)) => assert!(failure.message.contains("stopped"), "{failure:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_is_not_gone_because_its_kubelet_does_not_know_it_for_a_moment() {
    let context = Arc::new(Kubelet::default()).context();
    show(&context, "b", true, None);
    let query = LogPageQuery { container: None, run: Some(run_id("b")), from: LogStart::Beginning };
    let answer = query.run(&context, &"a".parse().unwrap()).await;
    assert!(matches!(answer, Err(OperationError::Refused(_))), "{answer:?}");
    show(&context, "b", false, None);
    assert_eq!(page(&context, Some("b"), LogStart::Beginning).await.0.begins, Begins::Nowhere);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_another_worker_knows_yet_is_waited_for_if_it_may_be_that_young() {
    let (kubelet, now) = (Arc::new(Kubelet::default()), now_ns());
    kubelet.set("p", false, &[(now, "a\n"), (now + 1, "b\n")]);
    let context = kubelet.context();
    for from in [LogStart::After(mark(now, 0)), LogStart::Beginning] {
        show(&context, "b", true, None);
        let asked = page(&context, Some("c"), from);
        let ((head, lines), ()) = tokio::join!(asked, async {
            seconds(1).await;
            show_pods(&context, vec![started(pod("p", "c", true, Some("b")), now / SECOND)]);
        });
        assert_eq!((head.begins, texts(&lines).pop()), (Begins::There, Some("b")), "{from:?}");
    }
    let begun = tokio::time::Instant::now();
    let (head, _) = page(&context, Some("d"), LogStart::After(mark(now - 10 * SECOND, 0))).await;
    assert_eq!((head.begins, begun.elapsed()), (Begins::Nowhere, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_was_missed_in_the_log_of_another_run_is_looked_for_again() {
    let (kubelet, now) = (Arc::new(Kubelet::default()), now_ns());
    kubelet.set("p", true, &[(10 * SECOND, "old\n"), (11 * SECOND, "last\n")]);
    kubelet.set("p", false, &[(now, "new\n")]);
    let context = kubelet.context();
    show_pods(&context, vec![started(pod("p", "b", true, None), 9)]);
    let ((head, lines), ()) = tokio::join!(page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))), async {
        // Later than the watch of pods usually is.
        seconds(3).await;
        show_pods(&context, vec![started(pod("p", "c", true, Some("b")), now / SECOND)]);
    });
    assert_eq!((head.begins, texts(&lines)), (Begins::There, vec!["last"]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_no_new_pods_is_not_lost() {
    let kubelet = Arc::new(Kubelet::default());
    *kubelet.lost.lock().unwrap() = true;
    let context = kubelet.context();
    let mut leaves = leaving(pod("p", "b", true, None), false);
    leaves["spec"]["nodeName"] = "n".into();
    show_pods(&context, vec![leaves, pod("q", "c", true, None)]);
    for is_lost in [false, true] {
        let (ready, empty) = (!is_lost, String::new());
        let node =
            NodeSeen { name: "n".into(), region: None, ready, cordoned: true, cpu: empty.clone(), memory: empty };
        context.facts.send_replace(Facts { answers: true, nodes: vec![node], ..Facts::default() });
        let query = LogPageQuery { container: None, run: Some(run_id("b")), from: LogStart::Beginning };
        let answer = query.run(&context, &"a".parse().unwrap()).await;
        assert_eq!(answer.is_ok(), is_lost, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_line_is_lost_or_told_twice_where_the_clock_was_set_back() {
    let kubelet = Arc::new(Kubelet::default());
    // It comes back to where it was.
    let times = [100, 101, 102, 40, 60, 80, 96, 99, 101, 103];
    let texts: Vec<_> = (0..times.len()).map(|number| format!("{number}\n")).collect();
    let lines: Vec<_> = (0..).zip(times).zip(&texts).map(|((n, at), text)| (at * SECOND + n, text.as_str())).collect();
    kubelet.set("p", false, &lines);
    let context = kubelet.context();
    show(&context, "b", true, None);
    for (number, (time, _)) in lines.iter().enumerate() {
        let (head, told) = page(&context, Some("b"), LogStart::After(mark(*time, 0))).await;
        assert_eq!(head.begins, Begins::There, "after {number}");
        let expected: Vec<String> = (number + 1..times.len()).map(|number| number.to_string()).collect();
        assert_eq!(told.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), expected, "after {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_was_costs_no_time_where_another_shows_that_the_run_is_the_same() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (20 * SECOND, "b\n")]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    for (second, waits) in [(12, false), (20, false), (9, true)] {
        let begun = tokio::time::Instant::now();
        let (head, _) = page(&context, Some("b"), LogStart::After(mark(second * SECOND, 7))).await;
        assert_eq!((head.begins, !begun.elapsed().is_zero()), (Begins::Later, waits), "{second}");
    }
}
