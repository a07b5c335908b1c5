//! Writes the new store and its blobs.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use usher_event::Digest;

use crate::blobs::file;
use crate::files::sync_folder;
use crate::store::fjall::FjallStore;
use crate::store::{Batch, Space, Store as _, StoreFailure};

/// Rows and bytes of one commit of the new store.
const COMMIT_MAX_ROWS: usize = 4_096;
const COMMIT_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// Writes rows to the new store.
pub(super) struct Writer {
    store: FjallStore,
    batch: Batch,
    bytes: usize,
}

impl Writer {
    pub(super) fn new(store: FjallStore) -> Self {
        Self { store, batch: Batch::default(), bytes: 0 }
    }

    pub(super) fn put(
        &mut self,
        space: Space,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), StoreFailure> {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.batch.put(space, key, value);
        if self.batch.rows.len() < COMMIT_MAX_ROWS && self.bytes < COMMIT_MAX_BYTES {
            return Ok(());
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreFailure> {
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.store.commit(std::mem::take(&mut self.batch))
    }
}

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
