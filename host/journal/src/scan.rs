//! Reads all of a journal that is readable, whatever is damaged: for verifying and rescuing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::closed;
use crate::index::{Index, Place};
use crate::reader::{Frames, Next};
use crate::record::ALIGN_BYTES;
use crate::segment::{HEADER_BYTES, Segment, list, seed};
use crate::{JournalError, Record};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Segments.
    pub segments: u64,
    /// Records that are whole.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The position of the first record, and the one that the next record gets.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// What is missing, oldest first.
    pub gaps: Vec<Gap>,
    /// Bytes at the end of the last segment that are no record and that nobody was told of.
    pub torn_bytes: u64,
    /// Bytes that are not readable and that somebody was told of, as far as they are there.
    pub lost_bytes: u64,
    /// Whether the journal ends where it ended when it was closed.
    pub was_closed: bool,
}

/// Records that are missing or not readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal {segment} at byte {byte}: {reason}{}", missing(*from, *to))]
pub struct Gap {
    /// The segment's file.
    pub segment: String,
    /// Where in it.
    pub byte: u64,
    /// What was found there.
    pub reason: String,
    /// The first position that is missing, and the first that is there again. The same where it isn't
    /// known what is missing.
    pub from: u64,
    /// See `from`.
    pub to: u64,
}

fn missing(from: u64, to: u64) -> String {
    match to.saturating_sub(from) {
        0 => String::new(),
        count => format!("; {count} records from position {from} on"),
    }
}

/// Reads the journal of a folder, and calls `each` with every record that is whole, in order.
///
/// # Errors
/// The disk can't be read, or `each` fails.
pub fn scan<E: From<JournalError>>(
    folder: &Path,
    mut each: impl FnMut(&Record) -> Result<(), E>,
) -> Result<Scan, E> {
    let found = list(folder)?;
    // Without any header nothing can be checked.
    let id = found.iter().find_map(|found| found.header.as_ref().ok()).map(|header| header.id);
    let mut scan = Scan { segments: found.len() as u64, ..Scan::default() };
    let closed_at = id.and_then(|id| closed::position(folder, &id)).unwrap_or_default();
    let mut expected = None;
    // Where the last segment's records end.
    let mut last: Option<(Segment, Place)> = None;
    let count = found.len();
    for (number, found) in found.into_iter().enumerate() {
        let failed = |error| JournalError::io("cannot read", &found.path)(error);
        let file = File::open(&found.path).map_err(failed)?;
        let size_bytes = file.metadata().map_err(failed)?.len();
        scan.bytes += size_bytes;
        let gap = |byte, reason: &str, from, to| Gap {
            segment: found.name.clone(),
            byte,
            reason: reason.to_owned(),
            from,
            to,
        };
        let first = match &found.header {
            Ok(Segment { id: own, first_position, .. }) if Some(*own) == id => *first_position,
            Ok(_) => {
                let at = expected.unwrap_or_default();
                scan.gaps.push(gap(0, "it belongs to another journal", at, at));
                continue;
            }
            Err(reason) => {
                let at = expected.unwrap_or_default();
                let reason = reason.as_deref().unwrap_or("it has no header");
                scan.gaps.push(gap(0, reason, at, at));
                expected.unwrap_or_default()
            }
        };
        let next = expected.get_or_insert(first);
        if scan.records == 0 && scan.gaps.is_empty() {
            scan.start = *next;
        }
        if first > *next {
            scan.gaps.push(gap(0, "what comes before it is missing", *next, first));
            *next = first;
        }
        let Some(id) = id else { continue };
        let mut frames = Frames::new(Arc::new(file), seed(&id), HEADER_BYTES, size_bytes);
        last = found.header.as_ref().ok().map(|header| (*header, Index::new(header).end));
        // Where reading broke off, and what else is there that is no record.
        let mut broken: Option<(u64, u64)> = None;
        while frames.offset() < size_bytes {
            let offset = frames.offset();
            match frames.next().map_err(failed)? {
                Next::Whole(header, frame) => {
                    let is_lost = header.position > *next
                        && (number + 1 < count || header.durable.max(closed_at) > *next);
                    if header.position < *next {
                        continue;
                    }
                    if header.position > *next && !is_lost {
                        // Under way together with one that didn't become durable.
                        broken = Some((broken.map_or(offset, |(from, _)| from), frames.offset()));
                        continue;
                    }
                    if let Some((from, to)) = broken.take() {
                        scan.lost_bytes += to - from;
                        scan.gaps.push(gap(from, "it is not readable", *next, header.position));
                    } else if header.position > *next {
                        scan.gaps.push(gap(offset, "records are missing", *next, header.position));
                    }
                    *next = header.position + 1;
                    scan.records += 1;
                    if let Some((_, end)) = &mut last {
                        let (first_sequence, offset) = (header.next_sequence(), frames.offset());
                        *end = Place { position: *next, first_sequence, offset };
                    }
                    each(&header.record(&frame))?;
                }
                Next::Bad => {
                    frames.expect_from(*next);
                    let end = offset + ALIGN_BYTES as u64;
                    broken = Some((broken.map_or(offset, |(from, _)| from), end));
                    frames.seek(end);
                }
                Next::Blank => {
                    let zeros = frames.zeros().map_err(failed)?.max(ALIGN_BYTES as u64);
                    frames.seek(offset + zeros);
                }
            }
        }
        if let Some((from, to)) = broken {
            match number + 1 == count {
                true => scan.torn_bytes = to.min(size_bytes) - from,
                false => {
                    scan.lost_bytes += to - from;
                    scan.gaps.push(gap(from, "it is not readable", *next, *next));
                }
            }
        }
    }
    scan.end = expected.unwrap_or_default();
    if let Some((segment, end)) = last {
        match closed::check(folder, &segment, &end) {
            Ok(was_closed) => scan.was_closed = was_closed && scan.torn_bytes == 0,
            Err(JournalError::Damaged { segment, byte, reason }) => {
                let (from, to) = (scan.end, scan.end);
                scan.gaps.push(Gap { segment, byte, reason, from, to });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(scan)
}
