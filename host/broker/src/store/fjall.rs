//! The store on disk: one fjall database, a keyspace for each table, `fdatasync` for each commit.
//!
//! fjall poisons itself when a write or an fsync fails and refuses everything from then on; the
//! committer does the same one level up.

use std::fs::{self, File};
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fjall::config::FilterPolicy;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};

use crate::files::{remove_folder, sync_folder};

use super::{
    Batch, Found, OpenFailure, Rows, Space, Store, StoreFailure, View, closed, journal, tables,
};

/// Size at which the memory table of a keyspace is written out. Bounds, with the journal's size,
/// how much recovery has to read.
const MEMTABLE_MAX_BYTES: u64 = 32 * 1_024 * 1_024;

/// Journals beyond this are emptied by writing out what holds them back.
const JOURNALS_MAX_BYTES: u64 = 128 * 1_024 * 1_024;

/// Threads that write out and compact in the background. With more than one, fjall's first only
/// hands compactions back and forth while another one works (fjall 3.1 `worker_pool`).
const WORKER_THREADS: usize = 1;

/// Block cache for reading everything once.
const READ_CACHES: Caches = Caches { bytes: 16 * 1_024 * 1_024, open_tables_max: 64 };

/// A database on disk. Fields are dropped in their order.
pub(crate) struct FjallStore {
    database: Database,
    spaces: Spaces,
    end: End,
}

/// Notes how the journals end when the database is closed, so that the next start can tell what is
/// missing.
struct End {
    folder: PathBuf,
    /// A write failed: nobody knows what the journals hold.
    failed: AtomicBool,
    /// Nobody else may open the folder before the note is there.
    _lock: Option<Arc<File>>,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.failed.load(Ordering::Relaxed) {
            return;
        }
        let noted = journal::scan(&self.folder).map(|found| closed::write(&self.folder, &found));
        if !matches!(noted, Ok(Ok(()))) {
            tracing::warn!(?noted, "the store is closed without a note of how its journals end");
        }
    }
}

/// What is kept of tables between reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caches {
    /// Blocks.
    pub(crate) bytes: u64,
    /// Open files.
    pub(crate) open_tables_max: usize,
}

/// What recovery found in the journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Whether the store was closed, and not interrupted.
    pub(crate) was_closed: bool,
    /// Bytes of an unfinished commit that were cut off, and the journal they were in.
    pub(crate) cut: Option<(u64, String)>,
}

/// The keyspaces in the order of [`Space::ALL`].
#[derive(Clone)]
struct Spaces(Arc<[Keyspace]>);

impl Spaces {
    fn get(&self, space: Space) -> Result<&Keyspace, StoreFailure> {
        self.0
            .get(space as usize)
            .ok_or_else(|| StoreFailure(format!("there is no table {}", space.name())))
    }
}

impl FjallStore {
    /// Opens the database in this folder, recovers it, makes it if it isn't there. Where it is
    /// damaged, nothing in the folder is changed.
    pub(crate) fn open(
        folder: &Path,
        caches: Caches,
        lock: Option<Arc<File>>,
    ) -> Result<(Self, Recovery), OpenFailure> {
        let found = journal::scan(folder)?;
        let note = closed::read(folder)?;
        if let Some(difference) = note.as_ref().and_then(|note| closed::difference(note, &found)) {
            return Err(OpenFailure::damaged(difference));
        }
        if folder.try_exists()? {
            tables::check(folder)?;
        } else {
            make(folder)?;
        }
        found.cut()?;
        closed::remove(folder)?;
        let opened = Self::recover(folder, caches, WORKER_THREADS, lock);
        if let (Err(_), Some(note)) = (&opened, &note) {
            // Nothing was committed, so it still holds. The first failure is the one to tell.
            let _ = closed::put(folder, note);
        }
        let recovery = Recovery {
            was_closed: note.is_some(),
            cut: found.torn().map(|journal| (journal.torn_bytes, journal.name())),
        };
        Ok((opened?, recovery))
    }

    /// Opens a copy to read what is in it. Nothing happens in the background.
    pub(crate) fn open_to_read(folder: &Path) -> Result<Self, OpenFailure> {
        let store = Self::recover(folder, READ_CACHES, 0, None)?;
        store.end.failed.store(true, Ordering::Relaxed);
        Ok(store)
    }

    /// Makes a new store in this folder with all rows of a view; `each` sees every row before it is
    /// written, and may stop the copy.
    pub(crate) fn make_copy(
        view: &dyn View,
        folder: &Path,
        mut each: impl FnMut(Space, &Bytes, &Bytes) -> Result<(), StoreFailure>,
    ) -> Result<(), StoreFailure> {
        let (store, _) =
            Self::open(folder, READ_CACHES, None).map_err(|failure| match failure {
                OpenFailure::Io(error) => StoreFailure(error.to_string()),
                OpenFailure::Damaged(failure) => failure,
            })?;
        for space in Space::ALL {
            let mut rows = view.range(space, &[], None).peekable();
            if rows.peek().is_none() {
                continue;
            }
            // In the order of keys, straight into table files.
            let mut table = store.spaces.get(space)?.start_ingestion().map_err(failure)?;
            for row in rows {
                let (key, value) = row?;
                each(space, &key, &value)?;
                table.write(key, value).map_err(failure)?;
            }
            table.finish().map_err(failure)?;
        }
        Ok(())
    }

    fn recover(
        folder: &Path,
        caches: Caches,
        workers: usize,
        lock: Option<Arc<File>>,
    ) -> Result<Self, OpenFailure> {
        let open = || {
            let database = Database::builder(folder)
                .cache_size(caches.bytes)
                .max_cached_files(Some(caches.open_tables_max))
                .max_journaling_size(JOURNALS_MAX_BYTES)
                .worker_threads_unchecked(workers)
                .manual_journal_persist(true)
                .open()?;
            let mut spaces = Vec::with_capacity(Space::ALL.len());
            for space in Space::ALL {
                spaces.push(database.keyspace(space.name(), || options(space))?);
            }
            Ok((database, spaces))
        };
        // fjall asserts some of what it reads.
        let opened = catch_unwind(open).unwrap_or_else(|_| {
            let words = "recovery panicked; the log has the details";
            Err(OpenFailure::damaged(words))
        });
        let (database, spaces) = opened?;
        let end = End { folder: folder.to_owned(), failed: AtomicBool::new(false), _lock: lock };
        Ok(Self { database, spaces: Spaces(spaces.into()), end })
    }
}

impl Store for FjallStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreFailure> {
        let mut writes = OwnedWriteBatch::with_capacity(self.database.clone(), batch.rows.len())
            .durability(Some(PersistMode::SyncData));
        for row in batch.rows {
            let keyspace = self.spaces.get(row.space)?;
            match row.value {
                Some(value) => writes.insert(keyspace, row.key, value),
                None => writes.remove(keyspace, row.key),
            }
        }
        writes.commit().map_err(|error| {
            self.end.failed.store(true, Ordering::Relaxed);
            failure(error)
        })
    }

    fn drop_before(&self, space: Space, number: u64) -> Result<(), StoreFailure> {
        use fjall::AbstractTree as _;
        // Whole table files go; what shares a file with rows that stay goes with a later one.
        let tree = &self.spaces.get(space)?.tree;
        tree.drop_range(..super::keys::number(number)).map_err(|error| failure(error.into()))
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(FjallView { snapshot: self.database.snapshot(), spaces: self.spaces.clone() })
    }
}

/// Makes a database aside and moves it here once it is whole: fjall can't go on with one whose
/// making was cut off.
fn make(folder: &Path) -> Result<(), OpenFailure> {
    let new = folder.with_extension("new");
    remove_folder(&new)?;
    // Closed before it is moved.
    drop(FjallStore::recover(
        &new,
        Caches { bytes: 0, open_tables_max: 16 },
        WORKER_THREADS,
        None,
    )?);
    fs::rename(&new, folder)?;
    if let Some(parent) = folder.parent() {
        sync_folder(parent)?;
    }
    Ok(())
}

impl From<fjall::Error> for OpenFailure {
    fn from(error: fjall::Error) -> Self {
        match error {
            // fjall reads as far as its files say; that one ends early is no matter of the system.
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))
                if error.kind() != io::ErrorKind::UnexpectedEof =>
            {
                Self::Io(error)
            }
            other => Self::Damaged(failure(other)),
        }
    }
}

fn options(space: Space) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_MAX_BYTES);
    match space {
        // Keys only rise, so that no two files could hold the same: asking each whether it may
        // have a key would be in vain.
        Space::Events | Space::Identities | Space::Children => {
            options.filter_policy(FilterPolicy::disabled())
        }
        _ => options,
    }
}

struct FjallView {
    snapshot: Snapshot,
    spaces: Spaces,
}

impl View for FjallView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        let value = self.snapshot.get(self.spaces.get(space)?, key).map_err(failure)?;
        Ok(value.map(Bytes::from))
    }

    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        let keyspace = match self.spaces.get(space) {
            Ok(keyspace) => keyspace,
            Err(failure) => return Box::new(std::iter::once(Err(failure))),
        };
        let rows = match to {
            Some(to) if to <= from => return Box::new(std::iter::empty()),
            Some(to) => self.snapshot.range(keyspace, from..to),
            None => self.snapshot.range(keyspace, from..),
        };
        Box::new(rows.map(found))
    }
}

fn found(guard: fjall::Guard) -> Found {
    let (key, value) = guard.into_inner().map_err(failure)?;
    Ok((key.into(), value.into()))
}

/// fjall's errors print as debug output only; the common ones in words.
fn failure(error: fjall::Error) -> StoreFailure {
    StoreFailure(match error {
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Poisoned => "a write in the background failed".to_owned(),
        fjall::Error::Storage(error) => format!("table file: {error:?}"),
        fjall::Error::JournalRecovery(error) => format!("journal: {error:?}"),
        other => format!("{other:?}"),
    })
}
