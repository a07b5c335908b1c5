//! Plugins' state: who wrote what when, so that a delivery commits only if everything it read
//! still holds; and how much each plugin keeps.
//!
//! Only recent writes are remembered. A read from before the oldest remembered commit counts as
//! changed: the delivery runs again, which is always safe.

use std::collections::HashMap;
use std::sync::Arc;

use usher_event::{PluginName, StateAddress, StateRead, StateUsage, StateWrite};

use super::outgoing::Outgoing;
use crate::store::rows::write_usage;
use crate::store::{Space, keys};

/// Most addresses of each of a plugin's two generations of writes that are remembered.
const GENERATION_MAX_ADDRESSES: usize = 16_384;

/// What is remembered of state. Each plugin by itself: however much one writes, the reads of
/// another hold.
#[derive(Default)]
pub(super) struct StateLedger(HashMap<PluginName, PluginState>);

#[derive(Default)]
struct PluginState {
    young: Writes,
    old: Writes,
    /// Writes up to this commit may have been forgotten.
    floor: u64,
    usage: StateUsage,
}

/// In which commit something was written last.
#[derive(Default)]
struct Writes {
    keys: HashMap<StateAddress, u64>,
    /// Buckets in which a key came or went.
    buckets: HashMap<Arc<str>, u64>,
    newest: u64,
}

impl StateLedger {
    pub(super) fn new(usage: HashMap<PluginName, StateUsage>) -> Self {
        let state = |(plugin, usage)| (plugin, PluginState { usage, ..PluginState::default() });
        Self(usage.into_iter().map(state).collect())
    }

    /// Whether nothing that was read has been written since.
    pub(super) fn still_holds(&self, reads: &[StateRead]) -> bool {
        reads.iter().all(|read| {
            let (plugin, version) = match read {
                StateRead::Key { address, version } => (&address.plugin, *version),
                StateRead::Bucket { plugin, version, .. } => (plugin, *version),
            };
            let Some(PluginState { young, old, floor, .. }) = self.0.get(plugin) else {
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

    /// Applies writes as part of the commit `commit`.
    pub(super) fn write(&mut self, commit: u64, writes: Vec<StateWrite>, outgoing: &mut Outgoing) {
        let mut plugins: Vec<PluginName> = Vec::new();
        for StateWrite { address, value, previous_bytes } in writes {
            if !plugins.contains(&address.plugin) {
                plugins.push(address.plugin.clone());
            }
            let PluginState { young, usage, .. } = self.of(&address.plugin);
            let key = keys::state(&address);
            let name_bytes = (address.bucket.len() + address.key.len()) as u64;
            if let Some(previous) = previous_bytes {
                usage.bytes = usage.bytes.saturating_sub(u64::from(previous) + name_bytes);
                usage.keys = usage.keys.saturating_sub(1);
            }
            if let Some(value) = &value {
                usage.bytes += value.len() as u64 + name_bytes;
                usage.keys += 1;
            }
            if previous_bytes.is_some() != value.is_some() {
                young.buckets.insert(Arc::clone(&address.bucket), commit);
            }
            match value {
                Some(value) => outgoing.put(Space::State, key, value),
                None => outgoing.delete(Space::State, key),
            }
            young.keys.insert(address, commit);
            young.newest = commit;
        }
        for plugin in plugins {
            let state = self.of(&plugin);
            let key = plugin.as_str().as_bytes().to_vec();
            outgoing.put(Space::StateUsage, key, write_usage(state.usage));
            if state.young.keys.len() >= GENERATION_MAX_ADDRESSES {
                state.floor = state.old.newest.max(state.floor);
                state.old = std::mem::take(&mut state.young);
            }
        }
    }

    fn of(&mut self, plugin: &PluginName) -> &mut PluginState {
        self.0.entry(plugin.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

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
        assert_eq!(state.0[&plugin].usage, StateUsage { bytes: 3 + 4, keys: 2 });
        let delete = StateWrite { address: address("a"), value: None, previous_bytes: Some(1) };
        state.write(2, vec![delete], &mut outgoing);
        assert_eq!(state.0[&plugin].usage, StateUsage { bytes: 4, keys: 1 });
    }
}
