//! Rewrites a sealed segment with shorter payloads, beside it; then the one takes the other's place.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::index::Index;
use crate::reader::{Frames, Next};
use crate::record;
use crate::segment::{Segment, remove, seed, sync_folder};
use crate::{Entry, JournalError, Payload};

/// Where the new segment is written.
const REWRITTEN: &str = "rewritten.new";

fn path(folder: &Path) -> PathBuf {
    folder.join(REWRITTEN)
}

/// Removes what a rewrite that was not finished has left.
pub(crate) fn forget(folder: &Path) -> Result<(), JournalError> {
    remove(&path(folder))
}

/// Writes the records of a segment that ends before the position `until`, each with the payload that it
/// gets now, and fsyncs them. `None` if `payload` wanted no more.
pub(crate) fn write(
    folder: &Path,
    segment: &Segment,
    mut frames: Frames,
    until: u64,
    payload: &mut Payload<'_>,
) -> Result<Option<Index>, JournalError> {
    let path = path(folder);
    let failed = |error| JournalError::io("cannot write", &path)(error);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let mut file = BufWriter::new(file.map_err(failed)?);
    file.write_all(&segment.write()).map_err(failed)?;
    let (mut index, mut buffer) = (Index::new(segment), Vec::new());
    while index.end.position < until {
        let offset = frames.offset();
        let next = frames.next();
        let next = next.map_err(JournalError::io("cannot read", &segment.path(folder)))?;
        let Next::Whole(header, frame) = next else {
            let reason = format!("the record at position {} is not readable", index.end.position);
            return Err(JournalError::damaged(&segment.name(), offset, reason));
        };
        let record = header.record(&frame);
        let Some(payload) = payload(&record) else { return Ok(None) };
        let entry = Entry {
            first_sequence: record.first_sequence,
            events: record.events,
            payload: &[&payload],
        };
        let seed = seed(&segment.id);
        record::write(&mut buffer, &entry, header.position, header.epoch, header.durable, seed);
        file.write_all(&buffer).map_err(failed)?;
        index.push(&header, buffer.len());
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(Some(index))
}

/// Puts what was written in the place of the segment.
pub(crate) fn swap(folder: &Path, segment: &Segment, index: &Index) -> Result<(), JournalError> {
    remove(&segment.index_path(folder))?;
    // First: after a crash the new segment must not be read by the old index.
    sync_folder(folder)?;
    let to = segment.path(folder);
    fs::rename(path(folder), &to).map_err(JournalError::io("cannot replace", &to))?;
    sync_folder(folder)?;
    // Best effort: it is made again where it is missing.
    if let Err(error) = index.write(folder, segment) {
        tracing::warn!(%error, segment = segment.name(), "no index is written");
    }
    Ok(())
}
