//! Tables on disk: two LSM trees, which are derived from the journal. Rows are applied to their memory
//! and become durable with a checkpoint, together with how far they go; what a crash loses is applied
//! again. Nothing else writes to them, and damaged ones are rebuilt.
//!
//! Most of what is written are identities of events, in the order of their keys, of which the oldest go.
//! They have a tree of their own, whose files are then never merged, but removed whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, Config, DescriptorTable, InternalValue, SeqNo,
    SequenceNumberCounter, Tree, UserValue,
};

use crate::files::remove_folder;

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

/// Tables in LSM trees.
pub(crate) struct LsmTables {
    rows: AnyTree,
    /// The table of identities.
    window: AnyTree,
    next: SequenceNumberCounter,
    state: Mutex<State>,
    shared: Arc<Shared>,
}

/// What views need as well.
struct Shared {
    folder: PathBuf,
    /// Views below this must not ask the trees.
    horizon: AtomicU64,
}

impl Shared {
    /// Damage that is found while the tables are in use is noted: the next who opens them has them rebuilt.
    #[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
    fn failure(&self, error: lsm_tree::Error) -> StoreFailure {
        if let lsm_tree::Error::Io(error) = error {
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
    /// The key of the last identities that have left the window.
    window_left: Option<Vec<u8>>,
}

impl LsmTables {
    /// Opens the tables of a folder, or makes some.
    pub(crate) fn open(folder: &Path, caches: Caches) -> Result<Self, OpenFailure> {
        if Self::are_damaged(folder) {
            return Err(OpenFailure::damaged("they were found damaged when they were read"));
        }
        let next = SequenceNumberCounter::default();
        let cache = Arc::new(Cache::with_capacity_bytes(caches.bytes));
        let files = Arc::new(DescriptorTable::new(caches.open_tables_max));
        let tree = |name| -> lsm_tree::Result<AnyTree> {
            let visible = SequenceNumberCounter::default();
            let config = Config::new(folder.join(name), next.clone(), visible);
            let config = config.use_cache(Arc::clone(&cache));
            let tree = config.use_descriptor_table(Some(Arc::clone(&files))).open()?;
            next.fetch_max(tree.get_highest_seqno().map_or(1, |highest| highest + 1));
            Ok(tree)
        };
        // It asserts some of what it reads.
        let open = || {
            let (rows, window) = (tree("rows")?, tree("window")?);
            let applied = rows.get(APPLIED_KEY, SeqNo::MAX >> 1)?;
            Ok((rows, window, applied))
        };
        let opened: Result<_, lsm_tree::Error> = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| OpenFailure::damaged("opening the tables panicked; see the log"))?;
        let (rows, window, applied) = opened.map_err(open_failure)?;
        let applied = match applied {
            Some(row) => read_applied(&row)
                .ok_or_else(|| OpenFailure::damaged("the tables don't say how far they go"))?,
            None => Applied::default(),
        };
        let state = Mutex::new(State { applied, visible: next.get(), window_left: None });
        let shared = Shared { folder: folder.to_owned(), horizon: AtomicU64::new(0) };
        Ok(Self { rows, window, next, state, shared: Arc::new(shared) })
    }

    /// Whether who used the tables of a folder last has found them damaged.
    pub(crate) fn are_damaged(folder: &Path) -> bool {
        folder.join(DAMAGED).exists()
    }

    /// Opens the tables of a folder. Those that can't be opened, or that a journal with this start can't
    /// bring up to date, are removed, to be rebuilt.
    pub(crate) fn open_or_rebuild(
        folder: &Path,
        caches: Caches,
        journal_start: u64,
        journal_id: [u8; 16],
    ) -> Result<Self, OpenFailure> {
        let reason = match Self::open(folder, caches) {
            Ok(tables) if tables.applied() == Applied::default() => {
                return tables.of_journal(journal_id);
            }
            Ok(tables) if !tables.are_of(journal_id)? => "they are another journal's".to_owned(),
            Ok(tables) if tables.applied().next < journal_start => {
                let next = tables.applied().next;
                format!("they end before position {next}, the journal begins at {journal_start}")
            }
            Ok(tables) => return Ok(tables),
            Err(OpenFailure::Damaged(failure)) => failure.0,
            Err(failure) => return Err(failure),
        };
        tracing::warn!(reason, "the tables can't be used, and are rebuilt from the journal");
        Self::rebuild(folder, caches, journal_id)
    }

    /// Removes the tables of a folder, and makes new ones for this journal.
    pub(crate) fn rebuild(
        folder: &Path,
        caches: Caches,
        journal_id: [u8; 16],
    ) -> Result<Self, OpenFailure> {
        match folder.is_dir() {
            true => remove_folder(folder)?,
            false if folder.try_exists()? => std::fs::remove_file(folder)?,
            false => {}
        }
        Self::open(folder, caches)?.of_journal(journal_id)
    }

    /// Whether they are derived from this journal. The window is if it ends with the log.
    fn are_of(&self, journal_id: [u8; 16]) -> Result<bool, StoreFailure> {
        let seqno = lock(&self.state).visible;
        let id = self.rows.get(JOURNAL_KEY, seqno).map_err(|error| self.failure(error))?;
        Ok(id.as_deref() == Some(&journal_id[..]))
    }

    fn of_journal(self, id: [u8; 16]) -> Result<Self, OpenFailure> {
        let seqno = self.next.next();
        self.rows.insert(JOURNAL_KEY, id, seqno);
        lock(&self.state).visible = seqno + 1;
        Ok(self)
    }

    fn failure(&self, error: lsm_tree::Error) -> StoreFailure {
        self.shared.failure(error)
    }

    fn tree(&self, space: Space) -> &AnyTree {
        if space == Space::Identities { &self.window } else { &self.rows }
    }

    fn flush(&self) -> Result<(), StoreFailure> {
        // The tree that says how far the tables have come last: with a window that is ahead, what is
        // applied again is the same.
        for tree in [&self.window, &self.rows] {
            let flushing = tree.get_flush_lock();
            tree.flush(&flushing, self.forget_older()).map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    /// Has the trees keep no versions of rows for views that there are already: they keep their own.
    fn forget_older(&self) -> SeqNo {
        let visible = lock(&self.state).visible;
        self.shared.horizon.fetch_max(visible, Ordering::SeqCst);
        visible
    }
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
        let (mut window_left, mut window_bytes) = (None, 0);
        for row in rows {
            let key = prefixed(row.space, &row.key);
            match (row.space, row.value) {
                (Space::Identities, Some(value)) => {
                    (_, window_bytes) = self.window.insert(key, value, seqno);
                }
                (Space::Identities, None) => window_left = Some(key),
                (_, value) => drop(last.insert(key, value)),
            }
        }
        for (key, value) in last {
            match value {
                Some(value) => drop(self.rows.insert(key, value, seqno)),
                None => drop(self.rows.remove(key, seqno)),
            }
        }
        let (_, bytes) = self.rows.insert(APPLIED_KEY, write_applied(applied), seqno);
        {
            let mut state = lock(&self.state);
            (state.applied, state.visible) = (applied, seqno + 1);
            state.window_left = window_left.or(state.window_left.take());
        }
        if bytes.max(window_bytes) >= MEMORY_MAX_BYTES {
            self.seal();
            if self.rows.sealed_memtable_count() > SEALED_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn view(&self) -> (Box<dyn View>, Applied) {
        let state = lock(&self.state);
        let view =
            |tree: &AnyTree| TreeView::new(tree.clone(), state.visible, Arc::clone(&self.shared));
        let view = LsmView { rows: view(&self.rows), window: view(&self.window) };
        (Box::new(view), state.applied)
    }

    fn is_checkpoint_due(&self) -> bool {
        self.rows.sealed_memtable_count() > 0
    }

    fn seal(&self) {
        self.window.rotate_memtable();
        self.rows.rotate_memtable();
    }

    fn checkpoint(&self) -> Result<(), StoreFailure> {
        self.flush()?;
        for tree in [&self.window, &self.rows] {
            let leveled = Leveled::default().with_table_target_size(FILE_BYTES);
            let compacted = tree.compact(Arc::new(leveled), self.forget_older());
            compacted.map_err(|error| self.failure(error))?;
        }
        let left = lock(&self.state).window_left.take();
        // Files with nothing else; the rest of what has left stays with what hasn't.
        left.map_or(Ok(()), |left| {
            let dropped = self.window.drop_range(prefixed(Space::Identities, &[])..=left);
            dropped.map_err(|error| self.failure(error))
        })
    }

    fn size_bytes(&self) -> u64 {
        self.rows.disk_space() + self.window.disk_space()
    }

    fn forget_before(&self, space: Space, number: u64) -> Result<bool, StoreFailure> {
        let (view, _) = self.view();
        let rows = view.range(space, &[], Some(&keys::number(number))).take(FORGOTTEN_MAX_ROWS);
        let keys = rows.map(|row| row.map(|(key, _)| key)).collect::<Result<Vec<_>, _>>()?;
        let is_more = keys.len() == FORGOTTEN_MAX_ROWS;
        let seqno = self.next.next();
        for key in keys {
            self.tree(space).remove(prefixed(space, &key), seqno);
        }
        lock(&self.state).visible = seqno + 1;
        Ok(is_more)
    }
}

fn prefixed(space: Space, key: &[u8]) -> Vec<u8> {
    let mut prefixed = Vec::with_capacity(1 + key.len());
    prefixed.push(space.number());
    prefixed.extend_from_slice(key);
    prefixed
}

type Found<'a> = dyn DoubleEndedIterator<Item = lsm_tree::Result<InternalValue>> + 'a;

/// All rows below a version.
struct LsmView {
    rows: TreeView,
    window: TreeView,
}

impl LsmView {
    fn tree(&self, space: Space) -> &TreeView {
        if space == Space::Identities { &self.window } else { &self.rows }
    }
}

/// Those of one tree.
struct TreeView {
    tree: AnyTree,
    seqno: SeqNo,
    shared: Arc<Shared>,
    /// Rows between two keys, of the files and the parts of memory that there were. The tree would keep
    /// all that come later, too, as long as it kept those.
    range: Box<dyn Fn(Range<Vec<u8>>) -> Box<Found<'static>> + Send + Sync>,
}

impl TreeView {
    fn new(tree: AnyTree, seqno: SeqNo, shared: Arc<Shared>) -> Self {
        let version = tree.get_version_history_lock().latest_version();
        let range = move |range: Range<Vec<u8>>| -> Box<Found<'static>> {
            Box::new(Tree::create_internal_range(version.clone(), &range, seqno, None))
        };
        Self { tree, seqno, shared, range: Box::new(range) }
    }

    /// Whether the tree still has what this view needs.
    fn is_recent(&self) -> bool {
        self.seqno >= self.shared.horizon.load(Ordering::SeqCst)
    }

    fn get(&self, mut key: Vec<u8>) -> lsm_tree::Result<Option<UserValue>> {
        // The tree knows where not to look.
        if self.is_recent() {
            let value = self.tree.get(&key, self.seqno)?;
            if self.is_recent() {
                return Ok(value);
            }
        }
        let from = key.clone();
        key.push(0);
        Ok((self.range)(from..key).next().transpose()?.map(|row| row.value))
    }
}

impl View for LsmView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        let tree = self.tree(space);
        let found = tree.get(prefixed(space, key)).map_err(|error| tree.shared.failure(error))?;
        Ok(found.map(Bytes::from))
    }

    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        let low = prefixed(space, from);
        let high = to.map_or_else(|| vec![space.number() + 1], |to| prefixed(space, to));
        let tree = self.tree(space);
        Box::new((tree.range)(low..high).map(|row| {
            let row = row.map_err(|error| tree.shared.failure(error))?;
            Ok((Bytes::from(row.key.user_key).slice(1..), row.value.into()))
        }))
    }
}

fn open_failure(error: lsm_tree::Error) -> OpenFailure {
    match error {
        // Other errors are of files that are not what its lists say.
        lsm_tree::Error::Io(error)
            if error.kind() == ErrorKind::PermissionDenied || is_full(&error) =>
        {
            OpenFailure::Io(error)
        }
        other => OpenFailure::damaged(format!("{other:?}")),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
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
        let history = tables.rows.get_version_history_lock().memtable_size_sum();
        assert!(history < 4 * MEMORY_MAX_BYTES, "{history} bytes");
        assert_eq!(read(&*view, 1), Some(1));
        assert_eq!(view.range(Space::Children, &[], None).count(), 1);
    }

    /// The oldest identities go with the files that have nothing else.
    #[test]
    fn identities_that_have_left_the_window_go_file_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let tables = LsmTables::rebuild(folder.path(), CACHES, [7; 16]).unwrap();
        let first = |view: &dyn View| {
            let row = view.range(Space::Identities, &[], None).next().unwrap().unwrap();
            keys::first_number(&row.0).unwrap()
        };
        let row = |number: u64, value: Option<Vec<u8>>| Row {
            space: Space::Identities,
            key: keys::number(number).into(),
            value: value.map(Bytes::from),
        };
        let (before, _) = tables.view();
        for number in 1..=80u64 {
            let mut rows = vec![row(number, Some(vec![number as u8; 1 << 20]))];
            rows.extend(number.checked_sub(20).map(|gone| row(gone, None)));
            tables.apply(rows, at(number)).unwrap();
            if tables.is_checkpoint_due() {
                tables.checkpoint().unwrap();
            }
        }
        let (view, _) = tables.view();
        let (oldest, count) = (first(&*view), view.range(Space::Identities, &[], None).count());
        assert!((41..=61).contains(&oldest), "{oldest}");
        assert_eq!(count as u64, 81 - oldest, "none is missing between");
        assert!(tables.size_bytes() < 40 << 20);
        assert_eq!(before.range(Space::Identities, &[], None).count(), 0);
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
