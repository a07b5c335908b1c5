//! `/plugins`: what there is, how it stands, and how its changes ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName, SubscriptionName};
use utoipa::ToSchema;

use super::Timestamp;

/// Answer to `GET /plugins`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plugins {
    /// By name; files that never loaded come last.
    pub plugins: Vec<Plugin>,
}

/// One plugin, or a file that never became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plugin {
    /// Its name; `null` for a file that never loaded.
    pub name: Option<PluginName>,
    /// The author's version.
    pub version: Option<String>,
    /// The author's line about it.
    pub summary: Option<String>,
    /// Which bytes serve, or served last.
    pub digest: Option<Digest>,
    /// The file's name in the plugins folder.
    pub file: String,
    /// How it stands.
    pub state: PluginState,
    /// Whether it is left alone for a while because it fails.
    pub breaker: Breaker,
    /// Why it stands so, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The newer file that was refused while this version serves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// `warm` or `fresh`; absent for a file that never loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// The subscriptions it serves.
    pub subscriptions: Vec<SubscriptionName>,
    /// What it would like to have.
    pub capabilities: Vec<Capability>,
    /// What it has done.
    pub stats: PluginStats,
}

/// How a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// It takes deliveries.
    Serving,
    /// An operator paused it; its events wait.
    Paused,
    /// It failed too often; its events wait.
    Quarantined,
    /// Its file is gone; its events wait.
    Removed,
    /// Its file could not be loaded and no version before it serves.
    Refused,
}

impl PluginState {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Paused => "paused",
            Self::Quarantined => "quarantined",
            Self::Removed => "removed",
            Self::Refused => "refused",
        }
    }

    /// Whether there is a plugin, with or without deliveries.
    pub fn is_installed(self) -> bool {
        matches!(self, Self::Serving | Self::Paused | Self::Quarantined)
    }
}

/// Whether a plugin is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Breaker {
    /// No.
    Closed,
    /// It failed; single deliveries show whether it still does.
    Open,
}

impl Breaker {
    /// Open or closed.
    pub fn from_is_open(is_open: bool) -> Self {
        if is_open { Self::Open } else { Self::Closed }
    }
}

/// Answer to `POST /plugins/{plugin}/pause` and its like: what stands between a plugin and its
/// deliveries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginStanding {
    /// The plugin.
    pub name: PluginName,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Whether it is quarantined.
    pub quarantined: bool,
    /// Whether it is left alone for a while because it fails.
    pub breaker: Breaker,
    /// The bytes that serve.
    pub digest: Option<Digest>,
}

/// Answer to `GET /plugins/{plugin}/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginHistory {
    /// The plugin.
    pub name: PluginName,
    /// How its changes ended, oldest first.
    pub history: Vec<PluginChange>,
}

/// How a change of a plugin ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginChange {
    /// When.
    pub time: Timestamp,
    /// `loaded`, `unchanged`, `refused`, `rolled_back` or `removed`.
    pub outcome: String,
    /// The bytes it is about.
    pub digest: Option<Digest>,
    /// Their author's version, where it is known.
    pub version: Option<String>,
    /// Why, where they were refused or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A file that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// Its name in the plugins folder.
    pub file: String,
    /// Its digest, where it could be read.
    pub digest: Option<Digest>,
    /// Why it was not taken.
    pub reason: String,
    /// When.
    pub time: Timestamp,
}

/// A capability a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capability {
    /// `config`, `secrets`, `state`, `blobs` or `http`.
    pub name: String,
    /// What for, in the author's words.
    pub reason: String,
    /// Whether the configuration grants it.
    pub granted: bool,
    /// Whether the version before did not ask for it.
    #[serde(default)]
    pub added: bool,
}

/// What a plugin has done since it began to serve, whatever its versions since; what a removed one
/// had done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginStats {
    /// Deliveries handled, failed ones included.
    pub handled: u64,
    /// Failed deliveries by class; classes without any are left out.
    pub failed: BTreeMap<String, u64>,
    /// Host calls denied to its present version for want of a grant.
    pub denied: u64,
    /// Time spent in the plugin altogether, microseconds.
    pub handle_time_us: u64,
    /// Sandboxes of its present version, at work or waiting for it.
    pub instances: u64,
}
