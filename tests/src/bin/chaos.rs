//! Breaks the product on purpose and finds out whether what must always hold has held. `dev/chaos` runs it in a stack of its
//! own; in one that stays: `dev/stack/test-stack exec -- target/debug/chaos --seed 1 --minutes 3`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use e2e::chaos::run::{Wanted, run};

const USAGE: &str = "chaos --seed N --minutes M [--fault NAME]... [--mixed]";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let wanted = wanted(std::env::args().skip(1)).with_context(|| format!("usage: {USAGE}"))?;
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
    let (mut seed, mut minutes, mut faults, mut mixed) = (None, None, Vec::new(), false);
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{option} wants a value"));
        match option.as_str() {
            "--seed" => seed = Some(value()?.parse()?),
            "--minutes" => minutes = Some(value()?.parse::<f64>()?),
            "--fault" => faults.push(value()?),
            "--mixed" => mixed = true,
            _ => bail!("there is no option {option}"),
        }
    }
    let length = Duration::try_from_secs_f64(60.0 * minutes.context("--minutes is missing")?)?;
    Ok(Wanted { seed: seed.context("--seed is missing")?, length, faults, mixed })
}
