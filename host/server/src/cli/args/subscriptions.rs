//! `usher subscriptions` and `usher replay`.

use clap::{Args, Subcommand};
use usher_event::SubscriptionName;

use super::{ClientArgs, filter, rate};

/// `usher subscriptions`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SubscriptionsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<SubscriptionsVerb>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What else can be done with subscriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsVerb {
    /// Forget one that nothing serves, with its place in the log and all that waits for it
    Remove(SubscriptionArgs),
}

/// `usher subscriptions remove`.
#[derive(Debug, Args)]
pub(crate) struct SubscriptionArgs {
    /// The subscription's name
    #[arg(value_name = "PLUGIN/NAME")]
    pub(crate) name: SubscriptionName,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `usher replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The subscription's name
    #[arg(value_name = "PLUGIN/NAME")]
    pub(crate) subscription: SubscriptionName,
    /// Start at this sequence
    #[arg(long, value_name = "SEQUENCE", required_unless_present = "all")]
    pub(crate) from: Option<u64>,
    /// End before this sequence; unless given, at the newest event there is now
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) to: Option<u64>,
    /// From the oldest event in the log
    #[arg(long, conflicts_with = "from")]
    pub(crate) all: bool,
    /// Only events whose type starts with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub(crate) type_prefix: Option<String>,
    /// Only events that match this filter of the CloudEvents Subscriptions API
    #[arg(long, value_name = "JSON", value_parser = filter)]
    pub(crate) filter: Option<String>,
    /// Have the plugin handle them with nothing of it kept, and show what it would do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
