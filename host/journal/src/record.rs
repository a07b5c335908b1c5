//! A record's frame: a header of fixed size, the payload, and zeros up to a multiple of eight bytes.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::JournalError;
use crate::segment::{JournalId, seed};

/// Maximum payload of a record.
pub const RECORD_MAX_BYTES: usize = 256 * 1_024 * 1_024;

/// Size of a frame's header.
pub(crate) const HEADER_BYTES: usize = 48;

/// Frames begin at multiples of this.
pub(crate) const ALIGN_BYTES: usize = 8;

/// Where the fields behind the checksum begin.
const CHECKED_FROM: usize = 8;

/// A record to be appended. Its payload may come in parts, which are joined.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The sequence of its first event; without events, the one that the next event will get.
    pub first_sequence: u64,
    /// How many events it holds.
    pub events: u32,
    /// What its writer makes of it; not empty.
    pub payload: &'a [&'a [u8]],
}

impl Entry<'_> {
    /// Whether it is short enough for a record.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`].
    pub fn check_size(&self) -> Result<(), JournalError> {
        match self.payload_bytes() {
            bytes if bytes > RECORD_MAX_BYTES => {
                Err(JournalError::TooLarge { bytes, limit_bytes: RECORD_MAX_BYTES })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.iter().map(|part| part.len()).sum()
    }
}

/// Whether a record of this epoch may be appended at this position, where `newest` is the newest epoch and
/// `end` the end of the journal.
///
/// # Errors
/// [`JournalError::Fenced`] or [`JournalError::Position`].
pub fn check_place(
    (epoch, newest): (u64, u64),
    (position, end): (u64, u64),
) -> Result<(), JournalError> {
    if epoch < newest {
        return Err(JournalError::Fenced { epoch, newer: newest });
    }
    if position != end {
        return Err(JournalError::Position { asked: position, end });
    }
    Ok(())
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub position: u64,
    /// In which epoch it was appended.
    pub epoch: u64,
    /// The sequence of its first event; without events, the one that the next event got.
    pub first_sequence: u64,
    /// How many events it holds.
    pub events: u32,
    /// What its writer makes of it.
    pub payload: Bytes,
}

impl Record {
    /// The sequence of the event that comes after its last one.
    pub fn next_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.events)
    }

    /// The frame of a record that goes elsewhere than to segments, where all before it are durable.
    pub fn frame(entry: &Entry<'_>, position: u64, epoch: u64, id: &JournalId) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame, entry, position, epoch, position, seed(id));
        frame
    }

    /// The record in a frame; `None` if the frame isn't as it was written, or not of this journal.
    pub fn from_frame(frame: &Bytes, id: &JournalId) -> Option<Self> {
        match Header::read(frame) {
            Frame::Header(header, _) if header.is_whole(frame, seed(id)) => {
                Some(header.record(frame))
            }
            _ => None,
        }
    }
}

/// A header that was read, not yet compared with its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    checksum: u64,
    payload_bytes: u32,
    pub(crate) events: u32,
    pub(crate) position: u64,
    pub(crate) epoch: u64,
    pub(crate) first_sequence: u64,
    /// Records before this position were durable when this one was written.
    pub(crate) durable: u64,
}

/// What stands at a place in a segment.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Nothing was ever written here.
    Blank,
    /// A header that may be one; the frame is this long.
    Header(Header, usize),
    /// Neither.
    Unreadable,
}

/// The length of a frame with a payload of this length.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN_BYTES)
}

impl Header {
    /// Reads the header at the beginning of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Frame {
        let begin = bytes.get(..HEADER_BYTES).unwrap_or(bytes);
        if begin.iter().all(|byte| *byte == 0) {
            return Frame::Blank;
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Frame::Unreadable };
        let [checksum, sizes, position, epoch, first_sequence, durable] = words(bytes);
        let (payload_bytes, events) = (sizes as u32, (sizes >> 32) as u32);
        if payload_bytes == 0 || payload_bytes as usize > RECORD_MAX_BYTES {
            return Frame::Unreadable;
        }
        let header =
            Self { checksum, payload_bytes, events, position, epoch, first_sequence, durable };
        Frame::Header(header, frame_bytes(payload_bytes as usize))
    }

    /// Whether a frame, which begins with this header, is as it was written.
    pub(crate) fn is_whole(&self, frame: &[u8], seed: u64) -> bool {
        let end = HEADER_BYTES + self.payload_bytes as usize;
        let checked = frame.get(CHECKED_FROM..end);
        checked.is_some_and(|checked| xxh3_64_with_seed(checked, seed) == self.checksum)
    }

    /// The record in a frame that is whole.
    pub(crate) fn record(&self, frame: &Bytes) -> Record {
        let end = (HEADER_BYTES + self.payload_bytes as usize).min(frame.len());
        Record {
            position: self.position,
            epoch: self.epoch,
            first_sequence: self.first_sequence,
            events: self.events,
            payload: frame.slice(HEADER_BYTES.min(end)..end),
        }
    }

    /// The sequence that follows those of its events.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first_sequence.saturating_add(u64::from(self.events))
    }
}

fn words(bytes: &[u8; HEADER_BYTES]) -> [u64; HEADER_BYTES / 8] {
    let mut words = [0; HEADER_BYTES / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Writes a frame over a buffer. The seed, which comes from the journal's id, makes a record of
/// another journal unreadable.
pub(crate) fn write(
    buffer: &mut Vec<u8>,
    entry: &Entry<'_>,
    position: u64,
    epoch: u64,
    durable: u64,
    seed: u64,
) {
    let payload_bytes = entry.payload_bytes();
    buffer.clear();
    buffer.reserve(frame_bytes(payload_bytes));
    let sizes = payload_bytes as u64 | u64::from(entry.events) << 32;
    for word in [0, sizes, position, epoch, entry.first_sequence, durable] {
        buffer.extend_from_slice(&word.to_le_bytes());
    }
    for part in entry.payload {
        buffer.extend_from_slice(part);
    }
    let checksum = xxh3_64_with_seed(buffer.get(CHECKED_FROM..).unwrap_or_default(), seed);
    if let Some(first) = buffer.first_chunk_mut::<8>() {
        *first = checksum.to_le_bytes();
    }
    buffer.resize(frame_bytes(payload_bytes), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let entry = Entry { first_sequence: 9, events: 2, payload: &[payload] };
        write(&mut buffer, &entry, 5, 3, 4, SEED);
        buffer
    }

    #[test]
    fn what_is_written_is_read() {
        for length in 1..40 {
            let bytes = frame(&vec![1; length]);
            assert_eq!(bytes.len() % ALIGN_BYTES, 0);
            let Frame::Header(header, frame_bytes) = Header::read(&bytes) else { panic!() };
            assert_eq!(frame_bytes, bytes.len());
            assert_eq!((header.durable, header.next_sequence()), (4, 11));
            assert!(header.is_whole(&bytes, SEED) && !header.is_whole(&bytes, SEED + 1));
            let record = header.record(&Bytes::from(bytes));
            let Record { position, epoch, first_sequence, events, payload } = record;
            assert_eq!((position, epoch, first_sequence, events), (5, 3, 9, 2));
            assert_eq!(payload, vec![1; length]);
        }
    }

    #[test]
    fn every_bit_is_checked() {
        let whole = frame(b"payload");
        let end = HEADER_BYTES + b"payload".len();
        for bit in 0..end * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Frame::Header(header, _) = Header::read(&bytes) {
                assert!(!header.is_whole(&bytes, SEED), "bit {bit}");
            }
        }
    }

    #[test]
    fn zeros_are_nothing() {
        assert!(matches!(Header::read(&[0; 100]), Frame::Blank));
        assert!(matches!(Header::read(&[]), Frame::Blank));
        assert!(matches!(Header::read(&[1; 10]), Frame::Unreadable));
        assert!(matches!(Header::read(&[255; 100]), Frame::Unreadable));
    }
}
