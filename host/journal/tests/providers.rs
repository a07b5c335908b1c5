//! What every provider does, and what the local one makes of damaged files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by failing what went wrong"
)]

mod provider;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use provider::{append, check, does_what_a_journal_does, fill, first_sequence, positions};
use tempfile::TempDir;
use usher_journal::{
    Entry, Gap, Journal, JournalError, LocalJournal, LocalOptions, MemoryJournal, Record, Recovery,
    Replica as _, ReplicaOf, Scan, scan,
};

#[test]
fn in_memory() {
    does_what_a_journal_does(&MemoryJournal::default());
}

#[test]
fn local() {
    let folder = tempfile::tempdir().unwrap();
    does_what_a_journal_does(&open(folder.path()).0);
}

/// A replica goes on from where it begins, and may be begun anew in the same folder.
#[test]
fn a_replica_begins_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (original, _) = open(folder.path());
    fill(&original, 40);
    let path = folder.path().join("replica");
    for start in [30, 0, 12] {
        let of = ReplicaOf { id: original.id(), position: start, sequence: first_sequence(start) };
        let replica = LocalJournal::replica(&path, LocalOptions::default(), of).unwrap();
        assert_eq!((replica.start(), replica.end(), replica.id()), (start, start, original.id()));
        replica.follow(7).unwrap();
        for position in start..40 {
            append(&replica, 7, position).unwrap();
        }
        assert_eq!(positions(&replica, start), (start..40).collect::<Vec<_>>());
        if start == 0 {
            replica.close().unwrap();
        }
        drop(replica);
        let (replica, _) = LocalJournal::open(&path, LocalOptions::default()).unwrap();
        assert_eq!((replica.start(), replica.end(), replica.id()), (start, 40, original.id()));
    }
}

#[test]
fn a_crash_in_memory_leaves_what_is_durable_and_some_of_the_rest() {
    let journal = MemoryJournal::default();
    fill(&journal, 5);
    let epoch = journal.claim().unwrap();
    for position in 5..9 {
        append(&journal, epoch, position).unwrap();
    }
    assert_eq!(journal.under_way(), 4);
    journal.crash(1);
    assert_eq!(positions(&journal, 0), (0..6).collect::<Vec<_>>());
    journal.fail_next_append();
    append(&journal, epoch, 6).unwrap_err();
    append(&journal, epoch, 6).unwrap_err();
    journal.crash(0);
    append(&journal, epoch, 6).unwrap();
    journal.fail_next_sync();
    journal.sync(6).unwrap_err();
}

/// Shortens the payloads of all parts but the last few, and returns up to where.
fn shorten(journal: &dyn Journal) -> u64 {
    let mut from = journal.start();
    while let Some(part) = journal.part(from) {
        assert!(part.start >= from && part.end > part.start);
        let before = journal.size_bytes(part.start).unwrap();
        let short = |record: &Record| Some(record.payload[..1].to_vec());
        assert!(journal.rewrite(part.clone(), &mut { short }).unwrap());
        assert!(journal.size_bytes(part.start).unwrap() < before);
        from = part.end;
    }
    from
}

#[test]
fn a_part_is_rewritten_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let providers: [&dyn Journal; 2] = [&MemoryJournal::default(), &open(folder.path()).0];
    for journal in providers {
        large(journal, 400);
        let part = journal.part(0).unwrap();
        let mut left = part.end - part.start;
        let mut stops = |record: &Record| {
            left -= 1;
            (left > 0).then(|| record.payload[..1].to_vec())
        };
        assert!(!journal.rewrite(part.clone(), &mut stops).unwrap());
        let mut reading = journal.read(0, u64::MAX).unwrap();
        let is_whole = |record: &Record| record.payload.len() > 1_000;
        assert!(is_whole(&reading.next().unwrap().unwrap()));
        let until = shorten(journal);
        // Who has begun to read goes on with what there was, or with what is there now.
        let records: Vec<_> = reading.map(Result::unwrap).collect();
        assert_eq!(records.len(), 399);
        for (record, position) in journal.read(0, u64::MAX).unwrap().zip(0..) {
            let record = record.unwrap();
            assert_eq!((record.position, record.first_sequence), (position, position + 1));
            assert_eq!(is_whole(&record), position >= until);
            assert!(journal.near(record.first_sequence).unwrap() <= position);
        }
        let start = journal.trim(until).unwrap();
        let gone = journal.rewrite(part, &mut |_| None).unwrap_err();
        assert!(start > 0 && matches!(gone, JournalError::Trimmed { .. }), "{gone}");
        large(journal, 410);
    }
    assert!(!folder.path().join("rewritten.new").exists());
}

/// Wherever the rewriting of a segment is interrupted, the journal is the one or the other.
#[test]
fn a_rewrite_may_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    large(&journal, 200);
    drop(journal);
    let before = copy(folder.path());
    let (journal, _) = open(folder.path());
    shorten(&journal);
    drop(journal);
    let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let first = name(&segments(folder.path())[0]);
    let index = Path::new(&first).with_extension("index");
    let rewritten = fs::read(folder.path().join(&first)).unwrap();
    // Half written; written and not yet renamed, with and without its index; renamed without one.
    let half = rewritten.len() / 2;
    for (aside, has_index, is_renamed) in [
        (half, true, false),
        (rewritten.len(), true, false),
        (half, false, false),
        (0, false, true),
    ] {
        let crashed = copy(before.path());
        fs::write(crashed.path().join("rewritten.new"), &rewritten[..aside]).unwrap();
        if is_renamed {
            fs::write(crashed.path().join(&first), &rewritten).unwrap();
        }
        if !has_index {
            fs::remove_file(crashed.path().join(&index)).unwrap();
        }
        let (journal, _) = open(crashed.path());
        let records: Vec<_> = journal.read(0, u64::MAX).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 200);
        assert_eq!(records[0].payload.len() == 1, is_renamed);
        journal.claim().unwrap();
        assert!(!crashed.path().join("rewritten.new").exists());
    }
}

/// Looking at a journal changes nothing, whatever its end is like.
#[test]
fn what_is_not_claimed_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    fill(&journal, 5);
    journal.close().unwrap();
    drop(journal);
    let files = || {
        let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.map(|path| (fs::read(&path).unwrap(), path)).collect();
        files.sort();
        files
    };
    let closed = files();
    let (journal, recovery) = open(folder.path());
    assert!(recovery.was_closed);
    journal.close().unwrap();
    drop(journal);
    assert!(files() == closed);
    let (journal, _) = open(folder.path());
    fill(&journal, 6);
    drop(journal);
    let path = &segments(folder.path())[0];
    let bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    write(path, last, &[bytes[last as usize] ^ 1]);
    let torn = files();
    let (journal, recovery) = open(folder.path());
    assert!(recovery.torn.is_some() && journal.end() == 5);
    assert_eq!(journal.read(0, 9).unwrap().count(), 5);
    append(&journal, 1, 5).unwrap_err();
    drop(journal);
    assert!(files() == torn);
}

const OPTIONS: LocalOptions = LocalOptions { segment_bytes: 1_024 * 1_024 };

fn open(folder: &Path) -> (LocalJournal, Recovery) {
    LocalJournal::open(folder, OPTIONS).unwrap()
}

fn refused(folder: &Path) -> String {
    let error = LocalJournal::open(folder, OPTIONS).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    error.to_string()
}

fn scanned(folder: &Path) -> (Scan, Vec<u64>) {
    let mut positions = Vec::new();
    let found = scan(folder, |record| {
        check(record);
        positions.push(record.position);
        Ok::<(), JournalError>(())
    });
    (found.unwrap(), positions)
}

/// Records of about 16 KiB, so that some segments are filled.
fn large(journal: &dyn Journal, to: u64) {
    let epoch = journal.claim().unwrap();
    for position in journal.end()..to {
        let payload = vec![position as u8; 16_000 + position as usize];
        let entry = Entry { first_sequence: 1 + position, events: 1, payload: &[&payload] };
        journal.append(epoch, position, &entry).unwrap();
        journal.sync(position).unwrap();
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect();
    found.sort();
    found
}

fn write(path: &Path, byte: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, byte).unwrap();
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

#[test]
fn segments_follow_each_other_and_are_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    large(&journal, 200);
    assert_eq!(segments(folder.path()).len(), 4);
    let read = |journal: &LocalJournal, from: u64| -> Vec<u64> {
        journal.read(from, u64::MAX).unwrap().map(|record| record.unwrap().position).collect()
    };
    assert_eq!(read(&journal, 0), (0..200).collect::<Vec<_>>());
    // Without an index it is made from the segment.
    drop(journal);
    for file in fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|end| end == "index") {
            fs::remove_file(file).unwrap();
        }
    }
    let (journal, recovery) = open(folder.path());
    assert_eq!(recovery, Recovery::default());
    assert_eq!(read(&journal, 70), (70..200).collect::<Vec<_>>());
    for sequence in 1..=200 {
        let near = journal.near(sequence).unwrap();
        assert!(near < sequence && sequence - near < 70, "{near} is near {sequence}");
    }
    let start = journal.trim(100).unwrap();
    assert!(start > 0 && start <= 100);
    assert_eq!(read(&journal, start), (start..200).collect::<Vec<_>>());
    assert_eq!(segments(folder.path()).len(), 3);
    large(&journal, 210);
    drop(journal);
    let (journal, _) = open(folder.path());
    assert_eq!(journal.start(), start);
    assert_eq!(read(&journal, start), (start..210).collect::<Vec<_>>());
    let (found, _) = {
        let mut count = 0;
        let found = scan(folder.path(), |_| {
            count += 1;
            Ok::<(), JournalError>(())
        });
        (found.unwrap(), count)
    };
    assert_eq!((found.start, found.end, found.gaps), (start, 210, Vec::new()));
}

#[test]
fn a_record_may_be_longer_than_a_segment() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    fill(&journal, 3);
    let long = vec![7; 3 * 1_024 * 1_024];
    let entry = Entry { first_sequence: first_sequence(3), events: 0, payload: &[&long] };
    journal.append(1, 3, &entry).unwrap();
    journal.sync(3).unwrap();
    drop(journal);
    let (journal, _) = open(folder.path());
    assert_eq!(journal.read(3, 4).unwrap().next().unwrap().unwrap().payload, long);
    assert_eq!(journal.end(), 4);
}

/// A crash may leave a segment without a record, in which the next one doesn't fit.
#[test]
fn a_segment_without_records_takes_one_of_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    large(&journal, 70);
    drop(journal);
    // The first record of the second segment was under way.
    let second = segments(folder.path()).pop().unwrap();
    let bytes = fs::read(&second).unwrap();
    let begin = (0..bytes.len() - 64).rfind(|at| bytes[*at..].starts_with(b"usherjnl")).unwrap();
    assert_eq!(begin, 0);
    write(&second, 64, &vec![0; bytes.len() - 64]);
    let (journal, _) = open(folder.path());
    let end = journal.end();
    assert_eq!(second.file_stem().unwrap().to_str().unwrap().parse(), Ok(end));
    let epoch = journal.claim().unwrap();
    let long = vec![9; 3 * 1_024 * 1_024];
    let entry = Entry { first_sequence: 1 + end, events: 1, payload: &[&long] };
    journal.append(epoch, end, &entry).unwrap();
    journal.sync(end).unwrap();
    large(&journal, end + 70);
    journal.trim(end + 60).unwrap();
    drop(journal);
    let (journal, _) = open(folder.path());
    assert_eq!(journal.end(), end + 70);
    let records = journal.read(journal.start(), u64::MAX).unwrap();
    assert_eq!(records.map(Result::unwrap).count() as u64, journal.end() - journal.start());
}

/// What follows a torn record is looked through once, whatever bytes it has.
#[test]
fn a_long_torn_tail_is_cut_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    fill(&journal, 3);
    let noise = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8;
    let payload: Vec<u8> = (0..900_000).map(noise).collect();
    let entry = Entry { first_sequence: first_sequence(3), events: 0, payload: &[&payload] };
    journal.append(1, 3, &entry).unwrap();
    drop(journal);
    let path = &segments(folder.path())[0];
    let bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    write(path, last, &[bytes[last as usize] ^ 1]);
    let (journal, recovery) = open(folder.path());
    assert_eq!(journal.end(), 3);
    assert!(recovery.torn.unwrap().0 > 899_000);
}

/// Invariant 9: whatever part of the last record reached the disk, it is cut off whole.
#[test]
fn a_torn_tail_is_cut_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, recovery) = open(folder.path());
    assert!(recovery.was_closed, "nothing was there");
    fill(&journal, 8);
    drop(journal);
    let path = &segments(folder.path())[0];
    let whole = fs::read(path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let begin = {
        let (journal, _) = open(folder.path());
        let record = journal.read(7, 8).unwrap().next().unwrap().unwrap();
        end.next_multiple_of(8) - (48 + record.payload.len()).next_multiple_of(8)
    };
    for kept in begin + 1..end {
        let mut torn = whole.clone();
        torn[kept..].fill(0);
        fs::write(path, &torn).unwrap();
        let (found, _) = scanned(folder.path());
        let (journal, recovery) = open(folder.path());
        assert_eq!(journal.end(), 7, "cut at {kept}");
        let (bytes, segment) = recovery.torn.expect("a torn tail");
        assert!(bytes > 0 && bytes <= (end.next_multiple_of(8) - begin) as u64, "{bytes}");
        assert_eq!(segment, path.file_name().unwrap().to_str().unwrap());
        assert_eq!((found.end, found.gaps, found.torn_bytes), (7, Vec::new(), bytes));
        // What was cut off never comes back.
        fill(&journal, 8);
        assert_eq!(positions(&journal, 0), (0..8).collect::<Vec<_>>());
        drop(journal);
        assert_eq!(open(folder.path()).1, Recovery::default());
    }
}

/// Of several records under way, a later one may reach the disk without an earlier one.
#[test]
fn records_under_way_are_cut_off_together() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    fill(&journal, 5);
    for position in 5..9 {
        append(&journal, 1, position).unwrap();
    }
    let path = &segments(folder.path())[0];
    let bytes = fs::read(path).unwrap();
    drop(journal);
    let of_five = bytes.windows(2).position(|two| two == [5, 5]).unwrap();
    write(path, of_five as u64, &[0]);
    let (found, positions) = scanned(folder.path());
    assert_eq!((found.gaps, positions), (Vec::new(), (0..5).collect()));
    let (journal, recovery) = open(folder.path());
    assert!(recovery.torn.is_some());
    assert_eq!(journal.end(), 5);
}

/// Invariant 9: damage is reported with its place, and nothing is changed.
#[test]
fn damage_before_what_was_durable_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    fill(&journal, 8);
    drop(journal);
    let path = &segments(folder.path())[0];
    let bytes = fs::read(path).unwrap();
    let of_five = bytes.windows(4).position(|four| four == [5; 4]).unwrap() as u64;
    write(path, of_five, &[9]);
    let before = fs::read(path).unwrap();
    let words = refused(folder.path());
    assert!(words.contains("00000000000000000000.segment"), "{words}");
    assert!(words.contains("the record at position 5 is not readable"), "{words}");
    assert_eq!(fs::read(path).unwrap(), before);
    let (found, positions) = scanned(folder.path());
    assert_eq!(positions, [0, 1, 2, 3, 4, 6, 7]);
    let [Gap { from: 5, to: 6, .. }] = found.gaps[..] else { panic!("{:?}", found.gaps) };
}

#[test]
fn a_sealed_segment_tells_its_damage_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    large(&journal, 100);
    let path = &segments(folder.path())[0];
    write(path, 200_000, &[250; 4]);
    let mut records = journal.read(0, 100).unwrap();
    let damaged = records.find_map(Result::err).unwrap();
    assert!(matches!(&damaged, JournalError::Damaged { .. }), "{damaged}");
    assert!(records.next().is_none());
    let good: Vec<_> = journal.read(40, 100).unwrap().map(|one| one.unwrap().position).collect();
    assert_eq!(good, (40..100).collect::<Vec<_>>());
}

#[test]
fn a_closed_journal_has_nothing_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    fill(&journal, 8);
    journal.close().unwrap();
    drop(journal);
    let copied = copy(folder.path());
    let (journal, recovery) = open(folder.path());
    assert!(recovery.was_closed);
    journal.claim().unwrap();
    drop(journal);
    assert!(!open(folder.path()).1.was_closed, "it is removed when the journal is claimed");

    let path = &segments(copied.path())[0];
    let whole = fs::read(path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    write(path, end, &[0]);
    let words = refused(copied.path());
    assert!(words.contains("before position 7, but it was closed"), "{words}");
    fs::write(path, &whole).unwrap();
    write(path, end + 100, &[1]);
    assert!(refused(copied.path()).contains("something follows"));
    // A note that can't be read counts as absent.
    fs::write(copied.path().join("closed"), "usher journal closed 1\n").unwrap();
    assert!(!open(copied.path()).1.was_closed);
}

#[test]
fn segments_that_are_not_a_chain_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    large(&journal, 200);
    drop(journal);
    let other = tempfile::tempdir().unwrap();
    let (journal, _) = open(other.path());
    large(&journal, 200);
    drop(journal);
    let paths = segments(folder.path());
    let tried = |change: &dyn Fn(&[PathBuf])| {
        let copied = copy(folder.path());
        change(&segments(copied.path()));
        refused(copied.path())
    };
    let missing = tried(&|paths| fs::remove_file(&paths[1]).unwrap());
    assert!(missing.contains("is missing"), "{missing}");
    let renamed = tried(&|paths| {
        fs::rename(&paths[3], paths[3].with_file_name("00000000000000009999.segment")).unwrap();
    });
    assert!(renamed.contains("not its name"), "{renamed}");
    let doubled = tried(&|paths| {
        let double = paths[1].with_file_name("00000000000000000070.segment");
        fs::copy(&paths[1], double).unwrap();
    });
    assert!(doubled.contains("renamed or doubled"), "{doubled}");
    let foreign = tried(&|paths| {
        let name = paths[2].file_name().unwrap();
        fs::copy(other.path().join(name), &paths[2]).unwrap();
    });
    assert!(foreign.contains("another journal"), "{foreign}");
    let emptied = tried(&|paths| fs::write(&paths[3], b"").unwrap());
    assert!(emptied.contains("no header"), "{emptied}");
    let newer = tried(&|paths| write(&paths[0], 8, &[2]));
    assert!(newer.contains("version 2, supported is 1"), "{newer}");
    let headless = tried(&|paths| write(&paths[0], 40, &[2]));
    assert!(headless.contains("header does not match its checksum"), "{headless}");
    let blank = tried(&|paths| write(&paths[2], 0, &[0; 64]));
    assert!(blank.contains("no header"), "{blank}");
    drop(paths);
}

/// Each bit of a small journal that was closed, flipped alone: refused, or harmless.
#[test]
fn no_flip_makes_another_record() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let epoch = journal.claim().unwrap();
    for position in 0..4 {
        let entry =
            Entry { first_sequence: 1 + position, events: 1, payload: &[&[position as u8; 21]] };
        journal.append(epoch, position, &entry).unwrap();
        journal.sync(position).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    let path = segments(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let note = fs::read(folder.path().join("closed")).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for bit in 0..end * 8 {
        let byte = bit / 8;
        write(&path, byte as u64, &[whole[byte] ^ (1 << (bit % 8))]);
        fs::write(folder.path().join("closed"), &note).unwrap();
        if let Ok((journal, _)) = LocalJournal::open(folder.path(), OPTIONS) {
            let records: Vec<_> = journal.read(0, 9).unwrap().map(Result::unwrap).collect();
            assert_eq!(records.len(), 4, "bit {bit}");
            for record in records {
                assert_eq!(record.payload, vec![record.position as u8; 21], "bit {bit}");
            }
        }
        write(&path, byte as u64, &[whole[byte]]);
    }
}
