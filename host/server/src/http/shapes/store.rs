//! `/backup` and `/blobs`.

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName};

use super::Timestamp;

/// Answer to `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backup {
    /// Where the copy is.
    pub(crate) folder: String,
    /// The newest event in it.
    pub(crate) last_sequence: u64,
    /// Rows of all tables.
    pub(crate) rows: u64,
    /// Blobs in it.
    pub(crate) blobs: u64,
    /// Size of rows, blobs and what is kept of plugins.
    pub(crate) bytes: u64,
}

/// Answer to `GET /blobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blobs {
    /// By digest.
    pub(crate) blobs: Vec<Blob>,
}

/// A blob and who put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// SHA-256 of the content: its name.
    pub(crate) digest: Digest,
    /// Length of the content.
    pub(crate) size_bytes: u64,
    /// Media type, as it was put.
    pub(crate) content_type: String,
    /// The plugin that put it.
    pub(crate) plugin: PluginName,
    /// When it was committed.
    pub(crate) created: Timestamp,
}
