//! What every provider does: the same for each, whatever keeps it.

use usher_journal::{Entry, Journal, JournalError, RECORD_MAX_BYTES, Record};

/// Events of the record at a position: 0, 1 or 2.
pub(crate) fn events(position: u64) -> u32 {
    (position % 3) as u32
}

/// The sequence of the first event of the record at a position, or the next one.
pub(crate) fn first_sequence(position: u64) -> u64 {
    1 + (0..position).map(|before| u64::from(events(before))).sum::<u64>()
}

pub(crate) fn payload(position: u64) -> Vec<u8> {
    let length = 1 + (position * 7_919 % 997) as usize;
    vec![position as u8; length]
}

pub(crate) fn append(journal: &dyn Journal, epoch: u64, position: u64) -> Result<(), JournalError> {
    let payload = payload(position);
    let (first, rest) = payload.split_at(payload.len() / 2);
    let entry = Entry {
        first_sequence: first_sequence(position),
        events: events(position),
        payload: &[first, rest],
    };
    journal.append(epoch, position, &entry)
}

/// Appends up to a position, durably.
pub(crate) fn fill(journal: &dyn Journal, to: u64) {
    let epoch = journal.claim().unwrap();
    for position in journal.end()..to {
        append(journal, epoch, position).unwrap();
        journal.sync(position).unwrap();
    }
}

pub(crate) fn check(record: &Record) {
    let Record { position, first_sequence: first, events: count, payload: bytes, .. } = record;
    assert_eq!((*first, *count), (first_sequence(*position), events(*position)));
    assert_eq!(*bytes, payload(*position));
}

/// The positions that are read, each record as it was appended.
pub(crate) fn positions(journal: &dyn Journal, from: u64) -> Vec<u64> {
    let records = journal.read(from, u64::MAX).unwrap().map(Result::unwrap);
    records.inspect(check).map(|record| record.position).collect()
}

pub(crate) fn does_what_a_journal_does(journal: &dyn Journal) {
    assert_eq!((journal.start(), journal.end()), (0, 0));
    assert!(positions(journal, 0).is_empty());
    fill(journal, 300);
    assert_eq!(positions(journal, 0), (0..300).collect::<Vec<_>>());
    assert_eq!(positions(journal, 123), (123..300).collect::<Vec<_>>());
    let bounded: Vec<_> = journal.read(10, 20).unwrap().map(|one| one.unwrap().position).collect();
    assert_eq!(bounded, (10..20).collect::<Vec<_>>());
    for position in 0..300 {
        for sequence in first_sequence(position)..first_sequence(position + 1) {
            let near = journal.near(sequence).unwrap();
            assert!(near <= position, "sequence {sequence}");
        }
    }
    let epoch = journal.claim().unwrap();
    let newer = journal.claim().unwrap();
    assert!(newer > epoch);
    let fenced = append(journal, epoch, 300).unwrap_err();
    assert!(matches!(fenced, JournalError::Fenced { .. }), "{fenced}");
    let elsewhere = append(journal, newer, 301).unwrap_err();
    assert!(matches!(elsewhere, JournalError::Position { asked: 301, end: 300 }), "{elsewhere}");
    let long = vec![0; RECORD_MAX_BYTES + 1];
    let entry = Entry { first_sequence: 1, events: 0, payload: &[&long] };
    let long = journal.append(newer, 300, &entry).unwrap_err();
    assert!(matches!(long, JournalError::TooLarge { .. }), "{long}");
    // Several may be under way.
    for position in 300..310 {
        append(journal, newer, position).unwrap();
    }
    journal.sync(309).unwrap();
    let record = journal.read(305, 306).unwrap().next().unwrap().unwrap();
    assert_eq!(record.epoch, newer);
    let start = journal.trim(200).unwrap();
    assert!(start <= 200 && start == journal.start());
    assert_eq!(positions(journal, start), (start..310).collect::<Vec<_>>());
    if let Some(before) = start.checked_sub(1) {
        let trimmed = journal.read(before, 400).err().unwrap();
        assert!(matches!(trimmed, JournalError::Trimmed { .. }), "{trimmed}");
    }
}
