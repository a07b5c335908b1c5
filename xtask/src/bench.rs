//! `cargo xtask bench`: measurements, always in release.

use anyhow::Result;
use clap::Subcommand;
use usher_tests::{repository, target_dir};

use crate::cargo::{cargo, run};
use crate::guests;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// One event through one plugin and durably out again, beside what it is made of.
    Hop {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Builds what the benchmark needs and runs it.
pub(crate) fn run_benchmark(benchmark: &Benchmark) -> Result<()> {
    let Benchmark::Hop { options } = benchmark;
    guests::build()?;
    let mut command = cargo(&repository(), "run", &target_dir());
    run(command.args(["--release", "--package", "usher-benches", "--", "hop"]).args(options))
}
