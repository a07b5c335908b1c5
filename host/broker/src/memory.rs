//! A disk in memory, for tests of the layers above the broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use usher_event::Digest;

use usher_journal::MemoryJournal;

use crate::store::memory::MemoryTables;

/// Outlives the brokers that use it, so that tests can restart them; clones share the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    pub(crate) journal: MemoryJournal,
    pub(crate) tables: Arc<MemoryTables>,
    pub(crate) blobs: Arc<Mutex<HashMap<Digest, Bytes>>>,
}

impl MemoryDisk {
    /// Makes the next commit fail, as a broken disk would.
    pub fn fail_next_commit(&self) {
        self.journal.fail_next_append();
    }
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDisk").finish_non_exhaustive()
    }
}
