//! What a journal's folder holds when it is opened: a chain of segments, of which the last may end
//! with records that were under way.
//!
//! A record that isn't whole is a **torn tail** if no later one was written after it was durable:
//! nobody was told of it. Otherwise it is **damage**. Each record says which ones before it were
//! durable when it was written, so that the two can be told apart even where several were under way.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::JournalError;
use crate::closed;
use crate::index::Index;
use crate::reader::{Frames, Next};
use crate::record::ALIGN_BYTES;
use crate::segment::{HEADER_BYTES, Segment, list, seed};

/// A journal as it was found.
pub(crate) struct Recovered {
    /// All of them.
    pub(crate) segments: Vec<Segment>,
    pub(crate) last: Segment,
    /// The last one's, for reading.
    pub(crate) file: Arc<File>,
    pub(crate) size_bytes: u64,
    pub(crate) index: Index,
    /// The epoch of the last record.
    pub(crate) epoch: u64,
    pub(crate) was_closed: bool,
    /// Bytes of a torn tail.
    pub(crate) torn_bytes: u64,
}

/// Looks at a folder; `None` if there is no journal. Changes nothing.
pub(crate) fn find(folder: &Path) -> Result<Option<Recovered>, JournalError> {
    let segments = chain(folder)?;
    let Some(last) = segments.last().copied() else { return Ok(None) };
    let path = last.path(folder);
    let failed = |error| JournalError::io("cannot read", &path)(error);
    let file = File::open(&path).map_err(failed)?;
    let size_bytes = file.metadata().map_err(failed)?.len();
    let file = Arc::new(file);
    let mut frames = Frames::new(Arc::clone(&file), seed(&last.id), HEADER_BYTES, size_bytes);
    let mut index = Index::new(&last);
    let mut epoch = 0;
    loop {
        let next = frames.next().map_err(failed)?;
        let Next::Whole(header, frame) = next else { break };
        if header.position != index.end.position {
            let reason = format!("position {} follows {}", header.position, index.end.position);
            return Err(JournalError::damaged(&last.name(), index.end.offset, reason));
        }
        epoch = header.epoch;
        index.push(&header, frame.len());
    }
    let end = index.end;
    let torn_bytes = tail(&mut frames, size_bytes, end.position).map_err(failed)?;
    let Some(torn_bytes) = torn_bytes else {
        let reason = format!("the record at position {} is not readable", end.position);
        return Err(JournalError::damaged(&last.name(), end.offset, reason));
    };
    let was_closed = closed::check(folder, &last, &end)?;
    if was_closed && torn_bytes > 0 {
        let reason = "the journal was closed here, but something follows";
        return Err(JournalError::damaged(&last.name(), end.offset, reason));
    }
    Ok(Some(Recovered { segments, last, file, size_bytes, index, epoch, was_closed, torn_bytes }))
}

/// All segments, each of which follows the one before.
fn chain(folder: &Path) -> Result<Vec<Segment>, JournalError> {
    let mut segments: Vec<Segment> = Vec::new();
    for found in list(folder)? {
        let header = found.header.map_err(|reason| {
            let reason = reason.unwrap_or_else(|| "it has no header".to_owned());
            JournalError::damaged(&found.name, 0, reason)
        })?;
        if let Some(before) = segments.last() {
            if before.id != header.id {
                let reason = "it belongs to another journal than the segment before it";
                return Err(JournalError::damaged(&found.name, 0, reason));
            }
            if header.previous != Some(before.first_position) {
                let reason = match header.previous {
                    Some(previous) => {
                        format!("it follows segment {previous:020}, which is missing")
                    }
                    None => "it is the first of its journal, but others come before it".to_owned(),
                };
                return Err(JournalError::damaged(&found.name, 0, reason));
            }
        }
        segments.push(header);
    }
    Ok(segments)
}

/// How many bytes at the end are not zero; `None` if a record follows that was written when the one
/// at `position` was durable.
fn tail(frames: &mut Frames, size_bytes: u64, position: u64) -> std::io::Result<Option<u64>> {
    let begin = frames.offset();
    frames.expect_from(position);
    let mut last_used = begin;
    let mut offset = begin;
    while offset < size_bytes {
        frames.seek(offset);
        match frames.next()? {
            Next::Whole(header, _) if header.durable > position => return Ok(None),
            Next::Whole(_, frame) => {
                offset += frame.len() as u64;
                last_used = offset;
            }
            Next::Bad => {
                offset += ALIGN_BYTES as u64;
                last_used = offset;
            }
            Next::Blank => offset += frames.zeros()?.max(ALIGN_BYTES as u64),
        }
    }
    Ok(Some(last_used.min(size_bytes) - begin))
}
