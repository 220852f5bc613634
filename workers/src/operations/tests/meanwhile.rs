//! What becomes of an order when jobs meet: they are held or dropped before each of their requests in turn, while others are
//! done.

use super::*;

/// A job that is stopped at a request that its line holds.
async fn held<'a>(context: &'a Context, line: &Line, job: &'a Job) -> impl Future<Output = Result<(), OperationError>> {
    let mut work = Box::pin(run_job(context, job, slot()));
    tokio::select! {
        done = &mut work => panic!("{:?}: {done:?}", job.change.verb()),
        () = line.held() => work,
    }
}

/// Holds or drops a job before each of its requests, lets the others be done, and lets it go on or delivers it again.
async fn interrupt(before: &[&Job], job: &Job, others: &[&Job]) {
    let all: Vec<&Job> = before.iter().chain([&job]).chain(others).copied().collect();
    let begin = after(before).await;
    for at in 1..=requests(before, job).await {
        for crash in [false, true] {
            let case = format!(
                "{:?} {} before request {at}, then {:?}",
                job.change.verb(),
                if crash { "crashed" } else { "slept" },
                others.iter().map(|other| other.change.verb()).collect::<Vec<_>>()
            );
            let server = begin.copy();
            let line = Line::with(at, Fault::Held);
            let asleep = context(&server, &line, &all);
            let work = held(&asleep, &line, job).await;
            let calm = context(&server, &Arc::default(), &all);
            for other in others {
                assert_eq!(deliver(&calm, other).await, "succeeded", "{case}");
            }
            let end = if crash {
                drop(work);
                deliver(&calm, job).await
            } else {
                line.let_go();
                match tokio::time::timeout(Duration::from_hours(1), work).await.unwrap() {
                    Ok(()) => "succeeded",
                    Err(OperationError::Superseded { .. } | OperationError::Overtaken { .. }) => "superseded",
                    Err(_) => deliver(&calm, job).await,
                }
            };
            let last = others.last().copied().unwrap_or(job);
            // One that had moved the fence may be told so late that all it does is done.
            assert!(end == "superseded" || !(crash || at <= 2), "{case}: {end}");
            assert_is(&server, last, &case);
        }
    }
}

/// Holds a job before each of its requests once it has moved the fence, and a newer one likewise; the older is let go to its
/// end, then the newer.
async fn cross(before: &[&Job], older: &Job, newer: &Job) {
    let all: Vec<&Job> = before.iter().chain([&older, &newer]).copied().collect();
    let begin = after(before).await;
    for at in 3..=requests(before, older).await {
        for at_newer in 3.. {
            let case = format!(
                "{:?} before request {at}, {:?} before request {at_newer}",
                older.change.verb(),
                newer.change.verb()
            );
            let server = begin.copy();
            let (line, line_of_newer) = (Line::with(at, Fault::Held), Line::with(at_newer, Fault::Held));
            let asleep = context(&server, &line, &all);
            let work = held(&asleep, &line, older).await;
            let also_asleep = context(&server, &line_of_newer, &all);
            let mut work_of_newer = Box::pin(run_job(&also_asleep, newer, slot()));
            let ended = tokio::select! {
                done = &mut work_of_newer => Some(done),
                () = line_of_newer.held() => None,
            };
            line.let_go();
            let _ = tokio::time::timeout(Duration::from_hours(1), work).await.unwrap();
            line_of_newer.let_go();
            let is_last = ended.is_some();
            let end = match ended {
                Some(end) => end,
                None => work_of_newer.await,
            };
            if !matches!(end, Ok(())) {
                let calm = context(&server, &Arc::default(), &all);
                assert_eq!(deliver(&calm, newer).await, "succeeded", "{case}: {end:?}");
            }
            assert_is(&server, newer, &case);
            if is_last {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_overtaken_says_whether_what_it_wrote_stands() {
    let (first, second, third, fourth) = (deploy(1), deploy(2), deploy(3), deploy(4));
    let server = after(&[&first]).await;
    // The second has written its Deployment when the third begins, which is then refused.
    let written = requests(&[&first], &second).await - 7;
    let line = Line::with(written, Fault::Held);
    let asleep = context(&server, &line, &[&first, &second, &third]);
    let work = held(&asleep, &line, &second).await;
    let refusing = context(&server, &Line::with(DEPLOYMENT, Fault::Refused), &[&third]);
    assert!(matches!(run_job(&refusing, &third, slot()).await, Err(OperationError::Refused(_))));
    line.let_go();
    let end = work.await;
    assert!(matches!(end, Err(OperationError::Overtaken { by }) if by == third.sequence), "{end:?}");
    assert_is(&server, &second, "what the second wrote stands");
    // Once a newer one has written, it does not.
    let calm = context(&server, &Arc::default(), &[&fourth]);
    assert_eq!(deliver(&calm, &fourth).await, "succeeded");
    let end = run_job(&calm, &second, slot()).await;
    assert!(matches!(end, Err(OperationError::Superseded { .. })), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_slept_or_crashed_never_undoes_newer_ones_and_leaves_nothing_behind() {
    let first = deploy(1);
    interrupt(&[], &deploy(1), &[&deploy(2)]).await;
    interrupt(&[], &deploy(1), &[&delete(2)]).await;
    interrupt(&[], &deploy(1), &[&delete(2), &deploy(3)]).await;
    interrupt(&[&first], &deploy(2), &[&deploy(3)]).await;
    interrupt(&[&first], &deploy(2), &[&deploy(3), &deploy(4)]).await;
    interrupt(&[&first], &deploy(2), &[&delete(3)]).await;
    interrupt(&[&first], &deploy(2), &[&delete(3), &deploy(4)]).await;
    interrupt(&[&first], &delete(2), &[&deploy(3)]).await;
    interrupt(&[&first], &delete(2), &[&deploy(3), &delete(4)]).await;
    let second = deploy(2);
    interrupt(&[&first], &second, &[&about(&second, 3, Verb::Stop)]).await;
    interrupt(&[&first], &second, &[&about(&second, 3, Verb::Stop), &about(&second, 4, Verb::Start)]).await;
    interrupt(&[&first], &about(&first, 2, Verb::Stop), &[&deploy(3)]).await;
    interrupt(&[&first], &about(&first, 2, Verb::Restart), &[&about(&first, 3, Verb::Stop)]).await;
    interrupt(&[&first], &about(&first, 2, Verb::Stop), &[&delete(3)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_slept_or_crashed_never_undoes_a_cancel_nor_takes_away_what_it_went_back_to() {
    let (first, second) = (deploy(1), deploy(2));
    interrupt(&[&first], &second, &[&cancel_to(&first, 3)]).await;
    interrupt(&[&first], &second, &[&cancel_to(&first, 3), &deploy(4)]).await;
    interrupt(&[&first], &second, &[&about(&second, 3, Verb::Stop), &cancel_to(&first, 4)]).await;
    interrupt(&[&first], &second, &[&deploy(3), &cancel_to(&first, 4)]).await;
    interrupt(&[&first], &second, &[&deploy(3), &cancel_to(&second, 4)]).await;
    interrupt(&[&first], &second, &[&about(&second, 3, Verb::Expose)]).await;
    interrupt(&[&first, &second], &deploy(3), &[&cancel_to(&first, 4)]).await;
    interrupt(&[&first, &second], &cancel_to(&first, 3), &[&deploy(4)]).await;
    interrupt(&[&first, &second], &cancel_to(&first, 3), &[&cancel_to(&second, 4)]).await;
    interrupt(&[&first], &about(&first, 2, Verb::Stop), &[&cancel_to(&first, 3)]).await;
    interrupt(&[&first], &about(&first, 2, Verb::Restart), &[&cancel_to(&first, 3)]).await;
}

#[tokio::test(start_paused = true)]
async fn two_jobs_at_once_end_as_the_newer_one_says() {
    let (first, second) = (deploy(1), deploy(2));
    cross(&[&first], &second, &deploy(3)).await;
    cross(&[&first], &second, &cancel_to(&first, 3)).await;
    cross(&[&first], &second, &about(&second, 3, Verb::Stop)).await;
    cross(&[&first, &second], &cancel_to(&first, 3), &cancel_to(&second, 4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_refused_leaves_what_a_newer_one_of_its_revision_has_applied() {
    let (first, second) = (deploy(1), deploy(2));
    let stop = about(&second, 3, Verb::Stop);
    let all = [&first, &second, &stop];
    let begin = after(&[&first]).await;
    // The fence and the Deployment are read; then it sleeps before it removes its contents.
    for at in 1..=3 {
        let server = begin.copy();
        let line = Line::with_all([(DEPLOYMENT, Fault::Refused), (DEPLOYMENT + 2 + at, Fault::Held)]);
        let asleep = context(&server, &line, &all);
        let refused = held(&asleep, &line, &second).await;
        let line_of_stop = Line::with(DEPLOYMENT, Fault::Held);
        let stopping = context(&server, &line_of_stop, &all);
        let stopped = held(&stopping, &line_of_stop, &stop).await;
        line.let_go();
        assert!(matches!(refused.await, Err(OperationError::Refused(_))));
        line_of_stop.let_go();
        stopped.await.unwrap();
        assert_is(&server, &stop, "stopped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_job_leaves_what_a_cancel_went_back_to() {
    let (first, second, third, fifth) = (deploy(1), deploy(2), deploy(3), deploy(5));
    let cancel = cancel_to(&second, 4);
    let all = [&first, &second, &third, &cancel, &fifth];
    let server = after(&[&first]).await;
    let crash = async |job| {
        let line = Line::with(DEPLOYMENT, Fault::Held);
        drop(held(&context(&server, &line, &all), &line, job).await);
    };
    crash(&second).await;
    crash(&third).await;
    // The cancel has applied what it goes back to; the fifth, which begins then, is refused.
    let line = Line::with(DEPLOYMENT, Fault::Held);
    let asleep = context(&server, &line, &all);
    let cancelled = held(&asleep, &line, &cancel).await;
    let refusing = context(&server, &Line::with(DEPLOYMENT, Fault::Refused), &all);
    assert!(matches!(run_job(&refusing, &fifth, slot()).await, Err(OperationError::Refused(_))));
    let calm = context(&server, &Arc::default(), &all);
    for job in [&second, &third] {
        assert_eq!(deliver(&calm, job).await, "superseded");
    }
    line.let_go();
    assert!(matches!(cancelled.await, Err(OperationError::Overtaken { .. })));
    assert_is(&server, &cancel, "cancelled");
}

#[tokio::test(start_paused = true)]
async fn domains_are_those_of_the_newest_job_whoever_slept_or_crashed() {
    let (one, two, none) = (bound(&["a.lt"]), bound(&["b.lt", "c.lt"]), Exposure::Unbound);
    let first = deploy(1);
    let expose = |sequence, exposed: &Exposure| exposing(about(&first, sequence, Verb::Expose), exposed);
    let shown = expose(2, &one);
    interrupt(&[&first], &expose(2, &one), &[&expose(3, &two)]).await;
    interrupt(&[&first], &expose(2, &one), &[&expose(3, &none)]).await;
    interrupt(&[&first], &expose(2, &one), &[&exposing(deploy(3), &one)]).await;
    interrupt(&[&first, &shown], &expose(3, &none), &[&expose(4, &two)]).await;
    interrupt(&[&first, &shown], &expose(3, &two), &[&expose(4, &none)]).await;
    interrupt(&[&first, &shown], &exposing(deploy(3), &one), &[&exposing(deploy(4), &none)]).await;
    interrupt(&[&first, &shown], &expose(3, &two), &[&delete(4)]).await;
}
