//! `cargo xtask bench`: benchmarks, always in release mode.

use std::process::Command;

use anyhow::Result;
use clap::Subcommand;
use usher_tests::{NatsServer, repository};

use crate::cargo::{build_release, run};
use crate::style::announce;
use crate::{guests, languages, nats};

/// Command-line options of `cargo xtask bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// One event through one plugin and durably out again, with the cost of each layer.
    Hop {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Publishing over HTTP: what access and TLS cost, and what onlookers cost the hops.
    Http {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// What a delivery costs by language, beside bare wasmtime and without recording.
    Languages {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// From a request over HTTP to the emission on disk, at a steady rate.
    Latency {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Publish and hop beside NATS JetStream, with its default and with `sync_interval: always`.
    /// `nats-server` comes from PyPI, or from `NATS_SERVER`.
    Peers {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Hops with the journal on JetStream, on one server and on three, and how long a change of the owner
    /// takes. `nats-server` comes from PyPI, or from `NATS_SERVER`.
    Cluster {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Routing by content: what expressions and conditions on data cost, and how matching grows with the
    /// number of subscriptions.
    Route {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// How plugins affect each other: many idle ones, one that spins, one that is replaced.
    Neighbours {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Millions of events waiting for one subscription: what time and memory grow with them.
    Backlog {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Builds the prerequisites and runs the benchmark.
pub(crate) fn run_benchmark(benchmark: &Benchmark) -> Result<()> {
    let nats_server = match benchmark {
        Benchmark::Peers { .. } | Benchmark::Cluster { .. } => match nats::server()? {
            Some(server) => Some(server),
            None => return Ok(()),
        },
        _ => None,
    };
    announce("building the benchmarks (release)");
    let binaries = build_release()?;
    let (suite, options) = match benchmark {
        Benchmark::Hop { options } => ("hop", options),
        Benchmark::Http { options } => ("http", options),
        Benchmark::Languages { options } => ("languages", options),
        Benchmark::Latency { options } => ("latency", options),
        Benchmark::Peers { options } => ("peers", options),
        Benchmark::Cluster { options } => ("cluster", options),
        Benchmark::Route { options } => ("route", options),
        Benchmark::Neighbours { options } => ("neighbours", options),
        Benchmark::Backlog { options } => ("backlog", options),
    };
    match benchmark {
        Benchmark::Backlog { .. } => (),
        Benchmark::Languages { .. } => languages::build_components()?,
        _ => guests::build()?,
    }
    let mut benches = Command::new(binaries.join("usher-benches"));
    benches.envs(nats_server.map(|server| (NatsServer::VARIABLE, server)));
    run(benches
        .env("USHER_BIN", binaries.join("usher"))
        .current_dir(repository())
        .arg(suite)
        .args(options))
}
