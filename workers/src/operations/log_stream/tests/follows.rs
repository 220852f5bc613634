//! Follows.

use std::sync::Arc;

use common::log::{Begins, FollowEnd};
use common::read::LogFollowQuery;

use super::super::{Listener, follow};
use super::*;
use crate::operations::OperationError;

/// Writes down what is told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Listener for Notes {
    async fn line(&mut self, _: Mark, text: &[u8]) -> Result<(), FollowEnd> {
        self.0.push(String::from_utf8(text.to_vec()).unwrap());
        Ok(())
    }

    async fn gap(&mut self) -> Result<(), FollowEnd> {
        self.0.push("GAP".to_owned());
        Ok(())
    }

    async fn during<T: Send>(&mut self, wait: impl Future<Output = T> + Send) -> Result<T, FollowEnd> {
        Ok(wait.await)
    }
}

/// Follows until the end, while this happens.
async fn followed(
    context: &Context,
    after: Option<Mark>,
    happens: impl Future<Output = ()>,
) -> (FollowEnd, Vec<String>) {
    let (order, mut notes) = ("a".parse().unwrap(), Notes::default());
    let query = LogFollowQuery { container: "web".parse().unwrap(), run: run_id("b"), after };
    let (end, ()) = tokio::join!(follow(context, &order, &query, &mut notes), happens);
    (end, notes.0)
}

#[tokio::test(start_paused = true)]
async fn a_follow_goes_on_after_its_last_line_whatever_breaks_off() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (20 * SECOND, "b\n"), (20 * SECOND, "half of")]);
    kubelet.ends.lock().unwrap().extend([End::Broken, End::Broken, End::Clean]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, Some(mark(10 * SECOND, 0)), async {
        // Opened three times by then, and a fourth time after a long silence.
        seconds(250).await;
        let ended = [(20 * SECOND, "b\n"), (20 * SECOND, "half of it\n"), (30 * SECOND, "end")];
        kubelet.set("p", true, &ended);
        kubelet.set("p", false, &[(40 * SECOND, "new\n")]);
        kubelet.end_all.notify_waiters();
        // The watch of pods is behind.
        seconds(2).await;
        show(&context, "c", true, Some("b"));
    })
    .await;
    assert_eq!((end, told), (FollowEnd::ContainerRestarted, vec!["b".into(), "half of it".into(), "end".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_says_when_lines_are_lost() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(50 * SECOND, "rotated\n")]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, Some(mark(10 * SECOND, 0)), async {
        seconds(60).await;
        kubelet.logs.lock().unwrap().clear();
        kubelet.end_all.notify_waiters();
        seconds(20).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["GAP".into(), "rotated".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_before_all_was_read_is_told_as_a_gap() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
    kubelet.ends.lock().unwrap().push_back(End::Broken);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, None, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kubelet.logs.lock().unwrap().clear();
        seconds(20).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["a".into(), "GAP".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_container_that_says_nothing_is_opened_as_seldom_as_any_silent_one() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[]);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, None, async {
        seconds(1900).await;
        assert_eq!(kubelet.asked.lock().unwrap().len(), 10);
        kubelet.set("p", false, &[(10 * SECOND, "at last\n")]);
        kubelet.end_all.notify_waiters();
        seconds(1).await;
        show(&context, "b", false, None);
        kubelet.end_all.notify_waiters();
        seconds(20).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["at last".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_run_that_is_over_waits_for_the_next_one() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (11 * SECOND, "b")]);
    let context = kubelet.context();
    show(&context, "b", false, None);
    let (end, told) = followed(&context, None, async {
        seconds(3000).await;
        assert_eq!(kubelet.asked.lock().unwrap().len(), 1, "nothing is asked while nothing happens");
        // Whatever became of its log: all of it was told.
        kubelet.logs.lock().unwrap().clear();
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["a".into(), "b".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_pod_that_was_evicted_ends_when_another_takes_its_place_or_none_shall() {
    for (case, wanted, logs, expected) in [
        ("another comes", 1, true, (FollowEnd::PodReplaced, &["a", "b"][..])),
        ("another comes, and its log is gone, of which all was told", 1, false, (FollowEnd::PodReplaced, &["a", "b"])),
        ("the order is stopped", 0, true, (FollowEnd::PodStopped, &["a", "b"])),
    ] {
        let kubelet = Arc::new(Kubelet::default());
        kubelet.set("p", false, &[(10 * SECOND, "a\n"), (11 * SECOND, "b")]);
        let context = kubelet.context();
        show_deployment(&context, 1);
        let evicted = leaving(pod("p", "b", true, None), true);
        show_pods(&context, vec![evicted.clone()]);
        let (end, told) = followed(&context, None, async {
            seconds(3000).await;
            assert_eq!(kubelet.asked.lock().unwrap().len(), 1, "{case}: nothing is asked while nothing happens");
            if !logs {
                kubelet.logs.lock().unwrap().clear();
            }
            show_deployment(&context, wanted);
            let other = (wanted > 0).then(|| pod("q", "c", true, None));
            show_pods(&context, [evicted].into_iter().chain(other).collect());
        })
        .await;
        assert_eq!((end, told), (expected.0, expected.1.iter().map(|line| (*line).to_owned()).collect()), "{case}");
        let (head, lines) = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))).await;
        let (begins, rest) = if logs { (Begins::There, vec!["b"]) } else { (Begins::Nowhere, vec![]) };
        assert_eq!((head.over, head.begins, texts(&lines)), (Some(end), begins, rest), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_pod_on_a_lost_node_ends_with_a_gap_once_another_has_taken_its_place() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
    kubelet.ends.lock().unwrap().push_back(End::Broken);
    let context = kubelet.context();
    show_deployment(&context, 1);
    let lost = leaving(pod("p", "b", true, None), false);
    show_pods(&context, vec![lost.clone()]);
    let (end, told) = followed(&context, None, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        *kubelet.lost.lock().unwrap() = true;
        seconds(600).await;
        lose_nodes(&context);
        show_pods(&context, vec![lost, pod("q", "c", true, None)]);
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodReplaced, vec!["a".into(), "GAP".into()]));
    let (head, lines) = page(&context, Some("b"), LogStart::After(mark(10 * SECOND, 0))).await;
    assert_eq!((head.over, head.begins, lines.len()), (Some(FollowEnd::PodReplaced), Begins::Nowhere, 0));

    // While its node is there, it is asked again.
    context.facts.send_replace(Facts::default());
    let query = LogPageQuery { container: None, run: Some(run_id("b")), from: LogStart::Beginning };
    let asked = query.run(&context, &"a".parse().unwrap()).await;
    assert!(matches!(asked, Err(OperationError::Retry(_))), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_words_of_a_pod_that_leaves_are_told_while_another_runs_already() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
    let context = kubelet.context();
    show_deployment(&context, 1);
    let (leaves, other) = (|live| leaving(pod("p", "b", live, None), false), || pod("q", "c", true, None));
    show_pods(&context, vec![leaves(true), other()]);
    let (head, _) = page(&context, Some("b"), LogStart::Beginning).await;
    assert_eq!(head.over, None, "it goes on");
    let (end, told) = followed(&context, None, async {
        seconds(60).await;
        kubelet.set("p", false, &[(10 * SECOND, "a\n"), (70 * SECOND, "last words\n")]);
        kubelet.end_all.notify_waiters();
        seconds(1).await;
        show_pods(&context, vec![leaves(false), other()]);
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodReplaced, vec!["a".into(), "last words".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_the_run_before_ends_when_its_log_is_gone() {
    for (case, ends, expected) in [
        ("after all of it was told", End::Clean, &["a"][..]),
        ("before it was read to its end", End::Broken, &["a", "GAP"]),
    ] {
        let kubelet = Arc::new(Kubelet::default());
        kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
        kubelet.ends.lock().unwrap().push_back(ends);
        let context = kubelet.context();
        show(&context, "b", true, None);
        let (end, told) = followed(&context, None, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            kubelet.logs.lock().unwrap().clear();
            seconds(2).await;
            show(&context, "c", true, Some("b"));
        })
        .await;
        assert_eq!(end, FollowEnd::ContainerRestarted, "{case}");
        assert_eq!(told, expected, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ended_well_and_was_not_seen_again_is_told_as_a_gap() {
    // As when a kubelet is started again.
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
    kubelet.ends.lock().unwrap().push_back(End::Clean);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, None, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        *kubelet.lost.lock().unwrap() = true;
        seconds(20).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["a".into(), "GAP".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_missing_at_the_end_of_a_log_is_told_before_its_end() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n")]);
    let context = kubelet.context();
    show(&context, "b", false, None);
    let (end, told) = followed(&context, Some(mark(20 * SECOND, 0)), async {
        seconds(60).await;
        context.mirrors.pods.show(Vec::new());
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["GAP".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_that_is_given_the_log_of_a_run_that_is_not_shown_yet_tells_nothing_of_it() {
    let now = now_ns();
    let hour_ago = now / SECOND - 3600;
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", true, &[(hour_ago * SECOND, "old\n")]);
    kubelet.set("p", false, &[(now, "new\n")]);
    let context = kubelet.context();
    show_pods(&context, vec![started(pod("p", "b", true, None), hour_ago)]);
    let (end, told) = followed(&context, None, async {
        seconds(1).await;
        show_pods(&context, vec![started(pod("p", "c", true, Some("b")), now / SECOND)]);
    })
    .await;
    assert_eq!((end, told), (FollowEnd::ContainerRestarted, vec!["old".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_of_a_run_that_only_another_worker_knows_yet_waits_for_it() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(10 * SECOND, "a\n"), (11 * SECOND, "b\n")]);
    let context = kubelet.context();
    show_deployment(&context, 1);
    show_pods(&context, vec![pod("q", "a", true, None)]);
    let (end, told) = followed(&context, Some(mark(10 * SECOND, 0)), async {
        seconds(1).await;
        show_pods(&context, Vec::new());
        seconds(1).await;
        show(&context, "b", true, None);
        seconds(60).await;
        show_pods(&context, vec![pod("q", "c", true, None)]);
        kubelet.end_all.notify_waiters();
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodReplaced, vec!["b".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_follow_tells_each_line_where_the_clock_was_set_back() {
    let kubelet = Arc::new(Kubelet::default());
    let times = [(100, "a\n"), (101, "b\n"), (40, "c\n"), (60, "d\n"), (96, "e\n"), (102, "f\n")];
    kubelet.set("p", false, &times.map(|(second, text)| (second * SECOND, text)));
    let context = kubelet.context();
    show(&context, "b", true, None);
    for (after, expected) in [(100, &["b", "c", "d", "e", "f"][..]), (60, &["e", "f"])] {
        let (end, told) = followed(&context, Some(mark(after * SECOND, 0)), async {
            seconds(60).await;
            context.mirrors.pods.show(Vec::new());
            kubelet.end_all.notify_waiters();
        })
        .await;
        assert_eq!((end, told), (FollowEnd::PodStopped, expected.iter().map(|line| (*line).to_owned()).collect()));
        show(&context, "b", true, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_found_is_given_up_whatever_is_written_meanwhile() {
    let kubelet = Arc::new(Kubelet::default());
    kubelet.set("p", false, &[(50 * SECOND, "rotated\n")]);
    kubelet.ends.lock().unwrap().push_back(End::Busy);
    let context = kubelet.context();
    show(&context, "b", true, None);
    let (end, told) = followed(&context, Some(mark(10 * SECOND, 0)), async {
        seconds(30).await;
        context.mirrors.pods.show(Vec::new());
        kubelet.end_all.notify_waiters();
    })
    .await;
    assert_eq!((end, told), (FollowEnd::PodStopped, vec!["GAP".into(), "rotated".into()]));
}
