//! Arguments of the subcommands that read files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_author::{Feature, Language};
use usher_cli::{ClientArgs, CredentialsArgs, StoreBackupArgs, base_url};
use usher_event::PluginName;
use usher_filter::Filter;

/// Subcommands that read files.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Back up, verify or salvage a data folder
    #[command(subcommand)]
    Store(StoreVerb),
    /// Move a router's journal between its data folder and NATS JetStream
    #[command(subcommand)]
    Journal(JournalVerb),
    /// Check the configuration and plugin files without serving
    Check(CheckArgs),
    /// Look at everything a router depends on, and say what to do about what is wrong
    Doctor(DoctorArgs),
    /// Try filters on events, see how they are looked up, or make them of EventBridge's event patterns
    #[command(subcommand)]
    Filter(FilterVerb),
    /// Show what a plugin file is and what it requests, or compare two versions
    Inspect(InspectArgs),
    /// Compile plugin files into a router's cache, so that it loads them at once
    Compile(CompileArgs),
    /// Begin a plugin: a folder that builds, tests and serves
    New(NewArgs),
    /// Build a plugin and run its fixtures, without a router or network
    Test(TestArgs),
    /// Deliver one event to a component, and show everything it does
    Call(CallArgs),
    /// Run a new version of a plugin on events of the log, beside the one that serves
    Shadow(ShadowArgs),
    /// Build a plugin at each change, serve it on a router of its own, and show what happens
    Dev(DevArgs),
}

/// `usher store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Copy a running router's data folder to a new folder that a router can start from
    Backup(StoreBackupArgs),
    /// Read everything in a data folder that no router is using, and report problems
    Verify(StoreVerifyArgs),
    /// Rebuild the tables of a data folder from its journal
    Rebuild(StoreRebuildArgs),
    /// Copy what can be read in a damaged data folder to a new one; the old one is not changed
    Salvage(StoreSalvageArgs),
}

/// `usher journal`.
#[derive(Debug, Subcommand)]
pub(crate) enum JournalVerb {
    /// Copy the journal of a stopped router to JetStream, or back; may be repeated after an interruption
    Copy(JournalCopyArgs),
}

/// `usher journal copy`.
#[derive(Debug, Args)]
pub(crate) struct JournalCopyArgs {
    /// Where the journal is
    #[arg(value_name = "FROM")]
    pub(crate) from: JournalEngine,
    /// Where it is to be
    #[arg(value_name = "TO")]
    pub(crate) to: JournalEngine,
    #[command(flatten)]
    pub(crate) flags: usher_config::Flags,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum JournalEngine {
    /// In the data folder
    Embedded,
    /// On NATS JetStream, as the configuration says
    Jetstream,
}

/// `usher filter`.
#[derive(Debug, Subcommand)]
pub(crate) enum FilterVerb {
    /// Show which events match a filter, and why the others don't; fails unless all match
    Test(FilterTestArgs),
    /// Show a filter as the router reads it, and what the router looks it up by
    Explain(FilterExplainArgs),
    /// Translate an event pattern of Amazon EventBridge; fails if a part has no counterpart
    FromEventbridge(FilterFromArgs),
}

/// `usher filter test`.
#[derive(Debug, Args)]
pub(crate) struct FilterTestArgs {
    /// JSON, a CloudEvents SQL expression, or @FILE with either
    #[arg(value_name = "FILTER", value_parser = usher_cli::filter_argument)]
    pub(crate) filter: Filter,
    /// Files of events: one, an array, or one per line; - for standard input
    #[arg(value_name = "EVENT", required = true)]
    pub(crate) events: Vec<PathBuf>,
    /// Print a line of JSON for each event
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher filter explain`.
#[derive(Debug, Args)]
pub(crate) struct FilterExplainArgs {
    /// JSON, a CloudEvents SQL expression, or @FILE with either
    #[arg(value_name = "FILTER", value_parser = usher_cli::filter_argument)]
    pub(crate) filter: Filter,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher filter from-eventbridge`.
#[derive(Debug, Args)]
pub(crate) struct FilterFromArgs {
    /// A file with an event pattern in JSON
    pub(crate) file: PathBuf,
    /// Print what wasn't translated as JSON, too
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher store rebuild`.
#[derive(Debug, Args)]
pub(crate) struct StoreRebuildArgs {
    /// The data folder, which no router is using
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher store verify`.
#[derive(Debug, Args)]
pub(crate) struct StoreVerifyArgs {
    /// The data folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher store salvage`.
#[derive(Debug, Args)]
pub(crate) struct StoreSalvageArgs {
    /// The damaged data folder; it is only read
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The new folder; must not exist yet
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) flags: usher_config::Flags,
    /// Also show what would change in subscriptions and schedules of the router at this address
    #[arg(long, value_parser = base_url)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialsArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) flags: usher_config::Flags,
    /// The router; by default the first address of the configuration
    #[arg(long, value_parser = base_url)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialsArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The plugin's file
    pub(crate) file: PathBuf,
    /// Another version's file to compare with
    #[arg(long, value_name = "OLD")]
    pub(crate) against: Option<PathBuf>,
    /// A configuration file; also shows which abilities it would deny
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher compile`.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// Plugin files
    #[arg(value_name = "PLUGIN.wasm", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The router's data folder; it may be running
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher shadow`.
#[derive(Debug, Args)]
pub(crate) struct ShadowArgs {
    /// The plugin's name on the router
    pub(crate) plugin: PluginName,
    /// The new version's component
    #[arg(value_name = "NEW.wasm")]
    pub(crate) component: PathBuf,
    /// How many of the newest events that the plugin takes, at most 1,000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = last)]
    pub(crate) last: usize,
    /// On the events that come, until Ctrl-C
    #[arg(long, conflicts_with = "last")]
    pub(crate) live: bool,
    /// End after this many deliveries of them
    #[arg(long, value_name = "N", requires = "live")]
    pub(crate) events: Option<usize>,
    /// Only events of this subscription of the plugin
    #[arg(long, value_name = "NAME")]
    pub(crate) subscription: Option<String>,
    /// A file like a fixture's given.json, whose `http` answers requests
    #[arg(long, value_name = "FILE")]
    pub(crate) given: Option<PathBuf>,
    /// The router
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

fn last(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1_000).contains(number));
    number.ok_or_else(|| "use 1 to 1000".to_owned())
}

/// `usher new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The plugin's name, which is also its folder's: a-z, 0-9 and '-', beginning with a letter
    pub(crate) name: PluginName,
    /// Its language
    #[arg(long, value_parser = language)]
    pub(crate) lang: Language,
    /// Capabilities to import: config, state, blobs, http, divided by commas, or none; log is always
    /// there
    // The whole path keeps clap from taking it for an option that may be repeated.
    #[arg(long, value_parser = Feature::list, default_value = "config,state")]
    pub(crate) with: std::vec::Vec<Feature>,
    /// The folder to make, in place of one of the plugin's name
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

fn language(text: &str) -> Result<Language, String> {
    let known = Language::ALL.iter().find(|(name, _)| *name == text);
    known.map(|(_, language)| *language).ok_or_else(|| {
        let names = Language::ALL.map(|(name, _)| name).join(", ");
        let go = if text == "go" { "; docs/write-a-plugin.md says what works in Go" } else { "" };
        format!("there are templates for {names}{go}")
    })
}

/// `usher test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The plugin's project
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Only fixtures whose name contains one of these
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// A component to test in place of the project's
    #[arg(long, value_name = "FILE")]
    pub(crate) component: Option<PathBuf>,
    /// Folder of the fixtures, in place of the project's
    #[arg(long, value_name = "DIR")]
    pub(crate) fixtures: Option<PathBuf>,
    /// Keep what happens as what is expected
    #[arg(long)]
    pub(crate) update: bool,
    /// Test the component as it is
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// `usher dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The plugin's project
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Send this sample whenever a new version serves; its name may be cut
    #[arg(long, value_name = "NAME")]
    pub(crate) send: Option<String>,
    /// Where the router's API listens
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Print an object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `usher call`.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The component
    #[arg(value_name = "PLUGIN.wasm")]
    pub(crate) component: PathBuf,
    /// A file with the event as JSON, a fixture's folder, or `-` for standard input
    pub(crate) event: String,
    /// A file like a fixture's given.json
    #[arg(long, value_name = "FILE")]
    pub(crate) given: Option<PathBuf>,
    /// Also show what was used of the limits
    #[arg(long)]
    pub(crate) limits: bool,
    /// Also show which functions take the time, from deliveries repeated for three seconds
    #[arg(long)]
    pub(crate) profile: bool,
    /// Also write the stacks of the profile to a file, in the folded form that flame graphs are drawn
    /// from
    #[arg(long, value_name = "FILE", requires = "profile")]
    pub(crate) stacks: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
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
    fn good_lines_parse() {
        for line in [
            "store backup /backups/1 --url http://127.0.0.1:9",
            "store verify data --json",
            "store rebuild data --json",
            "store salvage data rescued --json",
            "check --json",
            "doctor --config usher.toml --url http://127.0.0.1:9 --json",
            "check --config usher.toml --url http://127.0.0.1:9",
            "inspect printer.wasm --json",
            "compile a.wasm b.wasm --data data --json",
            "new greeter --lang rust",
            "new greeter --lang python --with state,http --folder /tmp/greeter",
            "test",
            "test greeter first --update --junit report.xml",
            "test --component greeter.wasm --fixtures cases --no-build --json",
            "dev",
            "dev greeter --send first --listen 127.0.0.1:7171",
            "call greeter.wasm event.json --given given.json --limits --json",
            "inspect printer-2.wasm --against printer.wasm --config usher.toml",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
        }
    }

    #[test]
    fn bad_lines_say_why() {
        use ErrorKind::{InvalidSubcommand, MissingRequiredArgument, ValueValidation};
        for (line, kind) in [
            ("store verify", MissingRequiredArgument),
            ("store rebuild", MissingRequiredArgument),
            ("store salvage data", MissingRequiredArgument),
            ("store mend data", InvalidSubcommand),
            ("new greeter", MissingRequiredArgument),
            ("new Greeter --lang c", ValueValidation),
            ("new greeter --lang cobol", ValueValidation),
            ("new greeter --lang c --with sockets", ValueValidation),
            ("call greeter.wasm", MissingRequiredArgument),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
