//! Committed state, read-only, for deliveries that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use usher_event::{
    PluginName, StateAddress, StatePage, StateReader, StateSnapshot, StateUsage, StoreError,
};

use crate::store::rows::read_usage;
use crate::store::{Space, Store, StoreFailure, View, keys};

/// Hands out snapshots.
pub(crate) struct CommittedState {
    pub(crate) store: Arc<dyn Store>,
    /// The number of the newest commit.
    pub(crate) version: Arc<AtomicU64>,
}

impl StateReader for CommittedState {
    fn snapshot(&self) -> Box<dyn StateSnapshot> {
        // In this order: the view surely contains the commit of that number.
        let version = self.version.load(Ordering::Acquire);
        Box::new(Snapshot { version, view: self.store.view() })
    }
}

struct Snapshot {
    version: u64,
    view: Box<dyn View>,
}

fn failed(failure: StoreFailure) -> StoreError {
    StoreError(failure.0)
}

impl StateSnapshot for Snapshot {
    fn version(&self) -> u64 {
        self.version
    }

    fn get(&self, address: &StateAddress) -> Result<Option<Bytes>, StoreError> {
        self.view.get(Space::State, &keys::state(address)).map_err(failed)
    }

    fn keys(
        &self,
        plugin: &PluginName,
        bucket: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<StatePage, StoreError> {
        let prefix = keys::bucket(plugin, bucket);
        let mut from = prefix.clone();
        if let Some(after) = after {
            // The lowest key above `after` is `after` with a zero byte.
            from.extend_from_slice(after.as_bytes());
            from.push(0);
        }
        let to = keys::after_prefix(&prefix);
        let mut page = StatePage::default();
        for row in self.view.range(Space::State, &from, to.as_deref()) {
            let (key, _) = row.map_err(failed)?;
            if page.keys.len() == max {
                page.more = true;
                break;
            }
            let name = key.get(prefix.len()..).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or_else(|| failed(StoreFailure::damaged(Space::State, &key)))?;
            page.keys.push(name.into());
        }
        Ok(page)
    }

    fn usage(&self, plugin: &PluginName) -> Result<StateUsage, StoreError> {
        let key = plugin.as_str().as_bytes();
        let row = self.view.get(Space::StateUsage, key).map_err(failed)?;
        match row {
            Some(row) => read_usage(&row)
                .ok_or_else(|| failed(StoreFailure::damaged(Space::StateUsage, key))),
            None => Ok(StateUsage::default()),
        }
    }
}
