//! Upgrades a data folder of formats 1 to 3, in place: everything is written to a journal of its own
//! first, and the old database stays, as `log.v3`, until somebody removes it.

use std::fs;
use std::io;
use std::path::Path;

use crate::OpenError;
use crate::files::{remove_folder, sync_folder};
use crate::folder::Folder;
use crate::store::copy::Copy;
use crate::store::{OpenFailure, format3};
use crate::verify::check_rows;

/// Upgrades the folder, if it is of an older format. Interrupted, it begins again.
pub(crate) fn upgrade(folder: &Folder) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { what: "cannot upgrade", path: folder.path(), source };
    if folder.is_current() {
        // Interrupted after the format was written.
        return keep_old(folder).map_err(io);
    }
    tracing::info!(
        format = folder.format(),
        "the data folder is upgraded, which takes as long as reading all of it"
    );
    let has = |path: &Path| path.try_exists().map_err(io);
    if !has(&folder.log())? && (has(&folder.journal())? || has(&folder.log().with_extension("v3"))?)
    {
        let format = folder.format();
        let reason = format!("its format file says {format}, but its database log is not there");
        return Err(OpenError::Foreign { path: folder.path(), reason });
    }
    let (journal, new) = (folder.journal(), folder.journal().with_extension("new"));
    for leftover in [&journal, &new, &folder.tables()] {
        remove_folder(leftover).map_err(io)?;
    }
    if folder.log().try_exists().map_err(io)? {
        copy(folder, &new).map_err(OpenError::of_store("cannot upgrade", &folder.path()))?;
        fs::rename(&new, &journal).and_then(|()| sync_folder(&folder.path())).map_err(io)?;
    }
    folder.write_format().map_err(io)?;
    keep_old(folder).map_err(io)?;
    tracing::info!(
        "the data folder is upgraded; to go back to the version before, which knows nothing of what \
         happens from now on: stop usher, move log.v3 to log, write \"usher 3\" to the file format, and \
         remove journal and tables. Without that, remove log.v3 at some time"
    );
    Ok(())
}

fn copy(folder: &Folder, new: &Path) -> Result<(), OpenFailure> {
    let view = format3::open(&folder.log())?;
    if let Some(problem) = check_rows(&*view, &folder.blobs()) {
        return Err(OpenFailure::damaged(format!(
            "{problem}; the version of usher that wrote the folder has usher store salvage"
        )));
    }
    let mut copy = Copy::begin(new)?;
    copy.put_all(&*view)?;
    copy.finish()?;
    Ok(())
}

/// Moves the old database out of the way.
fn keep_old(folder: &Folder) -> io::Result<()> {
    let log = folder.log();
    if !log.try_exists()? {
        return Ok(());
    }
    let free = |number: u32| match number {
        0 => log.with_extension("v3"),
        number => log.with_extension(format!("v3.{number}")),
    };
    // One may be there of an upgrade that was taken back.
    let mut old = free(0);
    for number in 1.. {
        if !old.try_exists()? {
            break;
        }
        old = free(number);
    }
    fs::rename(&log, old)?;
    sync_folder(&folder.path())
}
