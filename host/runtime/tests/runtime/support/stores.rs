//! State and blobs in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use usher_event::{
    BlobChange, BlobInfo, BlobStore, Digest, PluginName, StagedBlob, StateAddress, StatePage,
    StateReader, StateSnapshot, StateUsage, StateWrite, StoreError,
};

/// Committed state.
#[derive(Default)]
pub(crate) struct MemoryState {
    committed: Mutex<Snapshot>,
    /// Time that reading a value takes.
    read_time: Duration,
}

#[derive(Clone, Default)]
struct Snapshot {
    version: u64,
    values: BTreeMap<StateAddress, Bytes>,
    read_time: Duration,
    /// One more reference for each snapshot that is held.
    held: Arc<()>,
}

impl MemoryState {
    /// Reading a value takes this long and blocks the thread.
    pub(crate) fn slow(read_time: Duration) -> Self {
        Self { read_time, ..Self::default() }
    }

    pub(crate) fn commit(&self, writes: &[StateWrite]) {
        let mut committed = self.committed.lock().unwrap();
        committed.version += 1;
        for write in writes {
            let before = match &write.value {
                Some(value) => committed.values.insert(write.address.clone(), value.clone()),
                None => committed.values.remove(&write.address),
            };
            assert_eq!(write.previous_bytes, before.map(|value| value.len() as u32));
        }
    }

    /// Number of snapshots that are still held.
    pub(crate) fn snapshots_held(&self) -> usize {
        Arc::strong_count(&self.committed.lock().unwrap().held) - 1
    }

    /// Everything there is, as `bucket/key` and text.
    pub(crate) fn dump(&self) -> Vec<(String, String)> {
        let committed = self.committed.lock().unwrap();
        let show = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = committed.values.iter();
        pairs.map(|(at, value)| (format!("{}/{}", at.bucket, at.key), show(value))).collect()
    }
}

impl StateReader for MemoryState {
    fn snapshot(&self) -> Box<dyn StateSnapshot> {
        let read_time = self.read_time;
        Box::new(Snapshot { read_time, ..self.committed.lock().unwrap().clone() })
    }
}

impl StateSnapshot for Snapshot {
    fn version(&self) -> u64 {
        self.version
    }

    fn get(&self, address: &StateAddress) -> Result<Option<Bytes>, StoreError> {
        std::thread::sleep(self.read_time);
        Ok(self.values.get(address).cloned())
    }

    fn keys(
        &self,
        plugin: &PluginName,
        bucket: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<StatePage, StoreError> {
        let mut keys: Vec<Arc<str>> = self
            .values
            .keys()
            .filter(|at| at.plugin == *plugin && &*at.bucket == bucket)
            .filter(|at| after.is_none_or(|after| &*at.key > after))
            .map(|at| at.key.clone())
            .collect();
        let more = keys.len() > max;
        keys.truncate(max);
        Ok(StatePage { keys, more })
    }

    fn usage(&self, plugin: &PluginName) -> Result<StateUsage, StoreError> {
        let own = self.values.iter().filter(|(at, _)| at.plugin == *plugin);
        Ok(own.fold(StateUsage::default(), |usage, (at, value)| StateUsage {
            keys: usage.keys + 1,
            bytes: usage.bytes + (at.bucket.len() + at.key.len() + value.len()) as u64,
        }))
    }
}

/// Blobs, written and committed.
#[derive(Default)]
pub(crate) struct MemoryBlobs {
    written: Mutex<BTreeMap<Digest, Bytes>>,
    held: Mutex<BTreeMap<(PluginName, Digest), BlobInfo>>,
}

impl MemoryBlobs {
    pub(crate) fn commit(&self, plugin: &PluginName, changes: &[BlobChange]) {
        let mut held = self.held.lock().unwrap();
        for change in changes {
            match change {
                BlobChange::Put(info) => {
                    assert!(self.written.lock().unwrap().contains_key(&info.digest));
                    held.insert((plugin.clone(), info.digest), info.clone());
                }
                BlobChange::Delete(digest) => {
                    held.remove(&(plugin.clone(), *digest));
                }
            }
        }
    }
}

impl BlobStore for MemoryBlobs {
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError> {
        let digest = Digest::of(content);
        self.written.lock().unwrap().insert(digest, Bytes::copy_from_slice(content));
        Ok(StagedBlob::new(digest, ()))
    }

    fn read(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let held = self.held.lock().unwrap();
        let info = held.iter().find(|((_, held), _)| held == digest).map(|(_, info)| info.clone());
        let content = self.written.lock().unwrap().get(digest).cloned();
        Ok(info.zip(content))
    }

    fn list(
        &self,
        plugin: &PluginName,
        after: Option<&Digest>,
        max: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        let held = self.held.lock().unwrap();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let own = held.iter().filter(|((owner, _), _)| owner == plugin);
        let from = own.filter(|((_, digest), _)| match after {
            Bound::Excluded(after) => digest > after,
            _ => true,
        });
        Ok(from.map(|(_, info)| info.clone()).take(max).collect())
    }

    fn kept_bytes(&self, plugin: &PluginName) -> Result<u64, StoreError> {
        let held = self.held.lock().unwrap();
        let own = held.iter().filter(|((owner, _), _)| owner == plugin);
        Ok(own.map(|(_, info)| info.size_bytes).sum())
    }
}
