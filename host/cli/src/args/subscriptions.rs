//! `usher subscriptions` and `usher replay`.

use clap::{Args, Subcommand};
use usher_event::SubscriptionName;

use super::{ClientArgs, filter, rate};

/// `usher subscriptions`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SubscriptionsArgs {
    #[command(subcommand)]
    pub verb: Option<SubscriptionsVerb>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Subcommands of `usher subscriptions`.
#[derive(Debug, Subcommand)]
pub enum SubscriptionsVerb {
    /// Remove a subscription that nothing serves, with its cursor and waiting deliveries
    Remove(SubscriptionArgs),
}

/// `usher subscriptions remove`.
#[derive(Debug, Args)]
pub struct SubscriptionArgs {
    /// The subscription's name
    #[arg(value_name = "PLUGIN/NAME")]
    pub name: SubscriptionName,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The subscription's name
    #[arg(value_name = "PLUGIN/NAME")]
    pub subscription: SubscriptionName,
    /// Start at this sequence
    #[arg(long, value_name = "SEQUENCE", required_unless_present = "all")]
    pub from: Option<u64>,
    /// End before this sequence; by default, after the event that is newest now
    #[arg(long, value_name = "SEQUENCE")]
    pub to: Option<u64>,
    /// Start at the oldest event in the log
    #[arg(long, conflicts_with = "from")]
    pub all: bool,
    /// Only events whose type starts with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub type_prefix: Option<String>,
    /// Only events that match this filter: JSON, a CloudEvents SQL expression, or @FILE with either
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub filter: Option<String>,
    /// Run the plugin on the events, discard its effects and show them
    #[arg(long)]
    pub dry_run: bool,
    /// Maximum events per second
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    pub rate: f64,
    #[command(flatten)]
    pub client: ClientArgs,
}
