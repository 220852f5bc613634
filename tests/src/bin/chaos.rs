//! Breaks the product on purpose and finds out whether what must always hold has held. `dev/chaos` runs it in a stack of its
//! own; in one that stays: `dev/stack/test-stack exec -- target/debug/chaos --seed 1 --minutes 3`. With `--figures` it breaks nothing
//! and tells what was done in the runs of these journals.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::chaos::run::{Wanted, run};
use e2e::chaos::{figures, journal};

const USAGE: &str = "chaos --seed N --minutes M [--fault NAME]... [--times N] [--mixed] [--nats-servers 1|3|5] [--journal FILE], or chaos --figures FILE...";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("--figures").is_some() {
        let journals: Vec<_> = arguments.map(|path| journal::read(path.as_ref())).collect::<Result<_>>()?;
        write!(std::io::stdout().lock(), "{}", figures::table(&figures::of(&journals)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = wanted(arguments).with_context(|| format!("usage: {USAGE}"))?;
    let violations = match run(&wanted).await {
        Ok(violations) => violations,
        Err(error) => {
            writeln!(std::io::stdout().lock(), "the run could not be ended: {error:#}")?;
            1
        }
    };
    writeln!(std::io::stdout().lock(), "violations {violations}")?;
    Ok(if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Wanted> {
    let (mut seed, mut minutes, mut faults, mut times) = (None, None, Vec::new(), None);
    let (mut mixed, mut nats_servers, mut journal) = (false, 1, None);
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{option} wants a value"));
        match option.as_str() {
            "--seed" => seed = Some(value()?.parse()?),
            "--minutes" => minutes = Some(value()?.parse::<f64>()?),
            "--fault" => faults.push(value()?),
            "--times" => times = Some(value()?.parse()?),
            "--mixed" => mixed = true,
            "--journal" => journal = Some(value()?.into()),
            "--nats-servers" => nats_servers = value()?.parse()?,
            _ => bail!("there is no option {option}"),
        }
    }
    ensure!([1, 3, 5].contains(&nats_servers), "--nats-servers is 1, 3 or 5");
    let length = Duration::try_from_secs_f64(60.0 * minutes.context("--minutes is missing")?)?;
    Ok(Wanted { seed: seed.context("--seed is missing")?, length, faults, times, mixed, nats_servers, journal })
}
