//! The `usher` program. `usher run` is the router; every other verb is a client of a running router
//! or works on local files.

mod descriptors;
mod http;
mod metrics;
mod offline;
mod project;
mod run;
mod running;
mod serving;
mod states;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A durable event router whose listeners are sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "usher", version, max_term_width = 100)]
struct Usher {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the router until SIGTERM or Ctrl-C.
    Run(usher_config::Flags),
    /// Compile one component from standard input to standard output; the router starts this.
    #[command(hide = true)]
    CompileComponent {
        /// Memory limit, in bytes
        memory_bytes: u64,
    },
    #[command(flatten)]
    Client(usher_cli::Command),
    #[command(flatten)]
    Offline(offline::Command),
}

fn main() -> ExitCode {
    match Usher::parse().verb {
        Verb::Run(flags) => run::run(&flags),
        Verb::CompileComponent { memory_bytes } => usher_runtime::compile_as_child(memory_bytes),
        Verb::Client(command) => usher_cli::run(command),
        Verb::Offline(command) => offline::run(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        use clap::CommandFactory;
        Usher::command().debug_assert();
    }
}
