//! Writes the new store's blobs.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use usher_event::Digest;

use crate::blobs::file;
use crate::files::sync_folder;

/// Copies the content of blobs that are whole.
pub(super) struct Blobs {
    old: PathBuf,
    new: PathBuf,
    pub(super) count: u64,
}

impl Blobs {
    pub(super) fn new(old: PathBuf, new: PathBuf) -> io::Result<Self> {
        fs::create_dir(&new)?;
        Ok(Self { old, new, count: 0 })
    }

    /// Copies one, unless it is there already; returns whether it is there then.
    pub(super) fn copy(&mut self, digest: &Digest) -> io::Result<bool> {
        let (shelf, path) = file(&self.new, digest);
        if path.exists() {
            return Ok(true);
        }
        let Ok(content) = fs::read(file(&self.old, digest).1) else { return Ok(false) };
        if Digest::of(&content) != *digest {
            return Ok(false);
        }
        fs::create_dir_all(&shelf)?;
        fs::write(&path, content)?;
        File::open(&path)?.sync_all()?;
        sync_folder(&shelf)?;
        self.count += 1;
        Ok(true)
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        sync_folder(&self.new)
    }
}
