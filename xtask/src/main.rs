//! Everything a developer types. `cargo xtask help` lists it; nothing needs a shell script.
//!
//! All build output goes to the root workspace's `target/`, whatever `CARGO_TARGET_DIR` says, so
//! that the tests and the demo know where to look.

mod bench;
mod cargo;
mod crash;
mod demo;
mod fuzz;
mod guests;
mod hostile;
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
    /// They come to lie in target/plugins and target/guests.
    Plugins,
    /// Watch twelve ticket purchases travel through four plugins.
    ///
    /// Builds everything it needs, starts the router with a payment gateway and a mail API beside
    /// it, publishes, prints each flow as a tree, and checks that each ended as it should.
    Demo(demo::Options),
    /// Run every test, set-up included.
    Test(suite::Options),
    /// End the router again and again under load, and check that nothing is lost or done twice.
    Crash(crash::Options),
    /// Try every row of the catalogue of hostile plugins beside honest ones under load.
    ///
    /// Prints what each tries, what must happen and what was seen, with the router's memory and the
    /// neighbours' latency before and during.
    Hostile(hostile::Options),
    /// Feed every fuzz target for a while.
    ///
    /// By libFuzzer, where cargo-fuzz and a nightly compiler are there.
    Fuzz(fuzz::Options),
    /// Play random histories of the ledger against a plain model.
    Simulate(simulate::Options),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Benchmark),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Plugins => guests::build().map(drop),
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
