//! Command-line arguments.

mod connect;
mod dead_letters;
mod nodes;
mod plugins;
mod store;
mod subscriptions;
mod tokens;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use usher_event::{FailureClass, SubscriptionName};
use usher_filter::Filter;

use usher_api::Timestamp;

pub use connect::*;
pub use dead_letters::TryArgs;
pub(crate) use dead_letters::*;
pub(crate) use nodes::*;
pub(crate) use plugins::*;
pub use store::*;
pub(crate) use subscriptions::*;
pub(crate) use tokens::*;

/// Subcommands that talk to a router.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish events from a JSON file (one event, an array, or one per line), or one from flags
    Publish(PublishArgs),
    /// Show events in the log, newest last
    Tail(TailArgs),
    /// Show plugins, their grants, and which files were refused and why; or change a plugin's state
    Plugins(PluginsArgs),
    /// Show sinks: servers that events are delivered to
    Sinks(ClientArgs),
    /// Show subscriptions and their progress, or remove one
    Subscriptions(SubscriptionsArgs),
    /// Show active states that refuse producers or hold deliveries, and what they affect
    States(ClientArgs),
    /// Redeliver part of the log to a subscription, or preview the outcome
    Replay(ReplayArgs),
    /// Show schedules, their next tick, and how many ticks were emitted or missed
    Schedules(ClientArgs),
    /// Show the nodes of a router whose journal is shared, or have one take deliveries or take over
    Nodes(NodesArgs),
    /// Show an event and everything it caused, as a tree
    Flow(FlowArgs),
    /// Explain what happened to an event for a subscription, or why it was not delivered
    Why(WhyArgs),
    /// List, show, redrive or discard dead letters
    #[command(subcommand)]
    DeadLetters(DeadLettersVerb),
    /// Show operator actions on dead letters, subscriptions and plugins, oldest first
    Audit(AuditArgs),
    /// List or fetch blobs stored by plugins
    #[command(subcommand)]
    Blobs(BlobsVerb),
    /// List what a plugin keeps, now or as of an earlier event
    State(StateArgs),
    /// List, create or revoke access tokens
    #[command(subcommand)]
    Tokens(TokensVerb),
}

/// `usher publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// File with events in the CloudEvents JSON format; `-` for standard input
    #[arg(required_unless_present = "ty", conflicts_with = "ty")]
    pub file: Option<PathBuf>,
    /// Event type; publishes one event built from flags instead of a file
    #[arg(long = "type", value_name = "TYPE", requires = "source")]
    pub ty: Option<String>,
    /// The event's source
    #[arg(long, requires = "ty", value_name = "URI")]
    pub source: Option<String>,
    /// The event's data: JSON, unless --content-type says otherwise
    #[arg(long, requires = "ty", value_name = "JSON", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// The event's subject
    #[arg(long, requires = "ty")]
    pub subject: Option<String>,
    /// The event's id; random by default
    #[arg(long, requires = "ty")]
    pub id: Option<String>,
    /// Media type of the data
    #[arg(long, requires = "data", value_name = "MEDIA-TYPE")]
    pub content_type: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Only events whose type starts with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub type_prefix: Option<String>,
    /// Only events that match this filter: JSON, a CloudEvents SQL expression, or @FILE with either
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub filter: Option<String>,
    /// Start at this sequence
    #[arg(long, value_name = "SEQUENCE")]
    pub from: Option<u64>,
    /// Without --from: how many of the newest events to show
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 20,
        conflicts_with = "from",
        value_parser = clap::value_parser!(u64).range(0..=10_000)
    )]
    pub last: u64,
    /// Keep printing new events as they arrive
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher flow`.
#[derive(Debug, Args)]
pub struct FlowArgs {
    /// The flow's correlationid, or the sequence or id of any of its events; an id must not be a
    /// number and must be unique among the newest events
    pub id: String,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The event's sequence; or its id, if not a number and unique among the newest events
    pub event: String,
    /// The subscription's name
    #[arg(value_name = "PLUGIN/NAME")]
    pub subscription: SubscriptionName,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only records after this number
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
    #[command(flatten)]
    pub max: MaxArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Limit on a listing.
#[derive(Debug, Args)]
pub struct MaxArgs {
    /// Maximum number of items to list
    #[arg(
        long = "max",
        value_name = "COUNT",
        default_value_t = 1000,
        value_parser = count
    )]
    pub count: usize,
}

/// Parses the number of items to list.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=100_000).contains(&count) => Ok(count),
        _ => Err("use 1 to 100000".to_owned()),
    }
}

/// Parses a rate per second.
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

fn failure_class() -> impl TypedValueParser<Value = FailureClass> {
    let names = PossibleValuesParser::new(FailureClass::ALL.map(FailureClass::as_str));
    names.try_map(|name| FailureClass::from_name(&name).ok_or("there is no such class"))
}

/// Maximum size of a file with a filter.
const FILTER_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// A filter as an argument: JSON, the name of a file with it behind an `@`, or a CloudEvents SQL expression.
///
/// # Errors
/// Why it is none, in the router's own words.
pub fn filter_argument(text: &str) -> Result<Filter, String> {
    let from_file;
    let text = match text.strip_prefix('@') {
        None => text,
        Some(name) => {
            let read = read_text(Path::new(name), FILTER_FILE_MAX_BYTES);
            from_file = read.map_err(|error| format!("{name}: {error}"))?;
            from_file.trim()
        }
    };
    let parsed = match text.trim_start().chars().next() {
        Some('{' | '[') | None => Filter::parse(text),
        Some(_) => Filter::from_json(&serde_json::json!({ "sql": text })),
    };
    parsed.map_err(|error| error.to_string())
}

/// Reads a file that is no larger than that.
///
/// # Errors
/// It can't be read, is no text, or is larger.
pub fn read_text(file: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(file)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if read as u64 > max_bytes {
        let what = format!("has more than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

/// The JSON of a filter that is an argument, which the router takes.
fn filter(text: &str) -> Result<String, String> {
    filter_argument(text).map(|filter| filter.to_json().to_string())
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
            "plugins --url https://router.example.com",
            "plugins --url unix:/run/usher/usher.sock --ca-file root.pem",
            "plugins release printer --json",
            "sinks --json",
            "plugins pause printer",
            "plugins rollback printer",
            "plugins history printer --json",
            "plugins resume printer --url http://127.0.0.1:9",
            "subscriptions --json",
            "subscriptions remove printer/tickets --json --url http://127.0.0.1:9",
            "schedules --json",
            "nodes --json",
            "nodes drain b",
            "nodes resume b --json",
            "nodes promote b --url http://127.0.0.1:9",
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
            "state sales --at 42 --max 10 --json",
            "tokens list --json",
            "tokens new shop --scope publish:ticket. --source-prefix /shop --expires 90d",
            "tokens new ops --scope operate --scope read --expires 2126-01-31T12:00:00Z",
            "tokens revoke shop --token-file admin-token",
            "tokens hash",
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
            ("plugins --url ftp://127.0.0.1:7171", ValueValidation),
            ("plugins --url 127.0.0.1:7171", ValueValidation),
            ("plugins --url http://127.0.0.1:7171/api", ValueValidation),
            ("subscriptions remove", MissingRequiredArgument),
            ("subscriptions remove printer", ValueValidation),
            ("flow", MissingRequiredArgument),
            ("why 7", MissingRequiredArgument),
            ("why 7 printer", ValueValidation),
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
            ("tokens new shop", MissingRequiredArgument),
            ("tokens new shop --scope write", ValueValidation),
            ("tokens new shop --scope read --expires soon", ValueValidation),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
