//! `usher store salvage`: a new data folder with everything that can still be read in a damaged
//! one, which is only read, whatever is wrong with it.
//!
//! Every record of the journal that is whole is read, whatever stands beside it, and laid over the
//! tables, if those open. What can't be read, or doesn't hold together with the rest, is left out and
//! reported. What is kept is true: each record has a checksum, and so has each block of the tables.
//!
//! Sequences are never used again (invariant 6): where the newest events may be lost, the new log
//! goes on far above all that the old one can have given out.

mod blobs;
mod remains;
mod rows;
mod salvaged;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::files::{remove_folder, sync_folder};
use crate::folder::{JOURNAL, TABLES, check_format, copied_until, mark_copy, write_format};
use crate::store::copy::Copy;
use blobs::Blobs;
use remains::Remains;

pub use salvaged::{SALVAGE_GAP_EVENTS, SalvageError, Salvaged};

/// Makes the data folder `to`, which must not be there yet, from what can be read in `data`, which no
/// process works with and which is left as it is.
///
/// # Errors
/// See [`SalvageError`]. Damage is no error.
pub fn salvage(data: &Path, to: &Path) -> Result<Salvaged, SalvageError> {
    let _lock = lock(data)?;
    let to = Target::check(data, to)?;
    let mut report = Salvaged::default();
    let made = fill(data, &to.new, &mut report).and_then(|()| Ok(to.finish()?));
    if made.is_err() {
        // Nothing else can be done about a folder that can't be removed: it isn't taken for a store.
        let _ = remove_folder(&to.new);
    }
    made.map(|()| report)
}

/// Keeps a process from working with the folder, as far as that goes without writing to it.
fn lock(data: &Path) -> Result<Option<File>, SalvageError> {
    if data.join("log").is_dir() && !data.join(JOURNAL).is_dir() {
        let what = format!(
            "{} has a log of an older format; use the version of usher that wrote it",
            data.display()
        );
        return Err(SalvageError::Refused(what));
    }
    if ![JOURNAL, TABLES].iter().any(|name| data.join(name).is_dir()) {
        let what = format!("{} has no journal: it is no data folder of usher", data.display());
        return Err(SalvageError::Refused(what));
    }
    if let Err(error @ OpenError::NewerFormat { .. }) = check_format(data) {
        return Err(SalvageError::Refused(error.to_string()));
    }
    let file = match File::open(data.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(SalvageError::Refused(format!(
            "data folder {} is in use; stop the router that works with it",
            data.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Where the new folder is made, and where it goes.
struct Target {
    new: PathBuf,
    to: PathBuf,
    parent: PathBuf,
}

impl Target {
    fn check(data: &Path, to: &Path) -> Result<Self, SalvageError> {
        let refused = |words: String| Err(SalvageError::Refused(words));
        let to = std::path::absolute(to)?;
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            return refused(format!("{} can't be made", to.display()));
        };
        let Ok(parent) = fs::canonicalize(parent) else {
            return refused(format!("there is no folder {}; make it first", parent.display()));
        };
        if parent.starts_with(fs::canonicalize(data)?) {
            return refused(format!("{} lies in the damaged folder itself", to.display()));
        }
        let to = parent.join(name);
        if to.symlink_metadata().is_ok() {
            return refused(format!("{} is there already; give a new folder", to.display()));
        }
        let mut new_name = name.to_owned();
        new_name.push(".part");
        let new = parent.join(new_name);
        if fs::create_dir(&new).is_err() {
            return refused(format!("cannot make {}; is it there already?", new.display()));
        }
        Ok(Self { new, to, parent })
    }

    fn finish(&self) -> io::Result<()> {
        // Last: without it the folder is no data folder.
        write_format(&self.new)?;
        sync_folder(&self.new)?;
        fs::rename(&self.new, &self.to)?;
        sync_folder(&self.parent)
    }
}

fn fill(data: &Path, new: &Path, report: &mut Salvaged) -> Result<(), SalvageError> {
    let remains = Remains::find(data, new, report)?;
    let mut blobs = Blobs::new(data.join("blobs"), new.join("blobs"))?;
    let mut copy = Copy::begin(&new.join(JOURNAL))?;
    rows::rescue(&remains, &mut copy, &mut blobs, report)?;
    let end = copy.finish()?;
    if copied_until(data)?.is_some() {
        mark_copy(new, end)?;
    }
    Ok(blobs.finish()?)
}
