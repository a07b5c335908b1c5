//! Plugin state: which commit last wrote what, so that a delivery commits only if everything it
//! read is unchanged; and how much each plugin stores.
//!
//! Only recent writes are remembered. A read older than the oldest remembered commit counts as
//! changed: the delivery runs again, which is always safe.

use std::collections::HashMap;
use std::sync::Arc;

use usher_event::{PluginName, StateAddress, StateRead, StateUsage, StateWrite};

use super::outgoing::Outgoing;
use crate::store::rows::write_usage;
use crate::store::{Space, keys};

/// Maximum addresses in each of a plugin's two generations of remembered writes.
const GENERATION_MAX_ADDRESSES: usize = 16_384;

/// Remembered writes and usage. Kept per plugin, so that one plugin's writes never invalidate
/// another's reads.
#[derive(Default)]
pub(super) struct StateLedger {
    plugins: HashMap<PluginName, PluginWrites>,
    /// Plugins whose usage has to be written.
    unsaved: Vec<PluginName>,
}

#[derive(Default)]
struct PluginWrites {
    young: Writes,
    old: Writes,
    /// Writes up to this commit may have been evicted.
    floor: u64,
    usage: StateUsage,
    is_unsaved: bool,
}

/// The commit that last wrote each key and bucket.
#[derive(Default)]
struct Writes {
    keys: HashMap<StateAddress, u64>,
    /// Buckets in which a key was added or removed.
    buckets: HashMap<Arc<str>, u64>,
    newest: u64,
}

impl StateLedger {
    pub(super) fn new(usage: HashMap<PluginName, StateUsage>) -> Self {
        let state = |(plugin, usage)| (plugin, PluginWrites { usage, ..PluginWrites::default() });
        Self { plugins: usage.into_iter().map(state).collect(), unsaved: Vec::new() }
    }

    /// Whether nothing that was read has been written since.
    pub(super) fn still_holds(&self, reads: &[StateRead]) -> bool {
        reads.iter().all(|read| {
            let (plugin, version) = match read {
                StateRead::Key { address, version } => (&address.plugin, *version),
                StateRead::Bucket { plugin, version, .. } => (plugin, *version),
            };
            let Some(PluginWrites { young, old, floor, .. }) = self.plugins.get(plugin) else {
                return true;
            };
            let written = match read {
                StateRead::Key { address, .. } => {
                    young.keys.get(address).or_else(|| old.keys.get(address))
                }
                StateRead::Bucket { bucket, .. } => {
                    young.buckets.get(bucket).or_else(|| old.buckets.get(bucket))
                }
            };
            version >= *floor && written.is_none_or(|written| *written <= version)
        })
    }

    /// A plugin's usage now, and after these writes.
    pub(super) fn usage(
        &self,
        plugin: &PluginName,
        writes: &[StateWrite],
    ) -> (StateUsage, StateUsage) {
        let before = self.plugins.get(plugin).map(|state| state.usage).unwrap_or_default();
        (before, writes.iter().fold(before, StateUsage::after))
    }

    /// Applies writes as part of the commit `commit`.
    pub(super) fn write(&mut self, commit: u64, writes: Vec<StateWrite>, outgoing: &mut Outgoing) {
        for write in writes {
            let StateWrite { address, .. } = &write;
            let state = self.plugins.entry(address.plugin.clone()).or_default();
            if !std::mem::replace(&mut state.is_unsaved, true) {
                self.unsaved.push(address.plugin.clone());
            }
            state.usage = state.usage.after(&write);
            let young = &mut state.young;
            let StateWrite { address, value, previous_bytes } = write;
            let key = keys::state(&address);
            if previous_bytes.is_some() != value.is_some() {
                young.buckets.insert(Arc::clone(&address.bucket), commit);
            }
            match value {
                Some(value) => outgoing.put(Space::State, key, value),
                None => outgoing.delete(Space::State, key),
            }
            young.keys.insert(address, commit);
            young.newest = commit;
            if young.keys.len() >= GENERATION_MAX_ADDRESSES {
                state.floor = state.old.newest.max(state.floor);
                state.old = std::mem::take(&mut state.young);
            }
        }
    }

    /// Adds a usage row per changed plugin to the batch, however many deliveries changed it.
    pub(super) fn save_usage(&mut self, outgoing: &mut Outgoing) {
        for plugin in self.unsaved.drain(..) {
            if let Some(state) = self.plugins.get_mut(&plugin) {
                state.is_unsaved = false;
                let key = plugin.as_str().as_bytes().to_vec();
                outgoing.put(Space::StateUsage, key, write_usage(state.usage));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::duplicates::Duplicates;
    use super::*;

    fn address(key: &str) -> StateAddress {
        StateAddress { plugin: "p".parse().unwrap(), bucket: "b".into(), key: key.into() }
    }

    fn put(key: &str, previous_bytes: Option<u32>) -> StateWrite {
        StateWrite { address: address(key), value: Some(Bytes::from_static(b"1")), previous_bytes }
    }

    fn read(key: &str, version: u64) -> StateRead {
        StateRead::Key { address: address(key), version }
    }

    fn list(version: u64) -> StateRead {
        StateRead::Bucket { plugin: "p".parse().unwrap(), bucket: "b".into(), version }
    }

    #[test]
    fn a_read_holds_until_the_address_is_written() {
        let mut state = StateLedger::default();
        let mut outgoing = Outgoing::default();
        state.write(5, vec![put("a", None)], &mut outgoing);
        assert!(state.still_holds(&[read("a", 5), read("b", 1), list(5)]));
        assert!(!state.still_holds(&[read("b", 1), read("a", 4)]));
        assert!(!state.still_holds(&[list(4)]));
        // Overwriting changes the key, not the list of keys.
        state.write(6, vec![put("a", Some(1))], &mut outgoing);
        assert!(!state.still_holds(&[read("a", 5)]));
        assert!(state.still_holds(&[list(5)]));
    }

    #[test]
    fn what_was_forgotten_counts_as_changed() {
        let mut state = StateLedger::default();
        let mut outgoing = Outgoing::default();
        let writes = 2 * GENERATION_MAX_ADDRESSES as u64 + 10;
        for commit in 1..=writes {
            state.write(commit, vec![put(&format!("k{commit}"), None)], &mut outgoing);
        }
        assert!(!state.still_holds(&[read("k1", 0)]));
        assert!(!state.still_holds(&[read("never", 0)]));
        assert!(state.still_holds(&[read("never", writes)]));
        assert!(!state.still_holds(&[read(&format!("k{writes}"), writes - 1)]));
    }

    #[test]
    fn what_another_plugin_writes_changes_nothing() {
        let mut state = StateLedger::default();
        let mut outgoing = Outgoing::default();
        let other: PluginName = "q".parse().unwrap();
        for commit in 1..=2 * GENERATION_MAX_ADDRESSES as u64 + 10 {
            let mut write = put(&format!("k{commit}"), None);
            write.address.plugin = other.clone();
            state.write(commit, vec![write], &mut outgoing);
        }
        assert!(state.still_holds(&[read("k1", 0), list(0)]));
    }

    #[test]
    fn usage_follows_writes_exactly() {
        let mut state = StateLedger::default();
        let mut outgoing = Outgoing::default();
        state.write(1, vec![put("a", None), put("bb", None)], &mut outgoing);
        let plugin: PluginName = "p".parse().unwrap();
        assert_eq!(state.plugins[&plugin].usage, StateUsage { bytes: 3 + 4, keys: 2 });
        let delete = StateWrite { address: address("a"), value: None, previous_bytes: Some(1) };
        state.write(2, vec![delete], &mut outgoing);
        assert_eq!(state.plugins[&plugin].usage, StateUsage { bytes: 4, keys: 1 });
    }
    #[test]
    fn usage_is_written_once_for_a_commit() {
        let mut state = StateLedger::default();
        let mut outgoing = Outgoing::default();
        let mut usage_rows = |state: &mut StateLedger| {
            state.save_usage(&mut outgoing);
            let rows = outgoing.take(&mut Duplicates::new(1, None, 1)).rows;
            rows.into_iter().filter(|row| row.space == Space::StateUsage).count()
        };
        let mut others = Outgoing::default();
        for key in ["a", "b", "c"] {
            state.write(1, vec![put(key, None)], &mut others);
        }
        assert_eq!(usage_rows(&mut state), 1);
        assert_eq!(usage_rows(&mut state), 0);
        state.write(2, vec![put("a", Some(1))], &mut others);
        assert_eq!(usage_rows(&mut state), 1);
    }
}
