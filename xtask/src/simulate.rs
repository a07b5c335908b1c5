//! `cargo xtask simulate`: random histories of the broker's ledger against a simple model.

use anyhow::Result;
use clap::Args;
use usher_tests::{repository, target_dir};

use crate::cargo::{cargo, run as run_command};

/// Command-line options of `cargo xtask simulate`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play only these steps of each history, as printed with a failure.
    #[arg(long, value_delimiter = ',')]
    steps: Vec<u32>,
    /// Print every step.
    #[arg(long)]
    trace: bool,
}

impl Options {
    /// Options for the first `seeds` seeds.
    pub(crate) fn first(seeds: u64) -> Self {
        Self { seeds, seed: 1, steps: Vec::new(), trace: false }
    }
}

/// Runs the simulation; fails with the first history that breaks an invariant, minimised.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut test = cargo(&repository(), "test", &target_dir());
    test.args(["--package", "usher-broker", "--lib", "simulation::random_histories", "--"])
        .arg("--nocapture")
        .env("RUST_BACKTRACE", "0")
        .env("USHER_SEED", options.seed.to_string())
        .env("USHER_SEEDS", options.seeds.to_string());
    if !options.steps.is_empty() {
        let steps: Vec<String> = options.steps.iter().map(u32::to_string).collect();
        test.env("USHER_STEPS", steps.join(","));
    }
    if options.trace {
        test.env("USHER_TRACE", "1");
    }
    run_command(&mut test)
}
