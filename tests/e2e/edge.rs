//! What strangers can do to the listener, and what they may have: connections, heads, rates, and whose word about an
//! address is taken.

mod attack;
mod tls;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use e2e::door::{Call, Door, Doors};
use e2e::http::{Answer, Client};
use e2e::order::{Order, OrderOptions};
use e2e::pod::{idle, pod};
use e2e::system::END_WITHIN;
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;

/// An address of this machine's, other than the usual one.
fn from(url: &str, address: &str) -> Result<Client> {
    Client::from_address(url, address.parse()?)
}

/// A rate's headers, as numbers: limit, remaining, reset.
fn standing(answer: &Answer) -> Result<[u64; 3]> {
    let number = |name: &str| answer.header(name).with_context(|| format!("no {name}"))?.parse().context("a number");
    Ok([number("ratelimit-limit")?, number("ratelimit-remaining")?, number("ratelimit-reset")?])
}

/// Asks until it is refused for its rate, at most so often; how often it was answered.
async fn answered(most: usize, mut ask: impl AsyncFnMut() -> Result<Answer>) -> Result<usize> {
    for count in 0..most {
        let answer = ask().await?;
        if answer.status == 429 {
            let wait: u64 = answer.header("retry-after").context("no Retry-After")?.parse()?;
            ensure!((1..=60).contains(&wait), "Retry-After: {wait}");
            answer.refused(429, Reason::RateLimited)?;
            return Ok(count);
        }
    }
    Ok(most)
}

#[test]
fn each_address_and_each_order_has_its_rates_which_answers_tell() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("rates").await?;
        let settings = [
            // The burst is a sixth of them.
            ("VKUBE_RATE_REQUESTS_PER_MINUTE", "120"),
            ("VKUBE_RATE_IMAGES_PER_MINUTE", "12"),
            ("VKUBE_RATE_READS_PER_MINUTE", "30"),
            ("VKUBE_RATE_CHANGES_PER_MINUTE", "18"),
        ];
        let api = system.new_api(&settings).await?;
        let url = api.url.clone();
        system.apis.push(api);
        let mut generous = system.new_api(&[]).await?;
        let make = async || Order::make(&generous.client, &system.operator_token, &OrderOptions::units(1)).await;
        let (first, second) = (make().await?, make().await?);
        // It would answer by NATS too.
        generous.process.end(END_WITHIN).await?;

        // All calls of an address together, with or without a secret.
        let stranger = from(&url, "127.0.0.11")?;
        let answer = stranger.get("/k8s/regions").send().await?;
        let [limit, remaining, reset] = standing(&answer)?;
        assert_eq!((limit, remaining, reset), (20, 19, 1), "{answer:?}");
        let asked = answered(60, async || stranger.get("/k8s/regions").send().await).await?;
        assert!((19..30).contains(&asked), "{asked}");
        let refused = stranger.get("/k8s/order").secret("x").send().await?;
        assert_eq!(standing(&refused)?[1], 0);
        refused.refused(429, Reason::RateLimited)?;
        let refused = stranger.get("//readyz").send().await?;
        refused.refused(429, Reason::RateLimited)?;

        // Checks of images make us ask others, and have a narrower one.
        let other = from(&url, "127.0.0.12")?;
        let asked = answered(60, async || other.get("/k8s/images?image=..&tag=1").send().await).await?;
        assert!((2..5).contains(&asked), "{asked}");
        other.get("/k8s/regions").send().await?.ok()?;

        // Reads and changes of an order, wherever they come from.
        let mut place = 20_u8;
        let mut anywhere = || {
            place += 1;
            from(&url, &format!("127.0.0.{place}"))
        };
        let read =
            answered(60, async || first.by(&anywhere()?).request(Method::GET, "/k8s/order").send().await).await?;
        assert!((5..8).contains(&read), "{read}");
        let doors = Doors::of(&system).await?;
        let by_nats = Call::of("get_order").with("secret", &first.secret);
        let refused = doors.ask(Door::Nats, &by_nats).await?;
        assert_eq!(standing(&refused)?[1], 0);
        refused.refused(429, Reason::RateLimited)?;
        let restart = async || first.by(&anywhere()?).request(Method::POST, "/k8s/pod/restart").send().await;
        let changed = answered(60, restart).await?;
        assert!((3..5).contains(&changed), "{changed}");

        // The other order has lost nothing by it.
        second.by(&from(&url, "127.0.0.13")?).request(Method::GET, "/k8s/order").send().await?.ok()?;
        Ok(())
    })
}

#[test]
fn who_gives_wrong_secrets_is_shut_out_for_a_while_and_nobody_else() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("guesses").await?;
        let api = system.new_api(&[("VKUBE_RATE_FAILURES_PER_MINUTE", "30")]).await?;
        let url = api.url.clone();
        system.apis.push(api);
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let (stranger, other) = (from(&url, "127.0.0.11")?, from(&url, "127.0.0.12")?);
        let guess = |number: usize| match number % 3 {
            0 => stranger.get("/k8s/order").secret(&format!("guess-{number}")),
            1 => stranger.get("/admin/orders").operator(&format!("a guess of a token {number}")),
            _ => stranger.get("/k8s/order"),
        };
        let mut number = 0;
        let try_one = async || {
            number += 1;
            guess(number).send().await
        };
        let tried = answered(60, try_one).await?;
        assert!((5..8).contains(&tried), "{tried}");
        // The right one, too: else the next guess would tell by its answer.
        let shut_out = order.by(&stranger).request(Method::GET, "/k8s/order").send().await?;
        assert!(shut_out.header("retry-after").is_some());
        shut_out.refused(429, Reason::RateLimited)?;
        order.by(&other).request(Method::GET, "/k8s/order").send().await?.ok()?;
        until("it is heard again", Duration::from_secs(20), async || {
            Ok((order.by(&stranger).request(Method::GET, "/k8s/order").send().await?.status == 200).then_some(()))
        })
        .await
    })
}

#[test]
fn a_proxys_word_about_an_address_is_taken_if_it_is_trusted() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("proxies").await?;
        let rate = ("VKUBE_RATE_REQUESTS_PER_MINUTE", "30");
        for (case, settings, header, [one, two], own) in [
            (
                "trusted",
                &[rate, ("VKUBE_HTTP_TRUSTED_PROXIES", "127.0.0.0/8")][..],
                "x-forwarded-for",
                ["192.0.2.1", "192.0.2.2"],
                true,
            ),
            (
                "by the standard header",
                &[
                    rate,
                    ("VKUBE_HTTP_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1"),
                    ("VKUBE_HTTP_FORWARDED_HEADER", "forwarded"),
                ],
                "forwarded",
                ["for=192.0.2.1", "for=\"[2001:db8::1]:4711\""],
                true,
            ),
            ("not trusted", &[rate], "x-forwarded-for", ["192.0.2.1", "192.0.2.2"], false),
            (
                "another header than its own",
                &[rate, ("VKUBE_HTTP_TRUSTED_PROXIES", "127.0.0.0/8")],
                "forwarded",
                ["for=192.0.2.1", "for=192.0.2.2"],
                false,
            ),
        ] {
            let settings: Vec<_> =
                settings.iter().map(|(name, value)| (*name, value.replace("127.0.0.1", "127.0.0.1/32"))).collect();
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let api = system.new_api(&settings).await?;
            let ask = async |of: &str| {
                let request = api.client.get("/k8s/regions").header(header, of);
                request.send().await
            };
            // A probe of the harness may have had one.
            let asked = answered(60, async || ask(one).await).await?;
            assert!((3..8).contains(&asked), "{case}: {asked}");
            let next = ask(two).await?;
            assert_eq!(next.status == 200, own, "{case}: {}", next.body);
        }
        Ok(())
    })
}

#[test]
fn an_order_and_an_address_have_so_many_requests_in_work_and_no_more() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("places").await?;
        let settings = [("VKUBE_HTTP_MAX_IN_FLIGHT_PER_ORDER", "2"), ("VKUBE_HTTP_MAX_IN_FLIGHT_PER_ADDRESS", "3")];
        let api = system.new_api(&settings).await?;
        let url = api.url.clone();
        system.apis.push(api);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let one = t.order_of(&system, &OrderOptions::units(1)).await?;
        let other = t.order_of(&system, &OrderOptions::units(1)).await?;
        for order in [&one, &other] {
            order.deployed(&pod("places", &[idle("idle")])).await?;
        }
        system.workers[0].process.pause().await?;
        let client = from(&url, "127.0.0.11")?;
        let held = |order: &Order| {
            let order = order.by(&client);
            tokio::spawn(async move {
                // Whoever looks whether the places are taken takes one for a moment.
                loop {
                    let answer = order.request(Method::GET, "/k8s/pod/status").send().await?;
                    if answer.status != 429 {
                        return anyhow::Ok(answer);
                    }
                }
            })
        };
        let mut waiting = vec![held(&one), held(&one)];
        let refusal = async |order: &Order, whose: &str| {
            until(&format!("the places {whose} are taken"), Duration::from_secs(8), async || {
                let answer = order.by(&client).request(Method::GET, "/k8s/order").send().await?;
                if answer.status == 200 {
                    return Ok(None);
                }
                let error = answer.refused(429, Reason::RateLimited)?;
                ensure!(error["message"].as_str().is_some_and(|text| text.contains(whose)), "{error}");
                Ok(Some(()))
            })
            .await
        };
        refusal(&one, "of this order").await?;
        waiting.push(held(&other));
        refusal(&other, "of this address").await?;
        // Others are not kept from theirs.
        other.by(&from(&url, "127.0.0.12")?).request(Method::GET, "/k8s/order").send().await?.ok()?;
        system.workers[0].process.resume()?;
        for waiting in waiting {
            let answer = waiting.await??;
            assert!(matches!(answer.status, 200 | 504), "{}", answer.body);
        }
        // A place is free when the last byte of its answer is gone.
        until("the places are free", Duration::from_secs(5), async || {
            let answer = one.by(&client).request(Method::GET, "/k8s/order").send().await?;
            Ok((answer.status == 200).then_some(()))
        })
        .await
    })
}

#[test]
fn an_address_has_so_many_connections_and_no_more() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("connections").await?;
        let api = system.new_api(&[("VKUBE_HTTP_MAX_CONNECTIONS_PER_ADDRESS", "3")]).await?;
        let address = api.url.trim_start_matches("http://");
        let from: IpAddr = "127.0.0.11".parse()?;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(attack::connect(address, from).await?);
        }
        for connection in &mut held {
            assert!(attack::is_answered(connection).await?);
        }
        assert!(!attack::is_answered(&mut attack::connect(address, from).await?).await?, "a fourth");
        assert!(attack::is_answered(&mut attack::connect(address, "127.0.0.12".parse()?).await?).await?, "another's");
        held.pop();
        until("one more may connect", Duration::from_secs(5), async || {
            let mut next = attack::connect(address, from).await?;
            Ok(attack::is_answered(&mut next).await?.then_some(()))
        })
        .await
    })
}
