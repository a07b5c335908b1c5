//! `cargo xtask bench`: measurements, always in release.

use std::process::Command;

use anyhow::Result;
use clap::Subcommand;
use usher_tests::repository;

use crate::cargo::{build_release, run};
use crate::guests;
use crate::style::announce;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// One event through one plugin and durably out again, beside what it is made of.
    Hop {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// What plugins cost each other: many that are idle, one that spins, one that is replaced.
    Neighbours {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Millions of events that wait for one subscription: what of time and memory grows with them.
    Backlog {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Builds what the benchmark needs and runs it.
pub(crate) fn run_benchmark(benchmark: &Benchmark) -> Result<()> {
    announce("building the benchmarks (release)");
    let binaries = build_release()?;
    let (suite, options) = match benchmark {
        Benchmark::Hop { options } => ("hop", options),
        Benchmark::Neighbours { options } => ("neighbours", options),
        Benchmark::Backlog { options } => ("backlog", options),
    };
    if !matches!(benchmark, Benchmark::Backlog { .. }) {
        guests::build()?;
    }
    run(Command::new(binaries.join("usher-benches"))
        .env("USHER_BIN", binaries.join("usher"))
        .current_dir(repository())
        .arg(suite)
        .args(options))
}
