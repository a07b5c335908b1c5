//! Outcomes of plugin changes, as log, command line, API and history show them.

use serde::{Deserialize, Serialize};
use usher_event::Digest;

/// The outcome of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "snake_case")]
pub enum Outcome {
    /// The bytes serve.
    Loaded,
    /// The bytes were serving already.
    Unchanged,
    /// The bytes were refused, for this reason; the previous version keeps serving.
    Refused(String),
    /// The bytes were rolled back, for this reason; the previous version serves again.
    RolledBack(String),
    /// The file is gone; nothing serves.
    Removed,
}

impl Outcome {
    /// The name used in JSON and in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
            Self::RolledBack(_) => "rolled_back",
            Self::Removed => "removed",
        }
    }

    /// The reason, if it has one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) | Self::RolledBack(reason) => Some(reason),
            Self::Loaded | Self::Unchanged | Self::Removed => None,
        }
    }
}

/// One change of a plugin, as kept in its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it ended, Unix milliseconds.
    pub time_ms: u64,
    /// Digest of the bytes it is about.
    pub digest: Option<Digest>,
    /// The author's version of them, if known.
    pub version: Option<String>,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
}
