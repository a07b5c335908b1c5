//! The note `closed`: where the journal ended when it was closed. Without it, a journal whose last
//! record is missing looks like one whose writer was interrupted.

use std::path::Path;
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::JournalError;
use crate::index::Place;
use crate::segment::{JournalId, Segment, remove, seed, sync_folder};

const NAME: &str = "closed";
const FIRST_LINE: &str = "usher journal closed 1";

/// What the note says of a journal that ends here.
fn text(segment: &Segment, end: &Place) -> String {
    let body = format!("{FIRST_LINE}\n{} {} {}\n", segment.name(), end.offset, end.position);
    let checksum = xxh3_64_with_seed(body.as_bytes(), seed(&segment.id));
    format!("{body}{checksum:016x}\n")
}

/// Writes the note, durably.
pub(crate) fn write(folder: &Path, segment: &Segment, end: &Place) -> Result<(), JournalError> {
    let (path, new) = (folder.join(NAME), folder.join("closed.new"));
    let written = fs::File::create(&new)
        .and_then(|mut file| {
            io::Write::write_all(&mut file, text(segment, end).as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, &path));
    written.map_err(JournalError::io("cannot write", &path))?;
    sync_folder(folder)
}

/// Whether there is a note, and the journal ends where it says.
///
/// # Errors
/// It ends elsewhere. A note that was damaged counts as absent: its lines don't match its checksum.
pub(crate) fn check(folder: &Path, last: &Segment, end: &Place) -> Result<bool, JournalError> {
    let path = folder.join(NAME);
    let found = match fs::read_to_string(&path) {
        Ok(found) => found,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(JournalError::io("cannot read", &path)(error)),
    };
    if found == text(last, end) {
        return Ok(true);
    }
    let Some(place) = place(&found, &last.id) else { return Ok(false) };
    let reason = format!(
        "the journal ends here before position {}, but it was closed with its end at {place} \
         (segment, byte, position)",
        end.position
    );
    Err(JournalError::damaged(&last.name(), end.offset, reason))
}

/// The position that an intact note has as the end.
pub(crate) fn position(folder: &Path, id: &JournalId) -> Option<u64> {
    let found = fs::read_to_string(folder.join(NAME)).ok()?;
    place(&found, id)?.rsplit(' ').next()?.parse().ok()
}

/// The line that says where the journal ended (segment, byte, position); `None` if the note is damaged.
fn place<'a>(note: &'a str, id: &JournalId) -> Option<&'a str> {
    let (body, checksum) = note.trim_end().rsplit_once('\n')?;
    let sum = xxh3_64_with_seed(format!("{body}\n").as_bytes(), seed(id));
    if checksum != format!("{sum:016x}") {
        return None;
    }
    Some(body.lines().nth(1).unwrap_or_default())
}

/// Removes the note before anything is appended.
pub(crate) fn forget(folder: &Path) -> Result<(), JournalError> {
    remove(&folder.join(NAME))?;
    sync_folder(folder)
}
