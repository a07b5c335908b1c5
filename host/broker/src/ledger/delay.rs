//! Emissions with a delay: stored at once, appended to the log when their time has come.

use std::collections::BTreeMap;
use std::time::Duration;

use usher_event::Event;

use super::append::Origin;
use super::{Fetch, FetchedEmission, Ledger};
use crate::DELAY_MAX;
use crate::store::rows::{millis, put_record};
use crate::store::{Space, keys};

/// Most emissions read from the store at once when their time has come.
const FETCH_MAX_EMISSIONS: usize = 256;

/// The emissions that wait: only when, and of which flow; the rest is on disk.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By tick and number: the key on disk, and the flow.
    waiting: BTreeMap<(u64, u64), Emission>,
    /// Being read from the store, by key.
    fetching: BTreeMap<(u64, u64), u64>,
}

#[derive(Clone, Copy, Debug)]
struct Emission {
    due_ms: u64,
    flow: u64,
}

impl Delayed {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.fetching.len()
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        // While some are being read, their arrival wakes the committer.
        self.fetching.is_empty().then(|| self.waiting.first_key_value())?.map(|((due, _), _)| *due)
    }

    pub(super) fn insert(&mut self, due_tick: u64, number: u64, due_ms: u64, flow: u64) {
        self.waiting.insert((due_tick, number), Emission { due_ms, flow });
    }

    /// Asks for those whose time has come, one piece at a time.
    pub(super) fn take_due(&mut self, tick: u64) -> Option<Fetch> {
        if !self.fetching.is_empty() {
            return None;
        }
        while self.fetching.len() < FETCH_MAX_EMISSIONS {
            let Some(first) = self.waiting.first_entry() else { break };
            let (due_tick, number) = *first.key();
            if due_tick > tick {
                break;
            }
            let Emission { due_ms, flow } = first.remove();
            self.fetching.insert((due_ms, number), flow);
        }
        let keys: Vec<_> = self.fetching.keys().copied().collect();
        (!keys.is_empty()).then_some(Fetch::Delayed { keys })
    }

    /// The keys of those that belong to a flow.
    pub(super) fn of_flow(&self, flow: u64, max: usize) -> Vec<(u64, u64)> {
        let waiting = self.waiting.iter().filter(|(_, emission)| emission.flow == flow);
        let waiting = waiting.map(|((_, number), emission)| (emission.due_ms, *number));
        let fetching = self.fetching.iter().filter(|(_, of)| **of == flow).map(|(key, _)| *key);
        let mut keys: Vec<_> = fetching.chain(waiting).take(max).collect();
        keys.sort_unstable();
        keys
    }
}

impl Ledger {
    /// Keeps an emission until its time has come.
    pub(super) fn delay(&mut self, event: Event, origin: Origin, delay: Duration, now_ms: u64) {
        let delay_ms = millis(delay.min(DELAY_MAX));
        let number = self.counters.next_delayed;
        self.counters.next_delayed += 1;
        let due_ms = now_ms.saturating_add(delay_ms);
        let due_tick = self.timeline.tick(now_ms).saturating_add(delay_ms);
        let Origin { flow, depth, cause } = origin;
        let mut record = Vec::with_capacity(64 + event.encoded().len());
        put_record(&mut record, now_ms, flow, depth, Some(&cause), &event);
        self.outgoing.put(Space::Delayed, keys::pair(due_ms, number), record);
        self.delayed.insert(due_tick, number, due_ms, flow);
    }

    /// Appends emissions whose delay is over.
    pub(super) fn delays_over(&mut self, emissions: Vec<FetchedEmission>, now_ms: u64) {
        for FetchedEmission { key: (due_ms, number), stored } in emissions {
            if self.delayed.fetching.remove(&(due_ms, number)).is_none() {
                continue;
            }
            self.outgoing.delete(Space::Delayed, keys::pair(due_ms, number));
            let Some((stored, identity)) = stored else { continue };
            let Some(cause) = stored.cause else { continue };
            let origin = Origin { flow: stored.flow, depth: stored.depth, cause };
            self.append(stored.event, &identity, Some(origin), now_ms);
        }
    }
}
