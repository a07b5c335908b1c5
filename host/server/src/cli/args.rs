//! What can be written on the command line.

mod dead_letters;
mod plugins;
mod store;
mod subscriptions;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use usher_event::{FailureClass, SubscriptionName};
use usher_filter::Filter;

use usher_api::Timestamp;

pub(crate) use dead_letters::*;
pub(crate) use plugins::*;
pub(crate) use store::*;
pub(crate) use subscriptions::*;

/// Where `usher run` listens unless told otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:7171";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish events: a JSON file (one event, an array, or one event a line), or one made here
    Publish(PublishArgs),
    /// Show events of the log, newest last
    Tail(TailArgs),
    /// Show the plugins, what they are granted, and which files were refused and why; or change
    /// how one stands
    Plugins(PluginsArgs),
    /// Show the subscriptions and where they stand, or remove one
    Subscriptions(SubscriptionsArgs),
    /// Show the states in which producers are refused or deliveries are held, and whom they concern
    States(ClientArgs),
    /// Deliver part of the log to a subscription again, or show what would become of it
    Replay(ReplayArgs),
    /// Show the schedules, when each has its next tick, and what became of those before
    Schedules(ClientArgs),
    /// Show an event and all that it caused, as a tree
    Flow(FlowArgs),
    /// Say what became of an event for a subscription, or why nothing did
    Why(WhyArgs),
    /// Look after events that a subscription could not deal with
    #[command(subcommand)]
    DeadLetters(DeadLettersVerb),
    /// Show what operators did to dead letters, subscriptions and plugins, oldest first
    Audit(AuditArgs),
    /// Look at the files plugins have put
    #[command(subcommand)]
    Blobs(BlobsVerb),
    /// Copy and check what the router stores
    #[command(subcommand)]
    Store(StoreVerb),
    /// Check configuration and plugin files without serving
    Check(CheckArgs),
    /// Show what a plugin file is and what it asks for, or what is different between two versions
    Inspect(InspectArgs),
}

/// How to reach the router, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// The router's address
    #[arg(long, env = "USHER_URL", default_value = URL_DEFAULT, value_parser = base_url)]
    pub(crate) url: String,
    /// Print JSON, as the HTTP API has it
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher publish`.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// File with events in the CloudEvents JSON format; `-` for standard input
    #[arg(required_unless_present = "ty", conflicts_with = "ty")]
    pub(crate) file: Option<PathBuf>,
    /// Type of an event made here
    #[arg(long = "type", value_name = "TYPE", requires = "source")]
    pub(crate) ty: Option<String>,
    /// Its source
    #[arg(long, requires = "ty", value_name = "URI")]
    pub(crate) source: Option<String>,
    /// Its data: JSON, unless --content-type says otherwise
    #[arg(long, requires = "ty", value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Its subject
    #[arg(long, requires = "ty")]
    pub(crate) subject: Option<String>,
    /// Its id; a random one unless given
    #[arg(long, requires = "ty")]
    pub(crate) id: Option<String>,
    /// Media type of its data
    #[arg(long, requires = "data", value_name = "MEDIA-TYPE")]
    pub(crate) content_type: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Only events whose type starts with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub(crate) type_prefix: Option<String>,
    /// Only events that match this filter of the CloudEvents Subscriptions API
    #[arg(long, value_name = "JSON", value_parser = filter)]
    pub(crate) filter: Option<String>,
    /// Start at this sequence
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) from: Option<u64>,
    /// Without --from: how many of the newest events to show
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 20,
        conflicts_with = "from",
        value_parser = clap::value_parser!(u64).range(0..=10_000)
    )]
    pub(crate) last: u64,
    /// Go on with events as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher flow`.
#[derive(Debug, Args)]
pub(crate) struct FlowArgs {
    /// The sequence of any of its events, its correlationid, or the id of one of its events, where
    /// that is no number and unique among the newest events
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher why`.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The event's sequence; or its id, where that is no number and unique among the newest events
    pub(crate) event: String,
    /// The subscription's name
    #[arg(value_name = "PLUGIN/NAME")]
    pub(crate) subscription: SubscriptionName,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only records after this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) after: Option<u64>,
    #[command(flatten)]
    pub(crate) max: MaxArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// How much to list.
#[derive(Debug, Args)]
pub(crate) struct MaxArgs {
    /// At most so many
    #[arg(
        long = "max",
        value_name = "COUNT",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=100_000)
    )]
    pub(crate) count: u64,
}

/// How many a second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("use 0.001 to 10000".to_owned()),
    }
}

/// RFC 3339.
fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_text(text)
        .ok_or_else(|| "use RFC 3339, such as 2026-01-31T12:00:00Z".to_owned())
}

/// One of the failure classes.
fn failure_class() -> impl TypedValueParser<Value = FailureClass> {
    let names = PossibleValuesParser::new(FailureClass::ALL.map(FailureClass::as_str));
    names.try_map(|name| FailureClass::from_name(&name).ok_or("there is no such class"))
}

/// A filter, in the very words that the router refuses a wrong one with.
fn filter(text: &str) -> Result<String, String> {
    Filter::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A router's base URL, without a slash at the end.
fn base_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some(other) => return Err(format!("{other} is not supported; use http://HOST:PORT")),
        None => return Err("use http://HOST:PORT".to_owned()),
    }
    if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
        return Err("leave out path and query; use http://HOST:PORT".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use clap::error::ErrorKind;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        Program::try_parse_from(std::iter::once("usher").chain(line.split_whitespace()))
            .map(|program| program.command)
            .map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_holds_together() {
        use clap::CommandFactory;
        Program::command().debug_assert();
    }

    #[test]
    fn good_lines_parse() {
        for line in [
            "publish events.ndjson",
            "publish -",
            "publish --type t --source /s",
            "publish --type t --source /s --data -1 --subject s --id 1 --content-type text/plain",
            "tail",
            "tail --type ticket. --from 7 --follow --json",
            "tail -n 0 -f",
            "plugins --url http://127.0.0.1:9/",
            "plugins release printer --json",
            "plugins pause printer",
            "plugins rollback printer",
            "plugins history printer --json",
            "plugins resume printer --url http://127.0.0.1:9",
            "subscriptions --json",
            "subscriptions remove printer/tickets --json --url http://127.0.0.1:9",
            "schedules --json",
            "flow 7",
            "flow order-1001",
            "why 7 printer/tickets",
            "why order-1001 printer/tickets --json",
            "dead-letters list --after 3 --max 10",
            "dead-letters show 1",
            "dead-letters show 1 --event",
            "dead-letters redrive 1 2 3",
            "dead-letters redrive --all --rate 0.5",
            "dead-letters redrive --plugin printer --class trap --since 2026-01-31T12:00:00Z",
            "dead-letters redrive 4 --event mended.json",
            "dead-letters list --subscription printer/tickets --type ticket. --class timeout",
            "dead-letters discard 1",
            "dead-letters discard --subscription printer/tickets",
            "audit --after 3",
            "blobs list",
            "store backup /backups/1 --url http://127.0.0.1:9",
            "store verify data --json",
            "store salvage data rescued --json",
            "check --json",
            "check --config usher.toml --url http://127.0.0.1:9",
            "inspect printer.wasm --json",
            "inspect printer-2.wasm --against printer.wasm --config usher.toml",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
        }
        let digest = "0".repeat(64);
        assert!(parse(&format!("blobs get {digest}")).is_ok());
        assert!(parse(&format!("blobs get {digest} -o ticket.pdf --json")).is_ok());
    }

    #[test]
    fn bad_lines_say_why() {
        use ErrorKind::{
            ArgumentConflict, InvalidSubcommand, InvalidValue, MissingRequiredArgument,
            ValueValidation,
        };
        for (line, kind) in [
            ("publish", MissingRequiredArgument),
            ("publish --type t", MissingRequiredArgument),
            ("publish --type t --source /s --content-type text/plain", MissingRequiredArgument),
            ("publish events.json --type t --source /s", ArgumentConflict),
            ("tail --from x", ValueValidation),
            ("tail --from 1 -n 1", ArgumentConflict),
            ("plugins --url https://127.0.0.1:7171", ValueValidation),
            ("plugins --url 127.0.0.1:7171", ValueValidation),
            ("plugins --url http://127.0.0.1:7171/api", ValueValidation),
            ("subscriptions remove", MissingRequiredArgument),
            ("subscriptions remove printer", ValueValidation),
            ("flow", MissingRequiredArgument),
            ("why 7", MissingRequiredArgument),
            ("why 7 printer", ValueValidation),
            ("store verify", MissingRequiredArgument),
            ("store salvage data", MissingRequiredArgument),
            ("store mend data", InvalidSubcommand),
            ("dead-letters redrive", MissingRequiredArgument),
            ("dead-letters redrive 1 --all", ArgumentConflict),
            ("dead-letters redrive --all --event mended.json", ArgumentConflict),
            ("dead-letters redrive --all --rate 0", ValueValidation),
            ("dead-letters list --class bad", InvalidValue),
            ("dead-letters list --since yesterday", ValueValidation),
            ("dead-letters discard --rate 5", MissingRequiredArgument),
            ("dead-letters bury 1", InvalidSubcommand),
            ("blobs get nothing", ValueValidation),
            ("blobs list --max 0", ValueValidation),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
