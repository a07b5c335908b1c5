//! `usher store salvage`: a new data folder with everything that can still be read in a damaged
//! one, which is only read, whatever is wrong with it.
//!
//! Nothing of fjall's own opening is needed: the table files of each table are read by themselves,
//! beside a list of them that is repaired or rebuilt, and what the journals hold is laid over them,
//! batch by batch. What can't be read, or doesn't hold together with the rest, is left out and
//! reported.
//! What is kept is true: each block and each batch has a checksum.
//!
//! Sequences are never used again (invariant 6): where the newest events may be lost, the new log
//! goes on far above all that the old one can have given out.

mod journals;
mod lists;
mod remains;
mod rows;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use usher_event::Digest;

use crate::blobs::file;
use crate::files::{remove_folder, sync_folder};
use crate::folder::write_format;
use crate::store::fjall::{Caches, FjallStore};
use crate::store::{Batch, OpenFailure, Space, Store as _, StoreFailure};
use remains::Remains;

/// How far sequences jump ahead, at least, where the newest events may be lost. More than fit into
/// all journals, which hold what is not in table files yet.
pub const SALVAGE_GAP_EVENTS: u64 = 1 << 24;

/// The least bytes that an event takes in a journal.
const EVENT_MIN_BYTES: u64 = 32;

/// Most losses that are told in full.
const LOSSES_MAX: usize = 1_000;

/// Rows and bytes of one commit of the new store.
const COMMIT_MAX_ROWS: usize = 4_096;
const COMMIT_MAX_BYTES: usize = 8 * 1_024 * 1_024;

const CACHES: Caches = Caches { bytes: 16 * 1_024 * 1_024, open_tables_max: 64 };

/// What was rescued, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// What there is now, and how much of it.
    pub counts: Vec<(&'static str, u64)>,
    /// What can't be read, or doesn't hold together with the rest; at most a thousand.
    pub losses: Vec<String>,
    /// How many losses there are beyond those.
    pub more_losses: u64,
    /// Events that are missing between others, first and last of each run.
    pub missing_events: Vec<(u64, u64)>,
    /// The last sequence of the new log; the next event gets the one after it.
    pub last_sequence: u64,
    /// How many sequences before that were left out to be sure, since newer events may be lost.
    pub skipped_sequences: u64,
}

impl Salvaged {
    fn lose(&mut self, what: impl Into<String>) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(what.into());
        } else {
            self.more_losses += 1;
        }
    }
}

/// Why nothing was rescued. Nothing is left of the new folder.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// Something about the folders is not right.
    #[error("{0}")]
    Refused(String),
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The new store can't be written.
    #[error("the new store can't be written: {0}")]
    New(String),
}

impl From<StoreFailure> for SalvageError {
    fn from(failure: StoreFailure) -> Self {
        Self::New(failure.0)
    }
}

impl From<OpenFailure> for SalvageError {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::Io(error) => Self::Io(error),
            OpenFailure::Damaged(failure) => Self::New(failure.0),
        }
    }
}

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
    if !data.join("log").is_dir() {
        let what = format!("{} has no log: it is no data folder of usher", data.display());
        return Err(SalvageError::Refused(what));
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
    let remains = Remains::find(&data.join("log"), report)?;
    let (store, _) = FjallStore::open(&new.join("log"), CACHES, None)?;
    let mut blobs = Blobs::new(data.join("blobs"), new.join("blobs"))?;
    let mut writer = Writer { store, batch: Batch::default(), bytes: 0 };
    rows::rescue(&remains, &mut writer, &mut blobs, report)?;
    writer.flush()?;
    Ok(blobs.finish()?)
}

/// Writes rows to the new store.
struct Writer {
    store: FjallStore,
    batch: Batch,
    bytes: usize,
}

impl Writer {
    fn put(
        &mut self,
        space: Space,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), StoreFailure> {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.batch.put(space, key, value);
        if self.batch.rows.len() < COMMIT_MAX_ROWS && self.bytes < COMMIT_MAX_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), StoreFailure> {
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.store.commit(std::mem::take(&mut self.batch))
    }
}

/// Copies the content of blobs that are whole.
struct Blobs {
    old: PathBuf,
    new: PathBuf,
    count: u64,
}

impl Blobs {
    fn new(old: PathBuf, new: PathBuf) -> io::Result<Self> {
        fs::create_dir(&new)?;
        Ok(Self { old, new, count: 0 })
    }

    /// Copies one, unless it is there already; answers whether it is there then.
    fn copy(&mut self, digest: &Digest) -> io::Result<bool> {
        let (shelf, path) = file(&self.new, digest);
        if path.exists() {
            return Ok(true);
        }
        let Ok(content) = fs::read(file(&self.old, digest).1) else { return Ok(false) };
        if Digest::of(&content) != *digest {
            return Ok(false);
        }
        fs::create_dir_all(&shelf)?;
        fs::write(&path, content)?;
        File::open(&path)?.sync_all()?;
        sync_folder(&shelf)?;
        self.count += 1;
        Ok(true)
    }

    fn finish(&self) -> io::Result<()> {
        sync_folder(&self.new)
    }
}
