//! The tables of a standby, which follow the journal, and what is read of them.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::watch;
use usher_event::BlobStore;
use usher_filter::Filter;
use usher_journal::Journal;

use crate::OpenError;
use crate::api::{BrokerError, Watch};
use crate::blobs::Blobs;
use crate::queries::{HasLog, Queries};
use crate::store::journaled::{JournaledView, first_sequence, rows_at};
use crate::store::tables::LsmTables;
use crate::store::{Applied, OpenFailure, RowsAt, Space, StoreFailure, Unreadable, View, Views};

/// The tables of a standby, while it follows.
#[derive(Default)]
pub(super) struct FollowedTables {
    followed: RwLock<Option<Followed>>,
    /// The position that they have come to.
    position: watch::Sender<u64>,
    /// The newest event that they have.
    newest: watch::Sender<u64>,
}

#[derive(Clone)]
struct Followed {
    journal: Arc<dyn Journal>,
    tables: Arc<LsmTables>,
    /// Where the journal begins, and its lowest sequence then; `None` until the tables have caught up.
    start: Option<(u64, u64)>,
}

impl FollowedTables {
    fn followed(&self) -> Option<Followed> {
        self.followed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn tables(&self) -> Option<Arc<LsmTables>> {
        self.followed().map(|followed| followed.tables)
    }

    pub(super) fn set(&self, journal: &Arc<dyn Journal>, tables: Arc<LsmTables>) {
        let followed = Followed { journal: Arc::clone(journal), tables, start: None };
        *self.followed.write().unwrap_or_else(PoisonError::into_inner) = Some(followed);
    }

    /// From now on nothing is read.
    pub(super) fn unset(&self) {
        *self.followed.write().unwrap_or_else(PoisonError::into_inner) = None;
        // Those that are opened next may be further behind.
        self.position.send_replace(0);
    }

    pub(super) fn has_applied(&self, applied: Applied) -> Result<(), OpenFailure> {
        if let Some(Followed { journal, start, .. }) = self.followed() {
            let begins = journal.start();
            if start.is_none_or(|(known, _)| known != begins) {
                let start = Some((begins, first_sequence(&*journal, applied)?));
                let mut followed = self.followed.write().unwrap_or_else(PoisonError::into_inner);
                *followed = followed.take().map(|followed| Followed { start, ..followed });
            }
        }
        self.position.send_replace(applied.next);
        let newest = applied.next_sequence.saturating_sub(1);
        self.newest.send_if_modified(|known| std::mem::replace(known, newest) != newest);
        Ok(())
    }

    pub(super) fn position(&self) -> u64 {
        *self.position.borrow()
    }

    pub(super) fn positions(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }
}

impl Views for FollowedTables {
    fn view(&self) -> Box<dyn View> {
        match self.followed() {
            Some(Followed { journal, tables, start }) => {
                let first = start.map_or(u64::MAX, |(_, first)| first);
                Box::new(JournaledView::new(&journal, &*tables, first))
            }
            None => Box::new(Unreadable(not_open())),
        }
    }

    fn rows_at(&self, space: Space, prefix: &[u8], sequence: u64) -> Result<RowsAt, StoreFailure> {
        let followed = self.followed().ok_or_else(not_open)?;
        rows_at(self, &*followed.journal, (space, prefix), sequence)
    }
}

fn not_open() -> StoreFailure {
    StoreFailure("the tables are not open".to_owned())
}

/// The log of a node that doesn't own the journal, as far as it has come.
pub struct StandbyLog {
    tables: Arc<FollowedTables>,
    queries: Queries,
    blobs: RwLock<Option<Arc<Blobs>>>,
}

impl StandbyLog {
    /// One that nothing can be read of yet: see [`super::Standby::with_log`].
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn new() -> Result<Self, OpenError> {
        let tables: Arc<FollowedTables> = Arc::default();
        let refused =
            |source| OpenError::Io { what: "cannot start a thread for", path: "".into(), source };
        let queries = Queries::start(Arc::clone(&tables) as _).map_err(refused)?;
        Ok(Self { tables, queries, blobs: RwLock::default() })
    }

    /// Whether there is something to read: the node follows, and has caught up since it began to.
    pub fn is_open(&self) -> bool {
        self.tables.followed().is_some_and(|followed| followed.start.is_some())
    }

    pub(super) fn tables(&self) -> &Arc<FollowedTables> {
        &self.tables
    }

    pub(super) fn set_blobs(&self, blobs: &Arc<Blobs>) {
        *self.blobs.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(blobs));
    }
}

#[async_trait]
impl HasLog for StandbyLog {
    fn queries(&self) -> Result<&Queries, BrokerError> {
        match self.is_open() {
            true => Ok(&self.queries),
            false => Err(BrokerError::Closed),
        }
    }

    fn newest(&self) -> &watch::Sender<u64> {
        &self.tables.newest
    }

    fn blob_store(&self) -> Option<Arc<dyn BlobStore>> {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner).clone();
        blobs.map(|blobs| blobs as _)
    }

    async fn watch_types(&self, _: &Filter) -> Result<Option<Watch>, BrokerError> {
        Ok(None)
    }
}

impl std::fmt::Debug for StandbyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandbyLog").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}
