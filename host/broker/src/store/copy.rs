//! Writes a journal of its own: for upgrades and what is rescued.

use std::path::Path;

use bytes::Bytes;
use usher_journal::{Journal as _, LocalJournal, LocalOptions};

use super::lost::COVERED_KEY;
use super::record;
use super::{Applied, Batch, OpenFailure, Space, StoreFailure, View, keys};

/// Rows and bytes of one record.
const RECORD_MAX_ROWS: usize = 4_096;
const RECORD_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// A journal that is made row by row.
pub(crate) struct Copy {
    journal: LocalJournal,
    epoch: u64,
    end: Applied,
    batch: Batch,
    bytes: usize,
    /// The sequence that follows the events of the batch.
    next_sequence: u64,
}

impl Copy {
    /// Begins a journal in a folder that isn't there yet.
    pub(crate) fn begin(folder: &Path) -> Result<Self, OpenFailure> {
        let (journal, _) = LocalJournal::open(folder, LocalOptions::default())?;
        let epoch = journal.claim()?;
        let end = Applied::default();
        let (batch, bytes, next_sequence) = (Batch::default(), 0, end.next_sequence);
        Ok(Self { journal, epoch, end, batch, bytes, next_sequence })
    }

    /// Writes a row; events in the order of their sequences.
    pub(crate) fn put(
        &mut self,
        space: Space,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), StoreFailure> {
        let (key, value) = (key.into(), value.into());
        if space == Space::Events
            && let Some(sequence) = keys::first_number(&key)
        {
            // The events of one record follow each other.
            if sequence != self.next_sequence {
                self.flush()?;
            }
            self.next_sequence = sequence + 1;
        }
        self.bytes += key.len() + value.len();
        self.batch.put(space, key, value);
        match self.batch.rows.len() >= RECORD_MAX_ROWS || self.bytes >= RECORD_MAX_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes all rows of a view.
    pub(crate) fn put_all(&mut self, view: &dyn View) -> Result<(), StoreFailure> {
        for space in Space::ALL {
            for row in view.range(space, &[], None) {
                let (key, value) = row?;
                self.put(space, key, value)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreFailure> {
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let encoded = record::encode(batch, self.end.next_sequence);
        self.end = encoded.append(&self.journal, self.epoch, self.end)?;
        Ok(())
    }

    /// Makes it durable; returns its end.
    pub(crate) fn finish(mut self) -> Result<u64, StoreFailure> {
        self.flush()?;
        // How rows came to be what they are isn't copied.
        self.batch.put(Space::Meta, COVERED_KEY, keys::pair(self.end.next_sequence, 0));
        self.flush()?;
        self.journal.close()?;
        Ok(self.end.next)
    }
}
