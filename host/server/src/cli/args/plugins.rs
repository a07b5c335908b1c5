//! `usher plugins`, `usher check` and `usher inspect`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_event::PluginName;

use super::{ClientArgs, base_url};

/// `usher plugins`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PluginsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<PluginsVerb>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Subcommands of `usher plugins`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsVerb {
    /// Stop deliveries to a plugin until it is resumed; its events wait
    Pause(PluginArgs),
    /// Resume deliveries to a paused plugin
    Resume(PluginArgs),
    /// Lift the quarantine of a plugin that failed too often
    Release(PluginArgs),
    /// Roll back to the previous version; the current one stays disabled until its file changes
    Rollback(PluginArgs),
    /// Show the outcome of each change of a plugin, oldest first
    History(PluginArgs),
}

/// Subcommands of `usher plugins` that name one plugin.
#[derive(Debug, Args)]
pub(crate) struct PluginArgs {
    /// The plugin's name
    pub(crate) name: PluginName,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) flags: usher_config::Flags,
    /// Also show what would change in subscriptions and schedules of the router at this address
    #[arg(long, value_parser = base_url)]
    pub(crate) url: Option<String>,
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
