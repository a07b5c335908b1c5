//! `/backup` and `/blobs`.

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName};
use utoipa::ToSchema;

use super::Timestamp;

/// Answer to `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Where the copy is.
    pub folder: String,
    /// The newest event in it.
    pub last_sequence: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Blobs in it.
    pub blobs: u64,
    /// Size of rows, blobs and what is kept of plugins.
    pub bytes: u64,
}

/// Answer to `GET /blobs`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Blobs {
    /// By digest.
    pub blobs: Vec<Blob>,
}

/// A blob and who put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blob {
    /// SHA-256 of the content: its name.
    pub digest: Digest,
    /// Length of the content.
    pub size_bytes: u64,
    /// Media type, as it was put.
    pub content_type: String,
    /// The plugin that put it.
    pub plugin: PluginName,
    /// When it was committed.
    pub created: Timestamp,
}
