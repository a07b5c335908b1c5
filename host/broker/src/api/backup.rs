//! Online backups of a data folder.

use std::path::{Path, PathBuf};

/// Writes the files that others keep in the data folder to the copy's folder, fsyncs them and
/// returns their size in bytes. Called before the store is copied, so that their content is never
/// newer than the log. May block.
pub type Beside = Box<dyn FnOnce(&Path) -> std::io::Result<u64> + Send>;

/// A completed backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The copy's folder.
    pub folder: PathBuf,
    /// Sequence of the newest event in the copy.
    pub last_sequence: u64,
    /// Segments of the journal in it.
    pub segments: u64,
    /// Blobs in it.
    pub blobs: u64,
    /// Size of segments, blobs and the files written by [`Beside`].
    pub bytes: u64,
    /// How much of that are files shared with the earlier backup.
    pub linked_bytes: u64,
}
