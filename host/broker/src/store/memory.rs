//! Tables in ordered maps, for tests: they outlive the broker that uses them, so that a restart can be
//! played, and keep what they had at their last checkpoint.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Applied, Row, Rows, Space, StoreFailure, Tables, View};

type Table = BTreeMap<Bytes, Bytes>;

/// The tables in the order of [`Space::ALL`]. A view shares them; a change copies what is shared.
#[derive(Clone)]
struct Maps {
    tables: Vec<Arc<Table>>,
    applied: Applied,
}

impl Maps {
    fn table(&self, space: Space) -> Option<&Table> {
        self.tables.get(space as usize).map(Arc::as_ref)
    }
}

/// Everything applied, in memory.
pub(crate) struct MemoryTables(Mutex<State>);

struct State {
    now: Maps,
    checkpoint: Maps,
}

impl Default for MemoryTables {
    fn default() -> Self {
        let tables = Space::ALL.iter().map(|_| Arc::default()).collect();
        let now = Maps { tables, applied: Applied::default() };
        Self(Mutex::new(State { checkpoint: now.clone(), now }))
    }
}

impl MemoryTables {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A crash: what was applied since the last checkpoint is gone.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        state.now = state.checkpoint.clone();
    }
}

impl Tables for MemoryTables {
    fn applied(&self) -> Applied {
        self.state().now.applied
    }

    fn apply(&self, rows: Vec<Row>, applied: Applied) -> Result<(), StoreFailure> {
        let now = &mut self.state().now;
        for row in rows {
            let Some(table) = now.tables.get_mut(row.space as usize) else { continue };
            let table = Arc::make_mut(table);
            match row.value {
                Some(value) => table.insert(row.key, value),
                None => table.remove(&row.key),
            };
        }
        now.applied = applied;
        Ok(())
    }

    fn view(&self) -> (Box<dyn View>, Applied) {
        let now = self.state().now.clone();
        let applied = now.applied;
        (Box::new(now), applied)
    }

    fn is_checkpoint_due(&self) -> bool {
        false
    }

    fn seal(&self) {}

    fn checkpoint(&self) -> Result<(), StoreFailure> {
        let mut state = self.state();
        state.checkpoint = state.now.clone();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let rows = |table: &Arc<Table>| {
            table.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>()
        };
        self.state().now.tables.iter().map(rows).sum()
    }

    fn forget_before(&self, space: Space, number: u64) -> Result<bool, StoreFailure> {
        if let Some(table) = self.state().now.tables.get_mut(space as usize) {
            let table = Arc::make_mut(table);
            *table = table.split_off(&super::keys::number(number)[..]);
        }
        Ok(false)
    }
}

impl View for Maps {
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
