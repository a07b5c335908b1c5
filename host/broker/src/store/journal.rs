//! Looks at fjall's journals before fjall does. fjall cuts a journal off at the first place it
//! can't read, whatever lies behind it; here the end of what was being written when the process
//! died is told from damage, which must be reported and never be cut (invariant 9).
//!
//! A journal is a run of batches: Start, items, End. Every commit is on disk before the next one
//! begins, so that a crash leaves at most one batch unfinished, and nothing after it. Therefore:
//!
//! - whole batches up to the end of the file, or up to the zeroes it was enlarged by: **clean**;
//! - something after them, no whole batch in it, and no batch in a newer journal: a **torn tail**,
//!   which nobody was ever answered for;
//! - anything else is **damage**.
//!
//! Reads each file once, in pieces; what follows a place that can't be read is read again.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::OpenFailure;

/// Ends every End entry, so that one that was written in part is recognised.
pub(crate) const END_MAGIC: [u8; 4] = *b"FJL\x03";

pub(crate) const TAG_START: u8 = 1;
pub(crate) const TAG_ITEM: u8 = 2;
pub(crate) const TAG_END: u8 = 3;
pub(crate) const TAG_CLEAR: u8 = 4;

/// Start: tag, number of items, sequence number of the store.
pub(crate) const START_BYTES: usize = 1 + 4 + 8;
/// Item: tag, kind of value, compression, keyspace, lengths of key, value and stored value.
pub(crate) const ITEM_HEAD_BYTES: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
/// End: tag, checksum, magic.
pub(crate) const END_BYTES: usize = 1 + 8 + END_MAGIC.len();
/// Clear: tag, keyspace.
const CLEAR_BYTES: usize = 1 + 8;

/// Value, tombstone, weak tombstone; fjall stops the process at others.
const KIND_MAX: u8 = 2;

/// The highest bit marks what is in memory only; the store's own numbers never come near it.
const SEQNO_MAX: u64 = 1 << 62;

/// How far numbers may be apart from one batch to the next: all that flushes and compactions take
/// in between is far below.
const SEQNO_STEP_MAX: u64 = 1 << 32;

const PIECE_BYTES: usize = 256 * 1_024;

/// Most bytes that are read to try places where a batch could begin; beyond it there counts as one.
/// Whoever gets above it has put such places there; that is not what a crash leaves.
const TRIED_MAX_BYTES: u64 = 1 << 30;

/// What the journals of a store hold, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) journals: Vec<Journal>,
}

/// One journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) batches: u64,
    /// Where its whole batches end.
    pub(crate) end: u64,
    /// How many bytes of an unfinished batch follow.
    pub(crate) torn_bytes: u64,
    /// Stands for all its whole batches, with what fjall's checksums leave out.
    pub(crate) digest: u64,
}

impl Journal {
    pub(crate) fn name(&self) -> String {
        name(&self.path)
    }
}

impl Scan {
    /// The journal that ends with an unfinished batch, if there is one.
    pub(crate) fn torn(&self) -> Option<&Journal> {
        self.journals.iter().find(|journal| journal.torn_bytes > 0)
    }

    /// How many whole batches there are.
    pub(crate) fn batches(&self) -> u64 {
        self.journals.iter().map(|journal| journal.batches).sum()
    }

    /// Cuts off the unfinished batch, if there is one. fjall refuses some forms of it.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let Some(torn) = self.torn() else { return Ok(()) };
        let file = File::options().write(true).open(&torn.path)?;
        file.set_len(torn.end)?;
        file.sync_all()
    }
}

/// Reads all journals in the folder of a store; changes nothing. A folder that isn't there has
/// none.
pub(crate) fn scan(folder: &Path) -> Result<Scan, OpenFailure> {
    let mut scan = Scan::default();
    let mut seqno = None;
    for path in journals(folder)? {
        let found = read_journal(&path, seqno)?;
        if let Tail::Damaged { at, what } = found.tail {
            return Err(damaged(&path, at, what));
        }
        // fjall may begin another journal after a write has failed; nothing is committed to it.
        if let Some(torn) = scan.torn()
            && (found.batches > 0 || matches!(found.tail, Tail::Torn { .. }))
        {
            return Err(damaged(&torn.path, torn.end, "this can't be read, but a journal follows"));
        }
        seqno = found.seqno;
        scan.journals.push(found.into_journal(path));
    }
    Ok(scan)
}

fn damaged(path: &Path, at: u64, what: &str) -> OpenFailure {
    OpenFailure::damaged(format!("journal {} at byte {at}: {what}", name(path)))
}

pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The journals, oldest first.
pub(crate) fn journals(folder: &Path) -> Result<Vec<PathBuf>, OpenFailure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jnl")) {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            let number = number
                .filter(|_| path.is_file())
                .ok_or_else(|| OpenFailure::damaged(format!("{} is no journal", path.display())))?;
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// What one journal holds.
struct Found {
    batches: u64,
    /// Where its whole batches end.
    end: u64,
    /// The number of the last one, or of the one before this journal.
    seqno: Option<u64>,
    digest: Xxh3Default,
    tail: Tail,
}

impl Found {
    fn into_journal(self, path: PathBuf) -> Journal {
        let torn_bytes = if let Tail::Torn { bytes } = self.tail { bytes } else { 0 };
        let Self { batches, end, .. } = self;
        Journal { path, batches, end, torn_bytes, digest: self.digest.digest() }
    }
}

/// What follows the whole batches.
enum Tail {
    None,
    Torn { bytes: u64 },
    Damaged { at: u64, what: &'static str },
}

fn read_journal(path: &Path, seqno: Option<u64>) -> io::Result<Found> {
    let mut source = Source::open(path)?;
    let digest = Xxh3Default::new();
    let mut found = Found { batches: 0, end: 0, seqno, digest, tail: Tail::None };
    loop {
        match source.batch()? {
            Step::Batch { seqno, head, checksum } => {
                // Start is not in the checksum. Numbers in the wrong order would have an older
                // value replace a newer one.
                let in_order = found.seqno.is_none_or(|before| follows(before, seqno));
                if !in_order || seqno > SEQNO_MAX {
                    let what = "the batch here has a number that can't be its own";
                    found.tail = Tail::Damaged { at: found.end, what };
                    return Ok(found);
                }
                found.digest.update(&head);
                found.digest.update(&checksum);
                found.batches += 1;
                found.end = source.at;
                found.seqno = Some(seqno);
            }
            Step::End => return Ok(found),
            Step::Broken { checksum } => {
                let begin = found.end;
                let Some(used) = source.last_used(begin)? else { return Ok(found) };
                // What follows is nothing but zeroes.
                source.length = used;
                found.tail = if checksum && source.at < used {
                    let what = "the checksum of this batch is wrong, and another follows";
                    Tail::Damaged { at: begin, what }
                } else if source.next_batch(begin + 1, found.seqno)?.is_some() {
                    let what = "this can't be read, but whole batches follow";
                    Tail::Damaged { at: begin, what }
                } else {
                    Tail::Torn { bytes: used - begin }
                };
                return Ok(found);
            }
        }
    }
}

fn follows(before: u64, seqno: u64) -> bool {
    seqno > before && seqno - before <= SEQNO_STEP_MAX
}

/// What can be read at a place.
enum Step {
    /// A whole batch.
    Batch { seqno: u64, head: [u8; START_BYTES], checksum: [u8; 8] },
    /// The file ends here.
    End,
    /// Neither. `checksum`: the batch has its end and only the checksum doesn't fit.
    Broken { checksum: bool },
}

const BROKEN: Step = Step::Broken { checksum: false };

/// A journal that is being read, and where.
struct Source {
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(PIECE_BYTES, file), at: 0, length })
    }

    fn go_to(&mut self, at: u64) -> io::Result<()> {
        // Relative, since that keeps what the buffer has.
        let by = i64::try_from(at).unwrap_or(i64::MAX) - i64::try_from(self.at).unwrap_or(0);
        self.file.seek_relative(by)?;
        self.at = at;
        Ok(())
    }

    /// So many bytes; `None` where the file has fewer.
    fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.length - self.at < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(Some(bytes))
    }

    /// Reads one batch.
    fn batch(&mut self) -> io::Result<Step> {
        if self.at == self.length {
            return Ok(Step::End);
        }
        let Some(start) = self.array::<START_BYTES>()? else { return Ok(BROKEN) };
        let Some((count, seqno)) = parse_start(&start) else { return Ok(BROKEN) };
        let mut checksum = Xxh3Default::new();
        for _ in 0..count {
            if !self.entry(&mut checksum)? {
                return Ok(BROKEN);
            }
        }
        let Some(end) = self.array::<END_BYTES>()? else { return Ok(BROKEN) };
        let [TAG_END, expected @ .., a, b, c, d] = end else { return Ok(BROKEN) };
        if [a, b, c, d] != END_MAGIC {
            return Ok(BROKEN);
        }
        if u64::from_le_bytes(expected) != checksum.digest() {
            return Ok(Step::Broken { checksum: true });
        }
        Ok(Step::Batch { seqno, head: start, checksum: expected })
    }

    /// Reads one entry of a batch into the checksum; whether there was one.
    fn entry(&mut self, checksum: &mut Xxh3Default) -> io::Result<bool> {
        let Some([tag]) = self.array::<1>()? else { return Ok(false) };
        checksum.update(&[tag]);
        match tag {
            TAG_CLEAR => {
                let Some(keyspace) = self.array::<{ CLEAR_BYTES - 1 }>()? else {
                    return Ok(false);
                };
                checksum.update(&keyspace);
                Ok(true)
            }
            TAG_ITEM => {
                let Some(head) = self.array::<{ ITEM_HEAD_BYTES - 1 }>()? else {
                    return Ok(false);
                };
                checksum.update(&head);
                match parse_item(&head) {
                    Some(bytes) => self.hash(bytes, checksum),
                    None => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// Reads so many bytes into the checksum; whether there were as many.
    fn hash(&mut self, bytes: u64, checksum: &mut Xxh3Default) -> io::Result<bool> {
        if self.length - self.at < bytes {
            return Ok(false);
        }
        let mut left = bytes;
        while left > 0 {
            let piece = self.file.fill_buf()?;
            let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let Some(piece) = piece.get(..length).filter(|piece| !piece.is_empty()) else {
                // It was longer a moment ago.
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            checksum.update(piece);
            self.file.consume(length);
            left -= length as u64;
        }
        self.at += bytes;
        Ok(true)
    }

    /// The place after the last byte that is not zero, if there is one from `begin` on. Where the
    /// next batch would begin is left as it is.
    fn last_used(&mut self, begin: u64) -> io::Result<Option<u64>> {
        static ZEROES: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
        let back = self.at;
        self.go_to(begin)?;
        let mut used = None;
        loop {
            let piece = self.file.fill_buf()?;
            let length = piece.len();
            if length == 0 {
                break;
            }
            // Comparing whole pieces is many times faster than looking at each byte.
            if ZEROES.get(..length) != Some(piece)
                && let Some(last) = piece.iter().rposition(|byte| *byte != 0)
            {
                used = Some(self.at + last as u64 + 1);
            }
            self.file.consume(length);
            self.at += length as u64;
        }
        self.go_to(back)?;
        Ok(used)
    }

    /// Where a whole batch begins from `begin` on; what can't be read before it says nothing of its
    /// own length. Data of an event may be made to look like a batch: then the answer is wrong, and
    /// the router refuses to start though it could. The other way round it would forget what it
    /// has confirmed.
    fn next_batch(&mut self, begin: u64, seqno: Option<u64>) -> io::Result<Option<u64>> {
        const HEAD_BYTES: usize = START_BYTES + 3;
        let mut at = begin;
        let mut tried_bytes = 0;
        let mut piece = vec![0; PIECE_BYTES];
        while at < self.length {
            self.go_to(at)?;
            let length = usize::try_from(self.length - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let Some(piece) = piece.get_mut(..length) else { break };
            self.file.read_exact(piece)?;
            self.at += length as u64;
            for (place, head) in piece.array_windows::<HEAD_BYTES>().enumerate() {
                if !could_begin(head, seqno) {
                    continue;
                }
                let candidate = at + place as u64;
                self.go_to(candidate)?;
                let is_batch = matches!(self.batch()?, Step::Batch { .. });
                tried_bytes += self.at - candidate;
                if is_batch || tried_bytes > TRIED_MAX_BYTES {
                    return Ok(Some(candidate));
                }
            }
            // Pieces overlap by what is too short to be looked at.
            at += length.saturating_sub(HEAD_BYTES - 1).max(1) as u64;
        }
        Ok(None)
    }
}

/// Number of items and sequence number of a Start.
pub(crate) fn parse_start(start: &[u8; START_BYTES]) -> Option<(u32, u64)> {
    let [TAG_START, a, b, c, d, seqno @ ..] = *start else { return None };
    let count = u32::from_le_bytes([a, b, c, d]);
    (count > 0).then_some((count, u64::from_le_bytes(seqno)))
}

/// How many bytes of key and value follow the head of an item, its tag left out.
pub(crate) fn parse_item(head: &[u8; ITEM_HEAD_BYTES - 1]) -> Option<u64> {
    let (kind, compression) = (*head.first()?, *head.get(1)?);
    let key = u16::from_le_bytes(*head.get(10..)?.first_chunk()?);
    let value = u32::from_le_bytes(*head.get(12..)?.first_chunk()?);
    let stored = u32::from_le_bytes(*head.get(16..)?.first_chunk()?);
    // Usher's journals are not compressed.
    (kind <= KIND_MAX && compression == 0 && value == stored)
        .then(|| u64::from(key) + u64::from(stored))
}

/// Whether a batch could begin with these bytes. Only keeps most places from being tried.
fn could_begin(head: &[u8; START_BYTES + 3], before: Option<u64>) -> bool {
    let Some((start, rest)) = head.split_first_chunk::<START_BYTES>() else { return false };
    let Some((_, seqno)) = parse_start(start) else { return false };
    let in_order = before.is_none_or(|before| follows(before, seqno)) && seqno <= SEQNO_MAX;
    let first = match *rest {
        [TAG_ITEM, kind, compression] => kind <= KIND_MAX && compression == 0,
        [tag, ..] => tag == TAG_CLEAR,
        [] => false,
    };
    in_order && first
}

#[cfg(test)]
mod tests {
    use fjall::{Database, KeyspaceCreateOptions, PersistMode};

    use super::*;

    /// A batch of each kind that matters: several items, a deletion, a value longer than fjall's
    /// buffer, an empty value.
    const BATCHES: u64 = 6;

    /// A store made by fjall, and the content of its only journal up to the zeroes.
    fn made_by_fjall() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        {
            let database = Database::builder(folder.path()).open().unwrap();
            let table = |name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap();
            let (one, two) = (table("one"), table("two"));
            for number in 0..BATCHES {
                let mut batch = database.batch().durability(Some(PersistMode::SyncData));
                batch.insert(&one, number.to_be_bytes(), [7; 3]);
                batch.remove(&two, number.to_be_bytes());
                batch.insert(&two, b"empty", b"");
                if number == 2 {
                    batch.insert(&two, b"long", vec![number as u8; 20_000]);
                }
                batch.commit().unwrap();
            }
        }
        let path = folder.path().join("0.jnl");
        let mut content = fs::read(&path).unwrap();
        let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        content.truncate(end);
        (folder, path, content)
    }

    /// Where each batch begins, and where the last ends.
    fn places(content: &[u8]) -> Vec<usize> {
        let ends = content.windows(4).enumerate().filter(|(_, four)| **four == END_MAGIC);
        [0].into_iter().chain(ends.map(|(at, _)| at + 4)).collect()
    }

    /// What is found where the journal has this content.
    fn found(path: &Path, content: &[u8]) -> Result<Scan, String> {
        fs::write(path, content).unwrap();
        scan(path.parent().unwrap()).map_err(|failure| match failure {
            OpenFailure::Damaged(failure) => failure.0,
            OpenFailure::Io(error) => panic!("{error}"),
        })
    }

    #[test]
    fn what_fjall_writes_is_clean() {
        let (folder, path, content) = made_by_fjall();
        let whole = scan(folder.path()).unwrap();
        let [journal] = &whole.journals[..] else { panic!("{whole:?}") };
        let expected = (BATCHES, content.len() as u64, 0);
        assert_eq!((journal.batches, journal.end, journal.torn_bytes), expected);
        assert!(fs::metadata(&path).unwrap().len() > journal.end, "fjall enlarges new journals");
        // Opening cuts the zeroes off.
        drop(Database::builder(folder.path()).open().unwrap());
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(scan(folder.path()).unwrap(), whole);
        assert_eq!(scan(Path::new("nowhere")).unwrap(), Scan::default());
    }

    /// A crash leaves some of the last batch, with zeroes before, behind and in between.
    #[test]
    fn what_a_crash_leaves_is_a_torn_tail() {
        let (_folder, path, content) = made_by_fjall();
        let places = places(&content);
        for last in [2, places.len() - 2] {
            let (begin, end) = (places[last], places[last + 1]);
            let step = if end - begin > 1_000 { 97 } else { 1 };
            for place in (begin..end).step_by(step) {
                let mut cut = content[..place].to_vec();
                let after_cut = found(&path, &cut).unwrap();
                assert_eq!(after_cut.journals[0].end, begin as u64, "cut at {place}");
                // Zeroes at the end can't be told from those the file was enlarged by.
                let torn_bytes = after_cut.journals[0].torn_bytes;
                assert!(place == begin || (1..=place - begin).contains(&(torn_bytes as usize)));
                cut.resize(end + 5_000, 0);
                let zeroes = found(&path, &cut).unwrap();
                assert_eq!(zeroes.journals[0].batches, last as u64, "zeroes from {place}");
                let mut begun_late = content[..end].to_vec();
                begun_late[begin..=place].fill(0);
                let late = found(&path, &begun_late).unwrap();
                assert_eq!(late.journals[0].end, begin as u64, "zeroes up to {place}");
            }
            let torn = found(&path, &content[..end - 1]).unwrap();
            torn.cut().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), begin as u64);
        }
    }

    /// Invariant 9: damage is reported, never cut.
    #[test]
    fn a_changed_byte_before_the_last_batch_is_damage() {
        let (_folder, path, content) = made_by_fjall();
        let places = places(&content);
        for batch in 1..places.len() - 2 {
            let (begin, end) = (places[batch], places[batch + 1]);
            let step = if end - begin > 1_000 { 997 } else { 1 };
            for place in (begin..end).step_by(step) {
                for flip in [0x01, 0x80, 0xff] {
                    let mut flipped = content.clone();
                    flipped[place] ^= flip;
                    let words = found(&path, &flipped).expect_err("it wasn't seen");
                    // A number that is too high shows at the next batch only.
                    let named = [begin, end].map(|at| format!("journal 0.jnl at byte {at}: "));
                    assert!(named.iter().any(|name| words.starts_with(name)), "{place}: {words}");
                }
            }
        }
    }

    #[test]
    fn a_torn_tail_may_be_followed_by_journals_that_hold_nothing() {
        let (folder, path, content) = made_by_fjall();
        let newer = folder.path().join("1.jnl");
        fs::write(&newer, vec![0; 1_000]).unwrap();
        let torn = found(&path, &content[..content.len() - 1]).unwrap();
        assert_eq!(torn.torn().unwrap().name(), "0.jnl");
        fs::write(&newer, &content[*places(&content).iter().nth_back(1).unwrap()..]).unwrap();
        let words = found(&path, &content[..content.len() - 1]).unwrap_err();
        assert!(words.contains("a journal follows"), "{words}");
    }

    /// The numbers are not in fjall's checksums.
    #[test]
    fn the_digest_stands_for_the_numbers_too() {
        let (_folder, path, content) = made_by_fjall();
        let whole = found(&path, &content).unwrap();
        let mut flipped = content.clone();
        flipped[5] ^= 1;
        let other = found(&path, &flipped);
        assert!(other.is_err() || other.unwrap().journals[0].digest != whole.journals[0].digest);
    }
}
