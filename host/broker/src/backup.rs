//! Online backup: copies the journal up to one commit, and the blobs it refers to, to a new data folder
//! that a router can start from: the tables are made then. Nothing waits for the backup.
//!
//! Segments and blobs never change, so that a backup may share those that it has in common with an
//! earlier one, its base: they are links to the same files, of which each folder is whole.
//!
//! The copy is made under a temporary name and renamed once it is complete and fsynced, so that a
//! failure or crash leaves nothing that could be mistaken for a backup.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use usher_journal::Copied;

use crate::BrokerError;
use crate::api::{BackupReport, Beside};
use crate::blobs::{Blobs, file};
use crate::files::sync_folder;
use crate::folder::{BLOBS, FORMAT, JOURNAL, check_format, mark_copy, write_format};
use crate::log::newest;
use crate::shared::Shared;
use crate::store::{StoreFailure, View, schema};

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

/// Makes a copy in the folder `to`, which must not exist yet; `base` is an earlier one.
pub(crate) fn run(
    shared: &Shared,
    blobs: &Blobs,
    data: &Path,
    to: &Path,
    base: Option<&Path>,
    beside: Beside,
) -> Result<BackupReport, Failure> {
    base.map_or(Ok(()), |base| check_base(data, base))?;
    let place = Target::check(data, to)?;
    let copied = beside(&place.new).map_err(Failure::Io).and_then(|beside_bytes| {
        // Before the view: the blobs it refers to must not be removed.
        let _kept = blobs.keep_all();
        place.fill(shared, blobs, base, beside_bytes)
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
        base: Option<&Path>,
        beside_bytes: u64,
    ) -> Result<BackupReport, Failure> {
        let base_journal = base.map(|base| base.join(JOURNAL));
        let is_stopping = || shared.has_ended();
        let (journal, base_journal) = (self.new.join(JOURNAL), base_journal.as_deref());
        let (view, copied) = shared.store.copy_to(&journal, base_journal, &is_stopping)?;
        let Copied { segments, bytes, linked_bytes, end } = copied;
        mark_copy(&self.new, end)?;
        let mut report = BackupReport {
            folder: self.to.clone(),
            last_sequence: newest(&*view)?,
            segments,
            blobs: 0,
            bytes: bytes + beside_bytes,
            linked_bytes,
        };
        self.copy_blobs(shared, blobs, base, &*view, &mut report)?;
        self.finish()?;
        Ok(report)
    }

    fn copy_blobs(
        &self,
        shared: &Shared,
        blobs: &Blobs,
        base: Option<&Path>,
        view: &dyn View,
        report: &mut BackupReport,
    ) -> Result<(), Failure> {
        let folder = self.new.join(BLOBS);
        fs::create_dir(&folder)?;
        let mut last = None;
        for row in view.rows::<schema::Blobs>() {
            let ((digest, _), (info, _)) = row?;
            if last.replace(digest) == Some(digest) {
                continue;
            }
            check_shutdown(shared)?;
            let (shelf, path) = file(&folder, &digest);
            fs::create_dir_all(&shelf)?;
            let earlier = base.map(|base| file(&base.join(BLOBS), &digest).1);
            let is_whole =
                |path: &PathBuf| fs::metadata(path).is_ok_and(|it| it.len() == info.size_bytes);
            let linked = earlier.filter(is_whole);
            let linked = linked.and_then(|earlier| fs::hard_link(earlier, &path).ok());
            let bytes = if linked.is_some() {
                info.size_bytes
            } else {
                let content = blobs.content(&digest)?;
                let mut copy = File::create_new(&path)?;
                copy.write_all(&content)?;
                copy.sync_all()?;
                content.len() as u64
            };
            sync_folder(&shelf)?;
            report.blobs += 1;
            report.bytes += bytes;
            report.linked_bytes += linked.map_or(0, |()| bytes);
        }
        sync_folder(&folder)?;
        Ok(())
    }
}

/// An earlier backup is a data folder, and another one than what is copied.
fn check_base(data: &Path, base: &Path) -> Result<(), Failure> {
    let invalid = |words: &str| {
        let words = format!("{} {words}", base.display());
        Err(Failure::Refused(BrokerError::Invalid(words)))
    };
    if !base.is_absolute() {
        return invalid("is no absolute path");
    }
    if check_format(base).ok().flatten() != Some(FORMAT) {
        return invalid("is no earlier backup in today's format");
    }
    if fs::canonicalize(data)? == fs::canonicalize(base)? {
        return invalid("is the data folder itself: a backup must not share its files");
    }
    Ok(())
}

fn check_shutdown(shared: &Shared) -> Result<(), StoreFailure> {
    if shared.has_ended() {
        return Err(StoreFailure("the router stopped while the backup was made".to_owned()));
    }
    Ok(())
}
