//! Subcommands that read files: the configuration, plugins, a data folder that no router uses.

mod args;
mod check;
mod compare;
mod compare_schedules;
mod difference;
mod doctor;
mod executor;
mod inspect;
mod inspected;
mod store;

use std::process::ExitCode;

use args::StoreVerb;

pub(crate) use args::Command;

/// Runs one subcommand.
pub(crate) fn run(command: Command) -> ExitCode {
    usher_cli::print(|out| match command {
        Command::Store(StoreVerb::Backup(args)) => usher_cli::backup(&args, out),
        Command::Store(StoreVerb::Verify(args)) => store::verify(&args, out),
        Command::Store(StoreVerb::Salvage(args)) => store::salvage(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
    })
}
