//! `cargo xtask simulate`: random histories of the broker's ledger against a plain model.

use anyhow::Result;
use clap::Args;
use usher_tests::{repository, target_dir};

use crate::cargo::{cargo, run as run_command};

/// What to play.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these steps of each history, as a failure names them.
    #[arg(long, value_delimiter = ',')]
    steps: Vec<u32>,
    /// Tell everything that happens.
    #[arg(long)]
    trace: bool,
}

impl Options {
    /// So many seeds from the first on.
    pub(crate) fn first(seeds: u64) -> Self {
        Self { seeds, seed: 1, steps: Vec::new(), trace: false }
    }
}

/// Plays them; fails with the first history that breaks an invariant, made as short as possible.
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
