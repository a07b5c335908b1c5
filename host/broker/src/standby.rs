//! A data folder before its broker runs: its journal, which others may still append to, and tables that
//! follow it. Claiming the journal turns it into a running broker.

mod followed;
mod stores;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use usher_journal::{Journal, JournalError, LocalJournal, LocalOptions};

use crate::blobs::{Blobs, fetch_all, share_all};
use crate::folder::Folder;
use crate::ledger::Recovered;
use crate::load::load;
use crate::rebuild::rebuild_tables;
use crate::store::journaled::{JournaledStore, catch_up};
use crate::store::tables::LsmTables;
use crate::store::{OpenFailure, Row, Space, StoreFailure, Tables as _, Views as _, schema};
use crate::upgrade::upgrade;
use crate::{EmbeddedBroker, OpenError, Options, SharedBlobs};
use followed::FollowedTables;
pub use followed::StandbyLog;
pub use stores::{StandbyStores, StateVersion};

/// A locked data folder with an opened journal that nothing was claimed of.
pub struct Standby {
    options: Options,
    folder: Folder,
    journal: Arc<dyn Journal>,
    tables: Arc<FollowedTables>,
    shared: Option<Arc<dyn SharedBlobs>>,
}

impl Standby {
    /// Opens or creates a data folder with the journal in it.
    pub(crate) fn local(options: Options) -> Result<Self, OpenError> {
        Self::on(options, |folder, local| {
            let path = folder.journal();
            if folder.tables().try_exists()? && !LocalJournal::exists(&path)? {
                return Err(OpenFailure::damaged(
                    "there are tables, but no journal that they come from",
                ));
            }
            let (journal, recovery) = LocalJournal::open(&path, local)?;
            match recovery.torn {
                Some((bytes, segment)) => tracing::warn!(
                    segment,
                    bytes,
                    "recovery: torn tail; cut off a commit that was under way when the last process ended"
                ),
                None if recovery.was_closed => {
                    tracing::info!("recovery: clean; the store was closed");
                }
                None => tracing::info!("recovery: clean; nothing was under way"),
            }
            Ok(Arc::new(journal))
        })
    }

    /// Opens or creates a data folder, whose journal is what this opens. It is given the folder for the
    /// journal's files. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        options: Options,
        journal: impl FnOnce(&Path, LocalOptions) -> Result<Arc<dyn Journal>, JournalError>,
    ) -> Result<Self, OpenError> {
        Self::on(options, |folder, local| Ok(journal(&folder.journal(), local)?))
    }

    fn on(
        options: Options,
        journal: impl FnOnce(&Folder, LocalOptions) -> Result<Arc<dyn Journal>, OpenFailure>,
    ) -> Result<Self, OpenError> {
        let folder = Folder::open(&options.data)?;
        upgrade(&folder)?;
        let journal = journal(&folder, options.journal()).map_err(refused(&options))?;
        Ok(Self { options, folder, journal, tables: Arc::default(), shared: None })
    }

    /// Has `log` read what this follows; returns with it state and blobs as this node has them. The content of
    /// blobs is kept in `shared`, beside this node's folder.
    #[must_use]
    pub fn with_log(self, log: &StandbyLog, shared: Arc<dyn SharedBlobs>) -> (Self, StandbyStores) {
        let tables = Arc::clone(log.tables());
        let views = Arc::clone(&tables) as _;
        let blobs = Arc::new(Blobs::reading(self.folder.blobs(), views, Arc::clone(&shared)));
        log.set_blobs(&blobs);
        let stores = StandbyStores::new(&tables, blobs);
        (Self { tables, shared: Some(shared), ..self }, stores)
    }

    /// Puts the folder's blobs where nodes share them; returns how many there are.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn share_blobs(&self, shared: &dyn SharedBlobs) -> Result<u64, OpenError> {
        let shared = share_all(&self.folder.blobs(), shared).map_err(OpenFailure::Io);
        shared.map_err(refused(&self.options))
    }

    /// Gets the blobs that the folder lacks from where nodes share them; returns how many there are.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn fetch_blobs(&self, shared: &dyn SharedBlobs) -> Result<u64, OpenError> {
        let fetched = fetch_all(&self.folder.blobs(), shared).map_err(OpenFailure::Io);
        fetched.map_err(refused(&self.options))
    }

    /// Closes the journal as it is.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn close(self) -> Result<(), OpenError> {
        self.journal.close().map_err(|error| refused(&self.options)(error.into()))
    }

    /// Brings the tables up to what the journal has by now; returns whether documents have changed. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn catch_up(&self) -> Result<bool, OpenError> {
        let has_changed = Cell::new(false);
        let seen = |rows: &[Row]| {
            if rows.iter().any(|row| row.space == Space::Documents) {
                has_changed.set(true);
            }
        };
        let caught_up = self.on_tables(|tables| Ok(Ok(catch_up(&*self.journal, &**tables, seen)?)));
        let caught_up = caught_up.and_then(|applied| self.tables.has_applied(applied));
        caught_up.map_err(refused(&self.options))?;
        Ok(has_changed.get())
    }

    /// A document, as far as the tables have come. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn document(&self, name: &str) -> Result<Option<Bytes>, OpenError> {
        let view = self.tables.view();
        let found = view.row::<schema::Documents>(Bytes::copy_from_slice(name.as_bytes()));
        found.map_err(|failure| refused(&self.options)(OpenFailure::Damaged(failure)))
    }

    /// Gives up what lies before a position, as the owner has.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn trim(&self, before: u64) -> Result<(), OpenError> {
        let trim = || -> Result<(), OpenFailure> {
            let Some(tables) = self.tables.tables() else { return Ok(()) };
            let before = before.min(tables.applied().next);
            if self.journal.trimmable(before) > self.journal.start() {
                // What the tables have of it must be durable before the rest is gone.
                tables.seal();
                tables.checkpoint()?;
                self.journal.trim(before)?;
            }
            Ok(())
        };
        trim().map_err(refused(&self.options))
    }

    /// Claims the journal, and goes on as its owner. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`]. Another node may have been faster.
    pub fn claim(self) -> Result<Arc<EmbeddedBroker>, OpenError> {
        let claimed = self.claim_store().map_err(refused(&self.options));
        // Who still has this node's stores reads nothing from now on.
        self.tables.unset();
        let (store, recovered) = claimed?;
        EmbeddedBroker::on_folder(self.options, self.folder, store, recovered, self.shared)
    }

    /// Does something with the folder's tables; once more with tables made from the journal if those that
    /// are there can't be used.
    fn on_tables<T>(
        &self,
        work: impl Fn(&Arc<LsmTables>) -> Result<Result<T, StoreFailure>, OpenFailure>,
    ) -> Result<T, OpenFailure> {
        let (path, caches) = (self.folder.tables(), self.options.caches());
        let open = || {
            let tables = match self.tables.tables() {
                Some(tables) => tables,
                None => match LsmTables::open_of(&path, caches, &*self.journal) {
                    Err(OpenFailure::Damaged(unusable)) => return Ok(Err(unusable)),
                    tables => Arc::new(tables?),
                },
            };
            if self.tables.tables().is_none() {
                self.tables.set(&self.journal, Arc::clone(&tables));
            }
            work(&tables)
        };
        match open()? {
            Ok(opened) => Ok(opened),
            Err(StoreFailure(reason)) => {
                tracing::warn!(
                    reason,
                    "the tables can't be used, and are rebuilt from the journal"
                );
                self.tables.unset();
                rebuild_tables(&self.folder, &self.journal)?;
                Ok(open()??)
            }
        }
    }

    /// Opens the tables and reads from them where the broker goes on.
    fn claim_store(&self) -> Result<(JournaledStore, Recovered), OpenFailure> {
        loop {
            let (store, recovered) = self.on_tables(|tables| {
                let tables = Arc::clone(tables);
                let store = match JournaledStore::open(Arc::clone(&self.journal), tables) {
                    // What the journal has lost isn't in the tables either.
                    Err(OpenFailure::Damaged(failure))
                        if LsmTables::are_damaged(&self.folder.tables()) =>
                    {
                        return Ok(Err(failure));
                    }
                    store => store?,
                };
                let recovered = load(&*store.view());
                Ok(recovered.map(|recovered| (store, recovered)))
            })?;
            // Last: whatever is refused leaves the journal as it was.
            if store.claim()? {
                return Ok((store.with_applier(Some(self.folder.lock()))?, recovered));
            }
        }
    }
}

impl EmbeddedBroker {
    /// Opens or creates a data folder and recovers what the last process left. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        Standby::local(options)?.claim()
    }
}

fn refused(options: &Options) -> impl FnOnce(OpenFailure) -> OpenError + use<> {
    OpenError::of_store("cannot open the store in", &options.data)
}

impl std::fmt::Debug for Standby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standby").field("options", &self.options).finish_non_exhaustive()
    }
}
