//! The `usher` program. `usher run` is the router; every other command is a client of a running
//! router, works on local files, or describes the program (`completions`, `man`).

mod access;
mod cluster;
mod descriptors;
mod http;
mod log_lines;
mod metrics;
mod offline;
mod project;
mod run;
mod running;
mod samples;
mod serving;
mod states;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use usher_cli::ui::CliError;

/// A durable event router whose listeners are sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "usher", version = usher_executors::VERSION, max_term_width = 100)]
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
        /// How much it does for the speed of the code
        tier: usher_runtime::Tier,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write a man page for each command to a folder.
    Man {
        /// The folder; created if missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    #[command(flatten)]
    Client(usher_cli::Command),
    #[command(flatten)]
    Offline(offline::Command),
}

/// Writes `usher.1`, `usher-run.1` and so on.
fn write_man_pages(folder: &Path) -> Result<(), CliError> {
    let failed = |error| CliError::new(format!("can't write to {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Usher::command(), folder).map_err(failed)
}

fn main() -> ExitCode {
    match Usher::parse().verb {
        Verb::Run(flags) => run::run(&flags),
        Verb::CompileComponent { memory_bytes, tier } => {
            usher_runtime::compile_as_child(memory_bytes, tier)
        }
        Verb::Completions { shell } => usher_cli::print(|out| {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Usher::command(), "usher", &mut script);
            out.text(&String::from_utf8_lossy(&script))
        }),
        Verb::Man { folder } => usher_cli::print(|_| write_man_pages(&folder)),
        Verb::Client(command) => usher_cli::run(command, offline::try_dead_letter),
        Verb::Offline(command) => offline::run(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Usher::command().debug_assert();
    }

    #[test]
    fn every_command_has_its_man_page() {
        let folder = tempfile::tempdir().unwrap();
        write_man_pages(folder.path()).unwrap();
        for page in ["usher.1", "usher-run.1", "usher-dead-letters-redrive.1"] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
        assert!(!folder.path().join("usher-compile-component.1").exists(), "it is hidden");
    }
}
