//! File operations that are atomic and durable across a crash.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Fsyncs a folder, which makes its entries durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates or replaces a file atomically; `aside` is the name of the temporary file.
pub(crate) fn replace(folder: &Path, name: &str, aside: &str, content: &[u8]) -> io::Result<()> {
    let new = folder.join(aside);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    sync_folder(folder)
}

/// Removes a folder recursively; no-op if it doesn't exist.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
