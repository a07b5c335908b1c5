//! Arguments of the subcommands that read files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_cli::{CredentialsArgs, StoreBackupArgs, base_url};

/// Subcommands that read files.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Back up, verify or salvage a data folder
    #[command(subcommand)]
    Store(StoreVerb),
    /// Check the configuration and plugin files without serving
    Check(CheckArgs),
    /// Look at everything a router depends on, and say what to do about what is wrong
    Doctor(DoctorArgs),
    /// Show what a plugin file is and what it requests, or compare two versions
    Inspect(InspectArgs),
}

/// `usher store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Copy a running router's data folder to a new folder that a router can start from
    Backup(StoreBackupArgs),
    /// Read everything in a data folder that no router is using, and report problems
    Verify(StoreVerifyArgs),
    /// Copy what can be read in a damaged data folder to a new one; the old one is not changed
    Salvage(StoreSalvageArgs),
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
            "store salvage data rescued --json",
            "check --json",
            "doctor --config usher.toml --url http://127.0.0.1:9 --json",
            "check --config usher.toml --url http://127.0.0.1:9",
            "inspect printer.wasm --json",
            "inspect printer-2.wasm --against printer.wasm --config usher.toml",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
        }
    }

    #[test]
    fn bad_lines_say_why() {
        use ErrorKind::{InvalidSubcommand, MissingRequiredArgument};
        for (line, kind) in [
            ("store verify", MissingRequiredArgument),
            ("store salvage data", MissingRequiredArgument),
            ("store mend data", InvalidSubcommand),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
