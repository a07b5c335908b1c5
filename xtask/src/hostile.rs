//! `cargo xtask hostile`: runs every row of the catalogue of hostile plugins beside honest ones.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use usher_tests::hostile::{Options as Hostile, run as run_rows};

use crate::cargo::build_workspace;
use crate::guests;
use crate::style::{GOOD, PLAIN};

/// Command-line options of `cargo xtask hostile`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Repeat everything this many times.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Run only these rows of the catalogue; default: all.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<u8>,
    /// Fail if a neighbour's 99th percentile more than doubles. Needs an otherwise idle machine.
    #[arg(long)]
    judge_latency: bool,
    /// Use existing builds.
    #[arg(long)]
    no_build: bool,
}

/// Builds the prerequisites and runs the rows.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.no_build {
        guests::build()?;
        if std::env::var_os("USHER_BIN").is_none() {
            build_workspace()?;
        }
    }
    let Options { times, rows, judge_latency, .. } = options;
    check(&Hostile { times: *times, rows: rows.clone(), judge_latency: *judge_latency })
}

/// Runs each row once, with the suite's builds.
pub(crate) fn check_all() -> Result<()> {
    check(&Hostile { times: 1, ..Hostile::default() })
}

fn check(options: &Hostile) -> Result<()> {
    let start = Instant::now();
    let summary = run_rows(options, |line| anstream::println!("{line}"))?;
    ensure!(summary.tried > 0, "not one row was tried");
    anstream::println!(
        "{GOOD}{} of {} rows contained{PLAIN} in {:.0} s; the neighbours handled {} events, each once",
        summary.contained,
        summary.tried,
        start.elapsed().as_secs_f64(),
        summary.neighbours,
    );
    Ok(())
}
