//! A delivery's read-only view of the broker's state and blobs. Changes are staged as effects and
//! returned with the verdict.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Digest, PluginName};

/// A read failed; carries the storage engine's message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Address of a value in a plugin's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateAddress {
    /// The plugin that owns it.
    pub plugin: PluginName,
    /// The bucket's name (the identifier given to wasi:keyvalue `open`).
    pub bucket: Arc<str>,
    /// The key.
    pub key: Arc<str>,
}

impl StateAddress {
    /// Bytes of bucket and key, which count with the value's in the usage.
    pub fn name_bytes(&self) -> usize {
        self.bucket.len() + self.key.len()
    }
}

/// A read from a delivery's snapshot. If it changed by the time of the commit, the delivery is
/// re-run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateRead {
    /// The value at an address, or its absence, as of a snapshot.
    Key {
        /// The address.
        address: StateAddress,
        /// [`StateSnapshot::version`] of the snapshot it was read from.
        version: u64,
    },
    /// The key list of a bucket, as of a snapshot.
    Bucket {
        /// The plugin that owns it.
        plugin: PluginName,
        /// The bucket's name.
        bucket: Arc<str>,
        /// [`StateSnapshot::version`] of the snapshot it was read from.
        version: u64,
    },
}

/// A staged write. The writer has read the address first, so it is among the reads too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateWrite {
    /// The address.
    pub address: StateAddress,
    /// The new value, or `None` to delete.
    pub value: Option<Bytes>,
    /// Size of the committed value, `None` if there was none; keeps usage exact.
    pub previous_bytes: Option<u32>,
}

/// A plugin's state usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateUsage {
    /// Bytes of keys (bucket and key) and values.
    pub bytes: u64,
    /// Number of keys.
    pub keys: u64,
}

/// Provides snapshots of the committed state.
pub trait StateReader: Send + Sync + 'static {
    /// The state as of the newest commit.
    fn snapshot(&self) -> Box<dyn StateSnapshot>;

    /// [`StateSnapshot::version`] of a snapshot made now, or a little less.
    fn version(&self) -> u64 {
        self.snapshot().version()
    }
}

/// The state of all plugins at one commit.
pub trait StateSnapshot: Send + Sync {
    /// Number of a commit that the snapshot is guaranteed to include.
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

    /// A plugin's usage over all its buckets.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobChange {
    /// The plugin keeps the blob. Its content is already on disk ([`BlobStore::write`]).
    Put(BlobInfo),
    /// The plugin drops its reference; the content is deleted with the last one.
    Delete(Digest),
}

/// Metadata of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// The digest of its content, which is also its name.
    pub digest: Digest,
    /// Length of the content.
    pub size_bytes: u64,
    /// Media type (RFC 2046), as the plugin gave it.
    pub content_type: String,
}

/// A claim on staged content: the store keeps the content at least while a clone of the claim lives.
/// Content that no commit references may be deleted once the last is dropped, or once the store
/// learns that its holder is gone. Dropping never blocks. How the claim reaches the store is up to
/// the store: a file handle in one process, a renewed lease across several.
#[derive(Clone)]
pub struct StagedBlob {
    digest: Digest,
    _held: Arc<dyn Send + Sync>,
}

impl StagedBlob {
    /// A claim that lasts until `held` is dropped.
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
    /// Writes content and fsyncs it. Invisible until a commit references it; unreferenced content
    /// is deleted with its last [`StagedBlob`]. Writing existing content again is cheap.
    ///
    /// # Errors
    /// The disk is full or broken.
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError>;

    /// Info and content of a committed blob, whichever plugin put it.
    ///
    /// # Errors
    /// The disk failed, or the content doesn't match its digest.
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

    /// Total size of a plugin's committed blobs.
    ///
    /// # Errors
    /// The store can't be read.
    fn kept_bytes(&self, plugin: &PluginName) -> Result<u64, StoreError>;
}
