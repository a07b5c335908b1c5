//! `usher nodes`.

use clap::{Args, Subcommand};

use super::ClientArgs;

/// `usher nodes`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NodesArgs {
    #[command(subcommand)]
    pub verb: Option<NodesVerb>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Subcommands of `usher nodes`.
#[derive(Debug, Subcommand)]
pub enum NodesVerb {
    /// Give a node no more deliveries, until it is resumed or started again
    Drain(NodeArgs),
    /// Give a drained node deliveries again
    Resume(NodeArgs),
    /// Leave the journal to a node: it becomes the router, the present owner follows
    Promote(NodeArgs),
}

/// Subcommands of `usher nodes` that name one node.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The node's name
    pub name: String,
    #[command(flatten)]
    pub client: ClientArgs,
}
