//! What happens below a stream: workers, api instances, the API server, NATS, containers and pods come and go.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::cost::{Requests, Stage};
use e2e::log_stream::{Counted, LogStream, SILENT_AT_MOST};
use e2e::order::{Order, OrderOptions};
use e2e::pod::pod;
use e2e::system::END_WITHIN;
use e2e::test::{test, test_alone};
use e2e::until::until;
use jiff::Timestamp;

use super::{flood, runs, shell, ticker};

/// Reads on for as long as this; no line is lost, none comes twice, and no silence is long.
async fn reads_on(lines: &mut Counted, stream: &mut LogStream, time: Duration) -> Result<()> {
    let (begun, first) = (Instant::now(), lines.next);
    while begun.elapsed() < time {
        lines.read(stream).await?;
    }
    ensure!(lines.next > first, "lines come");
    Ok(())
}

/// A stream, once there is a log.
async fn opened(order: &Order, query: &str) -> Result<LogStream> {
    until("there is a log", Duration::from_mins(1), async || Ok(LogStream::open(order, query).await.ok())).await
}

/// The same after the last event of another.
async fn opened_after(stream: &LogStream, order: &Order, query: &str) -> Result<LogStream> {
    until("there is a log", Duration::from_mins(1), async || Ok(stream.resume(order, query).await.ok())).await
}

#[test]
fn a_stream_outlives_its_workers() -> Result<()> {
    test_alone(async |t| {
        let mut system = t.system(t.stack.region.as_str(), 1, 2).await?;
        let order = runs(t, &system, &flood("flood")).await?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        lines.read_many(&mut stream, 50).await?;
        for worker in 0..2 {
            // One of the two follows.
            system.workers[worker].process.kill().await?;
            reads_on(&mut lines, &mut stream, Duration::from_secs(8)).await?;
            system.workers[worker].start_again().await?;
        }
        for worker in 0..2 {
            // Told to end, it hands over at once, and its end is not delayed.
            let begun = Instant::now();
            system.workers[worker].process.end(END_WITHIN).await?;
            assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
            reads_on(&mut lines, &mut stream, Duration::from_secs(4)).await?;
            system.workers[worker].start_again().await?;
        }
        // With none at all it is kept alive, and goes on with the first that comes.
        for worker in &mut system.workers {
            worker.process.kill().await?;
        }
        let begun = Instant::now();
        let mut silent = 0;
        while begun.elapsed() < Duration::from_secs(8) {
            let before = stream.raw.len();
            stream.more().await?;
            silent += usize::from(stream.raw.get(before..) == Some(b"\n"));
        }
        assert!(silent >= 3, "blank lines: {silent}");
        system.workers[1].start_again().await?;
        reads_on(&mut lines, &mut stream, Duration::from_secs(12)).await?;
        assert!(stream.silence <= SILENT_AT_MOST, "{:?}", stream.silence);
        Ok(())
    })
}

#[test]
fn a_stream_ends_with_the_last_line_of_its_time_though_nobody_could_read_it_then() -> Result<()> {
    test(async |t| {
        let mut system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let order = runs(t, &system, &ticker("ticker")).await?;
        let end = Timestamp::now().as_second() + 6;
        let mut stream = LogStream::open(&order, &format!("?endTimestamp={end}")).await?;
        let mut lines = Counted::from("line ", 0);
        lines.read_many(&mut stream, 50).await?;
        system.workers[0].process.kill().await?;
        while Timestamp::now().as_second() < end + 5 {
            stream.more().await?;
        }
        system.workers[0].start_again().await?;
        assert_eq!(lines.read_to_the_end(&mut stream).await?, "EndReached");
        let log = order.log_text("?timestamps=true").await?;
        let of_its_time = |line: &&str| {
            let time = line.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
            time.is_some_and(|time| time.as_second() <= end)
        };
        assert_eq!(lines.next, log.lines().filter(of_its_time).count() as u64);
        Ok(())
    })
}

#[test]
fn a_stream_that_is_to_end_waits_so_long_for_a_region_that_is_away_and_says_why_it_ends() -> Result<()> {
    test(async |t| {
        let mut system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let order = runs(t, &system, &ticker("ticker")).await?;
        let end = Timestamp::now().as_second() + 4;
        let mut stream = LogStream::open(&order, &format!("?endTimestamp={end}")).await?;
        let mut lines = Counted::from("line ", 0);
        lines.read_many(&mut stream, 50).await?;
        system.workers[0].process.kill().await?;
        assert_eq!(lines.read_to_the_end(&mut stream).await?, "RegionUnavailable");
        let waited = Timestamp::now().as_second() - end;
        assert!((25..60).contains(&waited), "{waited} s");
        // What it has not shown is there when the region is.
        system.workers[0].start_again().await?;
        let mut back = opened_after(&stream, &order, &format!("?endTimestamp={end}")).await?;
        assert_eq!(lines.read_to_the_end(&mut back).await?, "EndReached");
        Ok(())
    })
}

#[test]
fn a_stream_outlives_nats() -> Result<()> {
    test(async |t| {
        let mut system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let order = runs(t, &system, &flood("flood")).await?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        lines.read_many(&mut stream, 50).await?;
        system.nats.kill().await?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            stream.more().await?;
        }
        system.nats.start_again().await?;
        reads_on(&mut lines, &mut stream, Duration::from_secs(20)).await?;
        assert!(stream.silence <= SILENT_AT_MOST, "{:?}", stream.silence);
        Ok(())
    })
}

#[test]
fn an_api_that_ends_says_so_and_another_goes_on() -> Result<()> {
    test(async |t| {
        let mut system = t.system(t.stack.region.as_str(), 2, 1).await?;
        let order = runs(t, &system, &ticker("ticker")).await?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        lines.read_many(&mut stream, 50).await?;
        let begun = Instant::now();
        system.apis[0].process.ask_to_end()?;
        assert_eq!(lines.read_to_the_end(&mut stream).await?, "ServerShutdown");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(stream.next().await?.is_none());
        let ended = system.apis[0].process.wait(END_WITHIN).await?;
        assert!(ended.success() && begun.elapsed() < Duration::from_secs(6), "{ended} {:?}", begun.elapsed());
        let other = order.by(&system.apis[1].client);
        let mut stream = stream.resume(&other, "").await?;
        reads_on(&mut lines, &mut stream, Duration::from_secs(3)).await?;

        // Killed, it says nothing, and nothing is lost either.
        system.apis[0].start_again().await?;
        let mut stream = stream.resume(&order, "").await?;
        lines.read_many(&mut stream, 20).await?;
        system.apis[0].process.kill().await?;
        while let Ok(Some(event)) = stream.next().await {
            lines.check(&event.text())?;
        }
        let mut stream = stream.resume(&other, "").await?;
        reads_on(&mut lines, &mut stream, Duration::from_secs(3)).await
    })
}

/// The lines of a stream that clients count: those that are not empty.
fn counted(raw: &[u8]) -> Result<Vec<String>> {
    Ok(String::from_utf8(raw.to_vec())?.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[test]
fn an_api_that_ends_costs_a_client_that_counts_no_line() -> Result<()> {
    test(async |t| {
        let system = t.system(t.stack.region.as_str(), 2, 1).await?;
        let order = runs(t, &system, &ticker("ticker")).await?;
        let mut stream = LogStream::of(&order, "?tailLines=5", &[]).await?;
        for _ in 0..50 {
            stream.line().await?;
        }
        system.apis[0].process.ask_to_end()?;
        while stream.more().await? {}
        let seen = counted(&stream.raw)?;
        // As existing clients do: they skip as many as they have seen.
        let mut again = LogStream::of(&order.by(&system.apis[1].client), "?tailLines=5", &[]).await?;
        while counted(&again.raw)?.len() < seen.len() + 50 {
            again.next().await?;
        }
        let all: Vec<String> = seen.iter().cloned().chain(counted(&again.raw)?.split_off(seen.len())).collect();
        let numbers: Vec<u64> = all.iter().filter_map(|line| line.strip_prefix("data:line ")?.parse().ok()).collect();
        ensure!(numbers.len() >= 75, "{all:?}");
        ensure!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{all:?}");
        Ok(())
    })
}

#[test]
fn nothing_is_followed_for_an_api_that_stands_still_and_it_goes_on_when_it_wakes() -> Result<()> {
    test(async |t| {
        let system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let order = runs(t, &system, &flood("flood")).await?;
        let requests = Requests::from_now(t.stack)?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        let follow = async |stage| {
            let asked = requests.at(stage, &order.id)?;
            Ok(asked.iter().any(|request| request.uri.contains("follow=true")).then_some(()))
        };
        // The first lines come from a page.
        lines.read_many(&mut stream, 50).await?;
        until("the worker follows", Duration::from_secs(20), async || follow(Stage::Begun).await).await?;
        system.apis[0].process.pause().await?;
        assert_eq!(follow(Stage::Ended).await?, None);
        until("the worker has ended its follow", Duration::from_secs(20), async || follow(Stage::Ended).await).await?;
        system.apis[0].process.resume()?;
        reads_on(&mut lines, &mut stream, Duration::from_secs(10)).await
    })
}

/// Names its run by the time, writes a thousand lines, and ends.
const RESTARTING: &str =
    "s=$(date +%s%N); i=0; while [ $i -lt 100 ]; do echo $s $i; i=$((i+1)); usleep 20000; done; exit 1";

/// Reads a run of [`RESTARTING`] to its last line: its name, or none if it goes on in the middle of `name`.
async fn whole_run(stream: &mut LogStream, from: u64) -> Result<String> {
    let mut name: Option<String> = None;
    for number in from..100 {
        let line = stream.line().await?;
        let (run, found) = line.split_once(' ').context("two words")?;
        ensure!(found == number.to_string() && name.get_or_insert(run.to_owned()) == run, "{line} is not {number}");
    }
    name.context("there were lines")
}

#[test]
fn a_restarted_container_ends_its_stream_and_the_next_shows_the_rest_and_the_new() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[shell("restarting", RESTARTING)])).await?;
        let mut stream = opened(&order, "").await?;
        // Another client goes away in the middle, and comes back when the container runs again.
        let mut away = LogStream::open(&order, "").await?;
        for number in 0..30 {
            assert!(away.line().await?.ends_with(&format!(" {number}")));
        }
        let first = whole_run(&mut stream, 0).await?;
        assert_eq!(stream.end().await?, "ContainerRestarted");
        // At its end nothing is left, and the next run begins with its first line.
        let mut next = stream.resume(&order, "").await?;
        let mut back = away.resume(&order, "?tailLines=1").await?;
        assert_eq!(whole_run(&mut back, 30).await?, first, "the rest");
        let second = whole_run(&mut next, 0).await?;
        assert_ne!(second, first);
        assert_eq!(whole_run(&mut back, 0).await?, second, "and then the new");
        assert_eq!(next.end().await?, "ContainerRestarted");
        assert_eq!(back.end().await?, "ContainerRestarted");

        // Two runs later nothing is left of the first, and that is said.
        let mut late = away.resume(&order, "").await?;
        let gap = late.next().await?.context("a gap")?;
        assert_eq!(gap.name, "gap", "{}", gap.text());
        assert!(gap.json()?["after"].as_str().is_some_and(|time| time.starts_with("20")), "{}", gap.text());
        assert_eq!(late.line().await?.split(' ').next_back(), Some("0"));
        // As for existing clients: the same query again is the new run.
        let mut again = LogStream::of(&order, "?tailLines=1000", &[]).await?;
        assert!(again.line().await?.ends_with(" 0"));
        assert!(again.silence <= SILENT_AT_MOST, "{:?}", again.silence);
        Ok(())
    })
}

#[test]
fn a_replaced_pod_ends_its_stream_with_all_its_lines() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let script = "trap 'echo last words; exit' TERM; i=0; while :; do echo line $i; i=$((i+1)); usleep 20000; done";
        let order = runs(t, system, &shell("one", script)).await?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        lines.read_many(&mut stream, 50).await?;
        order.deployed(&pod("ausrine", &[ticker("one")])).await?;
        loop {
            match stream.line().await?.as_str() {
                "last words" => break,
                line => lines.check(line)?,
            }
        }
        assert_eq!(stream.end().await?, "PodReplaced");
        // What the old pod wrote is gone with it, and all of it was read: the new one begins with its first line.
        let mut next = opened_after(&stream, &order, "").await?;
        Counted::from("line ", 0).read_many(&mut next, 50).await?;

        // An order that is aborted has no pod any more.
        let abort = order.request(reqwest::Method::POST, &format!("/admin/orders/{}/abort", order.id));
        let abort = abort.operator(&system.operator_token).json(&serde_json::json!({ "reason": "the test" }));
        abort.header("prefer", "respond-async").send().await?.is(202)?;
        let reason = loop {
            let event = next.next().await?.context("the end is told")?;
            if event.name == "end" {
                break event.json()?["reason"].clone();
            }
        };
        assert_eq!(reason, "PodStopped");
        Ok(())
    })
}

#[test]
fn a_client_that_comes_back_after_a_stop_is_told_what_it_misses_and_the_end() -> Result<()> {
    test(async |t| {
        let order = runs(t, t.shared().await?, &ticker("ticker")).await?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        lines.read_many(&mut stream, 50).await?;
        let stop = order.request(reqwest::Method::POST, "/k8s/pod/stop").json(&serde_json::json!({}));
        stop.header("prefer", "wait=60").send().await?.ok()?;
        for query in ["", "?container=ticker", "?unfollow=true"] {
            let mut back = stream.resume(&order, query).await?;
            assert_eq!(back.next().await?.context("a gap")?.name, "gap", "{query}");
            assert_eq!(back.end().await?, "PodStopped", "{query}");
            assert!(back.next().await?.is_none(), "{query}");
        }
        Ok(())
    })
}

#[test]
fn a_stream_outlives_the_apiserver() -> Result<()> {
    test_alone(async |t| {
        let order = runs(t, t.shared().await?, &ticker("ticker")).await?;
        let (mut lines, mut stream) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        lines.read_many(&mut stream, 50).await?;
        t.stack.control(&["kill", "apiserver"]).await?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(6) {
            stream.more().await?;
        }
        t.stack.control(&["start", "apiserver"]).await?;
        reads_on(&mut lines, &mut stream, Duration::from_secs(20)).await?;
        assert!(stream.silence <= SILENT_AT_MOST, "{:?}", stream.silence);
        Ok(())
    })
}
