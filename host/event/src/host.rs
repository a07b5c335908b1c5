//! What a running delivery sees of the broker's storage: state and blobs, read-only. Changes are
//! staged as effects and travel back with the verdict.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Digest, PluginName};

/// Reading failed; the storage engine's own words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Where a value of a plugin's state lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateAddress {
    /// The plugin that owns it.
    pub plugin: PluginName,
    /// The bucket's name (the identifier given to wasi:keyvalue `open`).
    pub bucket: Arc<str>,
    /// The key.
    pub key: Arc<str>,
}

/// Something a delivery saw in its snapshot. The commit re-runs the delivery if it changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRead {
    /// The value at an address (or that there is none), as of a snapshot's version.
    Key {
        /// Where.
        address: StateAddress,
        /// [`StateSnapshot::version`] of the snapshot it was read from.
        version: u64,
    },
    /// The list of a bucket's keys, as of a snapshot's version.
    Bucket {
        /// The plugin that owns it.
        plugin: PluginName,
        /// The bucket's name.
        bucket: Arc<str>,
        /// [`StateSnapshot::version`] of the snapshot it was read from.
        version: u64,
    },
}

/// A staged write. Whoever stages it has read the address first (so it is among the reads, too).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateWrite {
    /// Where.
    pub address: StateAddress,
    /// The new value, or `None` to delete.
    pub value: Option<Bytes>,
    /// How many bytes the committed value had, `None` where there was none; keeps usage exact.
    pub previous_bytes: Option<u32>,
}

/// How much state a plugin keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateUsage {
    /// Bytes of keys (bucket and key) and values.
    pub bytes: u64,
    /// Number of keys.
    pub keys: u64,
}

/// Hands out snapshots of the committed state.
pub trait StateReader: Send + Sync + 'static {
    /// The state as of the newest commit.
    fn snapshot(&self) -> Box<dyn StateSnapshot>;
}

/// The state of all plugins at one commit.
pub trait StateSnapshot: Send + Sync {
    /// The number of a commit that this snapshot surely contains.
    fn version(&self) -> u64;

    /// The value at an address.
    ///
    /// # Errors
    /// The store can't be read.
    fn get(&self, address: &StateAddress) -> Result<Option<Bytes>, StoreError>;

    /// At most `max` keys of a bucket in byte order, those after `after`.
    ///
    /// # Errors
    /// The store can't be read.
    fn keys(
        &self,
        plugin: &PluginName,
        bucket: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<StatePage, StoreError>;

    /// What a plugin uses in all its buckets.
    ///
    /// # Errors
    /// The store can't be read.
    fn usage(&self, plugin: &PluginName) -> Result<StateUsage, StoreError>;
}

/// A page of a bucket's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatePage {
    /// The keys, in byte order.
    pub keys: Vec<Arc<str>>,
    /// Whether there are more.
    pub more: bool,
}

/// A change to a plugin's blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobChange {
    /// The plugin keeps the blob. Its content is already on disk ([`BlobStore::write`]).
    Put(BlobInfo),
    /// The plugin no longer needs the blob; the content goes when nobody does.
    Delete(Digest),
}

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// The digest of its content, which is also its name.
    pub digest: Digest,
    /// Length of the content.
    pub size_bytes: u64,
    /// Media type (RFC 2046), as the plugin gave it.
    pub content_type: String,
}

/// Content that waits for the commit that refers to it. It stays as long as this lives; afterwards
/// it goes, unless a commit has come to refer to it. Never blocks when dropped.
#[derive(Clone)]
pub struct StagedBlob {
    digest: Digest,
    _held: Arc<dyn Send + Sync>,
}

impl StagedBlob {
    /// Of content that stays as long as `held` lives.
    pub fn new(digest: Digest, held: impl Send + Sync + 'static) -> Self {
        Self { digest, _held: Arc::new(held) }
    }

    /// The digest of the content.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl std::fmt::Debug for StagedBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StagedBlob").field(&self.digest).finish()
    }
}

/// Content-addressed files. Calls block on the disk.
pub trait BlobStore: Send + Sync + 'static {
    /// Writes content and fsyncs it. Not visible to anyone until a commit refers to it; where none
    /// does, it goes with the last [`StagedBlob`] of it. Writing the same content again is cheap.
    ///
    /// # Errors
    /// The disk is full or broken.
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError>;

    /// A committed blob's info and content, whichever plugin put it.
    ///
    /// # Errors
    /// The disk is broken, or the file's content no longer fits its digest.
    fn read(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError>;

    /// At most `max` of a plugin's committed blobs ordered by digest, those after `after`.
    ///
    /// # Errors
    /// The store can't be read.
    fn list(
        &self,
        plugin: &PluginName,
        after: Option<&Digest>,
        max: usize,
    ) -> Result<Vec<BlobInfo>, StoreError>;

    /// How many bytes a plugin's committed blobs have, all together.
    ///
    /// # Errors
    /// The store can't be read.
    fn kept_bytes(&self, plugin: &PluginName) -> Result<u64, StoreError>;
}
