//! Blobs: content addressed by its digest, written and fsynced before the commit that refers to it.
//!
//! Content that is written but not (yet) committed is *staged*: it is kept while a [`StagedBlob`]
//! of it lives, which travels with the delivery through settlement and commit. A file is removed
//! once no row refers to it and it isn't staged, so orphaned content is bounded by what deliveries
//! in flight have put.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use usher_event::{BlobInfo, BlobStore, Digest, PluginName, StagedBlob, StoreError};

use crate::files::{make_folder, remove_folder, replace_file, sync_folder};
use crate::store::{Space, StoreFailure, Views, keys, schema};

/// Memory for content of other nodes, where it isn't kept on the disk.
const FETCHED_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What an entry takes of it besides its content.
const ENTRY_BYTES: u64 = 256;

/// How many blobs that is about.
const FETCHED_ESTIMATED: usize = 1_024;

/// Where content is stored.
pub(crate) enum Contents {
    /// In files below this folder.
    Disk(PathBuf),
    /// In memory, for tests.
    Memory(Arc<Mutex<HashMap<Digest, Bytes>>>),
}

/// Where content is kept for other nodes as well. Only the owner of the journal writes and removes.
pub trait SharedBlobs: Send + Sync {
    /// Whether this owner keeps content there.
    fn has_put(&self, digest: &Digest) -> bool;

    /// Keeps content, unless this owner has.
    ///
    /// # Errors
    /// It may be there or not.
    fn put(&self, digest: &Digest, content: &[u8]) -> io::Result<()>;

    /// The content, as it was kept or damaged; `None` if there is none.
    ///
    /// # Errors
    /// It can't be read.
    fn get(&self, digest: &Digest) -> io::Result<Option<Bytes>>;

    /// Removes content, unless a later owner has put it there.
    ///
    /// # Errors
    /// It may be gone or not.
    fn remove(&self, digest: &Digest) -> io::Result<()>;

    /// All that is there.
    ///
    /// # Errors
    /// It can't be listed.
    fn list(&self) -> io::Result<Vec<Digest>>;
}

/// Content that is kept even if no row refers to it.
#[derive(Default)]
struct Held {
    /// Number of holders. Dropped holders still count until [`Blobs::collect_garbage`].
    staged: HashMap<Digest, usize>,
    /// Set during a backup: nothing is removed.
    keep_all: bool,
}

/// Content that may no longer be needed.
enum ReleaseJob {
    /// A [`StagedBlob`] of it was dropped.
    Staged(Digest),
    /// A commit removed a reference to it.
    Unreferenced(Digest),
}

/// Pending work of [`Blobs::collect_garbage`]. Held only briefly, because executors take the lock.
type ReleaseQueue = Mutex<Vec<ReleaseJob>>;

/// The guard inside a [`StagedBlob`].
struct Hold {
    digest: Digest,
    loose: Arc<ReleaseQueue>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.loose).push(ReleaseJob::Staged(self.digest));
    }
}

/// Blocks the removal of content until dropped.
pub(crate) struct Kept<'a>(&'a Blobs);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        lock(&self.0.held).keep_all = false;
    }
}

/// All blobs of one broker.
pub(crate) struct Blobs {
    contents: Contents,
    shared: Option<Arc<dyn SharedBlobs>>,
    store: Arc<dyn Views>,
    held: Mutex<Held>,
    loose: Arc<ReleaseQueue>,
    /// Bytes kept by each plugin, as of the newest commit.
    kept_bytes: RwLock<HashMap<Box<str>, u64>>,
    next_file: AtomicU64,
    /// Content that was fetched from other nodes; `None` if it is stored here as well.
    fetched: Option<Mutex<Cache<Digest, Bytes, InBytes>>>,
}

/// What content weighs in a cache.
#[derive(Clone)]
struct InBytes;

impl Weighter<Digest, Bytes> for InBytes {
    fn weight(&self, _: &Digest, content: &Bytes) -> u64 {
        content.len() as u64 + ENTRY_BYTES
    }
}

impl Blobs {
    /// Opens existing content; removes partial writes of the last process.
    pub(crate) fn open(contents: Contents, store: Arc<dyn Views>) -> io::Result<Self> {
        if let Contents::Disk(folder) = &contents {
            let new = folder.join("new");
            remove_folder(&new)?;
            make_folder(&new)?;
        }
        Ok(Self {
            contents,
            shared: None,
            store,
            held: Mutex::default(),
            loose: Arc::default(),
            kept_bytes: RwLock::default(),
            next_file: AtomicU64::new(0),
            fetched: None,
        })
    }

    /// The content in a folder, and that of other nodes, to be read only: what is not needed any more
    /// isn't removed.
    pub(crate) fn reading(
        folder: PathBuf,
        store: Arc<dyn Views>,
        shared: Arc<dyn SharedBlobs>,
    ) -> Self {
        let fetched = Cache::with_weighter(FETCHED_ESTIMATED, FETCHED_MAX_BYTES, InBytes);
        Self {
            contents: Contents::Disk(folder),
            shared: Some(shared),
            store,
            held: Mutex::default(),
            loose: Arc::default(),
            kept_bytes: RwLock::default(),
            next_file: AtomicU64::new(0),
            fetched: Some(Mutex::new(fetched)),
        }
    }

    /// The same, whose content other nodes have to find as well.
    pub(crate) fn shared_by(mut self, shared: Option<Arc<dyn SharedBlobs>>) -> Self {
        self.shared = shared;
        self
    }

    /// Keeps the content while the guard lives, so that a commit can still refer to it; `None` if
    /// it doesn't exist.
    pub(crate) fn hold(&self, digest: &Digest) -> Option<StagedBlob> {
        let staged = {
            let mut held = lock(&self.held);
            let is_known = self.has(digest) || self.shared.is_some();
            is_known.then(|| self.stage(&mut held, *digest))?
        };
        let Some(shared) = &self.shared else { return Some(staged) };
        // A commit may only refer to content that its own epoch has put there.
        if shared.has_put(digest) {
            return Some(staged);
        }
        let put = self.content(digest).and_then(|content| shared.put(digest, &content));
        match put {
            Ok(()) => Some(staged),
            Err(error) => {
                tracing::debug!(%digest, %error, "a blob that is asked for isn't there");
                None
            }
        }
    }

    fn stage(&self, held: &mut Held, digest: Digest) -> StagedBlob {
        *held.staged.entry(digest).or_default() += 1;
        StagedBlob::new(digest, Hold { digest, loose: Arc::clone(&self.loose) })
    }

    /// Updates the bytes kept by plugins after a commit.
    pub(crate) fn keeps(&self, plugins: impl IntoIterator<Item = (Box<str>, u64)>) {
        self.kept_bytes.write().unwrap_or_else(PoisonError::into_inner).extend(plugins);
    }

    fn has(&self, digest: &Digest) -> bool {
        match &self.contents {
            Contents::Disk(folder) => file(folder, digest).1.is_file(),
            Contents::Memory(contents) => lock(contents).contains_key(digest),
        }
    }

    /// Keeps all content during a backup. Only one backup at a time.
    pub(crate) fn keep_all(&self) -> Kept<'_> {
        lock(&self.held).keep_all = true;
        Kept(self)
    }

    /// Reads and verifies content, referenced or not.
    pub(crate) fn content(&self, digest: &Digest) -> io::Result<Bytes> {
        let content = match &self.contents {
            Contents::Disk(folder) => match fs::read(file(folder, digest).1) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return self.fetch(folder, digest)?.ok_or(error);
                }
                read => Bytes::from(read?),
            },
            Contents::Memory(contents) => lock(contents).get(digest).cloned().unwrap_or_default(),
        };
        if Digest::of(&content) != *digest {
            let words = format!("blob {digest} is damaged; restore it from a backup");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(content)
    }

    /// Gets content that this node lacks from where other nodes have put it.
    fn fetch(&self, folder: &Path, digest: &Digest) -> io::Result<Option<Bytes>> {
        let Some(shared) = &self.shared else { return Ok(None) };
        let known = self.fetched.as_ref().and_then(|fetched| lock(fetched).get(digest).cloned());
        if known.is_some() {
            return Ok(known);
        }
        let content = shared_content(&**shared, digest)?;
        if let Some(content) = &content {
            match &self.fetched {
                // What was gathered in parts holds more memory than it has content.
                Some(fetched) => {
                    lock(fetched).insert(*digest, Bytes::copy_from_slice(content));
                }
                None => self.write_file(folder, digest, content)?,
            }
        }
        Ok(content)
    }

    /// Call when a commit removed a reference: if that was the last, the next [`Blobs::collect_garbage`]
    /// removes the content.
    pub(crate) fn forget(&self, digest: Digest) {
        lock(&self.loose).push(ReleaseJob::Unreferenced(digest));
    }

    /// Whether [`Blobs::collect_garbage`] has work to do.
    pub(crate) fn has_garbage(&self) -> bool {
        !lock(&self.loose).is_empty()
    }

    /// Removes content that is no longer staged or referenced. Blocks on the disk.
    pub(crate) fn collect_garbage(&self) {
        loop {
            // Locked until the removal, so that the content can't be staged in between.
            let mut held = lock(&self.held);
            if held.keep_all {
                return;
            }
            let Some(loose) = lock(&self.loose).pop() else { return };
            let digest = match loose {
                ReleaseJob::Unreferenced(digest) => digest,
                ReleaseJob::Staged(digest) => {
                    if let Entry::Occupied(mut holders) = held.staged.entry(digest) {
                        *holders.get_mut() -= 1;
                        if *holders.get() == 0 {
                            holders.remove();
                        }
                    }
                    digest
                }
            };
            self.remove_if_unneeded(&held, &digest);
        }
    }

    /// Removes unreferenced content. Scans all files, so it only runs after the start.
    pub(crate) fn sweep(&self) {
        let Contents::Disk(folder) = &self.contents else { return };
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
        for found in files.flatten() {
            let name = found.file_name();
            if let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) {
                self.remove_if_unneeded(&lock(&self.held), &digest);
            }
        }
        if let Some(shared) = &self.shared
            && let Err(error) = self.sweep_shared(folder, &**shared)
        {
            tracing::warn!(%error, "the blobs that nodes share can't be looked through");
        }
    }

    /// Removes unreferenced content that nodes share, and gets what this one lacks.
    fn sweep_shared(&self, folder: &Path, shared: &dyn SharedBlobs) -> io::Result<()> {
        for digest in shared.list()? {
            self.remove_if_unneeded(&lock(&self.held), &digest);
            let is_referenced = self.is_referenced(&digest);
            let is_wanted = is_referenced.map_err(|failure| io::Error::other(failure.0))?;
            if is_wanted && !self.has(&digest) {
                self.fetch(folder, &digest)?;
            }
        }
        Ok(())
    }

    fn remove_if_unneeded(&self, held: &Held, digest: &Digest) {
        if held.keep_all || held.staged.contains_key(digest) {
            return;
        }
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
                let not_found = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
                let shared = self.shared.as_ref().map_or(Ok(()), |shared| shared.remove(digest));
                let failed = removed.err().filter(|error| !not_found(error)).or(shared.err());
                if let Some(error) = failed {
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
                // Best effort: frees the space, the lack of which may be why the write failed.
                let _ = fs::remove_file(&new);
                return Err(error);
            }
            // A concurrent writer may have created the shelf without syncing it yet.
            sync_folder(folder)?;
        }
        // Even if the file existed: its writer may not have synced it yet.
        sync_folder(&shelf)
    }
}

/// Content that nodes share, as its digest says; `None` if there is none.
fn shared_content(shared: &dyn SharedBlobs, digest: &Digest) -> io::Result<Option<Bytes>> {
    let content = shared.get(digest)?;
    if content.as_ref().is_some_and(|content| Digest::of(content) != *digest) {
        let words = format!("blob {digest} came damaged from where nodes share them");
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(content)
}

/// Puts all blobs of a folder where nodes share them; returns how many there are.
pub(crate) fn share_all(folder: &Path, shared: &dyn SharedBlobs) -> io::Result<u64> {
    let mut count = 0;
    if !folder.exists() {
        return Ok(count);
    }
    for shelf in fs::read_dir(folder)? {
        let shelf = shelf?.path();
        if !shelf.is_dir() {
            continue;
        }
        for found in fs::read_dir(shelf)? {
            let found = found?;
            let name = found.file_name();
            if let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) {
                shared.put(&digest, &fs::read(found.path())?)?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Gets all blobs that a folder lacks from where nodes share them; returns how many there are.
pub(crate) fn fetch_all(folder: &Path, shared: &dyn SharedBlobs) -> io::Result<u64> {
    let digests = shared.list()?;
    for digest in &digests {
        let (shelf, path) = file(folder, digest);
        if path.is_file() {
            continue;
        }
        let missing =
            || io::Error::other(format!("blob {digest} is listed, but not all of it is there"));
        let content = shared_content(shared, digest)?.ok_or_else(missing)?;
        fs::create_dir_all(&shelf)?;
        replace_file(&shelf, &digest.to_string(), &content)?;
        sync_folder(folder)?;
    }
    Ok(digests.len() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder and the file path of a digest.
pub(crate) fn file(folder: &Path, digest: &Digest) -> (PathBuf, PathBuf) {
    let name = digest.to_string();
    let shelf = folder.join(name.get(..2).unwrap_or_default());
    let file = shelf.join(name);
    (shelf, file)
}

impl BlobStore for Blobs {
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError> {
        // Removes orphaned content before using more space.
        self.collect_garbage();
        let digest = Digest::of(content);
        let staged = self.stage(&mut lock(&self.held), digest);
        let failed = |error| StoreError(format!("cannot write blob {digest}: {error}"));
        match &self.contents {
            Contents::Disk(folder) => {
                self.write_file(folder, &digest, content).map_err(failed)?;
                if let Some(shared) = &self.shared {
                    shared.put(&digest, content).map_err(failed)?;
                }
            }
            Contents::Memory(contents) => {
                lock(contents).entry(digest).or_insert_with(|| Bytes::copy_from_slice(content));
            }
        }
        Ok(staged)
    }

    fn read(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let view = self.store.view();
        let row = view.rows_with::<schema::Blobs>(digest.as_bytes()).next();
        let row = row.transpose().map_err(|failure| StoreError(failure.0))?;
        let Some((_, (info, _))) = row else { return Ok(None) };
        let content = self.content(digest).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => StoreError(error.to_string()),
            _ => StoreError(format!("cannot read blob {digest}: {error}")),
        })?;
        Ok(Some((info, content)))
    }

    fn list(
        &self,
        plugin: &PluginName,
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
        for row in view.rows_in::<schema::BlobsByPlugin>(&from, to.as_deref()).take(max) {
            let ((_, digest), ()) = row.map_err(failed)?;
            let key = keys::blob(&digest, plugin.as_str());
            let missing = StoreFailure::damaged(Space::Blobs, &key);
            let blob = view.row::<schema::Blobs>(key).and_then(|row| row.ok_or(missing));
            infos.push(blob.map_err(failed)?.0);
        }
        Ok(infos)
    }

    fn kept_bytes(&self, plugin: &PluginName) -> Result<u64, StoreError> {
        let kept = self.kept_bytes.read().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.get(plugin.as_str()).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journaled::JournaledStore;
    use crate::store::rows::write_blob;
    use crate::store::{Batch, Store as _};

    fn keep(store: &JournaledStore, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let size_bytes = content.len() as u64;
        let info = BlobInfo { digest, size_bytes, content_type: "text/plain".into() };
        let mut batch = Batch::default();
        batch.put(Space::Blobs, keys::blob(&digest, "p"), write_blob(&info, 1));
        store.commit(batch).unwrap();
        digest
    }

    fn open(folder: &Path, store: &Arc<JournaledStore>) -> Blobs {
        let contents = Contents::Disk(folder.to_owned());
        Blobs::open(contents, Arc::clone(store) as Arc<dyn Views>).unwrap()
    }

    #[test]
    fn what_nobody_keeps_goes_with_the_last_who_staged_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(JournaledStore::in_memory());
        let blobs = open(folder.path(), &store);
        let in_vain = blobs.write(b"in vain").unwrap();
        let again = blobs.write(b"in vain").unwrap();
        let kept = blobs.write(b"kept").unwrap();
        assert_eq!(keep(&store, b"kept"), kept.digest());
        let (digest, kept_digest) = (in_vain.digest(), kept.digest());
        blobs.forget(digest);
        blobs.collect_garbage();
        blobs.sweep();
        assert!(blobs.has(&digest), "it is staged");
        drop((in_vain, kept));
        blobs.collect_garbage();
        assert!(blobs.has(&digest), "it is staged once more");
        assert!(!blobs.has_garbage());
        drop(again);
        assert!(blobs.has_garbage());
        blobs.collect_garbage();
        assert!(!blobs.has(&digest));
        assert!(blobs.has(&kept_digest));
    }

    /// What other nodes have put, and how often it was asked for.
    struct Elsewhere(HashMap<Digest, Bytes>, AtomicU64);

    impl SharedBlobs for Elsewhere {
        fn has_put(&self, _: &Digest) -> bool {
            true
        }

        fn put(&self, _: &Digest, _: &[u8]) -> io::Result<()> {
            unreachable!("nothing is written")
        }

        fn get(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(self.0.get(digest).cloned())
        }

        fn remove(&self, _: &Digest) -> io::Result<()> {
            unreachable!("nothing is removed")
        }

        fn list(&self) -> io::Result<Vec<Digest>> {
            unreachable!("nothing is listed")
        }
    }

    #[test]
    fn what_only_reads_keeps_what_it_fetched_as_far_as_memory_goes() {
        const SIZE: usize = 16 * 1024 * 1024;
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(JournaledStore::in_memory());
        let contents = (0..8).map(|n| Bytes::from(vec![n; SIZE]));
        let all: HashMap<_, _> = contents.map(|content| (Digest::of(&content), content)).collect();
        let shared = Arc::new(Elsewhere(all.clone(), AtomicU64::new(0)));
        let views = Arc::clone(&store) as Arc<dyn Views>;
        let blobs = Blobs::reading(folder.path().to_owned(), views, Arc::clone(&shared) as _);
        let first = *all.keys().next().unwrap();
        assert!(blobs.read(&first).unwrap().is_none(), "no plugin keeps it");
        for content in all.values() {
            keep(&store, content);
        }
        for _ in 0..3 {
            assert_eq!(blobs.read(&first).unwrap().unwrap().1, all[&first]);
        }
        assert_eq!(shared.1.load(Ordering::Relaxed), 1);
        for (digest, content) in &all {
            assert_eq!(blobs.read(digest).unwrap().unwrap().1, content);
        }
        let kept_bytes = lock(blobs.fetched.as_ref().unwrap()).weight();
        assert!((SIZE as u64..=FETCHED_MAX_BYTES).contains(&kept_bytes), "{kept_bytes}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Orphaned blobs don't accumulate.
    #[test]
    fn whoever_writes_removes_what_was_left_first() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path(), &Arc::new(JournaledStore::in_memory()));
        for number in 0..20 {
            let staged = blobs.write(format!("content {number}").as_bytes()).unwrap();
            let there = (0..20).map(|n| Digest::of(format!("content {n}").as_bytes()));
            assert_eq!(
                there.filter(|digest| blobs.has(digest)).collect::<Vec<_>>(),
                [staged.digest()]
            );
        }
    }

    #[test]
    fn nothing_goes_while_a_copy_is_made_and_what_was_left_goes_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path(), &Arc::new(JournaledStore::in_memory()));
        let kept = blobs.keep_all();
        let digest = blobs.write(b"in vain").unwrap().digest();
        blobs.collect_garbage();
        blobs.sweep();
        assert!(blobs.has(&digest));
        drop(kept);
        blobs.collect_garbage();
        assert!(!blobs.has(&digest));
    }

    #[test]
    fn a_start_removes_what_no_row_refers_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(JournaledStore::in_memory());
        let write = |content: &[u8]| open(folder.path(), &store).write(content).unwrap().digest();
        let (kept, in_vain) = (write(b"kept"), write(b"in vain"));
        keep(&store, b"kept");
        fs::write(folder.path().join("new").join("7"), "half").unwrap();
        let blobs = open(folder.path(), &store);
        blobs.sweep();
        assert!(blobs.has(&kept) && !blobs.has(&in_vain));
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_about_to_be_committed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(JournaledStore::in_memory());
        let blobs = open(folder.path(), &store);
        let written = blobs.write(b"content").unwrap();
        let digest = written.digest();
        let held = blobs.hold(&digest).unwrap();
        drop(written);
        blobs.collect_garbage();
        assert!(blobs.has(&digest));
        keep(&store, b"content");
        drop(held);
        blobs.collect_garbage();
        assert!(blobs.has(&digest));
        assert!(blobs.hold(&Digest::of(b"nothing")).is_none());
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(JournaledStore::in_memory());
        let blobs = open(folder.path(), &store);
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
        let store = Arc::new(JournaledStore::in_memory());
        let blobs = open(folder.path(), &store);
        let digest = blobs.write(b"content").unwrap().digest();
        keep(&store, b"content");
        assert_eq!(blobs.read(&digest).unwrap().unwrap().1, "content");
        fs::write(file(folder.path(), &digest).1, "c0ntent").unwrap();
        assert!(blobs.read(&digest).unwrap_err().0.contains("damaged"));
    }
}
