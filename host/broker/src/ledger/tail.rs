//! The newest events, in memory: a subscription that is only slightly behind catches up from here
//! instead of from disk.

use std::collections::VecDeque;

use crate::api::StoredEvent;

/// Maximum events kept.
const TAIL_MAX_EVENTS: usize = 16_384;

/// Maximum bytes of events kept.
const TAIL_MAX_BYTES: usize = 32 * 1_024 * 1_024;

/// Consecutive events up to the newest.
#[derive(Debug, Default)]
pub(super) struct Tail {
    events: VecDeque<StoredEvent>,
    bytes: usize,
}

impl Tail {
    /// Adds the newest event; evicts the oldest beyond the limits.
    pub(super) fn push(&mut self, stored: StoredEvent) {
        self.bytes += stored.event.encoded().len();
        self.events.push_back(stored);
        while self.events.len() > TAIL_MAX_EVENTS || self.bytes > TAIL_MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.event.encoded().len();
        }
    }

    /// The lowest sequence it has.
    pub(super) fn first(&self) -> Option<u64> {
        self.events.front().map(|stored| stored.sequence)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&StoredEvent> {
        let position = sequence.checked_sub(self.first()?)?;
        self.events.get(usize::try_from(position).ok()?)
    }

    /// The events from `sequence` on, if it has all of them.
    pub(super) fn from(&self, sequence: u64) -> Option<impl Iterator<Item = &StoredEvent>> {
        let position = usize::try_from(sequence.checked_sub(self.first()?)?).ok()?;
        (position < self.events.len()).then(|| self.events.range(position..))
    }
}
