//! The subcommands that talk to a router over HTTP. [`ui`] is what other subcommands print with.
//!
//! Output is rendered from the HTTP API's response types; `--json` prints those unchanged. Results
//! go to stdout, errors to stderr. Exit codes: 0 success, 1 failure, 2 invalid usage or
//! configuration.

pub mod feed;
pub mod ui;

mod args;
mod audit;
mod blobs;
mod capture;
mod dead_letters;
mod dead_letters_chosen;
mod flow;
mod ids;
mod log;
mod nodes;
mod pace;
mod pages;
mod plugin_history;
mod plugin_state;
mod plugins;
mod publish;
mod recordings;
mod replay;
mod schedules;
mod sinks;
mod states;
mod store_backup;
mod subscriptions;
mod tail;
mod tokens;
mod tree;
mod why;

use std::process::ExitCode;

use args::{BlobsVerb, DeadLettersVerb, NodesVerb, PluginsVerb, SubscriptionsVerb, TokensVerb};
pub use args::{
    ClientArgs, Command, CredentialsArgs, StoreBackupArgs, TryArgs, base_url, filter_argument,
    read_text,
};
pub use capture::{Captured, captured, projection};
pub use log::{Log, SEARCH_MAX_EVENTS};
use ui::error::CliError;
use ui::output::Output;
use usher_api::routes;

pub use store_backup::backup;

/// Runs one subcommand.
pub fn run(command: Command, trial: Trial) -> ExitCode {
    print(|out| dispatch(command, trial, out))
}

/// What `usher dead-letters try` does: it needs a sandbox, which this crate doesn't have.
pub type Trial = fn(&TryArgs, &mut Output) -> Result<(), CliError>;

/// Runs something that prints, and prints its error, if any.
pub fn print(subcommand: impl FnOnce(&mut Output) -> Result<(), CliError>) -> ExitCode {
    let out = &mut Output::stdout();
    match subcommand(out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn dispatch(command: Command, trial: Trial, out: &mut Output) -> Result<(), CliError> {
    match command {
        Command::Publish(args) => publish::run(&args, out),
        Command::Tail(args) => tail::run(&args, out),
        Command::Plugins(args) => match args.verb {
            None => plugins::list(&args.client, out),
            Some(PluginsVerb::Pause(args)) => plugins::change(&args, routes::PAUSE, "paused", out),
            Some(PluginsVerb::Resume(args)) => {
                plugins::change(&args, routes::RESUME, "goes on", out)
            }
            Some(PluginsVerb::Rollback(args)) => {
                plugins::change(&args, routes::ROLLBACK, "rolled back", out)
            }
            Some(PluginsVerb::History(args)) => plugin_history::run(&args, out),
            Some(PluginsVerb::Recordings(args)) => recordings::run(&args, out),
            Some(PluginsVerb::Capture(args)) => capture::recording(&args, out),
            Some(PluginsVerb::Release(args)) => {
                plugins::change(&args, routes::RELEASE, "released", out)
            }
        },
        Command::Sinks(args) => sinks::run(&args, out),
        Command::Subscriptions(args) => match args.verb {
            None => subscriptions::list(&args.client, out),
            Some(SubscriptionsVerb::Remove(args)) => subscriptions::remove(&args, out),
        },
        Command::States(args) => states::run(&args, out),
        Command::Replay(args) => replay::run(&args, out),
        Command::Schedules(args) => schedules::run(&args, out),
        Command::Nodes(args) => match args.verb {
            None => nodes::list(&args.client, out),
            Some(NodesVerb::Drain(args)) => {
                nodes::change(&args, routes::DRAIN_NODE, "gets no more deliveries", out)
            }
            Some(NodesVerb::Resume(args)) => {
                nodes::change(&args, routes::RESUME_NODE, "gets deliveries again", out)
            }
            Some(NodesVerb::Promote(args)) => nodes::promote(&args, out),
        },
        Command::Flow(args) => flow::run(&args, out),
        Command::Why(args) => why::run(&args, out),
        Command::DeadLetters(verb) => match verb {
            DeadLettersVerb::List(args) => dead_letters::list(&args, out),
            DeadLettersVerb::Show(args) => dead_letters::show(&args, out),
            DeadLettersVerb::Redrive(args) => dead_letters_chosen::redrive(&args, out),
            DeadLettersVerb::Capture(args) => capture::dead_letter(&args, out),
            DeadLettersVerb::Try(args) => trial(&args, out),
            DeadLettersVerb::Discard(args) => dead_letters_chosen::discard(&args, out),
        },
        Command::Audit(args) => audit::run(&args, out),
        Command::Blobs(verb) => match verb {
            BlobsVerb::List(args) => blobs::list(&args, out),
            BlobsVerb::Get(args) => blobs::get(&args, out),
        },
        Command::State(args) => plugin_state::list(&args, out),
        Command::Tokens(verb) => match verb {
            TokensVerb::List(args) => tokens::list(&args, out),
            TokensVerb::New(args) => tokens::create(args, out),
            TokensVerb::Revoke(args) => tokens::revoke(&args, out),
            TokensVerb::Hash(args) => tokens::hash(&args, out),
        },
    }
}
