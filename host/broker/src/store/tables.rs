//! Tables on disk: one LSM tree, which is derived from the journal. Rows are applied to its memory and
//! become durable with a checkpoint, together with how far they go; what a crash loses is applied
//! again. Nothing else writes to it, and a damaged one is rebuilt.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, Config, DescriptorTable, InternalValue, SeqNo,
    SequenceNumberCounter, Tree, UserValue,
};
use usher_journal::Journal;
use xxhash_rust::xxh3::xxh3_128;

use super::{Applied, OpenFailure, Row, Rows, Space, StoreFailure, Tables, View, keys, lock};

/// Size at which rows in memory become a table file. Bounds, with the number of those that wait to be
/// written, memory and how much is applied again after a crash.
const MEMORY_MAX_BYTES: u64 = 8 * 1_024 * 1_024;
/// Size of a table file, about. Who merges some holds a hash for each of their keys in memory.
const FILE_BYTES: u64 = 16 * 1_024 * 1_024;
/// Parts of memory that wait to be written; with more, who applies rows writes them out.
const SEALED_MAX: usize = 2;
/// Rows that are removed at once when nobody asks for them any more.
const FORGOTTEN_MAX_ROWS: usize = 4_096;
/// The key of how far tables have come. No table has it: those of rows begin with their number.
const APPLIED_KEY: &[u8] = &[0];
/// The file in the tables' folder that says that they were found damaged.
const DAMAGED: &str = "damaged";
/// The key of the id of the journal that they are derived from.
const JOURNAL_KEY: &[u8] = &[0, 0];

/// What is kept of table files between reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caches {
    /// Blocks.
    pub(crate) bytes: u64,
    /// Open files.
    pub(crate) open_tables_max: usize,
}

impl Caches {
    /// Of commands that go through a store once.
    pub(crate) const OFFLINE: Self = Self { bytes: 16 * 1_024 * 1_024, open_tables_max: 64 };
}

/// Tables in an LSM tree.
pub(crate) struct LsmTables {
    tree: AnyTree,
    next: SequenceNumberCounter,
    state: Mutex<State>,
    shared: Arc<Shared>,
}

/// What views need as well.
struct Shared {
    folder: PathBuf,
    /// Views below this must not ask the tree. Who asks it holds this meanwhile.
    horizon: RwLock<SeqNo>,
}

impl Shared {
    /// Damage that is found while the tables are in use is noted: the next who opens them has them rebuilt.
    #[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
    fn failure(&self, error: lsm_tree::Error) -> StoreFailure {
        if let lsm_tree::Error::Io(error) = &error
            && is_refusal(error)
        {
            return StoreFailure(format!("tables: {error}"));
        }
        // Best effort: without the note it takes `usher store rebuild`.
        let _ = File::create(self.folder.join(DAMAGED));
        StoreFailure(format!("the tables are damaged, and rebuilt at the next start: {error:?}"))
    }
}

struct State {
    applied: Applied,
    /// What readers see: versions of rows below this.
    visible: SeqNo,
}

impl LsmTables {
    /// Opens the tables of a folder, or makes some.
    pub(crate) fn open(folder: &Path, caches: Caches) -> Result<Self, OpenFailure> {
        check_list(folder)?;
        let next = SequenceNumberCounter::default();
        let config = Config::new(folder, next.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::new(Cache::with_capacity_bytes(caches.bytes)))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(caches.open_tables_max))));
        // It asserts some of what it reads.
        let open = || {
            let tree = config.open()?;
            next.fetch_max(tree.get_highest_seqno().map_or(1, |highest| highest + 1));
            let applied = tree.get(APPLIED_KEY, SeqNo::MAX >> 1)?;
            Ok((tree, applied))
        };
        let opened: Result<_, lsm_tree::Error> = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| OpenFailure::damaged("opening the tables panicked; see the log"))?;
        let (tree, applied) = opened.map_err(open_failure)?;
        let applied = match applied {
            Some(row) => read_applied(&row)
                .ok_or_else(|| OpenFailure::damaged("the tables don't say how far they go"))?,
            None => Applied::default(),
        };
        let state = Mutex::new(State { applied, visible: next.get() });
        let shared = Shared { folder: folder.to_owned(), horizon: RwLock::new(0) };
        Ok(Self { tree, next, state, shared: Arc::new(shared) })
    }

    /// Whether who used the tables of a folder last has found them damaged.
    pub(crate) fn are_damaged(folder: &Path) -> bool {
        folder.join(DAMAGED).exists()
    }

    /// Opens the tables of a folder, if this journal can bring them up to date; or makes some.
    pub(crate) fn open_of(
        folder: &Path,
        caches: Caches,
        journal: &dyn Journal,
    ) -> Result<Self, OpenFailure> {
        let (journal_start, journal_id) = (journal.start(), journal.id());
        if Self::are_damaged(folder) {
            return Err(OpenFailure::damaged("they were found damaged when they were read"));
        }
        let tables = Self::open(folder, caches)?;
        let next = tables.applied().next;
        if tables.applied() == Applied::default() {
            return Ok(tables.of_journal(journal_id));
        }
        if !tables.are_of(journal_id)? {
            return Err(OpenFailure::damaged("they are another journal's"));
        }
        if next < journal_start {
            return Err(OpenFailure::damaged(format!(
                "they end before position {next}, the journal begins at {journal_start}"
            )));
        }
        Ok(tables)
    }

    /// Whether they are derived from this journal.
    fn are_of(&self, journal_id: [u8; 16]) -> Result<bool, StoreFailure> {
        let seqno = lock(&self.state).visible;
        let id = self.tree.get(JOURNAL_KEY, seqno).map_err(|error| self.failure(error))?;
        Ok(id.as_deref() == Some(&journal_id[..]))
    }

    fn of_journal(self, id: [u8; 16]) -> Self {
        let seqno = self.next.next();
        self.tree.insert(JOURNAL_KEY, id, seqno);
        lock(&self.state).visible = seqno + 1;
        self
    }

    fn failure(&self, error: lsm_tree::Error) -> StoreFailure {
        self.shared.failure(error)
    }

    fn flush(&self) -> Result<(), StoreFailure> {
        let flushing = self.tree.get_flush_lock();
        let flushed = self.tree.flush(&flushing, self.forget_older());
        flushed.map(drop).map_err(|error| self.failure(error))
    }

    /// Has the tree keep no versions of rows for views that there are already: they keep their own.
    fn forget_older(&self) -> SeqNo {
        let visible = lock(&self.state).visible;
        let mut horizon = self.shared.horizon.write().unwrap_or_else(PoisonError::into_inner);
        *horizon = visible.max(*horizon);
        visible
    }
}

/// Compares the tree's list of its files with its checksum. The tree (lsm-tree 3.1) writes that to
/// `current`, behind the list's number, and doesn't look at it: it would allocate whatever a damaged list
/// asks for, which ends the process.
fn check_list(folder: &Path) -> Result<(), OpenFailure> {
    let current = match std::fs::read(folder.join("current")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        current => current.map_err(|error| open_failure(error.into()))?,
    };
    let is_whole = || {
        let (number, rest) = current.split_first_chunk::<8>()?;
        let checksum = rest.first_chunk::<16>()?;
        let list = std::fs::read(folder.join(format!("v{}", u64::from_le_bytes(*number)))).ok()?;
        (xxh3_128(&list) == u128::from_le_bytes(*checksum)).then_some(())
    };
    is_whole().ok_or_else(|| OpenFailure::damaged("the list of table files is damaged"))
}

fn write_applied(applied: Applied) -> [u8; 16] {
    let mut row = [0; 16];
    let numbers = [applied.next, applied.next_sequence];
    for (bytes, number) in row.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
    row
}

fn read_applied(row: &[u8]) -> Option<Applied> {
    let (next, next_sequence) = (keys::first_number(row)?, keys::last_number(row)?);
    (row.len() == 16).then_some(Applied { next, next_sequence })
}

impl Tables for LsmTables {
    fn applied(&self) -> Applied {
        lock(&self.state).applied
    }

    fn apply(&self, rows: Vec<Row>, applied: Applied) -> Result<(), StoreFailure> {
        let seqno = self.next.next();
        // Of two rows with the same key the later one counts, which the tree can't know.
        let mut last = BTreeMap::new();
        for row in rows {
            last.insert((row.space.number(), row.key), row.value);
        }
        for ((space, key), value) in last {
            let key = prefixed(space, &key);
            match value {
                Some(value) => drop(self.tree.insert(key, value, seqno)),
                None => drop(self.tree.remove(key, seqno)),
            }
        }
        let (_, bytes) = self.tree.insert(APPLIED_KEY, write_applied(applied), seqno);
        *lock(&self.state) = State { applied, visible: seqno + 1 };
        if bytes >= MEMORY_MAX_BYTES {
            self.tree.rotate_memtable();
            if self.tree.sealed_memtable_count() > SEALED_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn view(&self) -> (Box<dyn View>, Applied) {
        let state = lock(&self.state);
        let view = LsmView::new(self.tree.clone(), state.visible, Arc::clone(&self.shared));
        (Box::new(view), state.applied)
    }

    fn is_checkpoint_due(&self) -> bool {
        self.tree.sealed_memtable_count() > 0
    }

    fn seal(&self) {
        self.tree.rotate_memtable();
    }

    fn checkpoint(&self) -> Result<(), StoreFailure> {
        self.flush()?;
        let leveled = Arc::new(Leveled::default().with_table_target_size(FILE_BYTES));
        let compacted = self.tree.compact(leveled, self.forget_older());
        compacted.map_err(|error| self.failure(error))
    }

    fn size_bytes(&self) -> u64 {
        self.tree.disk_space()
    }

    fn forget_before(&self, space: Space, number: u64) -> Result<bool, StoreFailure> {
        let (view, _) = self.view();
        let rows = view.range(space, &[], Some(&keys::number(number))).take(FORGOTTEN_MAX_ROWS);
        let keys = rows.map(|row| row.map(|(key, _)| key)).collect::<Result<Vec<_>, _>>()?;
        let is_more = keys.len() == FORGOTTEN_MAX_ROWS;
        let seqno = self.next.next();
        for key in keys {
            self.tree.remove(prefixed(space.number(), &key), seqno);
        }
        lock(&self.state).visible = seqno + 1;
        Ok(is_more)
    }
}

fn prefixed(space: u8, key: &[u8]) -> Vec<u8> {
    let mut prefixed = Vec::with_capacity(1 + key.len());
    prefixed.push(space);
    prefixed.extend_from_slice(key);
    prefixed
}

/// Rows as the tree has them.
type Found<'a> = dyn DoubleEndedIterator<Item = lsm_tree::Result<InternalValue>> + 'a;

/// All rows below a version.
struct LsmView {
    tree: AnyTree,
    seqno: SeqNo,
    shared: Arc<Shared>,
    /// Rows between two keys, of the files and the parts of memory that there were. The tree would keep
    /// all that come later, too, as long as it kept those.
    range: Box<dyn Fn(Range<Vec<u8>>) -> Box<Found<'static>> + Send + Sync>,
}

impl LsmView {
    fn new(tree: AnyTree, seqno: SeqNo, shared: Arc<Shared>) -> Self {
        let version = tree.get_version_history_lock().latest_version();
        let range = move |range: Range<Vec<u8>>| -> Box<Found<'static>> {
            Box::new(Tree::create_internal_range(version.clone(), &range, seqno, None))
        };
        Self { tree, seqno, shared, range: Box::new(range) }
    }

    fn row(&self, mut key: Vec<u8>) -> lsm_tree::Result<Option<UserValue>> {
        {
            let horizon = self.shared.horizon.read().unwrap_or_else(PoisonError::into_inner);
            if self.seqno >= *horizon {
                // It knows where not to look.
                return self.tree.get(&key, self.seqno);
            }
        }
        let from = key.clone();
        key.push(0);
        Ok((self.range)(from..key).next().transpose()?.map(|row| row.value))
    }
}

impl View for LsmView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        let found = self.row(prefixed(space.number(), key));
        Ok(found.map_err(|error| self.shared.failure(error))?.map(Bytes::from))
    }

    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        let number = space.number();
        let low = prefixed(number, from);
        let high = to.map_or_else(|| vec![number + 1], |to| prefixed(number, to));
        Box::new((self.range)(low..high).map(|row| {
            let row = row.map_err(|error| self.shared.failure(error))?;
            Ok((Bytes::from(row.key.user_key).slice(1..), row.value.into()))
        }))
    }
}

fn open_failure(error: lsm_tree::Error) -> OpenFailure {
    match error {
        lsm_tree::Error::Io(error) if is_refusal(&error) => OpenFailure::Io(error),
        other => OpenFailure::damaged(format!("{other:?}")),
    }
}

/// Whether the file system refuses. Other errors are of files that are not what the tree's lists say.
fn is_refusal(error: &std::io::Error) -> bool {
    use ErrorKind::{PermissionDenied, QuotaExceeded, StorageFull};
    matches!(error.kind(), PermissionDenied | StorageFull | QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHES: Caches = Caches { bytes: 1 << 20, open_tables_max: 16 };

    fn put(number: u64, value: u64) -> Row {
        let value = Some(keys::number(value).into());
        Row { space: Space::Children, key: keys::pair(number, 0).into(), value }
    }

    fn at(next: u64) -> Applied {
        Applied { next, next_sequence: next }
    }

    fn read(view: &dyn View, number: u64) -> Option<u64> {
        let found = view.get(Space::Children, &keys::pair(number, 0)).unwrap();
        found.and_then(|value| keys::first_number(&value))
    }

    #[test]
    fn a_view_is_one_commit_whatever_comes_after() {
        let folder = tempfile::tempdir().unwrap();
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        let mut views = Vec::new();
        for commit in 1..=60 {
            // The later of two rows for one key counts.
            tables.apply(vec![put(1, 0), put(1, commit), put(commit, commit)], at(commit)).unwrap();
            views.push((commit, tables.view().0));
            if commit % 7 == 0 {
                tables.seal();
                tables.checkpoint().unwrap();
            }
        }
        for (commit, view) in &views {
            assert_eq!(read(&**view, 1), Some(*commit));
            assert_eq!(read(&**view, commit + 1), None);
            let rows = view.range(Space::Children, &[], None).count() as u64;
            assert_eq!(rows, *commit);
            assert_eq!(view.range(Space::Children, &[], None).rev().count() as u64, *commit);
        }
    }

    /// A view keeps what there was when it began, and not what is written while it is there.
    #[test]
    fn a_view_that_lives_long_costs_no_more_memory() {
        let folder = tempfile::tempdir().unwrap();
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        tables.apply(vec![put(1, 1)], at(1)).unwrap();
        let (view, _) = tables.view();
        for commit in 2..40 {
            let value = Some(vec![commit as u8; 1 << 20].into());
            let row = Row { space: Space::Children, key: keys::pair(commit, 0).into(), value };
            tables.apply(vec![put(1, commit), row], at(commit)).unwrap();
            if tables.is_checkpoint_due() {
                tables.checkpoint().unwrap();
            }
        }
        let history = tables.tree.get_version_history_lock().memtable_size_sum();
        assert!(history < 4 * MEMORY_MAX_BYTES, "{history} bytes");
        assert_eq!(read(&*view, 1), Some(1));
        assert_eq!(view.range(Space::Children, &[], None).count(), 1);
    }

    #[test]
    fn a_damaged_list_of_files_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        tables.apply(vec![put(1, 1)], at(1)).unwrap();
        tables.seal();
        tables.checkpoint().unwrap();
        drop(tables);
        drop(LsmTables::open(folder.path(), CACHES).unwrap());
        let current = std::fs::read(folder.path().join("current")).unwrap();
        let number = u64::from_le_bytes(*current.first_chunk().unwrap());
        let list = folder.path().join(format!("v{number}"));
        let whole = std::fs::read(&list).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&list, damaged).unwrap();
            let refused = LsmTables::open(folder.path(), CACHES).err().unwrap();
            assert!(matches!(refused, OpenFailure::Damaged(_)), "byte {at}: {refused}");
        }
    }

    #[test]
    fn what_was_not_checkpointed_is_lost_with_how_far_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        assert_eq!(tables.applied(), Applied::default());
        tables.apply(vec![put(1, 1)], at(1)).unwrap();
        tables.seal();
        tables.checkpoint().unwrap();
        tables.apply(vec![put(1, 2), put(2, 2)], at(2)).unwrap();
        drop(tables);
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        assert_eq!(tables.applied(), at(1));
        assert_eq!(read(&*tables.view().0, 1), Some(1));
        assert_eq!(read(&*tables.view().0, 2), None);
        tables.apply(vec![put(1, 3)], at(2)).unwrap();
        assert_eq!(read(&*tables.view().0, 1), Some(3));
        tables.seal();
        tables.checkpoint().unwrap();
        drop(tables);
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        assert_eq!(read(&*tables.view().0, 1), Some(3));
        assert_eq!(tables.applied(), at(2));
    }

    #[test]
    fn what_nobody_asks_for_goes_and_what_is_put_later_stays() {
        let folder = tempfile::tempdir().unwrap();
        let tables = LsmTables::open(folder.path(), CACHES).unwrap();
        let rows = (1..=5_000).map(|number| put(number, number)).collect();
        tables.apply(rows, at(1)).unwrap();
        let (before, _) = tables.view();
        assert!(tables.forget_before(Space::Children, 4_900).unwrap(), "there are more");
        assert!(!tables.forget_before(Space::Children, 4_900).unwrap());
        tables.apply(vec![put(7, 7)], at(2)).unwrap();
        tables.seal();
        tables.checkpoint().unwrap();
        let (after, applied) = tables.view();
        assert_eq!(applied, at(2));
        assert_eq!(after.range(Space::Children, &[], None).count(), 102);
        assert_eq!((read(&*after, 7), read(&*after, 8)), (Some(7), None));
        assert_eq!(before.range(Space::Children, &[], None).count(), 5_000);
    }
}
