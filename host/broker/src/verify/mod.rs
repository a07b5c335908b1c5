//! `usher store verify`: reads everything in a data folder that nobody works with, and tells what
//! doesn't hold together. The folder itself is only read: fjall, which puts things in order as it
//! opens them, gets a copy whose table files are links.

mod blobs;
mod rows;
mod verified;

pub(crate) use rows::state_parts;
pub use verified::{Damage, PROBLEMS_MAX, Verified};

use std::path::Path;

use crate::OpenError;
use crate::folder::Folder;
use crate::store::fjall::FjallStore;
use crate::store::shadow::Shadow;
use crate::store::{OpenFailure, Store as _, closed, journal, tables};

/// Reads everything in a data folder that no process works with.
///
/// # Errors
/// The folder is in use, isn't Usher's, or the file system refuses. Damage is no error here but
/// what is answered.
pub fn verify(data: &Path) -> Result<Verified, OpenError> {
    let folder = Folder::open_as_it_is(data)?;
    let mut report = Verified::default();
    match files(&folder.log(), &mut report) {
        Ok(Some(scan)) => open(&folder, &scan, &mut report)?,
        Ok(None) => report.problem("log", "no row was looked at, since the store can't be opened"),
        Err(source) => return Err(unreadable(&folder, source)),
    }
    Ok(report)
}

fn unreadable(folder: &Folder, source: std::io::Error) -> OpenError {
    OpenError::Io { what: "cannot read the store in", path: folder.log(), source }
}

/// Looks at the files as such; the journals if they can be used, and all else that is needed.
fn files(log: &Path, report: &mut Verified) -> std::io::Result<Option<journal::Scan>> {
    let mut is_usable = true;
    let mut damaged = |report: &mut Verified, failure| match failure {
        OpenFailure::Io(error) => Err(error),
        OpenFailure::Damaged(failure) => {
            is_usable = false;
            report.problem("log", failure.0);
            Ok(())
        }
    };
    let mut scan = journal::Scan::default();
    match journal::scan(log) {
        Ok(found) => scan = found,
        Err(failure) => damaged(report, failure)?,
    }
    report.count("journals", scan.journals.len() as u64);
    report.count("commits in journals", scan.batches());
    let note = closed::read(log)?;
    if let Some(difference) = note.as_ref().and_then(|note| closed::difference(note, &scan)) {
        damaged(report, OpenFailure::damaged(difference))?;
    }
    report.torn_bytes = scan.torn().map_or(0, |journal| journal.torn_bytes);
    match tables::check(log) {
        Ok(()) => check_tables(log, report)?,
        Err(failure) => damaged(report, failure)?,
    }
    Ok(is_usable.then_some(scan))
}

/// Compares all bytes of all table files with their checksums.
fn check_tables(log: &Path, report: &mut Verified) -> std::io::Result<()> {
    let (mut count, mut bytes) = (0, 0);
    for file in tables::files(log)? {
        count += 1;
        let (length, is_sound) = file.is_sound()?;
        bytes += length;
        if !is_sound {
            report.problem(tables::place(&file.path), "its checksum is wrong");
        }
    }
    report.count("table files", count);
    report.count("bytes of table files", bytes);
    Ok(())
}

fn open(folder: &Folder, scan: &journal::Scan, report: &mut Verified) -> Result<(), OpenError> {
    let shadow = Shadow::of(&folder.log(), scan).map_err(|source| unreadable(folder, source))?;
    match FjallStore::open_to_read(shadow.path()) {
        Ok(store) => {
            let view = store.view();
            rows::check(&*view, report);
            blobs::check(&*view, &folder.blobs(), report);
            Ok(())
        }
        Err(OpenFailure::Io(source)) => Err(unreadable(folder, source)),
        Err(OpenFailure::Damaged(failure)) => {
            report.problem("log", failure.0);
            Ok(())
        }
    }
}
