//! What can be read of a damaged store: its table files with its journals laid over them.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use lsm_tree::{AbstractTree as _, AnyTree, Guard as _, SeqNo};
use tempfile::TempDir;

use super::journals::Newest;
use super::lists;
use super::salvaged::{SalvageError, Salvaged};
use crate::store::{Space, closed, journal, tables};

/// How often a stretch that can't be read is halved to find what in it can be.
const HALVINGS_MAX: u32 = 10;

/// fjall's number of the table that names all others; the rows that do begin with this.
const NAMES: u64 = 0;
const NAME_BEGIN: u8 = b'n';

type Row = (Bytes, Bytes);

/// A damaged store.
pub(super) struct Remains {
    tables: Vec<Remain>,
    /// Bytes that are lost from journals.
    pub(super) lost_bytes: u64,
    /// Whether journals have all that was ever acknowledged and is not in table files.
    pub(super) is_up_to_date: bool,
    /// Links and lists that `tables` reads from. Last, so that they go last.
    _aside: TempDir,
}

/// One table.
#[derive(Default)]
struct Remain {
    tree: Option<AnyTree>,
    newest: BTreeMap<Bytes, Option<Bytes>>,
}

impl Remains {
    /// Finds everything in the folder of a store.
    pub(super) fn find(log: &Path, report: &mut Salvaged) -> Result<Self, SalvageError> {
        let aside = tempfile::Builder::new().prefix("usher-salvage-").tempdir()?;
        let mut newest = Newest::default();
        let lost_bytes = read_journals(log, &mut newest, report)?;
        let is_up_to_date = lost_bytes == 0 && is_as_noted(log, report)?;

        let keyspaces = tables::keyspaces(log).map_err(io::Error::from)?;
        let mut trees = BTreeMap::new();
        for keyspace in &keyspaces {
            let number = keyspace.number;
            let folder = aside.path().join(number.to_string());
            std::fs::create_dir(&folder)?;
            let name = format!("table {number}");
            trees.extend(lists::open(keyspace, &name, &folder, report)?.map(|tree| (number, tree)));
        }
        let mut names = Remain {
            tree: trees.remove(&NAMES),
            newest: newest.0.remove(&NAMES).unwrap_or_default(),
        };
        let numbers = numbers(&mut names, report);
        let take = |space: Space| {
            let number = numbers.get(space.name()).copied();
            let newest = number.and_then(|number| newest.0.remove(&number)).unwrap_or_default();
            Remain { tree: number.and_then(|number| trees.remove(&number)), newest }
        };
        let tables = Space::ALL.into_iter().map(take).collect();
        Ok(Self { tables, lost_bytes, is_up_to_date, _aside: aside })
    }

    /// All rows of a table that can be read, in the order of keys.
    pub(super) fn rows(&self, space: Space) -> Option<Rows<'_>> {
        self.tables.get(space as usize).map(Remain::rows)
    }

    /// One row, if it can be read.
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        let remain = self.tables.get(space as usize)?;
        if let Some(newest) = remain.newest.get(key) {
            return newest.clone();
        }
        let get = || remain.tree.as_ref()?.get(key, SeqNo::MAX).ok()?;
        catch_unwind(AssertUnwindSafe(get)).ok()?.map(Bytes::from)
    }
}

/// Reads all journals; answers how many bytes of them can't be.
fn read_journals(log: &Path, newest: &mut Newest, report: &mut Salvaged) -> io::Result<u64> {
    let mut lost_bytes = 0;
    for path in journal::journals(log).map_err(io::Error::from)? {
        let unread = newest.read(&path)?;
        if let Some(at) = unread.at {
            let (name, bytes) = (journal::name(&path), unread.bytes);
            report.lose(format!("journal {name}: {bytes} bytes from {at} on can't be read"));
            lost_bytes += bytes;
        }
    }
    Ok(lost_bytes)
}

/// Whether the journals are as they were when the store was closed; a store that wasn't has what a
/// crash leaves.
fn is_as_noted(log: &Path, report: &mut Salvaged) -> io::Result<bool> {
    let Some(note) = closed::read(log)? else { return Ok(false) };
    let difference = match journal::scan(log) {
        Ok(found) => closed::difference(&note, &found),
        Err(failure) => Some(io::Error::from(failure).to_string()),
    };
    let is_as_noted = difference.is_none();
    difference.into_iter().for_each(|difference| report.lose(difference));
    Ok(is_as_noted)
}

/// The number of each table. Where that can't be read it is taken to be the one that a new store
/// gives.
fn numbers(names: &mut Remain, report: &mut Salvaged) -> BTreeMap<String, u64> {
    let mut numbers = BTreeMap::new();
    for (key, value) in names.rows() {
        let number = key.strip_prefix(&[NAME_BEGIN]).and_then(|number| number.try_into().ok());
        if let (Some(number), Ok(name)) = (number, std::str::from_utf8(&value)) {
            numbers.insert(name.to_owned(), u64::from_be_bytes(number));
        }
    }
    for (number, space) in (1..).zip(Space::ALL) {
        let is_taken = numbers.values().any(|taken| *taken == number);
        if !numbers.contains_key(space.name()) && !is_taken {
            // Stores from before it was added have none.
            if space != Space::Recordings {
                let name = space.name();
                report.lose(format!("which files are table {name}; taken to be {number}"));
            }
            numbers.insert(space.name().to_owned(), number);
        }
    }
    numbers
}

impl Remain {
    fn rows(&self) -> Rows<'_> {
        Rows {
            remain: self,
            newest: self.newest.iter().peekable(),
            old: None,
            stretches: vec![Stretch { from: Bytes::new(), to: None, halvings: HALVINGS_MAX }],
            reading: None,
            unread: 0,
        }
    }

    fn read(&self, from: &[u8], to: Option<&[u8]>) -> Option<Reading> {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(from), to);
        let tree = self.tree.as_ref()?;
        let open = || tree.range::<&[u8], _>(range, SeqNo::MAX, None);
        catch_unwind(AssertUnwindSafe(open)).ok()
    }
}

type Reading = Box<dyn DoubleEndedIterator<Item = lsm_tree::IterGuardImpl> + Send>;

/// The next row of a reading; an error where it can't go on.
fn next(reading: &mut Reading, is_backwards: bool) -> Result<Option<Row>, ()> {
    let next = || {
        let guard = if is_backwards { reading.next_back() } else { reading.next() };
        guard.map(|guard| guard.into_inner()).transpose()
    };
    // Some of what is read is asserted.
    let row = catch_unwind(AssertUnwindSafe(next)).map_err(drop)?.map_err(drop)?;
    Ok(row.map(|(key, value)| (key.into(), value.into())))
}

/// Part of a table, from a key on, up to but without another.
struct Stretch {
    from: Bytes,
    to: Option<Bytes>,
    /// How often it may still be halved.
    halvings: u32,
}

/// Rows in the order of keys, old ones and new ones.
pub(super) struct Rows<'a> {
    remain: &'a Remain,
    newest: std::iter::Peekable<std::collections::btree_map::Iter<'a, Bytes, Option<Bytes>>>,
    /// The next row of the table files.
    old: Option<Row>,
    /// What is still to be read of them, the first last.
    stretches: Vec<Stretch>,
    reading: Option<(Reading, Stretch)>,
    /// Stretches that couldn't be read so far.
    pub(super) unread: u64,
}

impl Iterator for Rows<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            if self.old.is_none() {
                self.old = self.next_old();
            }
            let is_newer = match (self.newest.peek(), &self.old) {
                (None, _) => return self.old.take(),
                (Some(_), None) => true,
                (Some((newest, _)), Some((old, _))) => *newest <= old,
            };
            if !is_newer {
                return self.old.take();
            }
            let (key, value) = self.newest.next()?;
            self.old.take_if(|(old, _)| old == key);
            if let Some(value) = value {
                return Some((key.clone(), value.clone()));
            }
        }
    }
}

impl Rows<'_> {
    /// The next row of the table files, across what can't be read.
    fn next_old(&mut self) -> Option<Row> {
        loop {
            let (mut reading, mut stretch) = match self.reading.take() {
                Some(reading) => reading,
                None => {
                    let stretch = self.stretches.pop()?;
                    (self.remain.read(&stretch.from, stretch.to.as_deref())?, stretch)
                }
            };
            match next(&mut reading, false) {
                Ok(None) => {}
                Ok(Some(row)) => {
                    // The lowest key above it.
                    stretch.from = [&row.0[..], &[0]].concat().into();
                    self.reading = Some((reading, stretch));
                    return Some(row);
                }
                Err(()) => self.go_around(stretch),
            }
        }
    }

    /// What follows in a stretch can't be read from its beginning: finds from where on it can be.
    fn go_around(&mut self, stretch: Stretch) {
        let Stretch { from, to, halvings } = stretch;
        let mut readable_from = None;
        if let Some(mut backwards) = self.remain.read(&from, to.as_deref()) {
            while let Ok(Some((key, _))) = next(&mut backwards, true) {
                readable_from = Some(key);
            }
        }
        let readable_from = readable_from.filter(|readable| *readable > from);
        let unread_to = readable_from.clone().or_else(|| to.clone());
        if let Some(from) = readable_from {
            self.stretches.push(Stretch { from, to, halvings });
        }
        match middle(&from, unread_to.as_deref()).filter(|_| halvings > 0) {
            Some(middle) => {
                let halvings = halvings - 1;
                self.stretches.push(Stretch { from: middle.clone(), to: unread_to, halvings });
                self.stretches.push(Stretch { from, to: Some(middle), halvings });
            }
            None => self.unread += 1,
        }
    }
}

/// A key about half-way between two, if there is one; without an end there is no half.
fn middle(from: &[u8], to: Option<&[u8]>) -> Option<Bytes> {
    let to = to?;
    let length = from.len().max(to.len());
    let digit = |key: &[u8], place: usize| u16::from(key.get(place).copied().unwrap_or(0));
    // Sum from the last digit on, halve from the first.
    let (mut sum, mut carry) = (vec![0; length], 0);
    for place in (0..length).rev() {
        let digits = digit(from, place) + digit(to, place) + carry;
        (carry, *sum.get_mut(place)?) = (digits >> 8, (digits & 0xff) as u8);
    }
    for half in &mut sum {
        let digits = carry << 8 | u16::from(*half);
        (carry, *half) = (digits & 1, (digits >> 1) as u8);
    }
    (*from < *sum && *sum < *to).then(|| sum.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_between() {
        let half = |from: &[u8], to: &[u8]| middle(from, Some(to)).map(|key| key.to_vec());
        assert_eq!(half(&[1, 0], &[2, 0]), Some(vec![1, 128]));
        assert_eq!(half(&[255, 254], &[255, 255]), None);
        assert_eq!(half(&[0, 250], &[1, 4]), Some(vec![0, 255]));
        assert_eq!(half(&[200, 0], &[255, 255]), Some(vec![227, 255]));
        assert_eq!(half(&[], &[4]), Some(vec![2]));
        assert_eq!(middle(&[1], None), None);
    }
}
