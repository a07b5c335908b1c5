//! `cargo xtask simulate`: random histories of the broker's ledger, on one node or several, against a
//! simple model, in `tests/simulator`.

use anyhow::Result;
use clap::Args;
use usher_tests::{repository, target_dir};

use crate::cargo::{cargo, run as run_command};

/// Stacks of threads that have ended are kept, up to 1 GiB. `pthread_detach` of glibc 2.36 reads of its thread once
/// more after it is marked as detached, and may have ended; a thousand histories detach some hundred thousand threads.
const KEEP_STACKS: &str = "glibc.pthread.stack_cache_size=1073741824";

/// Command-line options of `cargo xtask simulate`: the simulator's own.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Options of the simulator; see --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Options {
    /// Options for the first `seeds` seeds.
    pub(crate) fn first(seeds: u64) -> Self {
        Self { options: vec!["--seeds".to_owned(), seeds.to_string()] }
    }
}

/// Runs the simulator, which fails with the first history that breaks an invariant, minimised.
/// Optimised: a thousand histories then pay for the build.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut simulate = cargo(&repository(), "run", &target_dir());
    simulate.args(["--quiet", "--release", "--package", "usher-simulator", "--"]);
    simulate.env("GLIBC_TUNABLES", KEEP_STACKS);
    run_command(simulate.args(&options.options).env("RUST_BACKTRACE", "0"))
}
