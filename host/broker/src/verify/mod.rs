//! `usher store verify`: reads everything in a data folder that nobody works with, and tells what
//! doesn't hold together. The folder itself is only read: fjall, which puts things in order as it
//! opens them, gets a copy whose table files are links.

mod blobs;
mod rows;

pub(crate) use rows::state_parts;

use std::path::Path;

use crate::OpenError;
use crate::folder::Folder;
use crate::store::fjall::FjallStore;
use crate::store::shadow::Shadow;
use crate::store::{OpenFailure, Store as _, closed, journal, tables};

/// Most problems that are told in full.
pub const PROBLEMS_MAX: usize = 1_000;

/// What was found in a data folder.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What there is, and how much of it.
    pub counts: Vec<(&'static str, u64)>,
    /// Bytes of an unfinished commit at the end of the newest journal, which the next start cuts
    /// off. A crash leaves them; nothing in them was ever acknowledged.
    pub torn_bytes: u64,
    /// What doesn't hold together; at most [`PROBLEMS_MAX`].
    pub problems: Vec<Damage>,
    /// How many problems there are beyond those.
    pub more_problems: u64,
}

/// Something that doesn't hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file or the row.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn count(&mut self, what: &'static str, count: u64) {
        self.counts.push((what, count));
    }

    fn problem(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Damage { place: place.into(), what: what.into() });
        } else {
            self.more_problems += 1;
        }
    }
}

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
