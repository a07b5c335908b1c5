//! `usher store backup`.

use std::path::Path;

use usher_api::{Backup, BackupQuery, routes};

use super::args::StoreBackupArgs;
use super::ui::error::CliError;
use super::ui::output::Output;
use usher_wording::{bytes, printable};

/// Asks a running router to copy its data folder.
///
/// # Errors
/// The folder has no name that the router understands, or the router refuses.
pub fn backup(args: &StoreBackupArgs, out: &mut Output) -> Result<(), CliError> {
    // The router may have another working directory.
    let folder = std::path::absolute(&args.folder).map_err(|error| {
        CliError::Usage(format!("{} is no folder: {error}", args.folder.display()))
    })?;
    let folder = folder.into_os_string().into_string().map_err(|folder| {
        CliError::Usage(format!("{} is not UTF-8", Path::new(&folder).display()))
    })?;
    let client = args.client.client()?;
    let made: Backup =
        client.call(routes::BACKUP, &[]).query(&BackupQuery { folder }).unhurried().fetch()?;
    if args.client.json {
        return out.json(&made);
    }
    let (size, folder) = (bytes(made.bytes), printable(&made.folder));
    out.text(&format!(
        "{folder}: everything up to event {} ({} rows, {} blobs, {size})\n",
        made.last_sequence, made.rows, made.blobs
    ))
}
