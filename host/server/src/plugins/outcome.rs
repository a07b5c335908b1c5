//! How a change of a plugin ended, as log, command line, API and history show it.

use serde::{Deserialize, Serialize};
use usher_event::Digest;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// These bytes serve.
    Loaded,
    /// They served already.
    Unchanged,
    /// They do not serve, for this reason; what served before serves on.
    Refused(String),
    /// They served and do no longer, for this reason; those before serve again.
    RolledBack(String),
    /// Its file is gone; nothing serves.
    Removed,
}

impl Outcome {
    /// The name used in JSON and in the log.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
            Self::RolledBack(_) => "rolled_back",
            Self::Removed => "removed",
        }
    }

    /// Why, where there is something to say.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) | Self::RolledBack(reason) => Some(reason),
            Self::Loaded | Self::Unchanged | Self::Removed => None,
        }
    }
}

/// One change of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// When it ended, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// The bytes it is about.
    pub(crate) digest: Option<Digest>,
    /// Their author's version, where it is known.
    pub(crate) version: Option<String>,
    /// How it ended.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}
