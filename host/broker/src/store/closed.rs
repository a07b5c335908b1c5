//! What a store's journals held when it was closed. A crash leaves no such note, and may leave an
//! unfinished batch; after a close nothing may be unfinished or missing, so that even the last
//! batch can't be lost unnoticed (invariant 9).
//!
//! The note is a small text, `closed` in the store's folder. It is removed before anything is
//! written to the store. One that is damaged itself counts as none.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::journal::Scan;
use crate::files::{replace_file, sync_folder};

const FILE: &str = "closed";

/// The first line, which is the version of the note.
const TITLE: &str = "usher closed 1";

/// Longest note that is read: a store has a handful of journals.
const NOTE_MAX_BYTES: u64 = 64 * 1_024;

/// What the note says about these journals.
fn text(scan: &Scan) -> String {
    let mut text = format!("{TITLE}\n");
    for journal in &scan.journals {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{} {} {:016x}", journal.name(), journal.end, journal.digest);
    }
    let _ = writeln!(text, "{:016x}", xxh3_64(text.as_bytes()));
    text
}

/// Reads the note, if there is a whole one.
pub(crate) fn read(folder: &Path) -> io::Result<Option<String>> {
    let path = folder.join(FILE);
    match fs::metadata(&path) {
        Ok(found) if found.is_file() && found.len() <= NOTE_MAX_BYTES => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(None),
    }
    let note = String::from_utf8(fs::read(&path)?).unwrap_or_default();
    Ok(is_whole(&note).then_some(note))
}

fn is_whole(note: &str) -> bool {
    let Some((text, checksum)) = note.strip_suffix('\n').and_then(|note| note.rsplit_once('\n'))
    else {
        return false;
    };
    note.starts_with(TITLE)
        && format!("{:016x}", xxh3_64(format!("{text}\n").as_bytes())) == checksum
}

/// What in these journals isn't as the note says, in words.
pub(crate) fn difference(note: &str, scan: &Scan) -> Option<String> {
    let mut lines = note.lines().skip(1);
    for journal in &scan.journals {
        let name = journal.name();
        let line = lines.next().unwrap_or_default();
        let Some((end, digest)) =
            line.strip_prefix(&format!("{name} ")).and_then(|rest| rest.split_once(' '))
        else {
            return Some(format!("journal {name} wasn't there when the store was closed"));
        };
        let (end, digest) = (end.parse::<u64>(), u64::from_str_radix(digest, 16));
        if end != Ok(journal.end) {
            let end = end.unwrap_or(0);
            return Some(format!(
                "journal {name} at byte {}: it can be read up to here, but when the store was \
                 closed it went on to {end}",
                journal.end
            ));
        }
        if journal.torn_bytes > 0 {
            return Some(format!(
                "journal {name} at byte {}: {} bytes follow that weren't there when the store was \
                 closed",
                journal.end, journal.torn_bytes
            ));
        }
        if digest != Ok(journal.digest) {
            return Some(format!(
                "journal {name}: a batch has another number than when it was closed"
            ));
        }
    }
    // What is left is the checksum.
    let (name, _) = lines.next()?.split_once(' ')?;
    Some(format!("journal {name} is gone"))
}

/// Writes the note. Nothing may write to the store afterwards.
pub(crate) fn write(folder: &Path, scan: &Scan) -> io::Result<()> {
    put(folder, &text(scan))
}

/// Writes a note that was read before.
pub(crate) fn put(folder: &Path, note: &str) -> io::Result<()> {
    replace_file(folder, FILE, note.as_bytes())
}

/// Removes the note for good, power cuts included.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(FILE)) {
        Ok(()) => sync_folder(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::journal::Journal;

    fn scan(journals: &[(&str, u64, u64, u64)]) -> Scan {
        let journal = |&(name, end, torn_bytes, digest): &(&str, u64, u64, u64)| Journal {
            path: PathBuf::from(name),
            batches: 1,
            end,
            torn_bytes,
            digest,
        };
        Scan { journals: journals.iter().map(journal).collect() }
    }

    #[test]
    fn every_difference_is_told() {
        let closed = scan(&[("1.jnl", 100, 0, 7), ("2.jnl", 50, 0, 8)]);
        let note = text(&closed);
        let cases = [
            (closed.clone(), None),
            (scan(&[("1.jnl", 100, 0, 7), ("2.jnl", 40, 0, 8)]), Some("2.jnl at byte 40")),
            (scan(&[("1.jnl", 100, 0, 7), ("2.jnl", 50, 3, 8)]), Some("2.jnl at byte 50")),
            (scan(&[("1.jnl", 100, 0, 6), ("2.jnl", 50, 0, 8)]), Some("journal 1.jnl")),
            (scan(&[("1.jnl", 100, 0, 7)]), Some("journal 2.jnl is gone")),
            (scan(&[("2.jnl", 50, 0, 8)]), Some("journal 2.jnl")),
            (
                scan(&[("1.jnl", 100, 0, 7), ("2.jnl", 50, 0, 8), ("3.jnl", 0, 0, 0)]),
                Some("journal 3.jnl"),
            ),
        ];
        for (found, expected) in cases {
            let difference = difference(&note, &found);
            match expected {
                None => assert_eq!(difference, None),
                Some(words) => {
                    assert!(difference.clone().unwrap().contains(words), "{difference:?}")
                }
            }
        }
    }

    #[test]
    fn a_damaged_note_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        write(folder.path(), &scan(&[("1.jnl", 100, 0, 7)])).unwrap();
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        assert!(read(folder.path()).unwrap().is_some());
        for position in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert_eq!(read(folder.path()).unwrap(), None, "flipped at {position}");
            fs::write(&path, &whole[..position]).unwrap();
            assert_eq!(read(folder.path()).unwrap(), None, "cut at {position}");
        }
        remove(folder.path()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
    }
}
