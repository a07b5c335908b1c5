//! Subcommands that work on files: the configuration, plugins and their projects, a data folder that
//! no router uses.

mod args;
mod call;
mod check;
mod compare;
mod compare_schedules;
mod compile;
mod dev;
mod difference;
mod doctor;
mod executor;
mod filter;
mod inspect;
mod inspected;
mod journal;
mod new;
mod shadow;
mod stage;
mod stop;
mod store;
mod test;
mod trial;

use std::process::ExitCode;

use args::{JournalVerb, StoreVerb};

pub(crate) use args::Command;
pub(crate) use trial::run as try_dead_letter;

/// Runs one subcommand.
pub(crate) fn run(command: Command) -> ExitCode {
    usher_cli::print(|out| match command {
        Command::Store(StoreVerb::Backup(args)) => usher_cli::backup(&args, out),
        Command::Store(StoreVerb::Verify(args)) => store::verify(&args, out),
        Command::Store(StoreVerb::Rebuild(args)) => store::rebuild(&args, out),
        Command::Store(StoreVerb::Salvage(args)) => store::salvage(&args, out),
        Command::Journal(JournalVerb::Copy(args)) => journal::copy(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Filter(verb) => filter::run(&verb, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Compile(args) => compile::run(&args, out),
        Command::New(args) => new::run(&args, out),
        Command::Test(args) => test::run(&args, out),
        Command::Call(args) => call::run(&args, out),
        Command::Shadow(args) => shadow::run(&args, out),
        Command::Dev(args) => dev::run(&args, out),
    })
}
