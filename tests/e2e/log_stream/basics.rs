//! What a stream shows, byte by byte.

use std::time::{Duration, Instant};

use anyhow::Result;
use common::failure::Reason;
use e2e::log_stream::{Counted, LogStream, SILENT_AT_MOST};
use e2e::order::OrderOptions;
use e2e::pod::{counter, pod};
use e2e::test::test;
use e2e::until::until;
use jiff::Timestamp;

use super::{runs, shell, ticker};

#[test]
fn a_stream_is_events_to_the_letter_and_blank_lines() -> Result<()> {
    test(async |t| {
        let order = runs(t, t.shared().await?, &counter("counter", 3)).await?;
        let lines = "event:message\ndata:line 1\n\nevent:message\ndata:line 2\n\nevent:message\ndata:line 3\n\n";
        until("three lines are there", Duration::from_secs(10), async || {
            Ok((order.log_text("").await?.lines().count() == 3).then_some(()))
        })
        .await?;
        // As existing clients ask.
        let mut stream = LogStream::of(&order, "?container=counter&unfollow=False", &[]).await?;
        while stream.raw.len() < lines.len() {
            stream.more().await?;
        }
        assert_eq!(String::from_utf8_lossy(&stream.raw), lines);
        // Then it is silent, and says nothing but blank lines.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(7) {
            assert!(stream.more().await?);
        }
        let after = &stream.raw[lines.len()..];
        assert!(after.iter().all(|byte| *byte == b'\n') && (3..=7).contains(&after.len()), "{after:?}");
        assert!(stream.silence <= SILENT_AT_MOST, "{:?}", stream.silence);

        let mut stream = LogStream::of(&order, "?unfollow=True", &[]).await?;
        while stream.more().await? {}
        assert_eq!(String::from_utf8_lossy(&stream.raw), lines, "they would print a last word as a line");
        Ok(())
    })
}

#[test]
fn lines_are_bytes_and_empty_ones_count() -> Result<()> {
    test(async |t| {
        let script = r"printf 'one\n\n  two \377 \033[31m\n: three\n10%%\r20%%\rno end'; sleep 1000";
        let order = runs(t, t.shared().await?, &shell("odd", script)).await?;
        let mut stream = LogStream::open(&order, "").await?;
        let mut lines = Vec::new();
        while lines.len() < 4 {
            lines.push(stream.next().await?.unwrap());
        }
        let data: Vec<&[u8]> = lines.iter().map(|event| event.data.as_slice()).collect();
        assert_eq!(data, [&b"one"[..], b"", b"  two \xff \x1b[31m", b": three"]);
        assert!(lines.iter().all(|event| event.id.is_some()), "{lines:?}");
        let ids: std::collections::BTreeSet<_> = lines.iter().map(|event| event.id.clone()).collect();
        assert_eq!(ids.len(), 4, "ids differ: {ids:?}");

        // A line that is not whole is none yet; of a container that has ended it is.
        let ended = shell("ends", r"printf 'a\rb\nno end'; usleep 6000000");
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[ended])).await?;
        let mut stream =
            until("there is a log", Duration::from_secs(30), async || Ok(LogStream::open(&order, "").await.ok()))
                .await?;
        assert_eq!(stream.line().await?, "a\nb");
        assert_eq!(stream.line().await?, "no end");
        assert_eq!(stream.end().await?, "ContainerRestarted");
        Ok(())
    })
}

#[test]
fn a_client_that_comes_back_with_the_last_id_loses_nothing() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let order = runs(t, system, &ticker("ticker")).await?;
        let mut lines = Counted::from("line ", 0);
        let mut stream = LogStream::open(&order, "").await?;
        for round in 0..6 {
            lines.read_many(&mut stream, 40).await?;
            let order = order.by(&system.apis[round % 2].client);
            // Wherever else the query says to begin.
            stream = stream.resume(&order, "?tailLines=3&startTimestamp=1").await?;
        }
        lines.read_many(&mut stream, 40).await
    })
}

#[test]
fn the_same_query_begins_with_the_same_line() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let order = runs(t, system, &ticker("ticker")).await?;
        until("some lines are there", Duration::from_secs(20), async || {
            Ok((order.log_text("").await?.lines().count() > 150).then_some(()))
        })
        .await?;
        let start = Timestamp::now().as_second();
        for query in
            ["", "?tailLines=5", "?tailLines=0", "?tailLines=7&startTimestamp=1", &format!("?startTimestamp={start}")]
        {
            // As existing clients do: they count lines that are not empty, and skip as many when they come back.
            let (mut seen, mut skipped): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
            for round in 0..3 {
                let order = order.by(&system.apis[round % 2].client);
                let mut stream = LogStream::of(&order, query, &[]).await?;
                let wanted = seen.len() + 30;
                let mut events = 0;
                while events * 2 < wanted {
                    stream.next().await?;
                    events += 1;
                }
                let text = String::from_utf8(stream.raw)?;
                let full: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
                skipped.extend(full.iter().take(seen.len()).cloned());
                assert_eq!(skipped, seen, "{query}: what is skipped was seen");
                skipped.clear();
                seen = full.into_iter().take(wanted).collect();
            }
            let numbers: Vec<u64> =
                seen.iter().filter_map(|line| line.strip_prefix("data:line ")?.parse().ok()).collect();
            assert_eq!(numbers.len() * 2, seen.len(), "{query}: {seen:?}");
            let first = numbers[0];
            assert!(numbers.iter().copied().eq(first..first + numbers.len() as u64), "{query}: {numbers:?}");
            assert_eq!(first == 0, query.is_empty(), "{query} begins with line {first}");
        }
        Ok(())
    })
}

#[test]
fn the_last_line_is_whole_however_long_and_its_place_is_found_again() -> Result<()> {
    test(async |t| {
        let script = "echo first; head -c 40000 /dev/zero | tr '\\0' x; echo; sleep 1000";
        let order = runs(t, t.shared().await?, &shell("long", script)).await?;
        until("the long line is there", Duration::from_secs(10), async || {
            Ok((order.log_text("").await?.len() > 40_000).then_some(()))
        })
        .await?;
        for query in ["?tailLines=1", "?tailLines=1&unfollow=true"] {
            let mut stream = LogStream::open(&order, query).await?;
            assert_eq!(stream.line().await?.len(), 40_000, "{query}");
            let mut again = stream.resume(&order, "?unfollow=true").await?;
            assert_eq!(again.end().await?, "Unfollowed", "{query}");
        }
        let mut stream = LogStream::open(&order, "?tailLines=0&unfollow=true").await?;
        assert_eq!(stream.end().await?, "Unfollowed");
        Ok(())
    })
}

#[test]
fn times_bound_a_stream() -> Result<()> {
    test(async |t| {
        let order = runs(t, t.shared().await?, &ticker("ticker")).await?;
        let all = async || -> Result<Vec<(i64, String)>> {
            let log = order.log_text("?timestamps=true").await?;
            let line = |line: &str| {
                let (time, text) = line.split_once(' ')?;
                Some((time.parse::<Timestamp>().ok()?.as_second(), text.to_owned()))
            };
            Ok(log.lines().filter_map(line).collect())
        };
        let lines = until("five seconds are there", Duration::from_secs(30), async || {
            let lines = all().await?;
            Ok((lines.last().map(|last| last.0) > lines.first().map(|first| first.0 + 5)).then_some(lines))
        })
        .await?;
        let (start, end) = (lines[0].0 + 2, lines[0].0 + 3);
        let within: Vec<&str> =
            lines.iter().filter(|(time, _)| (start..=end).contains(time)).map(|(_, text)| text.as_str()).collect();
        assert!(within.len() > 50, "{within:?}");
        for unfollow in ["", "&unfollow=true"] {
            let query = format!("?startTimestamp={start}&endTimestamp={end}{unfollow}");
            let mut stream = LogStream::open(&order, &query).await?;
            for line in &within {
                assert_eq!(stream.line().await?, *line, "{query}");
            }
            assert_eq!(stream.end().await?, "EndReached", "{query}");
        }
        // An end that is to come ends a follow when it comes.
        let end = Timestamp::now().as_second() + 2;
        let mut stream = LogStream::open(&order, &format!("?tailLines=1&endTimestamp={end}")).await?;
        let reason = loop {
            match stream.next().await?.unwrap() {
                event if event.name == "end" => break event.json()?["reason"].clone(),
                _ => assert!(Timestamp::now().as_second() <= end + 5, "it is over"),
            }
        };
        assert_eq!(reason, "EndReached");
        Ok(())
    })
}

#[test]
fn wrong_requests_are_refused_before_the_stream_begins() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        let get = |query: &str| order.request(reqwest::Method::GET, &format!("/k8s/pod/logs{query}"));
        get("").send().await?.refused(404, Reason::NotDeployed)?;
        order.running(&pod("ausrine", &[counter("one", 2), counter("two", 3)])).await?;
        let client = t.client().await?;
        client.get("/k8s/pod/logs").send().await?.refused(401, Reason::Unauthorized)?;
        client.get("/k8s/pod/logs").secret("wrong").send().await?.refused(401, Reason::Unauthorized)?;
        get("").send().await?.refused(400, Reason::ContainerUnknown)?;
        get("?container=three").send().await?.refused(400, Reason::ContainerUnknown)?;
        for query in
            ["tailLines=x", "tailLines=-1", "startTimestamp=x", "endTimestamp=-1", "unfollow=maybe", "container=A"]
        {
            get(&format!("?{query}&unknown=one")).send().await?.refused(400, Reason::InvalidRequest)?;
        }
        for id in ["x", "1a2b3c4d-0123456789ab.1", &"9".repeat(4000), "\u{17e}"] {
            let request = get("?container=one").header_bytes("last-event-id".parse()?, id.as_bytes())?;
            let error = request.send().await?.refused(400, Reason::InvalidRequest)?;
            assert_eq!(error["details"][0]["field"], "Last-Event-ID");
        }
        // An id of another run is no mistake: what it stood for is gone, and said so.
        let headers = [("accept", "text/event-stream"), ("last-event-id", "1a2b3c4d-0123456789ab.1.2")];
        let mut stream = LogStream::of(&order, "?container=one", &headers).await?;
        let gap = stream.next().await?.unwrap();
        assert_eq!((gap.name.as_str(), &gap.json()?["after"]), ("gap", &"1970-01-01T00:00:00.000000001Z".into()));
        assert_eq!(stream.line().await?, "line 1");
        Ok(())
    })
}

#[test]
fn a_silent_region_is_told_at_once() -> Result<()> {
    test(async |t| {
        let mut system = t.system("mute", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("mute", &[counter("counter", 1)])).await?;
        system.workers[0].process.end(e2e::system::END_WITHIN).await?;
        let client = system.client()?;
        until("the region is gone", Duration::from_secs(25), async || {
            Ok((client.get("/k8s/regions").send().await?.ok()? == serde_json::json!([])).then_some(()))
        })
        .await?;
        let answer = order.request(reqwest::Method::GET, "/k8s/pod/logs").send().await?;
        answer.refused(503, Reason::RegionUnavailable)?;
        Ok(())
    })
}
