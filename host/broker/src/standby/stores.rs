//! State and blobs as a standby's tables have them, for deliveries that it handles for the owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use usher_event::{BlobInfo, BlobStore, Digest, PluginName, StagedBlob, StateReader, StoreError};

use super::followed::FollowedTables;
use crate::blobs::Blobs;
use crate::state::CommittedState;
use crate::store::Views;

/// A page of blobs.
const PAGE_MAX_BLOBS: usize = 1_000;

/// What an owner has committed when it asks another node to handle a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateVersion {
    /// The owner's epoch.
    pub epoch: u64,
    /// [`StateReader::version`] there.
    pub version: u64,
    /// The journal's end there, no earlier.
    pub position: u64,
}

/// State and blobs of a standby. What is written is kept in memory, for the owner to take. Cheap to clone.
#[derive(Clone)]
pub struct StandbyStores {
    tables: Arc<FollowedTables>,
    state: Arc<CommittedState>,
    blobs: Arc<StandbyBlobs>,
    /// The newest epoch of an owner, and its highest version that the tables have.
    newest: Arc<Mutex<(u64, u64)>>,
}

impl StandbyStores {
    pub(super) fn new(tables: &Arc<FollowedTables>, kept: Arc<Blobs>) -> Self {
        let views = Arc::clone(tables) as Arc<dyn Views>;
        let (staged, kept_bytes) = (Mutex::default(), Mutex::default());
        Self {
            tables: Arc::clone(tables),
            state: Arc::new(CommittedState::new(views)),
            blobs: Arc::new(StandbyBlobs { kept, tables: Arc::clone(tables), staged, kept_bytes }),
            newest: Arc::default(),
        }
    }

    /// Waits until the tables have what the owner had, as it says. What is read from then on is at least
    /// that. `false` if a later owner has said something already.
    pub async fn until(&self, owner: StateVersion) -> bool {
        let mut applied = self.tables.positions();
        // The sender is this one's.
        let _ = applied.wait_for(|applied| *applied >= owner.position).await;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, version) = *newest;
        if owner.epoch < epoch {
            return false;
        }
        // Each owner counts anew. What tables have of an epoch they keep.
        let known = if owner.epoch == epoch { version } else { 0 };
        *newest = (owner.epoch, owner.version.max(known));
        // Under the lock, so that none sets a lower one later.
        self.state.is_at(newest.1);
        true
    }

    /// The position that the tables have come to.
    pub fn position(&self) -> u64 {
        self.tables.position()
    }

    /// Committed state, with versions of the owner's.
    pub fn state(&self) -> Arc<dyn StateReader> {
        Arc::clone(&self.state) as Arc<dyn StateReader>
    }

    /// Blobs.
    pub fn blobs(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.blobs) as Arc<dyn BlobStore>
    }

    /// Content that a delivery has staged, for its owner to stage.
    pub fn staged(&self, digest: &Digest) -> Option<Bytes> {
        self.blobs.staged(digest)
    }
}

impl std::fmt::Debug for StandbyStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandbyStores").finish_non_exhaustive()
    }
}

/// Blobs that are there, and content that deliveries under way have staged.
struct StandbyBlobs {
    kept: Arc<Blobs>,
    tables: Arc<FollowedTables>,
    /// Each as long as a [`StagedBlob`] of it lives: what a delivery may put is limited by its limits.
    staged: Mutex<HashMap<Digest, Weak<Bytes>>>,
    /// By plugin, as of a position: to add them up reads all of them.
    kept_bytes: Mutex<HashMap<PluginName, (u64, u64)>>,
}

impl StandbyBlobs {
    fn staged(&self, digest: &Digest) -> Option<Bytes> {
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        staged.get(digest).and_then(Weak::upgrade).map(|content| Bytes::clone(&content))
    }
}

impl BlobStore for StandbyBlobs {
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError> {
        let digest = Digest::of(content);
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        staged.retain(|_, content| content.strong_count() > 0);
        let held = match staged.get(&digest).and_then(Weak::upgrade) {
            Some(held) => held,
            None => Arc::new(Bytes::copy_from_slice(content)),
        };
        staged.insert(digest, Arc::downgrade(&held));
        Ok(StagedBlob::new(digest, held))
    }

    fn read(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.kept.read(digest)
    }

    fn list(
        &self,
        plugin: &PluginName,
        after: Option<&Digest>,
        max: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        self.kept.list(plugin, after, max)
    }

    fn kept_bytes(&self, plugin: &PluginName) -> Result<u64, StoreError> {
        // Before they are read: what is added up may be newer, never older.
        let position = self.tables.position();
        let known = || self.kept_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, bytes)) = known().get(plugin)
            && *at == position
        {
            return Ok(*bytes);
        }
        let (mut bytes, mut after) = (0, None);
        loop {
            let page = self.kept.list(plugin, after.as_ref(), PAGE_MAX_BLOBS)?;
            bytes += page.iter().map(|blob| blob.size_bytes).sum::<u64>();
            after = page.last().map(|blob| blob.digest);
            if page.len() < PAGE_MAX_BLOBS {
                known().insert(plugin.clone(), (position, bytes));
                return Ok(bytes);
            }
        }
    }
}
