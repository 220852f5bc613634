//! The command `vkube`: an order's whole way by commands, exit codes, and what a shell expects of a program.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::order::{OrderOptions, text};
use e2e::pod::{container, counter, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::{Test, test};
use e2e::until::until;
use e2e::vkube::Vkube;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

/// The command for the system that tests share.
async fn vkube(t: &Test) -> Result<Vkube> {
    let system = t.shared().await?;
    Ok(Vkube::new(&system.apis.first().context("an api")?.url))
}

/// The value behind a name in what a command printed.
fn field<'a>(out: &'a str, name: &str) -> Option<&'a str> {
    out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  ").map(str::trim))
}

#[test]
fn an_order_goes_its_whole_way_by_commands() -> Result<()> {
    test(async |t| {
        let operator = vkube(t).await?.operator(&t.shared().await?.operator_token);
        let made =
            operator.run("orders create --units 2 --ports user --hours 100 --email a@example.com").await?.is(0)?;
        let id = field(&made.out, "Order").context("an order")?.to_owned();
        let secret = field(&made.out, "Secret").context("a secret")?.to_owned();
        assert!(made.notes.contains("keep the secret"), "{}", made.notes);
        let owner = vkube(t).await?.secret(&secret);

        let body = pod("ausrine", &[web("web", host_port()), counter("counter", 3)]).to_string();
        let deployed = owner.run_with("deploy -f - --wait 60 --until available", &body).await?.is(0)?;
        assert_eq!(field(&deployed.out, "Status"), Some("Deployed"), "{}", deployed.out);
        assert!(deployed.out.contains("\nCONTAINER  PORT"), "{}", deployed.out);

        let status = owner.done("status").await?;
        assert_eq!(field(&status, "Phase"), Some("Running"), "{status}");
        assert!(status.lines().any(|line| line.starts_with("counter ") && line.contains("running")), "{status}");
        let status = owner.json("status").await?;
        assert_eq!(status.pointer("/podStatus/phase"), Some(&json!("Running")));

        until("the lines are there", Duration::from_secs(10), async || {
            let log = owner.done("logs -c counter --tail 2").await?;
            Ok((log == "line 2\nline 3\n").then_some(()))
        })
        .await?;
        let refused = owner.run("logs").await?.is(1)?;
        assert!(refused.notes.contains("counter") && refused.notes.contains("request id: "), "{}", refused.notes);

        let jobs = owner.json("jobs").await?;
        let job = text(&jobs, "/jobs/0/id")?;
        let listed = owner.done("jobs list --limit 5").await?;
        assert!(listed.starts_with("JOB ") && listed.contains(&job), "{listed}");
        assert_eq!(field(&owner.done(&format!("jobs show {job}")).await?, "State"), Some("Succeeded"));
        assert_eq!(owner.json(&format!("jobs watch {job}")).await?["state"], "Succeeded");

        let listed = operator.done("orders list --email a@example.com --all").await?;
        assert!(listed.lines().any(|line| line.starts_with(&id) && line.contains("ServiceRunning")), "{listed}");
        let shown = operator.done(&format!("orders show {id}")).await?;
        assert!(
            field(&shown, "Status") == Some("ServiceRunning")
                && shown.contains("HOST PORT")
                && shown.contains(&job)
                && !shown.contains(&secret),
            "{shown}"
        );

        let aborted = operator.done(&format!("orders abort {id} --reason paid-back --wait 90")).await?;
        assert_eq!(field(&aborted, "State"), Some("Succeeded"), "{aborted}");
        let refused = owner.run_with("deploy -f -", &body).await?.is(1)?;
        assert!(refused.out.is_empty() && !refused.notes.contains(&secret), "{}", refused.notes);
        Ok(())
    })
}

#[test]
fn a_pod_is_stopped_started_restarted_and_followed_by_commands() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let owner = vkube(t).await?.secret(&order.secret);
        order.running(&pod("ausrine", &[counter("counter", 3)])).await?;
        let mut child = owner.command("logs --follow")?.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("an output")?).lines();
        for number in 1..=3 {
            let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await??;
            assert_eq!(line, Some(format!("line {number}")));
        }
        assert_eq!(owner.done("stop --wait 60").await?, "stop: done\n");
        let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await??;
        assert_eq!((lines.next_line().await?, ended.status.code()), (None, Some(0)));
        assert!(!ended.stderr.is_empty(), "it is told why the log ends");
        until("the record says that it is stopped", Duration::from_secs(10), async || {
            Ok((field(&owner.done("info").await?, "Status") == Some("ServiceStop")).then_some(()))
        })
        .await?;
        owner.run("restart").await?.is(1)?;
        assert_eq!(owner.done("start --wait 60").await?, "start: done\n");
        assert_eq!(owner.done("restart --wait 60").await?, "restart: done\n");
        let jobs = owner.json("jobs").await?;
        let verbs: Vec<_> = jobs["jobs"].as_array().context("jobs")?.iter().map(|job| job["verb"].clone()).collect();
        assert_eq!(verbs, ["restart", "start", "stop", "deploy"]);
        let ended = text(&jobs, "/jobs/0/id")?;
        let refused = owner.run(&format!("jobs cancel {ended}")).await?.is(1)?;
        assert!(refused.notes.contains("it has ended"), "{}", refused.notes);
        Ok(())
    })
}

#[test]
fn an_operator_extends_orders_replaces_secrets_and_sees_regions() -> Result<()> {
    test(async |t| {
        let operator = vkube(t).await?.operator(&t.shared().await?.operator_token);
        let order = t.order(&OrderOptions::units(1)).await?;
        let extended = operator.done(&format!("orders extend {} --hours 24", order.id)).await?;
        assert_eq!(field(&extended, "Hours"), Some("124"), "{extended}");
        let replaced = operator.done(&format!("orders secret {} --overlap 60", order.id)).await?;
        let secret = field(&replaced, "Secret").context("a secret")?;
        for secret in [secret, &order.secret] {
            vkube(t).await?.secret(secret).done("info").await?;
        }
        let regions = operator.done("regions --operator").await?;
        assert!(regions.lines().any(|line| line.starts_with("ausrine  true  v1.")), "{regions}");
        assert!(regions.lines().any(|line| line.starts_with("worker-") && line.contains("ausrine")), "{regions}");
        Ok(())
    })
}

#[test]
fn anybody_may_ask_for_regions_ports_and_images() -> Result<()> {
    test(async |t| {
        let anyone = vkube(t).await?;
        assert_eq!(anyone.done("regions").await?, "ausrine\n");
        let free = host_port();
        let ports = anyone.done(&format!("ports check --region ausrine {free}")).await?;
        assert!(ports.contains("free") && !ports.contains("occupied"), "{ports}");
        assert_eq!(anyone.json(&format!("ports check --region ausrine {free}")).await?["status"], "NotOccupied");
        anyone.run("ports check --region nowhere 80").await?.is(3)?;
        assert_eq!(anyone.done("image nginx:stable").await?, "nginx:stable exists\n");
        let refused = anyone.run("image nginx:no-such-tag").await?.is(1)?;
        assert!(refused.notes.starts_with("vkube: image does not exist."), "{}", refused.notes);
        Ok(())
    })
}

#[test]
fn every_wrong_field_of_a_deploy_is_told() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let body = pod("ausrine", &[with(idle("NOT A NAME"), "imageName", json!("NOT AN IMAGE"))]).to_string();
        let refused = vkube(t).await?.secret(&order.secret).run_with("deploy -f -", &body).await?.is(1)?;
        for field in ["\n  containers[0].name: ", "\n  containers[0].imageName: ", "\n  request id: "] {
            assert!(refused.notes.contains(field), "{}", refused.notes);
        }
        Ok(())
    })
}

#[test]
fn exit_codes_tell_what_happened() -> Result<()> {
    test(async |t| {
        let wrong = vkube(t).await?.secret("no-such-secret");
        for line in ["status", "jobs", "logs"] {
            let refused = wrong.run(line).await?.is(1)?;
            assert!(refused.out.is_empty() && !refused.notes.contains("no-such-secret"), "{line}: {}", refused.notes);
        }
        wrong.run("deploy").await?.is(2)?;
        vkube(t).await?.run("status").await?.is(2)?;
        let nobody = Vkube::new("http://127.0.0.1:9").secret("no-such-secret");
        let unreachable = nobody.run("status").await?.is(3)?;
        assert!(unreachable.notes.contains("http://127.0.0.1:9"), "{}", unreachable.notes);
        assert!(!unreachable.notes.contains("no-such-secret"), "{}", unreachable.notes);

        let order = t.order(&OrderOptions::units(1)).await?;
        let broken = with(container("broken", "busybox:1"), "command", json!("/no/such/program"));
        let body = pod("ausrine", &[broken]).to_string();
        let failed =
            vkube(t).await?.secret(&order.secret).run_with("deploy -f - --until available --wait 90", &body).await?;
        let told = failed.is(5)?.notes;
        let jobs = vkube(t).await?.secret(&order.secret).json("jobs").await?;
        let job = text(&jobs, "/jobs/0/id")?;
        let watched = vkube(t).await?.secret(&order.secret).run(&format!("jobs watch {job}")).await?.is(5)?;
        assert!(watched.notes.contains("Failed"), "{told}{}", watched.notes);

        let owner = vkube(t).await?.secret(&t.order(&OrderOptions::units(1)).await?.secret);
        let body = pod("ausrine", &[container("missing", "no-such-image:1")]).to_string();
        let failed = owner.run_with("deploy -f - --until available --wait 90", &body).await?.is(5)?;
        let job = text(&owner.json("jobs").await?, "/jobs/0/id")?;
        assert!(failed.notes.contains(&format!("\n  job: {job}\n")), "{}", failed.notes);
        Ok(())
    })
}

#[test]
fn a_region_that_is_slow_leaves_a_job_to_watch() -> Result<()> {
    test(async |t| {
        let system = t.system("slow", 1, 1).await?;
        system.workers[0].process.pause().await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let owner = Vkube::new(&system.apis[0].url).secret(&order.secret);
        let body = pod("slow", &[idle("idle")]).to_string();
        let accepted = owner.run_with("deploy -f - --async --json", &body).await?.is(4)?;
        let job: serde_json::Value = serde_json::from_str(&accepted.out)?;
        let id = text(&job, "/id")?;
        assert!(accepted.notes.contains(&format!("vkube jobs watch {id}")), "{}", accepted.notes);
        owner.run(&format!("jobs watch {id} --wait 0")).await?.is(4)?;
        system.workers[0].process.resume()?;
        assert_eq!(field(&owner.done(&format!("jobs watch {id}")).await?, "State"), Some("Succeeded"));
        Ok(())
    })
}

#[test]
fn a_repeated_key_is_one_job() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let owner = vkube(t).await?.secret(&order.secret);
        let body = pod("ausrine", &[idle("idle")]).to_string();
        let line = "deploy -f - --json --idempotency-key once";
        let first = owner.run_with(line, &body).await?.is(0)?;
        assert_eq!(owner.run_with(line, &body).await?.is(0)?.out, first.out);
        owner.run_with("deploy -f - --json", &body).await?.is(0)?;
        assert_eq!(owner.json("jobs").await?["jobs"].as_array().map(Vec::len), Some(2));
        Ok(())
    })
}

#[test]
fn a_deploy_goes_on_when_the_api_is_back() -> Result<()> {
    test(async |t| {
        let mut system = t.system("back", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let owner = Vkube::new(&system.apis[0].url).secret(&order.secret);
        let body = pod("back", &[idle("idle")]).to_string();
        system.apis[0].process.kill().await?;
        let (deployed, started) = tokio::join!(owner.run_with("deploy -f -", &body), system.apis[0].start_again());
        started?;
        let deployed = deployed?.is(0)?;
        assert!(deployed.notes.contains("trying again in 0.5 s"), "{}", deployed.notes);
        assert_eq!(owner.json("jobs").await?["jobs"].as_array().map(Vec::len), Some(1));
        Ok(())
    })
}

#[test]
fn secrets_are_read_from_files_too() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let folder = t.shared().await?.folder();
        let [secret, token] = ["cli-secret", "cli-token"].map(|name| folder.join(name));
        std::fs::write(&secret, format!("{}\n", order.secret))?;
        std::fs::write(&token, &t.shared().await?.operator_token)?;
        let anyone = vkube(t).await?;
        anyone.done(&format!("jobs --secret-file {}", secret.display())).await?;
        let shown = format!("orders show {} --operator-token-file {}", order.id, token.display());
        assert_eq!(field(&anyone.done(&shown).await?, "Order"), Some(order.id.as_str()));
        Ok(())
    })
}

#[test]
fn a_watched_status_goes_on_until_it_is_interrupted() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.running(&pod("ausrine", &[idle("idle")])).await?;
        let mut child = vkube(t).await?.secret(&order.secret).command("status --watch")?.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("an output")?).lines();
        let first = lines.next_line().await?.context("a line")?;
        assert!(first.starts_with("Pod  "), "{first}");
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("a process id")?;
        kill_process(pid, Signal::INT)?;
        let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await??;
        assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "which a shell calls 130: {status}");
        Ok(())
    })
}

#[test]
fn completions_and_help_need_no_api() -> Result<()> {
    test(async |t| {
        let alone = Vkube::new("not a URL");
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = alone.done(&format!("completions {shell}")).await?;
            assert!(script.contains("vkube") && script.contains("operator-token"), "{shell}");
        }
        let help = alone.done("--help").await?;
        assert!(help.contains("130  ended by Ctrl-C"), "{help}");
        let shown = vkube(t).await?.secret("hunter2").done("--help").await?;
        assert!(!shown.contains("hunter2"), "{shown}");
        Ok(())
    })
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_silently() -> Result<()> {
    test(async |t| {
        let mut command = vkube(t).await?.command("completions bash")?;
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        drop(child.stdout.take());
        let mut notes = String::new();
        child.stderr.take().context("notes")?.read_to_string(&mut notes).await?;
        assert!(child.wait().await?.success());
        assert_eq!(notes, "");
        Ok(())
    })
}
