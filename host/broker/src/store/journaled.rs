//! The store: a journal of commits, and the tables that are derived from it. A commit is durable once
//! the journal has it; tables follow, and are brought up to the newest commit before anybody reads them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use usher_journal::{Journal, JournalError, Record};

use super::events::EventLog;
use super::lost::COVERED_KEY;
use super::record::{self, Events};
use super::{
    Applied, Batch, Found, OpenFailure, Row, Rows, RowsAt, Space, Store, StoreFailure, Tables,
    View, keys, lock,
};

/// Rows of commits that tables don't have yet; who commits beyond that applies them.
const PENDING_MAX_BYTES: usize = 32 * 1_024 * 1_024;

/// Bytes of rows carried forward in one record.
const CARRIED_MAX_BYTES: usize = 1_024 * 1_024;

/// Rows carried forward before more are looked for.
const CARRIED_MAX_KEYS: usize = 65_536;

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
    epoch: u64,
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
    /// Where the journal began for each view that there is.
    pins: Mutex<BTreeMap<u64, usize>>,
}

#[derive(Default)]
struct Pending {
    commits: VecDeque<(Vec<Row>, Applied)>,
    bytes: usize,
    is_closing: bool,
}

impl JournaledStore {
    /// Brings the tables up to the end of the journal. Afterwards commits may be made.
    pub(crate) fn open(
        journal: Arc<dyn Journal>,
        tables: Arc<dyn Tables>,
    ) -> Result<Self, OpenFailure> {
        let end = catch_up(&*journal, &*tables)?;
        check_start(&*journal, &*tables)?;
        let epoch = journal.claim()?;
        let first_sequence = AtomicU64::new(first_sequence(&*journal, end)?);
        let shared = Shared {
            journal,
            tables,
            epoch,
            end: Mutex::new(end),
            pending: Mutex::default(),
            has_pending: Condvar::new(),
            applying: Mutex::default(),
            first_sequence,
            failed: OnceLock::new(),
            pins: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), applier: None, _lock: None })
    }

    /// An empty one that nothing outlives.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let tables = super::memory::MemoryTables::default();
        Self::open(Arc::new(usher_journal::MemoryJournal::default()), Arc::new(tables)).unwrap()
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

    /// Makes what is applied durable.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreFailure> {
        self.shared.checkpoint()
    }
}

/// Applies what the journal has and the tables haven't.
fn catch_up(journal: &dyn Journal, tables: &dyn Tables) -> Result<Applied, OpenFailure> {
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
        tables.apply(rows(&record)?, applied)?;
        if tables.is_checkpoint_due() {
            tables.checkpoint()?;
        }
    }
    Ok(applied)
}

/// A journal that begins later than where it was trimmed to has lost its oldest segments.
fn check_start(journal: &dyn Journal, tables: &dyn Tables) -> Result<(), OpenFailure> {
    let covered = tables.view().0.get(Space::Meta, COVERED_KEY)?;
    let trimmed = covered.as_deref().and_then(keys::last_number).unwrap_or_default();
    let start = journal.start();
    if start > trimmed {
        return Err(OpenFailure::damaged(format!(
            "the journal begins with position {start}, but nothing from {trimmed} on was given up: its \
             oldest segments are missing"
        )));
    }
    Ok(())
}

fn rows(record: &Record) -> Result<Vec<Row>, StoreFailure> {
    Events::of(record).and_then(Events::rows).ok_or_else(|| record::unreadable(record))
}

fn first_sequence(journal: &dyn Journal, end: Applied) -> Result<u64, StoreFailure> {
    let start = journal.start();
    match journal.read(start, start + 1)?.next().transpose()? {
        Some(record) => Ok(record.first_sequence),
        None => Ok(end.next_sequence),
    }
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
        let appended = encoded.append(&*self.journal, self.epoch, *end);
        *end = appended
            .and_then(|next| self.journal.sync(end.next).map(|()| next))
            .map_err(|error| self.fail(error.into()))?;
        let mut pending = lock(&self.pending);
        pending.bytes += encoded.rows.iter().map(Row::bytes).sum::<usize>();
        pending.commits.push_back((encoded.rows, *end));
        self.has_pending.notify_one();
        let is_behind = pending.bytes > PENDING_MAX_BYTES;
        drop(pending);
        if is_behind { self.apply() } else { Ok(()) }
    }

    /// Gives up the journal's beginning, as far as none of its events is needed. Rows whose last value
    /// stands there are written again first: tables can be rebuilt from what is left.
    fn trim(&self, sequence: u64) -> Result<(), StoreFailure> {
        let before = self.journal.trimmable(self.journal.near(sequence)?);
        let start = self.journal.start();
        if before <= start || is_pinned(&lock(&self.pins), before) {
            return Ok(());
        }
        let mut keys = BTreeSet::new();
        for record in self.journal.read(start, before)? {
            for Row { space, key, value } in rows(&record?)? {
                if value.is_some() {
                    keys.insert((space, key));
                }
            }
            if keys.len() >= CARRIED_MAX_KEYS {
                self.carry(std::mem::take(&mut keys))?;
            }
        }
        self.carry(keys)?;
        {
            let mut end = lock(&self.end);
            let mut covered = Batch::default();
            covered.put(Space::Meta, COVERED_KEY, keys::pair(end.next_sequence, before));
            self.append(&mut end, covered)?;
        }
        // What the tables have only in memory would be read from the journal after a crash.
        self.checkpoint()?;
        let end = *lock(&self.end);
        // No backup may begin meanwhile.
        let pins = lock(&self.pins);
        if is_pinned(&pins, before) {
            return Ok(());
        }
        self.journal.trim(before)?;
        self.first_sequence.store(first_sequence(&*self.journal, end)?, Ordering::Release);
        Ok(())
    }

    /// Makes all that is committed durable in the tables.
    fn checkpoint(&self) -> Result<(), StoreFailure> {
        self.apply()?;
        {
            let _applying = lock(&self.applying);
            self.tables.seal();
        }
        self.tables.checkpoint()
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

    /// Writes rows again, as they stand.
    fn carry(&self, keys: BTreeSet<(Space, Bytes)>) -> Result<(), StoreFailure> {
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            // Nobody commits meanwhile: what is carried is what stands there.
            let mut end = lock(&self.end);
            let view = self.view(None)?;
            let (mut batch, mut bytes) = (Batch::default(), 0);
            while bytes < CARRIED_MAX_BYTES
                && let Some((space, key)) = keys.next()
            {
                if let Some(value) = view.tables.get(space, &key)? {
                    bytes += key.len() + value.len();
                    batch.put(space, key, value);
                }
            }
            if !batch.is_empty() {
                self.append(&mut end, batch)?;
            }
        }
        Ok(())
    }

    fn view(&self, pin: Option<Pin>) -> Result<JournaledView, StoreFailure> {
        let first = self.first_sequence.load(Ordering::Acquire);
        self.apply()?;
        let (tables, applied) = self.tables.view();
        let events = EventLog::new(Arc::clone(&self.journal), first, applied.next_sequence);
        Ok(JournaledView { tables, events, _pin: pin })
    }
}

impl Store for JournaledStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreFailure> {
        self.shared.check()?;
        let mut end = lock(&self.shared.end);
        self.shared.append(&mut end, batch)
    }

    fn drop_before(&self, space: Space, number: u64) -> Result<(), StoreFailure> {
        // Of the events, tables have those that were put back.
        self.shared.forget(space, number)
    }

    fn trim_before(&self, sequence: u64) -> Result<(), StoreFailure> {
        self.shared.trim(sequence)
    }

    fn rows_at(&self, space: Space, prefix: &[u8], sequence: u64) -> Result<RowsAt, StoreFailure> {
        let covered = self.shared.view(None)?.get(Space::Meta, COVERED_KEY)?;
        let covered = covered.as_deref().and_then(keys::first_number).unwrap_or_default();
        if sequence < covered {
            return Ok(RowsAt::Before(covered));
        }
        let mut found = BTreeMap::new();
        let journal = &self.shared.journal;
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
        Ok(RowsAt::There(found))
    }

    fn view(&self) -> Box<dyn View> {
        readable(self.shared.view(None))
    }

    fn pinned_view(&self) -> Box<dyn View> {
        // First: what the view may look for must not go before it is there.
        let pin = Pin::begin(&self.shared);
        readable(self.shared.view(Some(pin)))
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
struct JournaledView {
    tables: Box<dyn View>,
    events: EventLog,
    _pin: Option<Pin>,
}

/// Whether a view needs something before a position.
fn is_pinned(pins: &BTreeMap<u64, usize>, before: u64) -> bool {
    pins.keys().next().is_some_and(|start| *start < before)
}

/// Keeps the journal from this position on.
struct Pin {
    start: u64,
    shared: Arc<Shared>,
}

impl Pin {
    fn begin(shared: &Arc<Shared>) -> Self {
        let mut pins = lock(&shared.pins);
        let start = shared.journal.start();
        *pins.entry(start).or_default() += 1;
        Self { start, shared: Arc::clone(shared) }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.shared.pins);
        if let Some(count) = pins.get_mut(&self.start) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.start);
            }
        }
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

fn readable(view: Result<JournaledView, StoreFailure>) -> Box<dyn View> {
    match view {
        Ok(view) => Box::new(view),
        Err(failure) => Box::new(Unreadable(failure)),
    }
}

/// What is read of a store that has failed.
struct Unreadable(StoreFailure);

impl View for Unreadable {
    fn get(&self, _: Space, _: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        Err(self.0.clone())
    }

    fn range(&self, _: Space, _: &[u8], _: Option<&[u8]>) -> Rows<'_> {
        let failed: Found = Err(self.0.clone());
        Box::new(std::iter::once(failed))
    }
}
