//! The store on disk: one fjall database, a keyspace for each table, `fdatasync` for each commit.
//!
//! fjall poisons itself when a write or an fsync fails and refuses everything from then on; the
//! committer does the same one level up.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use bytes::Bytes;
use fjall::config::FilterPolicy;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};

use super::{Batch, Found, Rows, Space, Store, StoreFailure, View};

/// Size at which the memory table of a keyspace is written out. Bounds, with the journal's size,
/// how much recovery has to read.
const MEMTABLE_MAX_BYTES: u64 = 32 * 1_024 * 1_024;

/// Journals beyond this are emptied by writing out what holds them back.
const JOURNALS_MAX_BYTES: u64 = 128 * 1_024 * 1_024;

/// Threads that write out and compact in the background. With more than one, fjall's first only
/// hands compactions back and forth while another one works (fjall 3.1 `worker_pool`).
const WORKER_THREADS: usize = 1;

/// A database on disk.
pub(crate) struct FjallStore {
    database: Database,
    spaces: Spaces,
}

/// The keyspaces in the order of [`Space::ALL`].
#[derive(Clone)]
struct Spaces(std::sync::Arc<[Keyspace]>);

impl Spaces {
    fn get(&self, space: Space) -> Result<&Keyspace, StoreFailure> {
        self.0
            .get(space as usize)
            .ok_or_else(|| StoreFailure(format!("there is no table {}", space.name())))
    }
}

impl FjallStore {
    /// Opens the database in this folder, recovers it, makes it if it isn't there.
    pub(crate) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, OpenFailure> {
        if !folder.try_exists()? {
            make(folder)?;
        }
        Self::open_present(folder, cache_bytes)
    }

    fn open_present(folder: &Path, cache_bytes: u64) -> Result<Self, OpenFailure> {
        let database = Database::builder(folder)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNALS_MAX_BYTES)
            .worker_threads(WORKER_THREADS)
            .manual_journal_persist(true)
            .open()?;
        let mut spaces = Vec::with_capacity(Space::ALL.len());
        for space in Space::ALL {
            spaces.push(database.keyspace(space.name(), || options(space))?);
        }
        Ok(Self { database, spaces: Spaces(spaces.into()) })
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
        writes.commit().map_err(failure)
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
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Closed before it is moved.
    drop(FjallStore::open_present(&new, 0)?);
    fs::rename(&new, folder)?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Why a database could not be opened.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    /// The file system refused.
    Io(io::Error),
    /// What it holds can't be recovered.
    Damaged(StoreFailure),
}

impl From<io::Error> for OpenFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<fjall::Error> for OpenFailure {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
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
