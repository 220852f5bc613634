//! Start-up order does not matter: any part may come first, last, or come back.

use std::time::Duration;

use anyhow::Result;
use e2e::order::{Order, OrderOptions};
use e2e::pod::{idle, pod};
use e2e::process::Process;
use e2e::system::{READY_WITHIN, System};
use e2e::test::test;
use e2e::until::until;

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nats,
    Postgres,
    Api,
    Worker,
}

const ALL: [Part; 4] = [Part::Nats, Part::Postgres, Part::Api, Part::Worker];

/// What passes between one start and the next: longer than any of them takes.
const PAUSE: Duration = Duration::from_millis(1500);

/// Every part first and last once, in two ways.
fn orders() -> Vec<Vec<Part>> {
    let turned = |first: usize| -> Vec<Part> { ALL.iter().cycle().skip(first).take(ALL.len()).copied().collect() };
    let reversed = |order: Vec<Part>| order.into_iter().rev().collect();
    (0..ALL.len()).map(turned).chain((0..ALL.len()).map(turned).map(reversed)).collect()
}

#[test]
fn parts_may_start_in_any_order_and_what_was_asked_before_is_still_there() -> Result<()> {
    test(async |t| {
        let mut system = t.system("started", 1, 1).await?;
        let mut orders_made: Vec<Order> = Vec::new();
        for order in orders() {
            stop(&mut system).await?;
            for part in &order {
                match part {
                    Part::Nats => system.nats.start_again().await?,
                    Part::Postgres => system.database.allow_connections(true).await?,
                    Part::Api => system.apis[0].spawn_again()?,
                    Part::Worker => system.workers[0].spawn_again()?,
                }
                tokio::time::sleep(PAUSE).await;
            }
            until(&format!("all is ready after {order:?}"), READY_WITHIN * 2, async || {
                // Who cannot begin may end, and is started again by whoever looks after it.
                if has_ended(&mut system.apis[0].process)? {
                    system.apis[0].spawn_again()?;
                }
                if has_ended(&mut system.workers[0].process)? {
                    system.workers[0].spawn_again()?;
                }
                let ready = [system.apis[0].readiness().await, system.workers[0].readiness().await];
                Ok(ready.iter().all(|one| one.as_ref().is_ok_and(|(status, _)| *status == 200)).then_some(()))
            })
            .await?;
            system.apis[0].knows(&system.region).await?;
            for made in &orders_made {
                made.status().await?.ok()?;
            }
            let made = t.order_of(&system, &OrderOptions::units(1)).await?;
            made.deployed(&pod("started", &[idle("idle")])).await?;
            orders_made.push(made);
        }
        assert_eq!(orders_made.len(), 2 * ALL.len());
        Ok(())
    })
}

/// Whether it has ended; it must not have been by a signal.
fn has_ended(process: &mut Process) -> Result<bool> {
    let Some(status) = process.ended()? else { return Ok(false) };
    assert!(status.code().is_some(), "{} ended by itself, with {status}", process.name());
    Ok(true)
}

/// Ends everything at once, as a power cut would.
async fn stop(system: &mut System) -> Result<()> {
    for process in [&mut system.workers[0].process, &mut system.apis[0].process] {
        process.kill().await?;
    }
    system.nats.kill().await?;
    system.database.allow_connections(false).await
}
