//! A journal in memory, for tests: it outlives those who use it, so that a crash can be played, and
//! fails when it is told to.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::record::check_place;
use crate::{Copied, Entry, Journal, JournalError, JournalId, Payload, Record, Records, Replica};

/// Records that are rewritten together.
const PART_RECORDS: u64 = 4;

/// Clones share one journal.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    /// Position of the first of them.
    start: u64,
    /// Records before this position are durable.
    durable: u64,
    epoch: u64,
    fails_append: bool,
    fails_sync: bool,
    failed: bool,
}

impl State {
    fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    fn fail(&mut self) -> JournalError {
        self.failed = true;
        let (what, source) = ("cannot write", io::Error::other("injected failure"));
        JournalError::Io { what, path: "memory".into(), source }
    }
}

impl MemoryJournal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty one, whose first record gets this position.
    pub fn starting_at(position: u64) -> Self {
        let state = State { start: position, durable: position, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Lets the next append fail, as a disk would.
    pub fn fail_next_append(&self) {
        self.state().fails_append = true;
    }

    /// Lets the next sync fail, as a disk would.
    pub fn fail_next_sync(&self) {
        self.state().fails_sync = true;
    }

    /// A crash: of the records that aren't durable only the first few are left. Also ends a failure.
    pub fn crash(&self, kept_records: u64) {
        let mut state = self.state();
        let end = state.durable.saturating_add(kept_records).min(state.end());
        let kept = usize::try_from(end.saturating_sub(state.start)).unwrap_or(usize::MAX);
        state.records.truncate(kept);
        state.durable = end;
        (state.failed, state.fails_append, state.fails_sync) = (false, false, false);
    }

    /// How many records are appended, but not durable.
    pub fn under_way(&self) -> u64 {
        let state = self.state();
        state.end() - state.durable
    }
}

impl Replica for MemoryJournal {
    fn follow(&self, epoch: u64) -> Result<(), JournalError> {
        self.state().epoch = epoch;
        Ok(())
    }
}

impl Journal for MemoryJournal {
    /// The same for all.
    fn id(&self) -> JournalId {
        JournalId::default()
    }

    fn claim(&self) -> Result<u64, JournalError> {
        let mut state = self.state();
        state.epoch += 1;
        Ok(state.epoch)
    }

    fn start(&self) -> u64 {
        self.state().start
    }

    fn end(&self) -> u64 {
        self.state().end()
    }

    fn append(&self, epoch: u64, position: u64, entry: &Entry<'_>) -> Result<(), JournalError> {
        entry.check_size()?;
        let mut state = self.state();
        if state.failed || std::mem::take(&mut state.fails_append) {
            return Err(state.fail());
        }
        check_place((epoch, state.epoch), (position, state.end()))?;
        let Entry { first_sequence, events, payload } = *entry;
        let payload = Bytes::from(payload.concat());
        state.records.push(Record { position, epoch, first_sequence, events, payload });
        Ok(())
    }

    fn sync(&self, position: u64) -> Result<(), JournalError> {
        let mut state = self.state();
        if state.durable > position {
            return Ok(());
        }
        if state.failed || std::mem::take(&mut state.fails_sync) {
            return Err(state.fail());
        }
        state.durable = state.end();
        Ok(())
    }

    fn read(&self, from: u64, to: u64) -> Result<Records, JournalError> {
        let state = self.state();
        if from < state.start {
            return Err(JournalError::Trimmed { asked: from, start: state.start });
        }
        // One at a time: many who read want only the first few.
        let (journal, mut rest) = (self.clone(), from..to.min(state.end()));
        Ok(Box::new(std::iter::from_fn(move || {
            let position = rest.next()?;
            let state = journal.state();
            let at = usize::try_from(position.checked_sub(state.start)?).ok()?;
            state.records.get(at).cloned().map(Ok)
        })))
    }

    fn near(&self, sequence: u64) -> Result<u64, JournalError> {
        let state = self.state();
        let count = state.records.partition_point(|record| record.first_sequence <= sequence);
        Ok(state.start + (count as u64).saturating_sub(1))
    }

    fn close(&self) -> Result<(), JournalError> {
        let last = self.end().checked_sub(1);
        last.map_or(Ok(()), |last| self.sync(last))
    }

    fn trimmable(&self, before: u64) -> u64 {
        let state = self.state();
        // The newest record stays, as in the last segment of a journal on a disk.
        before.min(state.durable.saturating_sub(1)).max(state.start)
    }

    fn size_bytes(&self, from: u64) -> Result<u64, JournalError> {
        let state = self.state();
        let records = state.records.iter().rev().take_while(|record| record.position >= from);
        Ok(records.map(|record| record.payload.len() as u64).sum())
    }

    fn part(&self, from: u64) -> Option<Range<u64>> {
        let state = self.state();
        let first = from.max(state.start).next_multiple_of(PART_RECORDS);
        let part = first..first + PART_RECORDS;
        (part.end <= state.durable).then_some(part)
    }

    fn rewrite(&self, part: Range<u64>, payload: &mut Payload<'_>) -> Result<bool, JournalError> {
        let mut records = self.read(part.start, part.end)?.collect::<Result<Vec<_>, _>>()?;
        for record in &mut records {
            let Some(payload) = payload(record) else { return Ok(false) };
            record.payload = payload.into();
        }
        let mut state = self.state();
        for record in records {
            let at = record.position.checked_sub(state.start).map(usize::try_from);
            if let Some(Ok(at)) = at
                && let Some(old) = state.records.get_mut(at)
            {
                *old = record;
            }
        }
        Ok(true)
    }

    fn copy_to(
        &self,
        _: &Path,
        _: u64,
        _: Option<&Path>,
        _: &dyn Fn() -> bool,
    ) -> Result<Copied, JournalError> {
        Err(JournalError::Failed("a journal in memory has no copies".to_owned()))
    }

    fn trim(&self, before: u64) -> Result<u64, JournalError> {
        let before = self.trimmable(before);
        let mut state = self.state();
        let count = usize::try_from(before - state.start).unwrap_or(usize::MAX);
        state.records.drain(..count);
        state.start = before;
        Ok(before)
    }
}
