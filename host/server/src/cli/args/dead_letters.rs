//! `usher dead-letters`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_event::{FailureClass, PluginName, SubscriptionName};

use super::{ClientArgs, MaxArgs, failure_class, rate, timestamp};
use usher_api::Timestamp;

/// `usher dead-letters`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersVerb {
    /// Show dead letters, oldest first
    List(DeadLettersListArgs),
    /// Show a dead letter with its event and attempts
    Show(DeadLetterArgs),
    /// Deliver dead letters again with a fresh attempt count, or one with an edited event
    Redrive(RedriveArgs),
    /// Discard dead letters permanently
    Discard(DiscardArgs),
}

/// `usher dead-letters list`.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersListArgs {
    /// Only those after this id
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<u64>,
    #[command(flatten)]
    pub(crate) filter: DeadLetterFilterArgs,
    #[command(flatten)]
    pub(crate) max: MaxArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Filters on dead letters; all given ones must match.
#[derive(Debug, Default, Args)]
pub(crate) struct DeadLetterFilterArgs {
    /// Only those of this subscription
    #[arg(long, value_name = "PLUGIN/NAME")]
    pub(crate) subscription: Option<SubscriptionName>,
    /// Only those of this plugin
    #[arg(long)]
    pub(crate) plugin: Option<PluginName>,
    /// Only those with this failure class
    #[arg(long, value_parser = failure_class())]
    pub(crate) class: Option<FailureClass>,
    /// Only those whose event's type starts with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub(crate) type_prefix: Option<String>,
    /// Only those given up at this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) since: Option<Timestamp>,
    /// Only those given up before this time
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) until: Option<Timestamp>,
}

/// `usher dead-letters show`.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterArgs {
    /// The dead letter's id
    pub(crate) id: u64,
    /// Print only its event, as JSON for `redrive --event`
    #[arg(long, conflicts_with = "json")]
    pub(crate) event: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Selects dead letters by id, by filter, or all.
#[derive(Debug, Args)]
pub(crate) struct ChosenArgs {
    /// The dead letters' ids
    #[arg(
        value_name = "ID",
        required_unless_present_any = CHOICES,
        conflicts_with_all = CHOICES
    )]
    pub(crate) ids: Vec<u64>,
    /// All dead letters
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: DeadLetterFilterArgs,
}

/// Arguments that select dead letters other than by id.
const CHOICES: [&str; 7] =
    ["all", "subscription", "plugin", "class", "type_prefix", "since", "until"];

/// `usher dead-letters redrive`.
#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    #[command(flatten)]
    pub(crate) chosen: ChosenArgs,
    /// Deliver the event in this JSON file instead of the dead letter's; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = CHOICES)]
    pub(crate) event: Option<PathBuf>,
    /// Maximum dead letters per second
    #[arg(long, value_name = "N", default_value = "10", value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher dead-letters discard`.
#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    pub(crate) chosen: ChosenArgs,
    /// Maximum dead letters per second
    #[arg(long, value_name = "N", default_value = "1000", value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
