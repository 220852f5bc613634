//! Streams are bounded: in number, in memory, and in what they cost below.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use e2e::cost::{Requests, Stage};
use e2e::log_stream::{Counted, LogStream, SILENT_AT_MOST};
use e2e::operator::Operator;
use e2e::order::Order;
use e2e::system::Api;
use e2e::test::{test, test_alone};
use e2e::until::until;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{flood, runs, shell, ticker};

/// Checks that an answer says that there are too many streams, and when to come back.
async fn overloaded(answer: reqwest::Response) -> Result<()> {
    ensure!(answer.status() == 503 && answer.headers().contains_key("retry-after"), "{answer:?}");
    let error: serde_json::Value = answer.json().await?;
    ensure!(error["error"]["reason"] == serde_json::to_value(Reason::Overloaded)?, "{error}");
    Ok(())
}

#[test]
fn an_order_has_so_many_streams_and_one_that_ends_makes_room() -> Result<()> {
    test(async |t| {
        let order = runs(t, t.shared().await?, &ticker("ticker")).await?;
        let mut streams = try_join_all((0..16).map(|_| LogStream::open(&order, ""))).await?;
        let one_more = async || order.request(reqwest::Method::GET, "/k8s/pod/logs?unfollow=true").send_stream().await;
        overloaded(one_more().await?).await?;
        for stream in &mut streams {
            Counted::from("line ", 0).read_many(stream, 5).await?;
        }
        streams.pop();
        until("there is room again", Duration::from_secs(10), async || {
            Ok((one_more().await?.status() == 200).then_some(()))
        })
        .await
    })
}

#[test]
fn a_secret_that_was_replaced_ends_the_streams_that_it_opened_within_two_minutes() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let mut order = runs(t, system, &ticker("ticker")).await?;
        let mut streams = try_join_all((0..2).map(|_| LogStream::open(&order, ""))).await?;
        let operator = Operator::of(system)?;
        let answer = operator.change(&order, "secret", &serde_json::json!({})).send().await?.ok()?;
        answer["secret"].as_str().context("a secret")?.clone_into(&mut order.secret);
        let (mut lines, mut new) = (Counted::from("line ", 0), LogStream::open(&order, "").await?);
        let begun = Instant::now();
        let read_to_the_end = streams.iter_mut().map(async |stream| {
            loop {
                let event = stream.next().await?.context("the end is told")?;
                if event.name == "end" {
                    return event.json();
                }
                ensure!(begun.elapsed() < Duration::from_mins(2), "it goes on");
            }
        });
        for end in try_join_all(read_to_the_end).await? {
            assert_eq!(end["reason"], "SecretRevoked");
        }
        // One of the new secret goes on.
        lines.read_many(&mut new, 100).await
    })
}

#[test]
fn many_followers_share_one_request_to_the_apiserver() -> Result<()> {
    test_alone(async |t| {
        let mut system = t.empty_system(t.stack.region.as_str()).await?;
        let api = system.new_api(&[("VKUBE_LOG_FOLLOWERS_PER_ORDER", "1000")]).await?;
        system.apis.push(api);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let order = runs(t, &system, &ticker("ticker")).await?;
        let requests = Requests::from_now(t.stack)?;
        let before = system.apis[0].process.memory_bytes()?;
        let follow = async |number: u64| -> Result<LogStream> {
            let mut stream = LogStream::open(&order, "").await?;
            Counted::from("line ", 0).read_many(&mut stream, 20 + number % 100).await?;
            Ok(stream)
        };
        let mut streams = try_join_all((0..200).map(follow)).await?;
        // All of them at once, live.
        let read_on = streams.iter_mut().map(async |stream| -> Result<Duration> {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                stream.line().await?;
            }
            Ok(stream.silence)
        });
        let silences = try_join_all(read_on).await?;
        assert!(silences.iter().all(|silence| *silence < SILENT_AT_MOST), "{silences:?}");
        let grown = system.apis[0].process.memory_bytes()?.saturating_sub(before);
        assert!(grown < 200 * (256 << 10), "{} KiB a follower", grown / 200 / 1024);
        // It is noted when it ends: soon after the last of them.
        drop(streams);
        let follows = async || -> Result<Vec<String>> {
            let asked = requests.of_workers_about(&order.id)?;
            Ok(asked.into_iter().map(|request| request.uri).filter(|uri| uri.contains("follow=true")).collect())
        };
        let follows = until("the follow has ended", Duration::from_secs(20), async || {
            Ok(Some(follows().await?).filter(|follows| !follows.is_empty()))
        })
        .await?;
        assert_eq!(follows.len(), 1, "{follows:#?}");
        Ok(())
    })
}

#[test]
fn a_place_that_never_was_is_told_once_and_disturbs_nobody() -> Result<()> {
    test(async |t| {
        let system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let script = "echo begin; sleep 25; i=0; while :; do echo line $i; i=$((i+1)); usleep 20000; done";
        let order = runs(t, &system, &shell("late", script)).await?;
        let mut honest = LogStream::open(&order, "").await?;
        assert_eq!(honest.line().await?, "begin");
        let id = honest.last_id.clone().context("it has an id")?;
        let run = id.split('.').next().context("a run")?;
        drop(honest);
        let requests = Requests::from_now(t.stack)?;
        // Of this run, in a year that has not come.
        let forged = format!("{run}.7258118400000000000.0");
        let headers = [("accept", "text/event-stream"), ("last-event-id", forged.as_str())];
        let mut strangers = try_join_all((0..2).map(|_| LogStream::of(&order, "", &headers))).await?;
        let mut honest = LogStream::open(&order, "").await?;
        assert_eq!(honest.line().await?, "begin");
        Counted::from("line ", 0).read_many(&mut honest, 50).await?;
        let asked = requests.of_workers_about(&order.id)?;
        assert!(asked.len() < 40, "{}: {asked:#?}", asked.len());
        for stranger in &mut strangers {
            let gap = stranger.next().await?.context("a gap")?;
            assert_eq!(gap.name, "gap", "{}", gap.text());
            while stranger.line().await? != "line 0" {}
            Counted::from("line ", 1).read_many(stranger, 20).await?;
        }
        Ok(())
    })
}

#[test]
fn a_worker_that_follows_as_many_logs_as_it_may_shows_the_others_by_pages() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system(t.stack.region.as_str()).await?;
        let api = system.new_api(&[]).await?;
        system.apis.push(api);
        let worker = system.new_worker(&[("VKUBE_LOG_FOLLOWS", "1")])?;
        system.workers.push(worker);
        system.ready().await?;
        let orders = [runs(t, &system, &ticker("one")).await?, runs(t, &system, &ticker("two")).await?];
        let requests = Requests::from_now(t.stack)?;
        let follows = |order: &Order| -> Result<usize> {
            let asked = requests.at(Stage::Begun, &order.id)?;
            Ok(asked.iter().filter(|request| request.uri.contains("follow=true")).count())
        };
        let mut one = LogStream::open(&orders[0], "").await?;
        let (mut lines_of_one, mut lines_of_two) = (Counted::from("line ", 0), Counted::from("line ", 0));
        lines_of_one.read_many(&mut one, 20).await?;
        until("the first is followed", Duration::from_secs(20), async || Ok((follows(&orders[0])? > 0).then_some(())))
            .await?;
        let mut two = LogStream::open(&orders[1], "").await?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(12) {
            lines_of_one.read_many(&mut one, 50).await?;
            lines_of_two.read_many(&mut two, 50).await?;
        }
        assert_eq!(follows(&orders[1])?, 0, "there is room for one");
        drop(one);
        let begun = Instant::now();
        while follows(&orders[1])? == 0 {
            lines_of_two.read_many(&mut two, 10).await?;
            ensure!(begun.elapsed() < Duration::from_secs(40), "the other is followed when the first has left");
        }
        lines_of_two.read_many(&mut two, 100).await?;
        assert!(two.silence <= SILENT_AT_MOST, "{:?}", two.silence);
        Ok(())
    })
}

#[test]
fn an_api_has_so_many_streams_and_one_that_ends_makes_room() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system(t.stack.region.as_str()).await?;
        let api = system.new_api(&[("VKUBE_LOG_FOLLOWERS", "2")]).await?;
        system.apis.push(api);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let orders = [runs(t, &system, &ticker("one")).await?, runs(t, &system, &ticker("two")).await?];
        let mut streams = vec![LogStream::open(&orders[0], "").await?, LogStream::open(&orders[1], "").await?];
        let one_more = async || orders[1].request(reqwest::Method::GET, "/k8s/pod/logs").send_stream().await;
        overloaded(one_more().await?).await?;
        streams.pop();
        until("there is room again", Duration::from_secs(10), async || {
            Ok((one_more().await?.status() == 200).then_some(()))
        })
        .await?;
        Counted::from("line ", 0).read_many(&mut streams[0], 20).await
    })
}

#[test]
fn a_container_that_says_nothing_is_followed_by_one_request() -> Result<()> {
    test(async |t| {
        let system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let order = runs(t, &system, &shell("mute", "sleep 45; echo at last; sleep 1000")).await?;
        let requests = Requests::from_now(t.stack)?;
        let mut stream = LogStream::open(&order, "").await?;
        while stream.raw.iter().all(|byte| *byte == b'\n') {
            stream.more().await?;
        }
        assert_eq!(stream.line().await?, "at last");
        drop(stream);
        let follows = until("the follow has ended", Duration::from_secs(20), async || {
            let asked = requests.of_workers_about(&order.id)?;
            let follows = asked.iter().filter(|request| request.uri.contains("follow=true")).count();
            Ok((follows > 0).then_some(follows))
        })
        .await?;
        assert_eq!(follows, 1);
        Ok(())
    })
}

/// Asks for a stream with hardly any room for what comes, and reads nothing of it yet.
async fn ask_and_wait(api: &Api, order: &Order) -> Result<TcpStream> {
    let address: SocketAddr = api.url.trim_start_matches("http://").parse()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(8 << 10)?;
    let mut stream = socket.connect(address).await?;
    let head = format!("GET /api/v1/k8s/pod/logs HTTP/1.0\r\nsecret: {}\r\n\r\n", order.secret);
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

#[test]
fn a_client_that_never_reads_loses_its_place_within_two_minutes() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system(t.stack.region.as_str()).await?;
        let api = system.new_api(&[("VKUBE_LOG_FOLLOWERS", "1")]).await?;
        system.apis.push(api);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let order = runs(t, &system, &flood("flood")).await?;
        let mut unread = ask_and_wait(&system.apis[0], &order).await?;
        let mut begun = [0; 12];
        tokio::time::timeout(Duration::from_secs(20), unread.read_exact(&mut begun)).await??;
        ensure!(begun.ends_with(b" 200"), "{}", String::from_utf8_lossy(&begun));
        let one_more = async || order.request(reqwest::Method::GET, "/k8s/pod/logs").send_stream().await;
        ensure!(one_more().await?.status() == 503, "the place is not taken");
        until("there is room again", Duration::from_mins(2), async || {
            Ok((one_more().await?.status() == 200).then_some(()))
        })
        .await
    })
}

/// Reads lines `line <number> ...` to `the end`: each follows the one before, unless a gap says that some are missing.
async fn read_to_the_end(stream: &mut TcpStream) -> Result<(u64, usize)> {
    let (mut held, mut next, mut gaps) = (Vec::new(), 0_u64, 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8(held.drain(..=end).collect())?;
            let Some(text) = line.trim_end().strip_prefix("data:") else {
                gaps += usize::from(line == "event:gap\n");
                continue;
            };
            if text == "the end" {
                return Ok((next, gaps));
            }
            if let Some(number) = text.strip_prefix("line ").and_then(|rest| rest.split(' ').next()) {
                let number: u64 = number.parse()?;
                ensure!(number == next || (gaps > 0 && number > next), "{number} after {next}, {gaps} gaps");
                next = number + 1;
            }
        }
        let length = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await??;
        ensure!(length > 0, "the stream has ended");
        held.extend_from_slice(buffer.get(..length).context("as much as was read")?);
    }
}

/// Has a container write so many lines at once while one client reads nothing and another follows.
async fn burst(t: &e2e::test::Test, count: u64) -> Result<(u64, usize, usize)> {
    let system = t.system(t.stack.region.as_str(), 1, 1).await?;
    let script = format!(
        "echo begin; sleep 5; awk 'BEGIN{{for(i=0;i<{count};i++) printf \"line %d %0100d\\n\", i, 0}}'; \
         while :; do echo the end; sleep 1; done"
    );
    let order = runs(t, &system, &shell("burst", &script)).await?;
    let requests = Requests::from_now(t.stack)?;
    let mut slow = ask_and_wait(&system.apis[0], &order).await?;
    let mut live = LogStream::open(&order, "").await?;
    assert_eq!(live.line().await?, "begin");
    let before = system.apis[0].process.memory_bytes()?;
    while live.next().await?.context("it goes on")?.text() != "the end" {}
    // Now it is live, whatever the other does.
    for _ in 0..5 {
        let begun = Instant::now();
        live.line().await?;
        assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    }
    let grown = system.apis[0].process.memory_bytes()?.saturating_sub(before);
    assert!(grown < 24 << 20, "{} KiB", grown / 1024);
    let (next, gaps) = read_to_the_end(&mut slow).await?;
    let pages = requests.of_workers_about(&order.id)?.iter().filter(|request| !request.uri.contains("follow=")).count();
    Ok((next, gaps, pages))
}

#[test]
fn a_slow_reader_gets_every_line_and_disturbs_nobody() -> Result<()> {
    test_alone(async |t| {
        let (next, gaps, pages) = burst(t, 50_000).await?;
        assert_eq!((next, gaps), (50_000, 0));
        assert!(pages > 4, "it fell behind, and caught up by pages: {pages}");
        Ok(())
    })
}

#[test]
fn a_slow_reader_of_a_log_that_is_rotated_away_is_told_what_is_missing() -> Result<()> {
    test_alone(async |t| {
        let (next, gaps, _) = burst(t, 400_000).await?;
        assert!(gaps > 0, "{next}");
        Ok(())
    })
}
