//! Breaks the product on purpose and finds out whether what must always hold has held. `dev/chaos` runs it in a stack of its
//! own; in one that stays: `dev/stack/test-stack exec -- target/debug/chaos --seed 1 --minutes 3`. `chaos figures FILE...` breaks nothing
//! and tells what was done in the runs of these journals.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use e2e::chaos::run::{Wanted, run};
use e2e::chaos::{figures, journal};

/// Breaks the product on purpose, and finds out whether what must always hold has held
#[derive(Debug, Parser)]
#[command(name = "chaos", subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// What is wanted of a run.
    #[command(flatten)]
    wanted: Option<Wanted>,

    #[command(subcommand)]
    other: Option<Other>,
}

/// What is done instead of a run.
#[derive(Debug, Subcommand)]
enum Other {
    /// Breaks nothing: tells what was done in the runs of these journals
    Figures {
        #[arg(required = true, value_name = "FILE")]
        journals: Vec<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Other::Figures { journals }) = arguments.other {
        let journals: Vec<_> = journals.iter().map(|path| journal::read(path)).collect::<Result<_>>()?;
        write!(std::io::stdout().lock(), "{}", figures::table(&figures::of(&journals)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let violations = match run(&arguments.wanted.context("what is wanted of a run")?).await {
        Ok(violations) => violations,
        Err(error) => {
            writeln!(std::io::stdout().lock(), "the run could not be ended: {error:#}")?;
            1
        }
    };
    writeln!(std::io::stdout().lock(), "violations {violations}")?;
    Ok(if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
