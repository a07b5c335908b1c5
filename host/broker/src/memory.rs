//! A disk in memory, for tests of the layers above the broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use usher_event::Digest;

use crate::store::memory::MemoryStore;

/// Outlives the brokers that use it, so that tests can restart them; clones share the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) blobs: Arc<Mutex<HashMap<Digest, Bytes>>>,
}

impl MemoryDisk {
    /// Makes the next commit fail, as a broken disk would.
    pub fn fail_next_commit(&self) {
        self.store.fail_next_commit();
    }
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDisk").finish_non_exhaustive()
    }
}
