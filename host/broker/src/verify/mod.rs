//! `usher store verify`: reads everything in a data folder that nobody works with, and tells what
//! doesn't hold together. The folder itself is only read: tables, which are put in order as they are
//! opened, are copied first.

mod blobs;
mod rows;
mod verified;

pub use verified::{Damage, PROBLEMS_MAX, Verified};

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use usher_journal::{JournalError, LocalJournal, scan};

use crate::OpenError;
use crate::files::copy_folder;
use crate::folder::Folder;
use crate::store::journaled::JournaledStore;
use crate::store::tables::{Caches, LsmTables};
use crate::store::{OpenFailure, View, Views as _};

/// Reads everything in a data folder that no process works with.
///
/// # Errors
/// The folder is in use, isn't Usher's, or the file system refuses. Damage is no error here but
/// what is answered.
pub fn verify(data: &Path) -> Result<Verified, OpenError> {
    let folder = Folder::open_as_it_is(data)?;
    let mut report = Verified::default();
    let is_whole = journal(&folder, &mut report)
        .map_err(OpenError::of_store("cannot read the journal in", data))?;
    if !is_whole {
        report.problem("journal", "no row was looked at, since the journal is damaged");
        return Ok(report);
    }
    match tables(&folder, &mut report) {
        Ok(()) => Ok(report),
        Err(OpenFailure::Damaged(failure)) => {
            report.problem("journal", failure.0);
            Ok(report)
        }
        Err(failure) => Err(OpenError::of_store("cannot read the store in", data)(failure)),
    }
}

/// What is wrong with the rows of a store and the blobs in a folder, if anything is.
pub(crate) fn check_rows(view: &dyn View, blobs: &Path) -> Option<String> {
    let mut report = Verified::default();
    rows::check(view, &mut report);
    blobs::check(view, blobs, &mut report);
    let problem = report.problems.first()?;
    Some(format!("{}: {}", problem.place, problem.what))
}

/// Compares all records of the journal with their checksums; whether they are all there.
fn journal(folder: &Folder, report: &mut Verified) -> Result<bool, OpenFailure> {
    let scan = scan(&folder.journal(), |_| Ok::<(), JournalError>(()))?;
    report.count("journal segments", scan.segments);
    report.count("commits in the journal", scan.records);
    report.count("bytes of journal segments", scan.bytes);
    report.torn_bytes = scan.torn_bytes;
    for gap in &scan.gaps {
        report.problem("journal", gap.to_string());
    }
    Ok(scan.gaps.is_empty())
}

/// Reads all rows, of tables and journal together.
fn tables(folder: &Folder, report: &mut Verified) -> Result<(), OpenFailure> {
    let Some(journal) = LocalJournal::read_only(&folder.journal())? else {
        if folder.tables().try_exists()? {
            report.problem("journal", "there are tables, but no journal that they come from");
        }
        return Ok(());
    };
    let aside = TempDir::with_prefix("usher-store-")?;
    let copy = aside.path().join("tables");
    if folder.tables().try_exists()? {
        copy_folder(&folder.tables(), &copy)?;
    }
    let opened = match LsmTables::open(&copy, Caches::OFFLINE) {
        Ok(tables) => tables,
        Err(OpenFailure::Damaged(failure)) => {
            report.problem("tables", format!("{failure}; the next start rebuilds them"));
            LsmTables::open(&aside.path().join("rebuilt"), Caches::OFFLINE)?
        }
        Err(failure) => return Err(failure),
    };
    let store = JournaledStore::open(Arc::new(journal), Arc::new(opened))?;
    let view = store.view();
    rows::check(&*view, report);
    blobs::check(&*view, &folder.blobs(), report);
    Ok(())
}
