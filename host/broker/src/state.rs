//! Committed state, read-only, for running deliveries. Recent writes are cached in memory, and all
//! deliveries that begin between two commits share one view of the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use usher_event::{
    PluginName, StateAddress, StatePage, StateReader, StateSnapshot, StateUsage, StoreError,
};

use crate::store::rows::read_usage;
use crate::store::{Batch, Row, Space, StoreFailure, View, Views, keys};

/// Maximum rows in each of the two cached generations.
const GENERATION_MAX_ROWS: usize = 16_384;

/// Maximum bytes in each generation; may be exceeded by one commit.
const GENERATION_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// Creates snapshots of committed state.
pub(crate) struct CommittedState {
    store: Arc<dyn Views>,
    /// The number of the newest commit.
    version: AtomicU64,
    /// A view of exactly this commit, kept while deliveries ask for views.
    view: Mutex<Option<(u64, Arc<dyn View>)>>,
    is_asked: AtomicBool,
    recent: Arc<RwLock<Recent>>,
}

impl CommittedState {
    pub(crate) fn new(store: Arc<dyn Views>) -> Self {
        Self {
            store,
            version: AtomicU64::new(0),
            view: Mutex::default(),
            is_asked: AtomicBool::new(false),
            recent: Arc::default(),
        }
    }

    /// Caches what a durable commit wrote; called before the next commit begins.
    pub(crate) fn committed(&self, version: u64, written: Written) {
        // Before the version: a reader that sees it must find the values.
        if !written.0.is_empty() {
            self.recent.write().unwrap_or_else(PoisonError::into_inner).add(version, written);
        }
        // An unused view would keep old values on disk.
        let is_asked = self.is_asked.swap(false, Ordering::Relaxed);
        let view = is_asked.then(|| (version, self.store.view().into()));
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        self.is_at(version);
    }

    /// What is in the store from now on has at least the commit of this version.
    pub(crate) fn is_at(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }
}

impl StateReader for CommittedState {
    fn snapshot(&self) -> Box<dyn StateSnapshot> {
        self.is_asked.store(true, Ordering::Relaxed);
        let shared = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((version, view)) = shared {
            return Box::new(Snapshot { version, view, recent: Some(Arc::clone(&self.recent)) });
        }
        // In this order: the view contains at least the commit of this version. It may also contain
        // the next one, whose values aren't cached yet.
        let version = self.version.load(Ordering::Acquire);
        Box::new(Snapshot { version, view: self.store.view().into(), recent: None })
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// The state rows of a batch.
pub(crate) struct Written(Vec<Row>);

impl Written {
    /// Extracts them. Keys of the two tables differ: only those of state contain a zero byte.
    pub(crate) fn by(batch: &Batch) -> Self {
        let rows = batch.rows.iter();
        let of_state = |row: &&Row| matches!(row.space, Space::State | Space::StateUsage);
        Self(rows.filter(of_state).cloned().collect())
    }
}

/// Recent writes by key, each with the commit that wrote it.
#[derive(Default)]
struct Recent {
    young: HashMap<Bytes, (u64, Option<Bytes>)>,
    old: HashMap<Bytes, (u64, Option<Bytes>)>,
    young_bytes: usize,
}

impl Recent {
    fn add(&mut self, version: u64, written: Written) {
        for Row { key, value, .. } in written.0 {
            self.young_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            self.young.insert(key, (version, value));
        }
        if self.young.len() >= GENERATION_MAX_ROWS || self.young_bytes >= GENERATION_MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    /// The value as of `version`; `None` if it isn't cached or was overwritten since.
    fn get(&self, key: &[u8], version: u64) -> Option<Option<Bytes>> {
        let (written, value) = self.young.get(key).or_else(|| self.old.get(key))?;
        (*written <= version).then(|| value.clone())
    }
}

struct Snapshot {
    version: u64,
    view: Arc<dyn View>,
    /// Only with a view of exactly that version, so that cached and stored values are consistent.
    recent: Option<Arc<RwLock<Recent>>>,
}

impl Snapshot {
    fn row(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let recent = self.recent.as_ref().and_then(|recent| {
            recent.read().unwrap_or_else(PoisonError::into_inner).get(key, self.version)
        });
        match recent {
            Some(value) => Ok(value),
            None => self.view.get(space, key).map_err(failed),
        }
    }
}

fn failed(failure: StoreFailure) -> StoreError {
    StoreError(failure.0)
}

impl StateSnapshot for Snapshot {
    fn version(&self) -> u64 {
        self.version
    }

    fn get(&self, address: &StateAddress) -> Result<Option<Bytes>, StoreError> {
        self.row(Space::State, &keys::state(address))
    }

    fn keys(
        &self,
        plugin: &PluginName,
        bucket: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<StatePage, StoreError> {
        let prefix = keys::bucket(plugin, bucket);
        let from = match after {
            Some(after) => keys::after_state(plugin, bucket, after),
            None => prefix.clone(),
        };
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
        match self.row(Space::StateUsage, key)? {
            Some(row) => read_usage(&row)
                .ok_or_else(|| failed(StoreFailure::damaged(Space::StateUsage, key))),
            None => Ok(StateUsage::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store as _;
    use crate::store::journaled::JournaledStore;

    fn address(key: &str) -> StateAddress {
        StateAddress { plugin: "p".parse().unwrap(), bucket: "b".into(), key: key.into() }
    }

    struct Tested {
        store: Arc<JournaledStore>,
        state: CommittedState,
    }

    impl Tested {
        fn new() -> Self {
            let store = Arc::new(JournaledStore::in_memory());
            Self { state: CommittedState::new(Arc::clone(&store) as _), store }
        }
    }

    impl std::ops::Deref for Tested {
        type Target = CommittedState;

        fn deref(&self) -> &CommittedState {
            &self.state
        }
    }

    fn commit(state: &Tested, version: u64, key: &str, value: Option<&'static str>) {
        let mut batch = Batch::default();
        let key = keys::state(&address(key));
        match value {
            Some(value) => batch.put(Space::State, key, value),
            None => batch.delete(Space::State, key),
        }
        let written = Written::by(&batch);
        state.store.commit(batch).unwrap();
        state.committed(version, written);
    }

    #[test]
    fn a_snapshot_sees_what_was_committed_before_it() {
        let state = Tested::new();
        commit(&state, 1, "a", Some("1"));
        commit(&state, 1, "b", Some("1"));
        let before = state.snapshot();
        commit(&state, 2, "a", Some("2"));
        commit(&state, 2, "b", None);
        let after = state.snapshot();
        let get = |snapshot: &dyn StateSnapshot, key| snapshot.get(&address(key)).unwrap();
        assert_eq!((get(&*before, "a"), get(&*after, "a")), (Some("1".into()), Some("2".into())));
        assert_eq!((get(&*before, "b"), get(&*after, "b")), (Some("1".into()), None));
        assert_eq!((before.version(), after.version()), (1, 2));
    }

    #[test]
    fn what_is_no_longer_in_memory_is_read_from_the_store() {
        let state = Tested::new();
        commit(&state, 1, "first", Some("1"));
        for version in 2..=2 * GENERATION_MAX_ROWS as u64 + 2 {
            commit(&state, version, &version.to_string(), Some("x"));
        }
        assert!(state.recent.read().unwrap().young.len() < GENERATION_MAX_ROWS);
        assert!(state.recent.read().unwrap().old.len() <= GENERATION_MAX_ROWS);
        drop(state.snapshot());
        commit(&state, 99_999, "last", Some("x"));
        assert_eq!(state.snapshot().get(&address("first")).unwrap(), Some("1".into()));
        assert_eq!(state.snapshot().get(&address("last")).unwrap(), Some("x".into()));
    }

    #[test]
    fn a_view_that_nobody_asks_for_is_let_go() {
        let state = Tested::new();
        let has_view = || state.view.lock().unwrap().is_some();
        commit(&state, 1, "a", Some("1"));
        assert!(!has_view());
        drop(state.snapshot());
        commit(&state, 2, "a", Some("2"));
        assert!(has_view());
        assert_eq!(state.snapshot().version(), 2);
        commit(&state, 3, "a", Some("3"));
        assert!(has_view());
        commit(&state, 4, "a", Some("4"));
        assert!(!has_view());
    }

    /// Between a commit and its version update, a view is ahead of the cache.
    #[test]
    fn a_view_of_its_own_goes_without_memory() {
        let state = Tested::new();
        commit(&state, 1, "a", Some("1"));
        let mut batch = Batch::default();
        batch.put(Space::State, keys::state(&address("a")), "2");
        state.store.commit(batch).unwrap();
        let snapshot = state.snapshot();
        assert_eq!(snapshot.version(), 1);
        assert_eq!(snapshot.get(&address("a")).unwrap(), Some("2".into()));
    }
}
