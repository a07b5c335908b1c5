//! Blobs kept by each plugin, and their size. The content is on disk before the settlement arrives.

use std::collections::HashMap;

use usher_event::{BlobChange, Digest, StagedBlob};

use super::Ledger;
use crate::store::rows::write_blob;
use crate::store::{Space, keys};

/// Accounting of blobs.
#[derive(Default)]
pub(super) struct BlobLedger {
    /// Bytes kept by each plugin.
    kept_bytes: HashMap<Box<str>, u64>,
    /// Changes of the batch being assembled: the new size of each plugin's blob, `None` if it was
    /// deleted. Everything else is as stored.
    changed: HashMap<Box<str>, HashMap<Digest, Option<u64>>>,
    /// Keeps content that the batch refers to until it is durable.
    staged: Vec<StagedBlob>,
    deleted: Vec<Digest>,
}

/// What may happen to blobs once a batch is durable.
#[derive(Default)]
pub(crate) struct ReleasedBlobs {
    /// No longer needed: the committed batch refers to their content.
    pub(crate) staged: Vec<StagedBlob>,
    /// Blobs that lost a reference.
    pub(crate) deleted: Vec<Digest>,
    /// Bytes now kept by each plugin whose blobs changed.
    pub(crate) kept_bytes: Vec<(Box<str>, u64)>,
}

impl BlobLedger {
    pub(super) fn new(kept_bytes: HashMap<Box<str>, u64>) -> Self {
        Self { kept_bytes, ..Self::default() }
    }

    /// How many bytes a plugin keeps now, and after these changes. `stored` holds the stored sizes
    /// of the blobs that change, in the same order.
    pub(super) fn usage(
        &self,
        plugin: &str,
        changes: &[BlobChange],
        stored: &[Option<u64>],
    ) -> (u64, u64) {
        let before_bytes = self.kept_bytes.get(plugin).copied().unwrap_or_default();
        let mut after_bytes = before_bytes;
        let mut own = HashMap::new();
        for (position, change) in changes.iter().enumerate() {
            let stored = stored.get(position).copied().flatten();
            let (digest, size_bytes) = outcome(change);
            let known = own.get(&digest).copied();
            let old = known.unwrap_or_else(|| self.size(plugin, &digest, stored));
            after_bytes = replace(after_bytes, old, size_bytes);
            own.insert(digest, size_bytes);
        }
        (before_bytes, after_bytes)
    }

    /// Size of a plugin's blob, including the current batch; `None` if the plugin doesn't keep it.
    fn size(&self, plugin: &str, digest: &Digest, stored: Option<u64>) -> Option<u64> {
        let changed = self.changed.get(plugin).and_then(|changed| changed.get(digest));
        changed.copied().unwrap_or(stored)
    }

    /// Returns what may happen now that the batch is durable.
    pub(super) fn release(&mut self) -> ReleasedBlobs {
        let plugins = std::mem::take(&mut self.changed).into_keys();
        let kept_bytes = plugins.map(|plugin| {
            let bytes = self.kept_bytes.get(&plugin).copied().unwrap_or_default();
            (plugin, bytes)
        });
        ReleasedBlobs {
            kept_bytes: kept_bytes.collect(),
            staged: std::mem::take(&mut self.staged),
            deleted: std::mem::take(&mut self.deleted),
        }
    }
}

/// The digest of a change, and the resulting size of the plugin's blob.
fn outcome(change: &BlobChange) -> (Digest, Option<u64>) {
    match change {
        BlobChange::Put(info) => (info.digest, Some(info.size_bytes)),
        BlobChange::Delete(digest) => (*digest, None),
    }
}

fn replace(sum_bytes: u64, old: Option<u64>, new: Option<u64>) -> u64 {
    sum_bytes.saturating_sub(old.unwrap_or_default()).saturating_add(new.unwrap_or_default())
}

impl Ledger {
    /// Applies a delivery's blob changes; `stored` as for [`BlobLedger::usage`].
    pub(super) fn change_blobs(
        &mut self,
        plugin: &str,
        changes: Vec<BlobChange>,
        stored: &[Option<u64>],
        staged: Vec<StagedBlob>,
        now_ms: u64,
    ) {
        self.blobs.staged.extend(staged);
        for (position, change) in changes.into_iter().enumerate() {
            let (digest, size_bytes) = outcome(&change);
            let old = self.blobs.size(plugin, &digest, stored.get(position).copied().flatten());
            match change {
                BlobChange::Put(info) => {
                    let by_plugin = keys::plugin_blob(plugin, &digest);
                    self.outgoing.put(Space::BlobsByPlugin, by_plugin, Vec::new());
                    let row = write_blob(&info, now_ms);
                    self.outgoing.put(Space::Blobs, keys::blob(&digest, plugin), row);
                }
                // Nothing to delete.
                BlobChange::Delete(_) if old.is_none() => continue,
                BlobChange::Delete(_) => {
                    self.outgoing.delete_blob(&digest, plugin);
                    self.blobs.deleted.push(digest);
                }
            }
            let sum_bytes = self.blobs.kept_bytes.entry(plugin.into()).or_default();
            *sum_bytes = replace(*sum_bytes, old, size_bytes);
            self.blobs.changed.entry(plugin.into()).or_default().insert(digest, size_bytes);
        }
    }
}
