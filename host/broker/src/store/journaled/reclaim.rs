//! Gives room of the journal back: its beginning, once no event there is needed any more, and rows that
//! were overwritten or deleted since.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use usher_journal::Record;

use super::{JournaledView, Shared, first_sequence, parts, rows};
use crate::store::lost::{COVERED_KEY, covered};
use crate::store::record::{self, Events};
use crate::store::rows::{COUNTERS_KEY, Counters};
use crate::store::{Batch, Row, Space, StoreFailure, View as _, keys, lock};

/// Bytes of rows carried forward in one record.
const CARRIED_MAX_BYTES: usize = 1_024 * 1_024;

/// Rows carried forward before more are looked for.
const CARRIED_MAX_KEYS: usize = 65_536;

/// Parts at the journal's end, and rows in them, whose past is left as it is: somebody may ask for state
/// as it stood then.
const RECENT_PARTS: usize = 2;
const RECENT_MAX_ROWS: usize = 1_000_000;

/// With less to be gained nothing is compacted.
const WASTED_MIN_BYTES: u64 = 1_024 * 1_024;

/// What a record, and an event in it, take besides their content, about.
const RECORD_BYTES: u64 = 64;
const EVENT_BYTES: u64 = 32;

/// Where the recent past begins.
struct Horizon {
    position: u64,
    sequence: u64,
    /// Hashes of the keys of rows that were changed since.
    changed: HashSet<u64>,
    hasher: RandomState,
}

impl Horizon {
    fn hash(&self, row: &Row) -> u64 {
        self.hasher.hash_one((row.space, &row.key))
    }
}

impl Shared {
    /// Gives back what costs little, of events before this one and of rows.
    pub(super) fn reclaim(
        &self,
        sequence: u64,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(), StoreFailure> {
        self.is_reclaim_due.store(false, Ordering::Release);
        let _reclaiming = lock(&self.reclaiming);
        self.trim(sequence)?;
        if self.is_wasteful()? { self.compact(is_stopping) } else { Ok(()) }
    }

    /// Gives up the journal's beginning, as far as none of its events is needed. Rows whose last value
    /// stands there are written again first: tables can be rebuilt from what is left.
    fn trim(&self, sequence: u64) -> Result<(), StoreFailure> {
        if sequence <= self.first_sequence.load(Ordering::Acquire) {
            return Ok(());
        }
        let before = self.journal.trimmable(self.journal.near(sequence)?);
        let start = self.journal.start();
        if before <= start {
            return Ok(());
        }
        let mut keys = BTreeSet::new();
        for record in self.journal.read(start, before)? {
            for Row { space, key, value } in rows(&record?)? {
                if value.is_some() {
                    keys.insert((space, Bytes::copy_from_slice(&key)));
                }
            }
            if keys.len() >= CARRIED_MAX_KEYS {
                self.carry(std::mem::take(&mut keys))?;
            }
        }
        self.carry(keys)?;
        self.cover(None, before)?;
        // What the tables have only in memory would be read from the journal after a crash.
        self.checkpoint()?;
        let end = *lock(&self.end);
        self.journal.trim(before)?;
        let bytes = self.journal.size_bytes(self.journal.start())?;
        self.compacted_bytes.fetch_min(bytes, Ordering::AcqRel);
        self.first_sequence.store(first_sequence(&*self.journal, end)?, Ordering::Release);
        Ok(())
    }

    /// Writes rows again, as they stand.
    fn carry(&self, keys: BTreeSet<(Space, Bytes)>) -> Result<(), StoreFailure> {
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            // Nobody commits meanwhile: what is carried is what stands there.
            let mut end = lock(&self.end);
            let view = self.view()?;
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

    /// Notes from which sequence on, or else from now on, the journal has every change of rows, and to
    /// where it is trimmed.
    fn cover(&self, sequence: Option<u64>, trimmed: u64) -> Result<(), StoreFailure> {
        let mut end = lock(&self.end);
        let (known, before) = covered(&self.view()?)?;
        let sequence = sequence.unwrap_or(end.next_sequence).max(known);
        let mut batch = Batch::default();
        batch.put(Space::Meta, COVERED_KEY, keys::pair(sequence, trimmed.max(before)));
        self.append(&mut end, batch)
    }

    /// Drops rows that later ones have replaced.
    pub(super) fn compact(&self, is_stopping: &dyn Fn() -> bool) -> Result<(), StoreFailure> {
        // Before the horizon: a row that is changed from now on was not yet replaced. Nor is anything
        // known of what is written from now on.
        let (view, until) = {
            let end = lock(&self.end);
            (self.view()?, end.next)
        };
        if let Some(horizon) = self.horizon()? {
            self.cover(Some(horizon.sequence), 0)?;
            let until = horizon.position.min(until);
            let is_old = |part: &Range<u64>| part.end <= until && !is_stopping();
            for part in parts(&*self.journal).take_while(is_old) {
                if let Err(failure) = self.compact_part(part, &horizon, &view, is_stopping) {
                    self.check()?;
                    tracing::warn!(%failure, "a part of the journal is not compacted");
                }
            }
        }
        // Also where nothing could be dropped: it isn't tried again before there is more.
        let bytes = self.journal.size_bytes(self.journal.start())?;
        tracing::info!(bytes, "the journal is compacted");
        self.compacted_bytes.store(bytes, Ordering::Release);
        Ok(())
    }

    /// Whether rows that were replaced take more than half as much room as all else.
    fn is_wasteful(&self) -> Result<bool, StoreFailure> {
        let Some(recent) = self.recent().next() else { return Ok(false) };
        let bytes = self.journal.size_bytes(self.journal.start())?;
        let recent_bytes = self.journal.size_bytes(recent)?;
        if bytes <= recent_bytes + WASTED_MIN_BYTES {
            return Ok(false);
        }
        let view = self.view()?;
        let counters = view.get(Space::Meta, COUNTERS_KEY)?.and_then(|row| Counters::read(&row));
        let Counters { last_sequence, first_sequence, log_bytes, .. } =
            counters.unwrap_or_default();
        let events = (last_sequence + 1).saturating_sub(first_sequence);
        let events_bytes = log_bytes + events * EVENT_BYTES;
        let records_bytes = (self.journal.end() - self.journal.start()) * RECORD_BYTES;
        let needed_bytes = events_bytes + records_bytes + self.tables.size_bytes();
        // What was left the last time could not be dropped.
        let needed_bytes = needed_bytes.max(self.compacted_bytes.load(Ordering::Acquire));
        Ok(bytes > needed_bytes + needed_bytes / 2 + recent_bytes + WASTED_MIN_BYTES)
    }

    /// The first positions of the newest parts, whose past is left as it is.
    fn recent(&self) -> impl Iterator<Item = u64> {
        let parts: Vec<u64> = parts(&*self.journal).map(|part| part.start).collect();
        let before = parts.len().saturating_sub(RECENT_PARTS);
        // With fewer nothing comes before them.
        let are_enough = before > 0;
        parts.into_iter().skip(before).filter(move |_| are_enough)
    }

    /// The end of what may be compacted; `None` if that is nothing.
    fn horizon(&self) -> Result<Option<Horizon>, StoreFailure> {
        for position in self.recent() {
            let mut records = self.journal.read(position, u64::MAX)?.peekable();
            let Some(Ok(first)) = records.peek() else { break };
            let (sequence, hasher) = (first.first_sequence, RandomState::new());
            let mut horizon = Horizon { position, sequence, changed: HashSet::new(), hasher };
            for record in records {
                for row in rows(&record?)? {
                    horizon.changed.insert(horizon.hash(&row));
                }
                if horizon.changed.len() > RECENT_MAX_ROWS {
                    break;
                }
            }
            if horizon.changed.len() <= RECENT_MAX_ROWS {
                return Ok(Some(horizon));
            }
        }
        Ok(None)
    }

    /// Drops rows of a part of the journal, unless they are what stands in the tables, or stood there at
    /// the horizon. The last row for a key is left, also where it deletes: whoever has applied records up
    /// to any position can go on from there.
    fn compact_part(
        &self,
        part: Range<u64>,
        horizon: &Horizon,
        view: &JournaledView,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(), StoreFailure> {
        let mut last = HashMap::new();
        for record in self.journal.read(part.start, part.end)? {
            let record = record?;
            for row in rows(&record)? {
                last.insert((row.space, Bytes::copy_from_slice(&row.key)), record.position);
            }
        }
        let (mut failure, mut has_dropped, end) = (None, false, part.end);
        let mut is_needed = |row: &Row, position: u64| {
            if last.get(&(row.space, row.key.clone())) != Some(&position) {
                return false;
            }
            let stands = |now: Option<Bytes>| now == row.value;
            horizon.changed.contains(&horizon.hash(row))
                || view.tables.get(row.space, &row.key).map(stands).unwrap_or_else(|failed| {
                    failure = Some(failed);
                    true
                })
        };
        let mut compacted = |record: &Record| {
            let (events, mut rows) = Events::of(record).and_then(Events::parts)?;
            let before = rows.len();
            rows.retain(|row| is_needed(row, record.position));
            has_dropped |= rows.len() < before;
            let is_in_vain = record.position + 1 == end && !has_dropped;
            (!is_in_vain && !is_stopping()).then(|| record::payload(&events, &rows))
        };
        self.journal.rewrite(part, &mut compacted)?;
        failure.map_or(Ok(()), Err)
    }
}
