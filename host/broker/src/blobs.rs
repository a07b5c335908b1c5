//! Blobs: content named by its digest, written and fsynced before the commit that refers to it.
//!
//! Content that was written but not (yet) committed is *staged*: nobody removes it for a while. A
//! file goes when no row refers to it and it isn't staged.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use usher_event::{BlobInfo, BlobStore, Digest, StoreError};

use crate::files::{remove_folder, sync_folder};
use crate::store::rows::read_blob;
use crate::store::{Space, Store, StoreFailure, keys};

/// How long content stays without a commit that refers to it. Longer than any delivery may take.
const STAGED_FOR: Duration = Duration::from_secs(10 * 60);

/// Where content lies.
pub(crate) enum Contents {
    /// In files below this folder.
    Disk(PathBuf),
    /// In memory, for tests.
    Memory(Arc<Mutex<HashMap<Digest, Bytes>>>),
}

/// What was written lately. Bounded by how much can be written in [`STAGED_FOR`].
#[derive(Default)]
struct Staged {
    since: HashMap<Digest, Instant>,
    /// In the order of time; outdated where `since` has a later one.
    order: VecDeque<(Instant, Digest)>,
    /// While a copy is made, nothing is removed.
    keep_all: bool,
}

/// Until dropped, no content is removed. What nobody refers to afterwards goes with the next start.
pub(crate) struct Kept<'a>(&'a Blobs);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        lock(&self.0.staged).keep_all = false;
    }
}

impl Staged {
    fn add(&mut self, digest: Digest, now: Instant) {
        self.since.insert(digest, now);
        self.order.push_back((now, digest));
    }

    /// Takes one that has been staged for long enough.
    fn take_old(&mut self, now: Instant) -> Option<Digest> {
        while let Some((since, digest)) = self.order.front().copied() {
            if now.saturating_duration_since(since) < STAGED_FOR {
                return None;
            }
            self.order.pop_front();
            if self.since.get(&digest) == Some(&since) {
                self.since.remove(&digest);
                return Some(digest);
            }
        }
        None
    }
}

/// All blobs of one broker.
pub(crate) struct Blobs {
    contents: Contents,
    store: Arc<dyn Store>,
    staged: Mutex<Staged>,
    next_file: AtomicU64,
}

impl Blobs {
    /// Goes on with what is there; what was being written when the last process ended is removed.
    pub(crate) fn open(contents: Contents, store: Arc<dyn Store>) -> io::Result<Self> {
        if let Contents::Disk(folder) = &contents {
            let new = folder.join("new");
            remove_folder(&new)?;
            fs::create_dir_all(&new)?;
            sync_folder(folder)?;
        }
        let staged = Mutex::default();
        Ok(Self { contents, store, staged, next_file: AtomicU64::new(0) })
    }

    /// Whether the content is there; if so it stays for a while, so that a commit that refers to it
    /// can still come.
    pub(crate) fn hold(&self, digest: &Digest) -> bool {
        let mut staged = lock(&self.staged);
        let there = self.has(digest);
        if there {
            staged.add(*digest, Instant::now());
        }
        there
    }

    fn has(&self, digest: &Digest) -> bool {
        match &self.contents {
            Contents::Disk(folder) => file(folder, digest).1.is_file(),
            Contents::Memory(contents) => lock(contents).contains_key(digest),
        }
    }

    /// Has all content stay, for as long as a copy is made. One copy at a time.
    pub(crate) fn keep_all(&self) -> Kept<'_> {
        lock(&self.staged).keep_all = true;
        Kept(self)
    }

    /// The content of a digest, whether anybody still refers to it or not.
    pub(crate) fn content(&self, digest: &Digest) -> io::Result<Bytes> {
        let content = match &self.contents {
            Contents::Disk(folder) => Bytes::from(fs::read(file(folder, digest).1)?),
            Contents::Memory(contents) => lock(contents).get(digest).cloned().unwrap_or_default(),
        };
        if Digest::of(&content) != *digest {
            let words = format!("blob {digest} is damaged; restore it from a backup");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(content)
    }

    /// A commit removed a reference: the content goes if that was the last.
    pub(crate) fn forget(&self, digest: &Digest) {
        let staged = lock(&self.staged);
        if !staged.keep_all && !staged.since.contains_key(digest) {
            self.remove_if_unreferenced(digest);
        }
    }

    /// Removes content that nobody refers to. Looks through everything: for after the start.
    pub(crate) fn sweep(&self) {
        let Contents::Disk(folder) = &self.contents else { return };
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
        for found in files.flatten() {
            let name = found.file_name();
            if let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) {
                self.forget(&digest);
            }
        }
    }

    /// The caller holds the lock on `staged`, so that nobody stages it in between.
    fn remove_if_unreferenced(&self, digest: &Digest) {
        match self.is_referenced(digest) {
            Ok(true) => {}
            Ok(false) => {
                let removed = match &self.contents {
                    Contents::Disk(folder) => fs::remove_file(file(folder, digest).1),
                    Contents::Memory(contents) => {
                        lock(contents).remove(digest);
                        Ok(())
                    }
                };
                if let Err(error) = removed
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%digest, %error, "cannot remove a blob nobody refers to");
                }
            }
            Err(failure) => tracing::warn!(%digest, %failure, "cannot tell if a blob is needed"),
        }
    }

    fn is_referenced(&self, digest: &Digest) -> Result<bool, StoreFailure> {
        let view = self.store.view();
        let first = view.prefix(Space::Blobs, digest.as_bytes()).next();
        first.transpose().map(|row| row.is_some())
    }

    /// Protects content from removal, and removes what has been staged in vain.
    fn stage(&self, digest: Digest, now: Instant) {
        let mut staged = lock(&self.staged);
        staged.add(digest, now);
        if staged.keep_all {
            return;
        }
        while let Some(old) = staged.take_old(now) {
            self.remove_if_unreferenced(&old);
        }
    }

    fn write_file(&self, folder: &Path, digest: &Digest, content: &[u8]) -> io::Result<()> {
        let (shelf, target) = file(folder, digest);
        let there = fs::metadata(&target).is_ok_and(|there| there.len() == content.len() as u64);
        if !there {
            let number = self.next_file.fetch_add(1, Ordering::Relaxed);
            let new = folder.join("new").join(number.to_string());
            let written = (|| {
                let mut file = File::create_new(&new)?;
                file.write_all(content)?;
                file.sync_data()?;
                fs::create_dir_all(&shelf)?;
                fs::rename(&new, &target)
            })();
            if let Err(error) = written {
                // What is left of it would take room that may be what was missing.
                let _ = fs::remove_file(&new);
                return Err(error);
            }
            // Whoever made the shelf may not have come this far yet.
            sync_folder(folder)?;
        }
        // Also when it was there: whoever wrote it may not have come this far yet.
        sync_folder(&shelf)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder and the file of a digest.
pub(crate) fn file(folder: &Path, digest: &Digest) -> (PathBuf, PathBuf) {
    let name = digest.to_string();
    let shelf = folder.join(name.get(..2).unwrap_or_default());
    let file = shelf.join(name);
    (shelf, file)
}

impl BlobStore for Blobs {
    fn write(&self, content: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(content);
        self.stage(digest, Instant::now());
        match &self.contents {
            Contents::Disk(folder) => self
                .write_file(folder, &digest, content)
                .map_err(|error| StoreError(format!("cannot write blob {digest}: {error}")))?,
            Contents::Memory(contents) => {
                lock(contents).entry(digest).or_insert_with(|| Bytes::copy_from_slice(content));
            }
        }
        Ok(digest)
    }

    fn read(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let view = self.store.view();
        let Some(row) = view.prefix(Space::Blobs, digest.as_bytes()).next() else {
            return Ok(None);
        };
        let (key, row) = row.map_err(|failure| StoreError(failure.0))?;
        let (info, _) = read_blob(*digest, &row)
            .ok_or_else(|| StoreError(StoreFailure::damaged(Space::Blobs, &key).0))?;
        let content = self.content(digest).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => StoreError(error.to_string()),
            _ => StoreError(format!("cannot read blob {digest}: {error}")),
        })?;
        Ok(Some((info, content)))
    }

    fn list(
        &self,
        plugin: &usher_event::PluginName,
        after: Option<&Digest>,
        max: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        let failed = |failure: StoreFailure| StoreError(failure.0);
        let view = self.store.view();
        let prefix = keys::plugin_blobs(plugin.as_str());
        let from = match after {
            Some(after) => {
                let key = keys::plugin_blob(plugin.as_str(), after);
                keys::after_prefix(&key).unwrap_or(key)
            }
            None => prefix.clone(),
        };
        let to = keys::after_prefix(&prefix);
        let mut infos = Vec::new();
        for row in view.range(Space::BlobsByPlugin, &from, to.as_deref()).take(max) {
            let (key, _) = row.map_err(failed)?;
            let damaged = |space| failed(StoreFailure::damaged(space, &key));
            let digest = key.last_chunk::<32>().ok_or_else(|| damaged(Space::BlobsByPlugin))?;
            let digest = Digest::from_bytes(*digest);
            let row = view.get(Space::Blobs, &keys::blob(&digest, plugin.as_str()));
            let info = row.map_err(failed)?.and_then(|row| read_blob(digest, &row));
            infos.push(info.ok_or_else(|| damaged(Space::Blobs))?.0);
        }
        Ok(infos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Batch;
    use crate::store::memory::MemoryStore;
    use crate::store::rows::write_blob;

    fn keep(store: &MemoryStore, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let size_bytes = content.len() as u64;
        let info = BlobInfo { digest, size_bytes, content_type: "text/plain".into() };
        let mut batch = Batch::default();
        batch.put(Space::Blobs, keys::blob(&digest, "p"), write_blob(&info, 1));
        store.commit(batch).unwrap();
        digest
    }

    #[test]
    fn what_nobody_keeps_goes_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let contents = Contents::Disk(folder.path().to_owned());
        let blobs = Blobs::open(contents, Arc::clone(&store) as Arc<dyn Store>).unwrap();
        let in_vain = blobs.write(b"in vain").unwrap();
        let kept = blobs.write(b"kept").unwrap();
        assert_eq!(keep(&store, b"kept"), kept);
        blobs.forget(&in_vain);
        blobs.sweep();
        assert!(blobs.has(&in_vain), "it is staged");
        let now = Instant::now();
        blobs.stage(Digest::of(b"another"), now + STAGED_FOR / 2);
        assert!(blobs.has(&in_vain));
        blobs.stage(Digest::of(b"another"), now + 2 * STAGED_FOR);
        assert!(!blobs.has(&in_vain));
        assert!(blobs.has(&kept));
    }

    #[test]
    fn a_start_removes_what_no_row_refers_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let open = || {
            let contents = Contents::Disk(folder.path().to_owned());
            Blobs::open(contents, Arc::clone(&store) as Arc<dyn Store>).unwrap()
        };
        let (kept, in_vain) = (open().write(b"kept").unwrap(), open().write(b"in vain").unwrap());
        keep(&store, b"kept");
        fs::write(folder.path().join("new").join("7"), "half").unwrap();
        let blobs = open();
        blobs.sweep();
        assert!(blobs.has(&kept) && !blobs.has(&in_vain));
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_about_to_be_committed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let contents = Contents::Disk(folder.path().to_owned());
        let blobs = Blobs::open(contents, Arc::clone(&store) as Arc<dyn Store>).unwrap();
        let long_ago = Instant::now();
        let digest = blobs.write(b"content").unwrap();
        lock(&blobs.staged).since.insert(digest, long_ago);
        assert!(blobs.hold(&digest));
        let renewed = lock(&blobs.staged).since[&digest];
        assert!(renewed > long_ago);
        assert!(!blobs.hold(&Digest::of(b"nothing")));
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let contents = Contents::Disk(folder.path().to_owned());
        let blobs = Blobs::open(contents, Arc::clone(&store) as Arc<dyn Store>).unwrap();
        // A file where the shelf should be.
        let (shelf, _) = file(folder.path(), &Digest::of(b"content"));
        fs::write(&shelf, "in the way").unwrap();
        assert!(blobs.write(b"content").is_err());
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    /// Invariant 9, for blobs.
    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let contents = Contents::Disk(folder.path().to_owned());
        let blobs = Blobs::open(contents, Arc::clone(&store) as Arc<dyn Store>).unwrap();
        let digest = blobs.write(b"content").unwrap();
        keep(&store, b"content");
        assert_eq!(blobs.read(&digest).unwrap().unwrap().1, "content");
        fs::write(file(folder.path(), &digest).1, "c0ntent").unwrap();
        assert!(blobs.read(&digest).unwrap_err().0.contains("damaged"));
    }
}
