//! The store: a journal of commits, and the tables that are derived from it. A commit is durable once
//! the journal has it; tables follow, and are brought up to the newest commit before anybody reads them.

mod reclaim;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use usher_journal::{Copied, Journal, JournalError, Record};

use super::events::EventLog;
use super::lost::covered;
use super::record::{self, Events};
use super::{
    Applied, Batch, OpenFailure, Row, Rows, RowsAt, Space, Store, StoreFailure, Tables, Unreadable,
    View, Views, keys, lock,
};

/// Rows of commits that tables don't have yet; who commits beyond that applies them.
const PENDING_MAX_BYTES: usize = 32 * 1_024 * 1_024;

/// A journal and its tables.
pub(crate) struct JournaledStore {
    shared: Arc<Shared>,
    applier: Option<JoinHandle<()>>,
    /// Nobody else may open the folder before this is closed. Last, so that it is dropped last.
    _lock: Option<Arc<File>>,
}

struct Shared {
    journal: Arc<dyn Journal>,
    tables: Arc<dyn Tables>,
    /// Ours; 0 until the journal is claimed.
    epoch: AtomicU64,
    /// Where the next commit goes.
    end: Mutex<Applied>,
    pending: Mutex<Pending>,
    /// Rings for the applier.
    has_pending: Condvar,
    /// Held by who applies commits, so that they are applied in order.
    applying: Mutex<()>,
    /// The lowest sequence that the journal has.
    first_sequence: AtomicU64,
    failed: OnceLock<StoreFailure>,
    /// Held while room of the journal is given back, and while a copy of it is made.
    reclaiming: Mutex<()>,
    /// Where the part of the journal begins that was written to last.
    sealed: AtomicU64,
    is_reclaim_due: AtomicBool,
    /// How large the journal was when rows had been dropped.
    compacted_bytes: AtomicU64,
}

#[derive(Default)]
struct Pending {
    commits: VecDeque<(Vec<Row>, Applied)>,
    bytes: usize,
    is_closing: bool,
}

impl JournaledStore {
    /// Brings the tables up to the end of the journal, which stays as it is.
    pub(crate) fn open(
        journal: Arc<dyn Journal>,
        tables: Arc<dyn Tables>,
    ) -> Result<Self, OpenFailure> {
        let end = catch_up(&*journal, &*tables, |_| ())?;
        check_start(&*journal, &*tables)?;
        let first_sequence = AtomicU64::new(first_sequence(&*journal, end)?);
        let sealed = AtomicU64::new(parts(&*journal).last().map_or(0, |part| part.end));
        let shared = Shared {
            journal,
            tables,
            epoch: AtomicU64::new(0),
            end: Mutex::new(end),
            pending: Mutex::default(),
            has_pending: Condvar::new(),
            applying: Mutex::default(),
            first_sequence,
            failed: OnceLock::new(),
            reclaiming: Mutex::default(),
            sealed,
            is_reclaim_due: AtomicBool::new(true),
            compacted_bytes: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), applier: None, _lock: None })
    }

    /// An empty one that nothing outlives.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let tables = super::memory::MemoryTables::default();
        let journal = Arc::new(usher_journal::MemoryJournal::default());
        let store = Self::open(journal, Arc::new(tables)).unwrap();
        store.claim().unwrap();
        store
    }

    /// Claims the journal: commits may be made from now on, unless it returns false. Then an owner that was
    /// overtaken has appended something since this was opened, and it is to be opened again.
    pub(crate) fn claim(&self) -> Result<bool, OpenFailure> {
        self.shared.epoch.store(self.shared.journal.claim()?, Ordering::Release);
        Ok(self.shared.journal.end() == self.end())
    }

    /// The position that the next commit gets.
    pub(crate) fn end(&self) -> u64 {
        lock(&self.shared.end).next
    }

    /// Has a thread of its own apply commits, and make checkpoints; closes the store when it is
    /// dropped.
    pub(crate) fn with_applier(mut self, lock: Option<Arc<File>>) -> std::io::Result<Self> {
        self._lock = lock;
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("broker-tables".to_owned());
        self.applier = Some(thread.spawn(move || shared.work())?);
        Ok(self)
    }

    /// Drops rows from the journal that later ones have replaced.
    pub(crate) fn compact(&self) -> Result<(), StoreFailure> {
        self.shared.compact(&|| false)
    }

    /// Makes what is applied durable.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreFailure> {
        self.shared.checkpoint()
    }
}

/// Applies what the journal has and the tables haven't.
/// `seen` gets the rows of each commit.
pub(crate) fn catch_up(
    journal: &dyn Journal,
    tables: &dyn Tables,
    seen: impl Fn(&[Row]),
) -> Result<Applied, OpenFailure> {
    let mut applied = tables.applied();
    let (start, end) = (journal.start(), journal.end());
    if applied.next > end {
        return Err(OpenFailure::damaged(format!(
            "the journal ends before position {end}, but the tables go up to {}: the journal has lost \
             something, or is another one's",
            applied.next
        )));
    }
    // Tables that were rebuilt: everything that still matters is in what the journal has.
    let from = applied.next.max(start);
    if applied == Applied::default() && end > start {
        tracing::info!(commits = end - start, "the tables are made from the journal");
    }
    for record in journal.read(from, end)? {
        let record = record?;
        applied = record::applied(&record);
        let rows = rows(&record)?;
        seen(&rows);
        tables.apply(rows, applied)?;
        if tables.is_checkpoint_due() {
            tables.checkpoint()?;
        }
    }
    Ok(applied)
}

/// A journal that begins later than where it was trimmed to has lost its oldest segments.
fn check_start(journal: &dyn Journal, tables: &dyn Tables) -> Result<(), OpenFailure> {
    let (_, trimmed) = covered(&*tables.view().0)?;
    let start = journal.start();
    if start > trimmed {
        return Err(OpenFailure::damaged(format!(
            "the journal begins with position {start}, but nothing from {trimmed} on was given up: its \
             oldest segments are missing"
        )));
    }
    Ok(())
}

/// The parts of a journal that can be rewritten, oldest first.
fn parts(journal: &dyn Journal) -> impl Iterator<Item = Range<u64>> {
    let mut from = journal.start();
    std::iter::from_fn(move || {
        let part = journal.part(from)?;
        from = part.end;
        Some(part)
    })
}

fn rows(record: &Record) -> Result<Vec<Row>, StoreFailure> {
    Events::of(record).and_then(Events::rows).ok_or_else(|| record::unreadable(record))
}

/// The lowest sequence that a journal has.
pub(crate) fn first_sequence(journal: &dyn Journal, end: Applied) -> Result<u64, StoreFailure> {
    let start = journal.start();
    match journal.read(start, start + 1)?.next().transpose()? {
        Some(record) => Ok(record.first_sequence),
        None => Ok(end.next_sequence),
    }
}

/// See [`Views::rows_at`]; by what a journal has.
pub(crate) fn rows_at(
    views: &dyn Views,
    journal: &dyn Journal,
    (space, prefix): (Space, &[u8]),
    sequence: u64,
) -> Result<RowsAt, StoreFailure> {
    let (first, _) = covered(&*views.view())?;
    if sequence < first {
        return Ok(RowsAt::Before(first));
    }
    let mut found = BTreeMap::new();
    for record in journal.read(journal.start(), u64::MAX)? {
        let record = record?;
        if record.first_sequence > sequence {
            break;
        }
        let of_prefix = |row: &Row| row.space == space && row.key.starts_with(prefix);
        for Row { key, value, .. } in rows(&record)?.into_iter().filter(of_prefix) {
            match value {
                Some(value) => found.insert(key, value),
                None => found.remove(&key),
            };
        }
    }
    // What was compacted meanwhile may be missing.
    let (first, _) = covered(&*views.view())?;
    Ok(if sequence < first { RowsAt::Before(first) } else { RowsAt::There(found) })
}

impl Shared {
    fn check(&self) -> Result<(), StoreFailure> {
        self.failed.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Applies all commits that are pending.
    fn apply(&self) -> Result<(), StoreFailure> {
        let _applying = lock(&self.applying);
        loop {
            self.check()?;
            let Some((rows, applied)) = ({
                let mut pending = lock(&self.pending);
                let next = pending.commits.pop_front();
                let bytes = next.iter().flat_map(|(rows, _)| rows).map(Row::bytes).sum();
                pending.bytes = pending.bytes.saturating_sub(bytes);
                next
            }) else {
                return Ok(());
            };
            self.tables.apply(rows, applied).map_err(|failure| self.fail(failure))?;
        }
    }

    /// Notes the first failure after which nothing is committed.
    fn fail(&self, failure: StoreFailure) -> StoreFailure {
        // The first one is kept.
        let _ = self.failed.set(failure.clone());
        failure
    }

    /// The applier's thread.
    fn work(&self) {
        loop {
            {
                let mut pending = lock(&self.pending);
                while pending.commits.is_empty() && !self.tables.is_checkpoint_due() {
                    if pending.is_closing {
                        return;
                    }
                    pending =
                        self.has_pending.wait(pending).unwrap_or_else(PoisonError::into_inner);
                }
            }
            let applied = self.apply().and_then(|()| match self.tables.is_checkpoint_due() {
                true => self.tables.checkpoint().map_err(|failure| self.fail(failure)),
                false => Ok(()),
            });
            if let Err(failure) = applied {
                tracing::error!(%failure, "the tables can't be written");
                return;
            }
        }
    }

    /// Appends a commit, durably. Who holds `end` is the only one.
    fn append(&self, end: &mut Applied, batch: Batch) -> Result<(), StoreFailure> {
        let encoded = record::encode(batch, end.next_sequence);
        let appended = encoded.append(&*self.journal, self.epoch.load(Ordering::Acquire), *end);
        *end = appended
            .and_then(|next| self.journal.sync(end.next).map(|()| next))
            .map_err(|error| self.fail(error.into()))?;
        let sealed = self.sealed.load(Ordering::Acquire);
        if let Some(part) = self.journal.part(sealed) {
            self.sealed.store(part.end, Ordering::Release);
            self.is_reclaim_due.store(true, Ordering::Release);
        }
        let mut pending = lock(&self.pending);
        pending.bytes += encoded.rows.iter().map(Row::bytes).sum::<usize>();
        pending.commits.push_back((encoded.rows, *end));
        self.has_pending.notify_one();
        let is_behind = pending.bytes > PENDING_MAX_BYTES;
        drop(pending);
        if is_behind { self.apply() } else { Ok(()) }
    }

    /// Makes all that is committed durable in the tables.
    fn checkpoint(&self) -> Result<(), StoreFailure> {
        self.apply()?;
        {
            let _applying = lock(&self.applying);
            self.tables.seal();
        }
        self.tables.checkpoint().map_err(|failure| self.fail(failure))
    }

    /// Removes rows that nobody asks for any more from the tables. The journal doesn't say so: in tables
    /// that are rebuilt they may be there again.
    fn forget(&self, space: Space, number: u64) -> Result<(), StoreFailure> {
        loop {
            self.apply()?;
            let _applying = lock(&self.applying);
            if !self.tables.forget_before(space, number)? {
                return Ok(());
            }
        }
    }

    fn view(&self) -> Result<JournaledView, StoreFailure> {
        let first = self.first_sequence.load(Ordering::Acquire);
        self.apply()?;
        Ok(JournaledView::new(&self.journal, &*self.tables, first))
    }
}

impl Store for JournaledStore {
    fn check(&self) -> Result<(), StoreFailure> {
        self.shared.check()?;
        Ok(self.shared.journal.check()?)
    }

    fn is_waiting(&self) -> bool {
        self.shared.journal.is_waiting()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreFailure> {
        self.shared.check()?;
        let mut end = lock(&self.shared.end);
        self.shared.append(&mut end, batch)
    }

    fn drop_before(&self, space: Space, number: u64) -> Result<(), StoreFailure> {
        // Of the events, tables have those that were put back.
        self.shared.forget(space, number)
    }

    fn is_reclaim_due(&self) -> bool {
        self.shared.is_reclaim_due.load(Ordering::Acquire)
    }

    fn reclaim(&self, sequence: u64, is_stopping: &dyn Fn() -> bool) -> Result<(), StoreFailure> {
        self.shared.reclaim(sequence, is_stopping)
    }

    fn copy_to(
        &self,
        folder: &Path,
        base: Option<&Path>,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(Box<dyn View>, Copied), StoreFailure> {
        let shared = &*self.shared;
        let _nothing_goes = lock(&shared.reclaiming);
        let (view, until) = {
            let end = lock(&shared.end);
            (shared.view()?, end.next)
        };
        let copied = shared.journal.copy_to(folder, until, base, is_stopping)?;
        Ok((Box::new(view), copied))
    }
}

impl Views for JournaledStore {
    fn view(&self) -> Box<dyn View> {
        match self.shared.view() {
            Ok(view) => Box::new(view),
            Err(failure) => Box::new(Unreadable(failure)),
        }
    }

    fn rows_at(&self, space: Space, prefix: &[u8], sequence: u64) -> Result<RowsAt, StoreFailure> {
        rows_at(self, &*self.shared.journal, (space, prefix), sequence)
    }
}

impl Drop for JournaledStore {
    fn drop(&mut self) {
        let Some(applier) = self.applier.take() else { return };
        lock(&self.shared.pending).is_closing = true;
        self.shared.has_pending.notify_all();
        // It panics only where it has said so.
        let _ = applier.join();
        if self.shared.failed.get().is_some() {
            return;
        }
        let closed = self.checkpoint().and_then(|()| Ok(self.shared.journal.close()?));
        if let Err(failure) = closed {
            tracing::warn!(%failure, "the store is not closed: the next start reads its end again");
        }
    }
}

impl From<JournalError> for StoreFailure {
    fn from(error: JournalError) -> Self {
        Self(error.to_string())
    }
}

impl From<JournalError> for OpenFailure {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { source, .. } => Self::Io(source),
            refused @ (JournalError::Service { .. } | JournalError::Fenced { .. }) => {
                Self::Refused(refused)
            }
            other => Self::damaged(other.to_string()),
        }
    }
}

impl From<StoreFailure> for OpenFailure {
    fn from(failure: StoreFailure) -> Self {
        Self::Damaged(failure)
    }
}

/// Tables and events as of one commit.
pub(crate) struct JournaledView {
    tables: Box<dyn View>,
    events: EventLog,
}

impl JournaledView {
    /// Of tables as they are now, and of the events of a journal from `first` on.
    pub(crate) fn new(journal: &Arc<dyn Journal>, tables: &dyn Tables, first: u64) -> Self {
        let (tables, applied) = tables.view();
        let events = EventLog::new(Arc::clone(journal), first, applied.next_sequence);
        Self { tables, events }
    }
}

impl View for JournaledView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        if space == Space::Events
            && let Some(sequence) = keys::first_number(key)
            && let Some(event) = self.events.get(sequence)?
        {
            return Ok(Some(event));
        }
        self.tables.get(space, key)
    }

    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        if space != Space::Events {
            return self.tables.range(space, from, to);
        }
        let (low, high) = (sequence_from(from), to.map_or(u64::MAX, sequence_from));
        // Events that were put back after retention had removed them.
        let first = self.events.first();
        let aside = match to {
            Some(to) if high <= first => self.tables.range(space, from, Some(to)),
            _ if low >= first => Box::new(std::iter::empty()),
            _ => self.tables.range(space, from, Some(&keys::number(first))),
        };
        Box::new(aside.chain(self.events.range(low, high)))
    }
}

/// The lowest sequence whose key isn't below this.
fn sequence_from(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(number) => u64::from_be_bytes(*number).saturating_add(u64::from(key.len() > 8)),
        None => {
            let mut number = [0; 8];
            for (byte, value) in number.iter_mut().zip(key) {
                *byte = *value;
            }
            u64::from_be_bytes(number)
        }
    }
}
