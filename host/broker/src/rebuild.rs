//! `usher store rebuild`: makes new tables of a data folder from its journal.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use usher_journal::{Journal, LocalJournal};

use crate::OpenError;
use crate::files::{remove_folder, sync_folder};
use crate::folder::Folder;
use crate::store::OpenFailure;
use crate::store::journaled::JournaledStore;
use crate::store::tables::{Caches, LsmTables};

/// Rebuilds the tables of a data folder, and returns how many commits they were made from. No process
/// may work with the folder. The old tables are there until the new ones are whole.
///
/// # Errors
/// The folder is in use, isn't Usher's, or its journal is damaged; nothing is changed then.
pub fn rebuild(data: &Path) -> Result<u64, OpenError> {
    let folder = Folder::open_as_it_is(data)?;
    make(&folder).map_err(OpenError::of_store("cannot make the tables of", data))
}

fn make(folder: &Folder) -> Result<u64, OpenFailure> {
    let Some(journal) = LocalJournal::read_only(&folder.journal())? else {
        return Err(OpenFailure::damaged("there is no journal"));
    };
    let commits = journal.end() - journal.start();
    rebuild_tables(folder, &(Arc::new(journal) as Arc<dyn Journal>))?;
    Ok(commits)
}

/// Makes tables from a journal, and puts them in the place of those that there are, once they are whole.
pub(crate) fn rebuild_tables(
    folder: &Folder,
    journal: &Arc<dyn Journal>,
) -> Result<(), OpenFailure> {
    let tables = folder.tables();
    let (new, old) = (tables.with_extension("new"), tables.with_extension("old"));
    for leftover in [&new, &old] {
        remove_folder(leftover)?;
    }
    let make = || -> Result<(), OpenFailure> {
        let made = LsmTables::open_of(&new, Caches::OFFLINE, &**journal)?;
        let store = JournaledStore::open(Arc::clone(journal), Arc::new(made))?;
        Ok(store.checkpoint()?)
    };
    if let Err(failure) = make() {
        // Best effort: a leftover isn't taken for the tables.
        let _ = remove_folder(&new);
        return Err(failure);
    }
    if tables.try_exists()? {
        fs::rename(&tables, &old)?;
    }
    fs::rename(&new, &tables)?;
    sync_folder(&folder.path())?;
    // Whatever had the name.
    let removed = if old.is_file() { fs::remove_file(&old) } else { remove_folder(&old) };
    Ok(removed?)
}
