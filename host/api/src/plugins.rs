//! `/plugins`: plugins, their status, and the outcomes of their changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use usher_event::{Digest, Given, PluginName, SubscriptionName};
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /plugins`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plugins {
    /// By name; files that never loaded come last.
    pub plugins: Vec<Plugin>,
    /// Files that are being compiled and checked, by name.
    #[serde(default)]
    pub loading: Vec<Loading>,
}

/// A file that is being compiled and checked. What served before serves until that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loading {
    /// Its name in the plugins folder.
    pub file: String,
    /// Its digest.
    pub digest: Digest,
    /// Since when.
    pub since: Timestamp,
}

/// One plugin, or a file that never loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plugin {
    /// Its name; `null` for a file that never loaded.
    pub name: Option<PluginName>,
    /// The author's version.
    pub version: Option<String>,
    /// The author's one-line summary.
    pub summary: Option<String>,
    /// Digest of the bytes that serve, or served last.
    pub digest: Option<Digest>,
    /// The file's name in the plugins folder.
    pub file: String,
    /// Its state.
    pub state: PluginState,
    /// State of its breaker.
    pub breaker: Breaker,
    /// Reason for the state, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A newer file that was refused; this version keeps serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// `warm` or `fresh`; absent for a file that never loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// The subscriptions it serves.
    pub subscriptions: Vec<SubscriptionName>,
    /// Capabilities it requests.
    pub capabilities: Vec<Capability>,
    /// Its counters.
    pub stats: PluginStats,
}

/// State of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// It receives deliveries.
    Serving,
    /// An operator paused it; its events wait.
    Paused,
    /// It failed too often; its events wait.
    Quarantined,
    /// Its file is gone; its events wait.
    Removed,
    /// Its file could not be loaded and no earlier version serves.
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

    /// Whether the plugin is installed, even if it gets no deliveries.
    pub fn is_installed(self) -> bool {
        matches!(self, Self::Serving | Self::Paused | Self::Quarantined)
    }
}

/// State of a plugin's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Breaker {
    /// Deliveries are handed out.
    Closed,
    /// The plugin keeps failing; only probes are handed out, one delivery at a time.
    Open,
}

impl Breaker {
    /// Open or closed.
    pub fn from_is_open(is_open: bool) -> Self {
        if is_open { Self::Open } else { Self::Closed }
    }
}

/// Response to `POST /plugins/{plugin}/pause` and the other actions: what holds back a plugin's
/// deliveries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginStanding {
    /// The plugin.
    pub name: PluginName,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Whether it is quarantined.
    pub quarantined: bool,
    /// State of its breaker.
    pub breaker: Breaker,
    /// Digest of the bytes that serve.
    pub digest: Option<Digest>,
}

/// Response to `GET /plugins/{plugin}/settings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginSettings {
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: String,
    /// Digest of the component that serves.
    pub digest: Digest,
    /// `limits`, `grants`, `config` and `secrets` as in the `given.json` of a fixture; in place of each
    /// secret its name.
    #[schema(value_type = Object)]
    pub given: Given,
}

/// Response to `GET /plugins/{plugin}/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginHistory {
    /// The plugin.
    pub name: PluginName,
    /// Its changes, oldest first.
    pub history: Vec<PluginChange>,
}

/// A change of a plugin, with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginChange {
    /// When it ended.
    pub time: Timestamp,
    /// `loaded`, `unchanged`, `refused`, `rolled_back` or `removed`.
    pub outcome: String,
    /// Digest of the bytes it is about.
    pub digest: Option<Digest>,
    /// The author's version of those bytes, if known.
    pub version: Option<String>,
    /// Why they were refused or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A plugin file that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// Its name in the plugins folder.
    pub file: String,
    /// Its digest, if it was readable.
    pub digest: Option<Digest>,
    /// Why it was refused.
    pub reason: String,
    /// When it was refused.
    pub time: Timestamp,
}

/// A capability a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capability {
    /// `config`, `secrets`, `state`, `blobs` or `http`.
    pub name: String,
    /// The author's reason for the request.
    pub reason: String,
    /// Whether the configuration grants it.
    pub granted: bool,
    /// Whether the previous version did not request it.
    #[serde(default)]
    pub added: bool,
}

/// Counters of a plugin since it began to serve, across versions; frozen when it is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginStats {
    /// Deliveries handled, failed ones included.
    pub handled: u64,
    /// Failed deliveries by class; classes without any are left out.
    pub failed: BTreeMap<String, u64>,
    /// Host calls denied to the current version for lack of a grant.
    pub denied: u64,
    /// Total time spent in the plugin, microseconds.
    pub handle_time_us: u64,
    /// Instances of the current version, busy or idle.
    pub instances: u64,
    /// Their linear memory; what they never wrote to is shared by all.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Some of the limits, and how close the current version has come to them.
    #[serde(default)]
    pub limits: Vec<LimitUse>,
}

/// A limit, and the most that a delivery has used of it; of memory, the most that an instance had
/// after one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitUse {
    /// Its name in the configuration, with its unit.
    pub name: String,
    /// The limit.
    pub limit: u64,
    /// The most that was used since the version was loaded.
    pub peak: u64,
}
