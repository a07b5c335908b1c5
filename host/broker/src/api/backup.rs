//! Copies of a data folder in use.

use std::path::{Path, PathBuf};

/// Writes into the folder of a copy in the making what others keep in the data folder, and has it
/// fsynced; answers how many bytes. Called before the copy of the store begins: what it tells is
/// never newer than the log. May block.
pub type Beside = Box<dyn FnOnce(&Path) -> std::io::Result<u64> + Send>;

/// A copy that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Where it is.
    pub folder: PathBuf,
    /// The newest event in it.
    pub last_sequence: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Blobs in it.
    pub blobs: u64,
    /// Size of rows, blobs and what came beside them.
    pub bytes: u64,
}
