//! Every subcommand except `run`. Most are HTTP clients of a running router; `check`, `inspect`,
//! `store verify` and `store salvage` read files directly.
//!
//! Output is rendered from the HTTP API's response types; `--json` prints those unchanged. Results
//! go to stdout, errors to stderr. Exit codes: 0 success, 1 failure, 2 invalid usage or
//! configuration.

mod abilities;
mod args;
mod audit;
mod blobs;
mod check;
mod client;
mod compare;
mod compare_schedules;
mod dead_letters;
mod dead_letters_chosen;
mod difference;
mod error;
mod feed;
mod flow;
mod ids;
mod inspect;
mod output;
mod pace;
mod pages;
mod plugin_history;
mod plugins;
mod publish;
mod replay;
mod schedules;
mod states;
mod store;
mod subscriptions;
mod table;
mod tail;
mod text;
mod tree;
mod why;

use std::process::ExitCode;

pub(crate) use args::Command;
use args::{BlobsVerb, DeadLettersVerb, PluginsVerb, StoreVerb, SubscriptionsVerb};
use error::CliError;
use output::Output;

/// Runs one subcommand and prints its error, if any.
pub(crate) fn run(command: Command) -> ExitCode {
    let out = &mut Output::stdout();
    match dispatch(command, out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn dispatch(command: Command, out: &mut Output) -> Result<(), CliError> {
    match command {
        Command::Publish(args) => publish::run(&args, out),
        Command::Tail(args) => tail::run(&args, out),
        Command::Plugins(args) => match args.verb {
            None => plugins::list(&args.client, out),
            Some(PluginsVerb::Pause(args)) => plugins::change(&args, "pause", "paused", out),
            Some(PluginsVerb::Resume(args)) => plugins::change(&args, "resume", "goes on", out),
            Some(PluginsVerb::Rollback(args)) => {
                plugins::change(&args, "rollback", "rolled back", out)
            }
            Some(PluginsVerb::History(args)) => plugin_history::run(&args, out),
            Some(PluginsVerb::Release(args)) => plugins::change(&args, "release", "released", out),
        },
        Command::Subscriptions(args) => match args.verb {
            None => subscriptions::list(&args.client, out),
            Some(SubscriptionsVerb::Remove(args)) => subscriptions::remove(&args, out),
        },
        Command::States(args) => states::run(&args, out),
        Command::Replay(args) => replay::run(&args, out),
        Command::Schedules(args) => schedules::run(&args, out),
        Command::Flow(args) => flow::run(&args, out),
        Command::Why(args) => why::run(&args, out),
        Command::DeadLetters(verb) => match verb {
            DeadLettersVerb::List(args) => dead_letters::list(&args, out),
            DeadLettersVerb::Show(args) => dead_letters::show(&args, out),
            DeadLettersVerb::Redrive(args) => dead_letters_chosen::redrive(&args, out),
            DeadLettersVerb::Discard(args) => dead_letters_chosen::discard(&args, out),
        },
        Command::Audit(args) => audit::run(&args, out),
        Command::Blobs(verb) => match verb {
            BlobsVerb::List(args) => blobs::list(&args, out),
            BlobsVerb::Get(args) => blobs::get(&args, out),
        },
        Command::Store(verb) => match verb {
            StoreVerb::Backup(args) => store::backup(&args, out),
            StoreVerb::Verify(args) => store::verify(&args, out),
            StoreVerb::Salvage(args) => store::salvage(&args, out),
        },
        Command::Check(args) => check::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
    }
}
