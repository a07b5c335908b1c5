//! `usher dead-letters`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_event::{FailureClass, PluginName, SubscriptionName};

use super::{ClientArgs, MaxArgs, failure_class, rate, timestamp};
use usher_api::Timestamp;

/// `usher dead-letters`.
#[derive(Debug, Subcommand)]
pub enum DeadLettersVerb {
    /// Show dead letters, oldest first
    List(DeadLettersListArgs),
    /// Show a dead letter with its event and attempts
    Show(DeadLetterArgs),
    /// Deliver dead letters again with a fresh attempt count, or one with an edited event
    Redrive(RedriveArgs),
    /// Write what a dead letter's last attempt was told to a folder: a fixture for `usher test`
    Capture(CaptureArgs),
    /// Run a dead letter's last attempt again in another component, here; all effects are dropped
    Try(TryArgs),
    /// Discard dead letters permanently
    Discard(DiscardArgs),
}

/// `usher dead-letters list`.
#[derive(Debug, Args)]
pub struct DeadLettersListArgs {
    /// Only those after this id
    #[arg(long, value_name = "ID")]
    pub after: Option<u64>,
    #[command(flatten)]
    pub filter: DeadLetterFilterArgs,
    #[command(flatten)]
    pub max: MaxArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Filters on dead letters; all given ones must match.
#[derive(Debug, Default, Args)]
pub struct DeadLetterFilterArgs {
    /// Only those of this subscription
    #[arg(long, value_name = "PLUGIN/NAME")]
    pub subscription: Option<SubscriptionName>,
    /// Only those of this plugin
    #[arg(long)]
    pub plugin: Option<PluginName>,
    /// Only those with this failure class
    #[arg(long, value_parser = failure_class())]
    pub class: Option<FailureClass>,
    /// Only those with exactly this reason of the last failure
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only those whose event's type starts with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub type_prefix: Option<String>,
    /// Only those given up at this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub since: Option<Timestamp>,
    /// Only those given up before this time
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub until: Option<Timestamp>,
}

/// `usher dead-letters capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The dead letter's id
    pub id: u64,
    /// The folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher dead-letters try`.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// The dead letter's id
    pub id: u64,
    /// The component
    #[arg(value_name = "NEW.wasm")]
    pub component: PathBuf,
    /// The router
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher dead-letters show`.
#[derive(Debug, Args)]
pub struct DeadLetterArgs {
    /// The dead letter's id
    pub id: u64,
    /// Print only its event, as JSON for `redrive --event`
    #[arg(long, conflicts_with = "json")]
    pub event: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Selects dead letters by id, by filter, or all.
#[derive(Debug, Args)]
pub struct ChosenArgs {
    /// The dead letters' ids
    #[arg(
        value_name = "ID",
        required_unless_present_any = CHOICES,
        conflicts_with_all = CHOICES
    )]
    pub ids: Vec<u64>,
    /// All dead letters
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: DeadLetterFilterArgs,
}

/// Arguments that select dead letters other than by id.
const CHOICES: [&str; 8] =
    ["all", "subscription", "plugin", "class", "reason", "type_prefix", "since", "until"];

/// `usher dead-letters redrive`.
#[derive(Debug, Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    pub chosen: ChosenArgs,
    /// Deliver the event in this JSON file instead of the dead letter's; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = CHOICES)]
    pub event: Option<PathBuf>,
    /// Only if all their plugins serve this version
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Maximum dead letters per second
    #[arg(long, value_name = "N", default_value = "10", value_parser = rate)]
    pub rate: f64,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher dead-letters discard`.
#[derive(Debug, Args)]
pub struct DiscardArgs {
    #[command(flatten)]
    pub chosen: ChosenArgs,
    /// Maximum dead letters per second
    #[arg(long, value_name = "N", default_value = "1000", value_parser = rate)]
    pub rate: f64,
    #[command(flatten)]
    pub client: ClientArgs,
}
