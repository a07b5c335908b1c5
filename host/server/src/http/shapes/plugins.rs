//! `/plugins`: what there is, how it stands, and how its changes ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName, SubscriptionName};

use super::Timestamp;

/// Answer to `GET /plugins`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plugins {
    /// By name; files that never loaded come last.
    pub(crate) plugins: Vec<Plugin>,
}

/// One plugin, or a file that never became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plugin {
    /// Its name; `null` for a file that never loaded.
    pub(crate) name: Option<PluginName>,
    /// The author's version.
    pub(crate) version: Option<String>,
    /// The author's line about it.
    pub(crate) summary: Option<String>,
    /// Which bytes serve, or served last.
    pub(crate) digest: Option<Digest>,
    /// The file's name in the plugins folder.
    pub(crate) file: String,
    /// How it stands.
    pub(crate) state: PluginState,
    /// Whether it is left alone for a while because it fails.
    pub(crate) breaker: Breaker,
    /// Why it stands so, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The newer file that was refused while this version serves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
    /// `warm` or `fresh`; absent for a file that never loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) isolation: Option<String>,
    /// The subscriptions it serves.
    pub(crate) subscriptions: Vec<SubscriptionName>,
    /// What it would like to have.
    pub(crate) capabilities: Vec<Capability>,
    /// What it has done.
    pub(crate) stats: PluginStats,
}

/// How a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PluginState {
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

/// Whether a plugin is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Breaker {
    /// No.
    Closed,
    /// It failed; single deliveries show whether it still does.
    Open,
}

/// Answer to `POST /plugins/{plugin}/pause` and its like: what stands between a plugin and its
/// deliveries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginStanding {
    /// The plugin.
    pub(crate) name: PluginName,
    /// Whether an operator paused it.
    pub(crate) paused: bool,
    /// Whether it is quarantined.
    pub(crate) quarantined: bool,
    /// Whether it is left alone for a while because it fails.
    pub(crate) breaker: Breaker,
    /// The bytes that serve.
    pub(crate) digest: Option<Digest>,
}

/// Answer to `GET /plugins/{plugin}/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginHistory {
    /// The plugin.
    pub(crate) name: PluginName,
    /// How its changes ended, oldest first.
    pub(crate) history: Vec<PluginChange>,
}

/// How a change of a plugin ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginChange {
    /// When.
    pub(crate) time: Timestamp,
    /// `loaded`, `unchanged`, `refused`, `rolled_back` or `removed`.
    pub(crate) outcome: String,
    /// The bytes it is about.
    pub(crate) digest: Option<Digest>,
    /// Their author's version, where it is known.
    pub(crate) version: Option<String>,
    /// Why, where they were refused or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A file that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Its name in the plugins folder.
    pub(crate) file: String,
    /// Its digest, where it could be read.
    pub(crate) digest: Option<Digest>,
    /// Why it was not taken.
    pub(crate) reason: String,
    /// When.
    pub(crate) time: Timestamp,
}

/// A capability a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capability {
    /// `config`, `secrets`, `state`, `blobs` or `http`.
    pub(crate) name: String,
    /// What for, in the author's words.
    pub(crate) reason: String,
    /// Whether the configuration grants it.
    pub(crate) granted: bool,
    /// Whether the version before did not ask for it.
    #[serde(default)]
    pub(crate) added: bool,
}

/// What a plugin has done since it began to serve, whatever its versions since; what a removed one
/// had done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginStats {
    /// Deliveries handled, failed ones included.
    pub(crate) handled: u64,
    /// Failed deliveries by class; classes without any are left out.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Host calls denied to its present version for want of a grant.
    pub(crate) denied: u64,
    /// Time spent in the plugin altogether, microseconds.
    pub(crate) handle_time_us: u64,
    /// Sandboxes of its present version, at work or waiting for it.
    pub(crate) instances: u64,
}
