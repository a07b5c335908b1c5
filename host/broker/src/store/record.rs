//! The payload of a journal's record: one commit, as its events and its other rows.

use bytes::Bytes;
use usher_journal::{Entry, Journal, JournalError, Record};

use super::varint::{Parts, put, put_bytes};
use super::{Applied, Batch, Row, Space, StoreFailure, keys};

const VERSION: u8 = 1;

/// Marks the table of a row that is deleted.
const DELETED: u8 = 0x80;

/// A commit, to be appended.
pub(crate) struct Encoded {
    pub(crate) payload: Vec<u8>,
    pub(crate) first_sequence: u64,
    pub(crate) events: u32,
    /// The rows that go to tables.
    pub(crate) rows: Vec<Row>,
}

impl Encoded {
    /// Appends it to the journal, which ends here, and answers with its new end. It isn't durable yet.
    pub(crate) fn append(
        &self,
        journal: &dyn Journal,
        epoch: u64,
        end: Applied,
    ) -> Result<Applied, JournalError> {
        let Self { payload, first_sequence, events, .. } = self;
        let (first_sequence, events) = (*first_sequence, *events);
        journal.append(epoch, end.next, &Entry { first_sequence, events, payload: &[payload] })?;
        Ok(Applied { next: end.next + 1, next_sequence: first_sequence + u64::from(events) })
    }
}

/// Encodes a batch. Events that continue the log, whose next sequence this is, are not rows of a table:
/// the journal keeps them.
pub(crate) fn encode(batch: Batch, next_sequence: u64) -> Encoded {
    let mut first_sequence = next_sequence;
    let mut end = next_sequence;
    let (mut events, mut rows) = (Vec::new(), Vec::new());
    for row in batch.rows {
        match (row.space, keys::first_number(&row.key), &row.value) {
            // There may be a gap before the first: what a rescued log has lost.
            (Space::Events, Some(sequence), Some(record))
                if sequence == end || (events.is_empty() && sequence > end) =>
            {
                if events.is_empty() {
                    first_sequence = sequence;
                }
                events.push(record.clone());
                end = sequence + 1;
            }
            _ => rows.push(row),
        }
    }
    let payload = payload(&events, &rows);
    let events = u32::try_from(events.len()).unwrap_or(u32::MAX);
    Encoded { payload, first_sequence, events, rows }
}

/// The payload of a record with these events and rows.
pub(crate) fn payload(events: &[Bytes], rows: &[Row]) -> Vec<u8> {
    let bytes = events.iter().map(|event| event.len() + 3).sum::<usize>()
        + rows.iter().map(Row::bytes).sum::<usize>();
    let mut payload = Vec::with_capacity(bytes + 16);
    payload.push(VERSION);
    put(&mut payload, events.len() as u64);
    for event in events {
        put_bytes(&mut payload, event);
    }
    for Row { space, key, value } in rows {
        match value {
            Some(value) => {
                payload.push(space.number());
                put_bytes(&mut payload, key);
                put_bytes(&mut payload, value);
            }
            None => {
                payload.push(space.number() | DELETED);
                put_bytes(&mut payload, key);
            }
        }
    }
    payload
}

/// A record's events, without its rows.
pub(crate) struct Events {
    parts: Parts,
    left: u32,
}

impl Events {
    /// Those of a record; `None` if it is of a later version.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let mut parts = Parts::versioned(&record.payload, VERSION)?;
        let left = parts.number_as::<u32>()?;
        (left == record.events).then_some(Self { parts, left })
    }

    /// All of them; `None` if they can't be read.
    pub(crate) fn all(mut self) -> Option<Vec<Bytes>> {
        (0..self.left).map(|_| self.parts.bytes()).collect()
    }

    /// The record's rows; `None` if they can't be read.
    pub(crate) fn rows(mut self) -> Option<Vec<Row>> {
        for _ in 0..self.left {
            self.parts.bytes()?;
        }
        self.rest()
    }

    /// Events and rows; `None` if they can't be read.
    pub(crate) fn parts(mut self) -> Option<(Vec<Bytes>, Vec<Row>)> {
        let events = (0..self.left).map(|_| self.parts.bytes()).collect::<Option<_>>()?;
        Some((events, self.rest()?))
    }

    fn rest(mut self) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        while !self.parts.is_empty() {
            let tag = self.parts.byte()?;
            let space = Space::numbered(tag & !DELETED)?;
            let key = self.parts.bytes()?;
            let value = if tag & DELETED == 0 { Some(self.parts.bytes()?) } else { None };
            rows.push(Row { space, key, value });
        }
        Some(rows)
    }
}

/// Where tables stand once they have a record's rows.
pub(crate) fn applied(record: &Record) -> Applied {
    Applied { next: record.position + 1, next_sequence: record.next_sequence() }
}

/// A record that can't be understood.
pub(crate) fn unreadable(record: &Record) -> StoreFailure {
    StoreFailure(format!(
        "journal record {} can't be understood: it is damaged, or a newer version of usher wrote it",
        record.position
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(encoded: &Encoded) -> Record {
        let Encoded { payload, first_sequence, events, .. } = encoded;
        let payload = Bytes::from(payload.clone());
        let (first_sequence, events) = (*first_sequence, *events);
        Record { position: 4, epoch: 1, first_sequence, events, payload }
    }

    #[test]
    fn events_and_rows_are_told_apart_and_read_back() {
        let mut batch = Batch::default();
        batch.put(Space::Cursors, keys::subscription(1), vec![1; 300]);
        batch.put(Space::Events, keys::number(7), vec![7]);
        batch.put(Space::Events, keys::number(8), vec![]);
        // An event that retention had removed is put back.
        batch.put(Space::Events, keys::number(2), vec![2]);
        batch.delete(Space::Retries, keys::retry(1, 2));
        let rows = batch.rows.clone();
        let encoded = encode(batch, 7);
        let read = record(&encoded);
        assert_eq!((read.first_sequence, read.events), (7, 2));
        assert_eq!(applied(&read).next_sequence, 9);
        let events = Events::of(&read).unwrap().all().unwrap();
        assert_eq!(events, [vec![7], vec![]]);
        let expected = [&rows[0], &rows[3], &rows[4]].map(Row::clone);
        assert_eq!(Events::of(&read).unwrap().rows().unwrap(), expected);
        assert_eq!(encoded.rows, expected);
    }

    #[test]
    fn a_cut_payload_is_not_read() {
        let mut batch = Batch::default();
        batch.put(Space::Events, keys::number(1), vec![1; 5]);
        batch.put(Space::State, vec![3; 9], vec![4; 200]);
        let encoded = encode(batch, 1);
        for end in 0..encoded.payload.len() {
            let mut cut = record(&encoded);
            cut.payload = cut.payload.slice(..end);
            let rows = Events::of(&cut).and_then(Events::rows);
            // Only a cut between two rows leaves something that can be read; the checksum is for that.
            assert!(rows.is_none_or(|rows| rows.is_empty()), "cut at {end}");
        }
    }
}
