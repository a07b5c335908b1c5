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
    let folder = absolute(&args.folder)?;
    let base = args.base.as_deref().map(absolute).transpose()?;
    let client = args.client.client()?;
    let query = BackupQuery { folder, base };
    let made: Backup = client.call(routes::BACKUP, &[]).query(&query).unhurried().fetch()?;
    if args.client.json {
        return out.json(&made);
    }
    let (size, folder) = (bytes(made.bytes), printable(&made.folder));
    let new = match args.base {
        Some(_) => {
            format!(", of which {} new", bytes(made.bytes.saturating_sub(made.linked_bytes)))
        }
        None => String::new(),
    };
    out.text(&format!(
        "{folder}: everything up to event {} ({} segments, {} blobs, {size}{new})\n",
        made.last_sequence, made.segments, made.blobs
    ))
}

/// The path as the router understands it, which may have another working directory.
fn absolute(folder: &Path) -> Result<String, CliError> {
    let absolute = std::path::absolute(folder)
        .map_err(|error| CliError::Usage(format!("{} is no folder: {error}", folder.display())))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|folder| CliError::Usage(format!("{} is not UTF-8", Path::new(&folder).display())))
}
