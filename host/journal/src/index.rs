//! A segment's sparse index: where some of its records begin. It is written beside a sealed segment,
//! and rebuilt from the segment where it is missing.

use std::path::Path;
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::JournalError;
use crate::record::Header;
use crate::segment::{HEADER_BYTES, Segment, seed};

/// Distance of two records that are in the index; at least this.
const EVERY_BYTES: u64 = 64 * 1_024;

/// Bytes of an entry, and of each number before the entries.
const NUMBER_BYTES: usize = 8;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) first_sequence: u64,
    pub(crate) offset: u64,
}

/// Places in rising order, the first record's first; and where the records end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    places: Vec<Place>,
    /// Behind the last record: its `first_sequence` is the next event's.
    pub(crate) end: Place,
}

impl Index {
    /// That of an empty segment.
    pub(crate) fn new(segment: &Segment) -> Self {
        let Segment { first_position: position, first_sequence, .. } = *segment;
        let first = Place { position, first_sequence, offset: HEADER_BYTES };
        Self { places: vec![first], end: first }
    }

    /// Notes the record at the end.
    pub(crate) fn push(&mut self, header: &Header, frame_bytes: usize) {
        let offset = self.end.offset;
        let last = self.places.last().map_or(0, |place| place.offset);
        if offset >= last + EVERY_BYTES {
            self.places.push(Place {
                position: header.position,
                first_sequence: header.first_sequence,
                offset,
            });
        }
        self.end = Place {
            position: header.position + 1,
            first_sequence: header.next_sequence(),
            offset: offset + frame_bytes as u64,
        };
    }

    /// The last place at or before a position.
    pub(crate) fn at(&self, position: u64) -> Place {
        self.before(|place| place.position <= position)
    }

    /// The last place at or before the record that holds a sequence.
    pub(crate) fn near(&self, sequence: u64) -> Place {
        self.before(|place| place.first_sequence <= sequence)
    }

    fn before(&self, is_before: impl Fn(&Place) -> bool) -> Place {
        let count = self.places.partition_point(is_before);
        self.places.get(count.saturating_sub(1)).copied().unwrap_or(self.end)
    }

    /// Writes it beside its segment. A crash may leave a part of it, which doesn't read.
    pub(crate) fn write(&self, folder: &Path, segment: &Segment) -> io::Result<()> {
        let places = self.places.iter().chain([&self.end]);
        let numbers = places.flat_map(|place| [place.position, place.first_sequence, place.offset]);
        let mut bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        let checksum = xxh3_64_with_seed(&bytes, index_seed(segment));
        bytes.extend_from_slice(&checksum.to_le_bytes());
        fs::write(segment.index_path(folder), bytes)
    }

    /// Reads that of a segment; `None` if it is missing or not whole.
    pub(crate) fn read(folder: &Path, segment: &Segment) -> Result<Option<Self>, JournalError> {
        let path = segment.index_path(folder);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io("cannot read", &path)(error)),
        };
        Ok(Self::parse(&bytes, segment))
    }

    fn parse(bytes: &[u8], segment: &Segment) -> Option<Self> {
        let (checked, checksum) = bytes.split_last_chunk::<NUMBER_BYTES>()?;
        if xxh3_64_with_seed(checked, index_seed(segment)) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let numbers = checked.as_chunks::<NUMBER_BYTES>().0.iter();
        let numbers: Vec<u64> = numbers.map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let (places, rest) = numbers.as_chunks::<3>();
        let mut places: Vec<Place> = places
            .iter()
            .map(|&[position, first_sequence, offset]| Place { position, first_sequence, offset })
            .collect();
        let end = places.pop()?;
        (rest.is_empty() && !places.is_empty()).then_some(Self { places, end })
    }
}

/// Of another segment's index the checksum is another.
fn index_seed(segment: &Segment) -> u64 {
    seed(&segment.id) ^ segment.first_position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_at_or_before_is_found_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let segment =
            Segment { id: [1; 16], first_position: 10, first_sequence: 5, previous: None };
        let mut index = Index::new(&segment);
        for number in 0..100 {
            let (first_sequence, payload) = (5 + 2 * number, vec![0; 5_000]);
            let entry = crate::Entry { first_sequence, events: 2, payload: &[&payload] };
            let mut frame = Vec::new();
            crate::record::write(&mut frame, &entry, 10 + number, 1, 0, 0);
            let crate::record::Frame::Header(header, bytes) = Header::read(&frame) else {
                panic!()
            };
            index.push(&header, bytes);
        }
        assert_eq!((index.end.position, index.end.first_sequence), (110, 205));
        assert!(index.places.len() > 5 && index.places.len() < 10);
        for position in 10..110 {
            let place = index.at(position);
            assert!(place.position <= position && position - place.position < 20);
            let sequence = 5 + 2 * (position - 10) + 1;
            assert_eq!(index.near(sequence), place);
        }
        index.write(folder.path(), &segment).unwrap();
        assert_eq!(Index::read(folder.path(), &segment).unwrap(), Some(index));
        let path = segment.index_path(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Index::read(folder.path(), &segment).unwrap(), None);
    }
}
