//! Which plugin keeps which blob, and how much that comes to. The content is on disk before the
//! settlement gets here.

use std::collections::HashMap;

use usher_event::{BlobChange, Digest, StagedBlob};

use super::Ledger;
use crate::store::rows::write_blob;
use crate::store::{Space, keys};

/// What is known of blobs.
#[derive(Default)]
pub(super) struct BlobLedger {
    /// How much each plugin keeps.
    kept_bytes: HashMap<Box<str>, u64>,
    /// What the batch being put together changes: how large each plugin's blob is by then, `None`
    /// where it keeps it no more. What is not in here is as the store has it.
    changed: HashMap<Box<str>, HashMap<Digest, Option<u64>>>,
    /// Keeps what the batch refers to where it is until that is durable.
    staged: Vec<StagedBlob>,
    deleted: Vec<Digest>,
}

/// What of blobs may happen once a batch is durable.
#[derive(Default)]
pub(crate) struct ReleasedBlobs {
    /// The batch refers to their content now.
    pub(crate) staged: Vec<StagedBlob>,
    /// Those that lost a reference.
    pub(crate) deleted: Vec<Digest>,
    /// How much the plugins whose blobs changed keep now, bytes.
    pub(crate) kept_bytes: Vec<(Box<str>, u64)>,
}

impl BlobLedger {
    /// Goes on from how many bytes each plugin keeps.
    pub(super) fn new(kept_bytes: HashMap<Box<str>, u64>) -> Self {
        Self { kept_bytes, ..Self::default() }
    }

    /// How many bytes a plugin keeps now, and how many with these changes. `stored` is how large
    /// the store has each of the plugin's blobs that change, in their order.
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

    /// How large a plugin's blob is, the batch being put together included; `None` where it keeps
    /// none of this digest.
    fn size(&self, plugin: &str, digest: &Digest, stored: Option<u64>) -> Option<u64> {
        let changed = self.changed.get(plugin).and_then(|changed| changed.get(digest));
        changed.copied().unwrap_or(stored)
    }

    /// What may happen now that the batch is durable.
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

/// The digest of a change, and how large the plugin's blob is afterwards.
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
    /// Applies what a delivery did to its plugin's blobs; `stored` as for [`BlobLedger::usage`].
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
                // There is nothing to delete.
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
