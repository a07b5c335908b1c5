//! `/backup` and `/blobs`.

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName};
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// The folder of the copy.
    pub folder: String,
    /// Sequence of the newest event in it.
    pub last_sequence: u64,
    /// Number of segments of the journal.
    pub segments: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Size of the segments, the blobs and the records of plugins.
    pub bytes: u64,
    /// How much of that is in files shared with the earlier backup.
    pub linked_bytes: u64,
}

/// Response to `GET /blobs`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Blobs {
    /// By digest.
    pub blobs: Vec<Blob>,
}

/// A blob and the plugin that stored it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blob {
    /// SHA-256 of the content: its name.
    pub digest: Digest,
    /// Length of the content.
    pub size_bytes: u64,
    /// Media type, as the plugin declared it.
    pub content_type: String,
    /// The plugin that stored it.
    pub plugin: PluginName,
    /// When it was committed.
    pub created: Timestamp,
}
