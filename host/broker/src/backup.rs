//! Online backup: copies all rows of one view, and the blobs they refer to, to a new data folder
//! that a router can start from.
//!
//! Its rows are written to a journal of their own; the tables are made from that when a router starts
//! with it. Nothing waits for the backup; memory is bounded by one record.
//!
//! The copy is made under a temporary name and renamed once it is complete and fsynced, so that a
//! failure or crash leaves nothing that could be mistaken for a backup.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use usher_event::Digest;

use crate::BrokerError;
use crate::api::{BackupReport, Beside};
use crate::blobs::{Blobs, file};
use crate::files::sync_folder;
use crate::folder::{JOURNAL, write_format};
use crate::log::oldest;
use crate::shared::Shared;
use crate::store::copy::Copy;
use crate::store::lost::Lost;
use crate::store::{OpenFailure, Space, StoreFailure, View, keys};

/// How many rows are copied between two checks for shutdown.
const LOOK_EVERY_ROWS: u64 = 1_024;

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Refused(BrokerError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Store(#[from] StoreFailure),
}

impl From<Failure> for BrokerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => refused,
            failed => Self::Backup(failed.to_string()),
        }
    }
}

/// Makes a copy in the folder `to`, which must not exist yet.
pub(crate) fn run(
    shared: &Shared,
    blobs: &Blobs,
    data: &Path,
    to: &Path,
    beside: Beside,
) -> Result<BackupReport, Failure> {
    let place = Target::check(data, to)?;
    let copied = beside(&place.new).map_err(Failure::Io).and_then(|beside_bytes| {
        // Before the view: the blobs it refers to must not be removed.
        let _kept = blobs.keep_all();
        let view = shared.store.pinned_view();
        place.fill(shared, blobs, &*view, beside_bytes)
    });
    if copied.is_err() {
        // Best effort: a leftover folder isn't mistaken for a backup.
        let _ = fs::remove_dir_all(&place.new);
    }
    copied
}

/// The temporary folder and the destination.
struct Target {
    new: PathBuf,
    to: PathBuf,
    parent: PathBuf,
}

impl Target {
    /// Validates the destination and creates the temporary folder.
    fn check(data: &Path, to: &Path) -> Result<Self, Failure> {
        let invalid = |words: String| Failure::Refused(BrokerError::Invalid(words));
        let conflict = |words: String| Failure::Refused(BrokerError::Conflict(words));
        if !to.is_absolute() {
            return Err(invalid(format!("{} is no absolute path", to.display())));
        }
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            return Err(invalid(format!("{} can't be made", to.display())));
        };
        let parent = fs::canonicalize(parent).map_err(|error| {
            invalid(format!("cannot make a folder in {}: {error}", parent.display()))
        })?;
        if fs::canonicalize(data).is_ok_and(|data| parent.starts_with(data)) {
            return Err(invalid(format!("{} lies in the data folder itself", to.display())));
        }
        let to = parent.join(name);
        if to.symlink_metadata().is_ok() {
            return Err(conflict(format!("{} is there already; give a new folder", to.display())));
        }
        let mut new_name = name.to_owned();
        new_name.push(".part");
        let new = parent.join(new_name);
        match fs::create_dir(&new) {
            Ok(()) => Ok(Self { new, to, parent }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(conflict(format!(
                "{} is there already, left by a backup that was interrupted; remove it",
                new.display()
            ))),
            Err(error) => Err(invalid(format!("cannot make {}: {error}", new.display()))),
        }
    }

    /// Renames the complete copy to its destination.
    fn finish(&self) -> io::Result<()> {
        // Last: without a format file the folder isn't a data folder.
        write_format(&self.new)?;
        sync_folder(&self.new)?;
        fs::rename(&self.new, &self.to)?;
        sync_folder(&self.parent)
    }

    fn fill(
        &self,
        shared: &Shared,
        blobs: &Blobs,
        view: &dyn View,
        beside_bytes: u64,
    ) -> Result<BackupReport, Failure> {
        let mut copied = Copied::begin(shared, view)?;
        let mut copy = Copy::begin(&self.new.join(JOURNAL)).map_err(|failure| match failure {
            OpenFailure::Io(error) => Failure::Io(error),
            OpenFailure::Damaged(failure) => Failure::Store(failure),
        })?;
        copy.put_all(view, |space, key, value| copied.row(space, key, value))?;
        copy.finish()?;
        let report = copied.end()?;
        let (blobs, bytes) = self.copy_blobs(shared, blobs, view)?;
        self.finish()?;
        let folder = self.to.clone();
        let bytes = report.bytes + bytes + beside_bytes;
        Ok(BackupReport { folder, blobs, bytes, ..report })
    }

    fn copy_blobs(
        &self,
        shared: &Shared,
        blobs: &Blobs,
        view: &dyn View,
    ) -> Result<(u64, u64), Failure> {
        let folder = self.new.join("blobs");
        fs::create_dir(&folder)?;
        let (mut count, mut bytes) = (0, 0);
        let mut last = None;
        for row in view.range(Space::Blobs, &[], None) {
            let (key, _) = row?;
            let digest = key.first_chunk::<32>();
            let digest = digest.ok_or_else(|| StoreFailure::damaged(Space::Blobs, &key))?;
            let digest = Digest::from_bytes(*digest);
            if last.replace(digest) == Some(digest) {
                continue;
            }
            check_shutdown(shared)?;
            let content = blobs.content(&digest)?;
            let (shelf, path) = file(&folder, &digest);
            fs::create_dir_all(&shelf)?;
            let mut copy = File::create_new(path)?;
            copy.write_all(&content)?;
            copy.sync_all()?;
            sync_folder(&shelf)?;
            count += 1;
            bytes += content.len() as u64;
        }
        sync_folder(&folder)?;
        Ok((count, bytes))
    }
}

fn check_shutdown(shared: &Shared) -> Result<(), StoreFailure> {
    if *shared.ended.borrow() {
        return Err(StoreFailure("the router stopped while the backup was made".to_owned()));
    }
    Ok(())
}

/// Checks and counts copied rows. Events must be contiguous: a copy with gaps is no backup.
struct Copied<'a> {
    shared: &'a Shared,
    rows: u64,
    bytes: u64,
    next_sequence: u64,
    end: u64,
    /// Ranges that are known to be missing.
    lost: Lost,
}

impl<'a> Copied<'a> {
    fn begin(shared: &'a Shared, view: &dyn View) -> Result<Self, StoreFailure> {
        let (next_sequence, end) = (oldest(view)?, crate::log::newest(view)? + 1);
        let lost = Lost::read_from(view)?;
        Ok(Self { shared, rows: 0, bytes: 0, next_sequence, end, lost })
    }

    fn row(&mut self, space: Space, key: &Bytes, value: &Bytes) -> Result<(), StoreFailure> {
        if self.rows.is_multiple_of(LOOK_EVERY_ROWS) {
            check_shutdown(self.shared)?;
        }
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
        if space == Space::Events
            && let Some(sequence) = keys::first_number(key)
            && sequence >= self.next_sequence
        {
            self.expect(sequence)?;
            self.next_sequence = sequence + 1;
        }
        Ok(())
    }

    fn expect(&self, sequence: u64) -> Result<(), StoreFailure> {
        if sequence == self.next_sequence || self.lost.has(self.next_sequence, sequence - 1) {
            return Ok(());
        }
        Err(StoreFailure(format!("event {} is missing in the store", self.next_sequence)))
    }

    fn end(self) -> Result<BackupReport, StoreFailure> {
        if self.next_sequence < self.end {
            self.expect(self.end)?;
        }
        let (rows, bytes) = (self.rows, self.bytes);
        let last_sequence = self.end - 1;
        Ok(BackupReport { folder: PathBuf::new(), last_sequence, rows, blobs: 0, bytes })
    }
}
