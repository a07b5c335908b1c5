//! What the engine needs of a disk: atomic batches over a few tables, made durable before the call
//! returns, and consistent views to read from. `docs/storage.md` says what the tables hold.
//!
//! [`journaled::JournaledStore`] is the store: a journal, and tables derived from it, on disk
//! ([`tables::LsmTables`]) or in memory ([`memory::MemoryTables`]).

mod any;
pub(crate) mod audit;
pub(crate) mod copy;
mod events;
pub(crate) mod format3;
#[cfg(test)]
mod golden;
pub(crate) mod journaled;
pub(crate) mod keys;
pub(crate) mod lost;
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod tables;
pub(crate) mod varint;

pub use any::read_any_row;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use usher_journal::{Copied, JournalError};

/// What a mutex guards. A thread that panicked with it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A table. Its name and its number are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Space {
    Meta,
    Events,
    Identities,
    Children,
    Correlations,
    Subscriptions,
    Cursors,
    Retries,
    Parked,
    Attempts,
    Dead,
    DeadByDelivery,
    Delayed,
    State,
    StateUsage,
    Blobs,
    BlobsByPlugin,
    Audit,
    Schedules,
    Recordings,
    Documents,
}

impl Space {
    /// All tables; the position of each is its number as `usize`.
    pub(crate) const ALL: [Self; 21] = [
        Self::Meta,
        Self::Events,
        Self::Identities,
        Self::Children,
        Self::Correlations,
        Self::Subscriptions,
        Self::Cursors,
        Self::Retries,
        Self::Parked,
        Self::Attempts,
        Self::Dead,
        Self::DeadByDelivery,
        Self::Delayed,
        Self::State,
        Self::StateUsage,
        Self::Blobs,
        Self::BlobsByPlugin,
        Self::Audit,
        Self::Schedules,
        Self::Recordings,
        Self::Documents,
    ];

    /// The table's number in records of the journal, and in the keys of its rows.
    pub(crate) fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The table with this number.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }

    /// The table's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Events => "events",
            Self::Identities => "identities",
            Self::Children => "children",
            Self::Correlations => "correlations",
            Self::Subscriptions => "subscriptions",
            Self::Cursors => "cursors",
            Self::Retries => "retries",
            Self::Parked => "parked",
            Self::Attempts => "attempts",
            Self::Dead => "dead",
            Self::DeadByDelivery => "dead_by_delivery",
            Self::Delayed => "delayed",
            Self::State => "state",
            Self::StateUsage => "state_usage",
            Self::Blobs => "blobs",
            Self::BlobsByPlugin => "blobs_by_plugin",
            Self::Audit => "audit",
            Self::Schedules => "schedules",
            Self::Recordings => "recordings",
            Self::Documents => "documents",
        }
    }
}

/// One change: a value, or `None` to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) space: Space,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

impl Row {
    /// Its size in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + std::mem::size_of::<Self>()
    }
}

/// Changes that become visible and durable together. A later one for the same key wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
}

impl Batch {
    pub(crate) fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.rows.push(Row { space, key: key.into(), value: Some(value.into()) });
    }

    pub(crate) fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.rows.push(Row { space, key: key.into(), value: None });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The store's own words about what went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StoreFailure(pub(crate) String);

impl StoreFailure {
    /// A row that can't be understood.
    pub(crate) fn damaged(space: Space, key: &[u8]) -> Self {
        let key: String = key.iter().take(48).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("damaged row in {}, key {key}", space.name()))
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    /// The file system refused.
    #[error("{0}")]
    Io(io::Error),
    /// What it holds can't be used.
    #[error("{0}")]
    Damaged(StoreFailure),
    /// The service that keeps the journal refused, or another node owns it.
    #[error("{0}")]
    Refused(JournalError),
}

impl OpenFailure {
    pub(crate) fn damaged(words: impl Into<String>) -> Self {
        Self::Damaged(StoreFailure(words.into()))
    }
}

impl From<io::Error> for OpenFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One row read: key and value.
pub(crate) type Found = Result<(Bytes, Bytes), StoreFailure>;

/// Rows in key order, which may also be taken from the back.
pub(crate) type Rows<'a> = Box<dyn DoubleEndedIterator<Item = Found> + 'a>;

/// The whole store as of one commit.
pub(crate) trait View: Send + Sync {
    /// The value at a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure>;

    /// All rows from `from` on, up to but without `to`.
    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_>;

    /// All rows whose key starts with `prefix`.
    fn prefix(&self, space: Space, prefix: &[u8]) -> Rows<'_> {
        match keys::after_prefix(prefix) {
            Some(end) => self.range(space, prefix, Some(&end)),
            None => self.range(space, prefix, None),
        }
    }
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The position of the next record.
    pub(crate) next: u64,
    /// The sequence of the next event.
    pub(crate) next_sequence: u64,
}

impl Default for Applied {
    fn default() -> Self {
        Self { next: 0, next_sequence: 1 }
    }
}

/// Tables that are derived from a journal. They hold all rows but events.
pub(crate) trait Tables: Send + Sync + 'static {
    /// How far they have come.
    fn applied(&self) -> Applied;

    /// Takes the rows of the next commits, which bring them this far.
    fn apply(&self, rows: Vec<Row>, applied: Applied) -> Result<(), StoreFailure>;

    /// What was applied so far, unchanged by what comes.
    fn view(&self) -> (Box<dyn View>, Applied);

    /// Whether there is enough to be made durable.
    fn is_checkpoint_due(&self) -> bool;

    /// Has the next checkpoint make all durable that is applied now. Not to be called while rows are
    /// applied: a part of them would be left out.
    fn seal(&self);

    /// Makes what was sealed durable.
    fn checkpoint(&self) -> Result<(), StoreFailure>;

    /// How much room they take, about.
    fn size_bytes(&self) -> u64;

    /// Removes rows that there are now and whose key begins with a lower number, or some of them; whether
    /// there may be more. Not to be called while rows are applied either.
    fn forget_before(&self, space: Space, number: u64) -> Result<bool, StoreFailure>;
}

/// What is read of tables that have failed, or aren't there.
pub(crate) struct Unreadable(pub(crate) StoreFailure);

impl View for Unreadable {
    fn get(&self, _: Space, _: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        Err(self.0.clone())
    }

    fn range(&self, _: Space, _: &[u8], _: Option<&[u8]>) -> Rows<'_> {
        let failed: Found = Err(self.0.clone());
        Box::new(std::iter::once(failed))
    }
}

/// What was committed, for who reads it.
pub(crate) trait Views: Send + Sync + 'static {
    /// Everything committed so far, unchanged by later commits, but for events that have left the log
    /// since.
    fn view(&self) -> Box<dyn View>;

    /// Rows of a table whose keys begin with a prefix, as they stood once the event with this sequence
    /// was appended.
    fn rows_at(&self, space: Space, prefix: &[u8], sequence: u64) -> Result<RowsAt, StoreFailure>;
}

/// A place to commit to.
pub(crate) trait Store: Views {
    /// Makes the batch visible and durable, whole or not at all. After a failure the state on
    /// disk is unknown and the store must not be used for commits again.
    fn commit(&self, batch: Batch) -> Result<(), StoreFailure>;

    /// Whether it still works: it may have failed behind a commit.
    fn check(&self) -> Result<(), StoreFailure>;

    /// Whether a commit is waiting for something that is away, and may be for long.
    fn is_waiting(&self) -> bool;

    /// Removes rows that there are now and whose key begins with a lower number. Nobody asks for them any
    /// more.
    fn drop_before(&self, space: Space, number: u64) -> Result<(), StoreFailure>;

    /// Whether enough was written since the last time to reclaim room.
    fn is_reclaim_due(&self) -> bool;

    /// Gives the room of events before this one back, as far as that costs little, and that of rows which
    /// were replaced. Nobody asks for them any more. Takes a while; stops early where asked to.
    fn reclaim(&self, sequence: u64, is_stopping: &dyn Fn() -> bool) -> Result<(), StoreFailure>;

    /// Copies what is committed to a folder that isn't there yet, as a journal, with a view of the same.
    /// Files of an earlier copy's folder that are the same are linked to.
    fn copy_to(
        &self,
        folder: &Path,
        base: Option<&Path>,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(Box<dyn View>, Copied), StoreFailure>;
}

/// Rows as of an earlier commit.
pub(crate) enum RowsAt {
    /// They.
    There(BTreeMap<Bytes, Bytes>),
    /// What has led there was given up: rows are known from this sequence on.
    Before(u64),
}
