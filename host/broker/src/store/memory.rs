//! A store in ordered maps, for tests: it outlives the broker that uses it, so that a restart can
//! be played, and fails when it is told to.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Batch, Rows, Space, Store, StoreFailure, View};

type Table = BTreeMap<Bytes, Bytes>;

/// The tables in the order of [`Space::ALL`]. A view shares them; a commit copies what is shared.
#[derive(Clone)]
struct Tables(Vec<Arc<Table>>);

impl Tables {
    fn table(&self, space: Space) -> Option<&Table> {
        self.0.get(space as usize).map(Arc::as_ref)
    }
}

/// Everything committed, in memory.
pub(crate) struct MemoryStore {
    tables: Mutex<Tables>,
    fail_next: AtomicBool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let tables = Space::ALL.iter().map(|_| Arc::default()).collect();
        Self { tables: Mutex::new(Tables(tables)), fail_next: AtomicBool::new(false) }
    }
}

impl MemoryStore {
    /// Lets the next commit fail, as a disk would.
    pub(crate) fn fail_next_commit(&self) {
        self.fail_next.store(true, Ordering::SeqCst);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreFailure> {
        if self.fail_next.swap(false, Ordering::SeqCst) {
            return Err(StoreFailure("injected failure".to_owned()));
        }
        let mut tables = self.tables();
        for row in batch.rows {
            let Some(table) = tables.0.get_mut(row.space as usize) else { continue };
            let table = Arc::make_mut(table);
            match row.value {
                Some(value) => table.insert(row.key, value),
                None => table.remove(&row.key),
            };
        }
        Ok(())
    }

    fn drop_before(&self, space: Space, number: u64) -> Result<(), StoreFailure> {
        let mut tables = self.tables();
        if let Some(table) = tables.0.get_mut(space as usize) {
            let table = Arc::make_mut(table);
            *table = table.split_off(&super::keys::number(number)[..]);
        }
        Ok(())
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(self.tables().clone())
    }
}

impl View for Tables {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        Ok(self.table(space).and_then(|table| table.get(key)).cloned())
    }

    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        match self.table(space) {
            Some(table) => Box::new(
                table.range::<[u8], _>(bounds).map(|(key, value)| Ok((key.clone(), value.clone()))),
            ),
            None => Box::new(std::iter::empty()),
        }
    }
}
