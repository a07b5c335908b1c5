//! `usher plugins`, `usher check` and `usher inspect`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_event::PluginName;

use super::ClientArgs;

/// `usher plugins`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PluginsArgs {
    #[command(subcommand)]
    pub verb: Option<PluginsVerb>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Subcommands of `usher plugins`.
#[derive(Debug, Subcommand)]
pub enum PluginsVerb {
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
    /// List its newest deliveries that failed or asked other servers
    Recordings(PluginArgs),
    /// Write one of these as a fixture for `usher test`
    Capture(CaptureRecordingArgs),
}

/// `usher plugins capture`.
#[derive(Debug, Args)]
pub struct CaptureRecordingArgs {
    /// The plugin's name
    pub name: PluginName,
    /// The recording's number, as `usher plugins recordings` lists it
    pub number: u64,
    /// The folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Subcommands of `usher plugins` that name one plugin.
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// The plugin's name
    pub name: PluginName,
    #[command(flatten)]
    pub client: ClientArgs,
}
