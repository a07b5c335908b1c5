//! Which plugin keeps which blob. The content is on disk before the settlement gets here.

use usher_event::BlobChange;

use super::Ledger;
use crate::store::rows::write_blob;
use crate::store::{Space, keys};

impl Ledger {
    /// Applies what a delivery did to its plugin's blobs.
    pub(super) fn change_blobs(&mut self, plugin: &str, changes: Vec<BlobChange>, now_ms: u64) {
        for change in changes {
            match change {
                BlobChange::Put(info) => {
                    let by_plugin = keys::plugin_blob(plugin, &info.digest);
                    self.outgoing.put(Space::BlobsByPlugin, by_plugin, Vec::new());
                    let row = write_blob(&info, now_ms);
                    self.outgoing.put(Space::Blobs, keys::blob(&info.digest, plugin), row);
                }
                BlobChange::Delete(digest) => {
                    self.outgoing.delete_blob(&digest, plugin);
                    self.deleted_blobs.push(digest);
                }
            }
        }
    }
}
