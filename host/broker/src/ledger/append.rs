//! Appending to the log: published events and emissions take the same path.

use usher_event::{Event, Identity};
use usher_filter::Filter;

use super::Ledger;
use super::subscription::Room;
use crate::api::{BrokerError, Cause, Published, StoredEvent};
use crate::store::{Space, keys};

/// What an event inherits from the delivery that caused it.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) flow: u64,
    pub(super) depth: u16,
    pub(super) cause: Cause,
}

impl Ledger {
    /// Marks events of the types that a filter may match, from now on.
    pub(crate) fn watch(&mut self, id: u64, filter: &Filter) {
        self.watched.insert_types(id, filter);
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&mut self, id: u64) {
        self.watched.remove(&id);
    }

    /// Appends a producer's batch, all or nothing: refused while a subscription is too far behind.
    pub(crate) fn publish(
        &mut self,
        events: Vec<(Event, Identity)>,
        now_ms: u64,
    ) -> Result<Vec<Published>, BrokerError> {
        if let Some(refusal) = self.refusal() {
            self.stats.refused += 1;
            return Err(refusal);
        }
        let publish = |(event, identity)| self.append(event, &identity, None, now_ms);
        Ok(events.into_iter().map(publish).collect())
    }

    /// Appends one event, unless it is a duplicate.
    pub(super) fn append(
        &mut self,
        event: Event,
        identity: &Identity,
        origin: Option<Origin>,
        now_ms: u64,
    ) -> Published {
        self.duplicates.forget_old(now_ms);
        if let Some(sequence) = self.duplicates.find(identity) {
            self.stats.duplicates += u64::from(origin.is_none());
            return Published { sequence, duplicate: true };
        }
        self.counters.last_sequence += 1;
        self.counters.log_bytes += event.encoded().len() as u64;
        let sequence = self.counters.last_sequence;
        self.duplicates.push(identity);
        if origin.is_none()
            && let Some(correlationid) = event.attribute("correlationid")
        {
            let key = keys::correlation(&correlationid, sequence);
            self.outgoing.put(Space::Correlations, key, Vec::new());
        }
        let (flow, depth, cause) = match origin {
            Some(origin) => (origin.flow, origin.depth, Some(origin.cause)),
            None => (sequence, 0, None),
        };
        let stored = StoredEvent { sequence, recorded_ms: now_ms, flow, depth, cause, event };
        self.outgoing.put_event(&stored, identity);
        let (subs, touched) = (&mut self.subs, &mut self.touched);
        let room = Room::of_each(subs.len());
        self.index.for_each_match(&stored.event, |id| {
            if let Some(sub) = subs.get_mut(id)
                && stored.may_reach(sub.filter())
            {
                sub.offer(&stored, room);
                touched.insert(*id);
            }
        });
        let marks = &mut self.marks;
        self.watched.for_each_match(&stored.event, |id| {
            marks.entry(*id).or_insert(sequence);
        });
        self.tail.push(stored);
        self.timeline.recorded(now_ms);
        self.stats.appended += 1;
        Published { sequence, duplicate: false }
    }
}
