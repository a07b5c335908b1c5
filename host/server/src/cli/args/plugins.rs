//! `usher plugins`; and `check` and `inspect`, which look at plugin files.

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

/// What can be done to plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsVerb {
    /// Keep deliveries from one until it is resumed; its events wait
    Pause(PluginArgs),
    /// Let a paused one have deliveries again
    Resume(PluginArgs),
    /// Lift the quarantine of one that failed too often
    Release(PluginArgs),
    /// Put the version before in the place of one; the present one stays off until its file changes
    Rollback(PluginArgs),
    /// Show how changes of one ended, oldest first
    History(PluginArgs),
}

/// `usher plugins release` and its like.
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
    pub(crate) flags: crate::config::Flags,
    /// Tell what would change about subscriptions and schedules of the router that runs here
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
    /// Another version's file: show what is different in this one
    #[arg(long, value_name = "OLD")]
    pub(crate) against: Option<PathBuf>,
    /// A configuration file, to see what of it would be denied
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
