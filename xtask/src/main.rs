//! Development tasks. `cargo xtask help` lists them; no shell scripts needed.
//!
//! All build output goes to the root workspace's `target/`, regardless of `CARGO_TARGET_DIR`,
//! because the tests and the demo look there.

mod bench;
mod browser;
mod cargo;
mod crash;
mod debian;
mod demo;
mod fuzz;
mod guests;
mod hostile;
mod languages;
mod nats;
mod simulate;
mod style;
mod suite;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Usher's development tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the plugins and the test guests as wasm components.
    ///
    /// Output goes to target/plugins and target/guests.
    Plugins,
    /// Make and build a plugin in each language that `usher new` knows, with its tools.
    ///
    /// Needs Python 3, Node.js and their registries.
    Languages,
    /// Run twelve ticket purchases through four plugins.
    ///
    /// Builds everything it needs, starts the router with a payment gateway and a mail API,
    /// publishes, prints each flow as a tree, and checks the result of each.
    Demo(demo::Options),
    /// Run all tests, including set-up.
    Test(suite::Options),
    /// Crash the router repeatedly under load, and check that nothing is lost or done twice.
    Crash(crash::Options),
    /// Run every row of the catalogue of hostile plugins beside honest ones under load.
    ///
    /// Prints what each row tries, what must happen and what was observed, with the router's memory
    /// and the neighbours' latency before and during.
    Hostile(hostile::Options),
    /// Run every fuzz target for a while.
    ///
    /// Uses libFuzzer if cargo-fuzz and a nightly compiler are available.
    Fuzz(fuzz::Options),
    /// Run random histories of the ledger against a simple model.
    Simulate(simulate::Options),
    /// Run a benchmark.
    #[command(subcommand)]
    Bench(bench::Benchmark),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Plugins => guests::build().map(drop),
        Task::Languages => languages::build(),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => suite::run(&options),
        Task::Crash(options) => crash::run(&options),
        Task::Hostile(options) => hostile::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        Task::Bench(benchmark) => bench::run_benchmark(&benchmark),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}error{}: {error:#}", style::BAD, style::PLAIN);
            ExitCode::FAILURE
        }
    }
}
