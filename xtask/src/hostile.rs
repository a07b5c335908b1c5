//! `cargo xtask hostile`: every row of the catalogue of hostile plugins, beside honest ones.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use usher_tests::hostile::{Options as Hostile, run as run_rows};
use usher_tests::{repository, target_dir};

use crate::cargo::{cargo, run as run_command};
use crate::guests;
use crate::style::{GOOD, PLAIN};

/// What to try, and how often.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// All of it so often.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Only these rows of the catalogue; all where there are none.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<u8>,
    /// Neighbours whose 99th percentile more than doubles count as harmed. Wants a machine that
    /// does nothing else.
    #[arg(long)]
    judge_latency: bool,
    /// Take what was built before.
    #[arg(long)]
    no_build: bool,
}

/// Builds what is needed and tries the rows.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.no_build {
        guests::build()?;
        if std::env::var_os("USHER_BIN").is_none() {
            // As the suite does, so that nothing is compiled twice.
            let mut build = cargo(&repository(), "build", &target_dir());
            run_command(build.args(["--workspace", "--bins", "--lib", "--tests"]))?;
        }
    }
    let Options { times, rows, judge_latency, .. } = options;
    check(&Hostile { times: *times, rows: rows.clone(), judge_latency: *judge_latency })
}

/// Each row once, with what the suite has built.
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
