//! `/nodes`: the machines that a router runs on.

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName};
use utoipa::ToSchema;

/// Response to `GET /nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// The owner of the journal, then the others by name. Empty if the journal is in the data folder.
    pub nodes: Vec<Node>,
}

/// A node of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: NodeState,
    /// Its version of Usher.
    pub version: String,
    /// Where clients reach it, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The owner's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The position in the journal that it has come to.
    pub position: u64,
    /// How many records it has yet to take in.
    pub behind: u64,
    /// How long ago it was heard, milliseconds; 0 for the owner.
    pub heard_ms: u64,
    /// Deliveries that it handles for the owner now.
    pub running: u64,
    /// Deliveries that it has handled for the owner.
    pub handled: u64,
    /// Deliveries that were given to it, and handled by the owner in the end.
    pub given_up: u64,
    /// Plugins that it was asked to have; of the owner, those that serve.
    pub plugins: Vec<NodePlugin>,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It owns the journal: it is the router.
    Owner,
    /// It follows the journal, and handles deliveries for the owner.
    Standby,
    /// It follows the journal, and an operator has it take no deliveries.
    Drained,
    /// It hasn't been heard for a while.
    Silent,
}

impl NodeState {
    /// The name used in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Standby => "standby",
            Self::Drained => "drained",
            Self::Silent => "silent",
        }
    }
}

/// In the reason why a node that follows isn't ready.
pub const IS_STANDBY: &str = "is a standby";

/// A plugin on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodePlugin {
    /// Its name.
    pub name: PluginName,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Why that node can't run it; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
