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

/// Most addresses of each of the two generations of writes that are remembered.
const GENERATION_MAX_ADDRESSES: usize = 32_768;

/// What is remembered of state.
#[derive(Default)]
pub(super) struct StateLedger {
    young: Writes,
    old: Writes,
    /// Writes up to this commit may have been forgotten.
    floor: u64,
    usage: HashMap<PluginName, StateUsage>,
}

/// In which commit something was written last.
#[derive(Default)]
struct Writes {
    keys: HashMap<StateAddress, u64>,
    /// Buckets in which a key came or went.
    buckets: HashMap<(PluginName, Arc<str>), u64>,
    newest: u64,
}

impl StateLedger {
    pub(super) fn new(usage: HashMap<PluginName, StateUsage>) -> Self {
        Self { usage, ..Self::default() }
    }

    /// Whether nothing that was read has been written since.
    pub(super) fn still_holds(&self, reads: &[StateRead]) -> bool {
        reads.iter().all(|read| {
            let (version, written) = match read {
                StateRead::Key { address, version } => {
                    let young = self.young.keys.get(address);
                    (*version, young.or_else(|| self.old.keys.get(address)))
                }
                StateRead::Bucket { plugin, bucket, version } => {
                    let key = (plugin.clone(), Arc::clone(bucket));
                    let young = self.young.buckets.get(&key);
                    (*version, young.or_else(|| self.old.buckets.get(&key)))
                }
            };
            version >= self.floor && written.is_none_or(|written| *written <= version)
        })
    }

    /// Applies writes as part of the commit `commit`.
    pub(super) fn write(&mut self, commit: u64, writes: Vec<StateWrite>, outgoing: &mut Outgoing) {
        let mut plugins: Vec<PluginName> = Vec::new();
        for StateWrite { address, value, previous_bytes } in writes {
            let key = keys::state(&address);
            let name_bytes = (address.bucket.len() + address.key.len()) as u64;
            let usage = self.usage.entry(address.plugin.clone()).or_default();
            if let Some(previous) = previous_bytes {
                usage.bytes = usage.bytes.saturating_sub(u64::from(previous) + name_bytes);
                usage.keys = usage.keys.saturating_sub(1);
            }
            if let Some(value) = &value {
                usage.bytes += value.len() as u64 + name_bytes;
                usage.keys += 1;
            }
            if previous_bytes.is_some() != value.is_some() {
                let bucket = (address.plugin.clone(), Arc::clone(&address.bucket));
                self.young.buckets.insert(bucket, commit);
            }
            match value {
                Some(value) => outgoing.put(Space::State, key, value),
                None => outgoing.delete(Space::State, key),
            }
            if !plugins.contains(&address.plugin) {
                plugins.push(address.plugin.clone());
            }
            self.young.keys.insert(address, commit);
            self.young.newest = commit;
        }
        for plugin in plugins {
            let usage = self.usage.get(&plugin).copied().unwrap_or_default();
            let key = plugin.as_str().as_bytes().to_vec();
            outgoing.put(Space::StateUsage, key, write_usage(usage));
        }
        if self.young.keys.len() >= GENERATION_MAX_ADDRESSES {
            self.floor = self.old.newest.max(self.floor);
            self.old = std::mem::take(&mut self.young);
        }
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
    fn usage_follows_writes_exactly() {
        let mut state = StateLedger::default();
        let mut outgoing = Outgoing::default();
        state.write(1, vec![put("a", None), put("bb", None)], &mut outgoing);
        let plugin: PluginName = "p".parse().unwrap();
        assert_eq!(state.usage[&plugin], StateUsage { bytes: 3 + 4, keys: 2 });
        let delete = StateWrite { address: address("a"), value: None, previous_bytes: Some(1) };
        state.write(2, vec![delete], &mut outgoing);
        assert_eq!(state.usage[&plugin], StateUsage { bytes: 4, keys: 1 });
    }
}
