//! Retention: events are removed from the start of the log once they are too old or too many, but
//! never beyond one that a subscription hasn't settled, unless it lets its events expire. Removal
//! only advances `first_sequence`; the store frees the space afterwards.

use super::{Fetch, Ledger};
use crate::Retention;
use crate::store::rows::millis;
use crate::store::{Space, keys};

/// How often the limits are checked.
const EVERY_MS: u64 = 1_000;

/// When the limits are checked next, and whether a read is pending.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    retention: Retention,
    next_tick: u64,
    is_asked: bool,
}

/// Events to remove, and what is removed with them.
#[derive(Debug)]
pub(crate) struct Expired {
    /// The first sequence to keep.
    pub(crate) upto: u64,
    pub(crate) bytes: u64,
    /// Keys of rows in `correlations`.
    pub(crate) correlations: Vec<Vec<u8>>,
    /// For each watched subscription, which of the events it would take.
    pub(crate) unseen: Vec<Unseen>,
    /// Whether more events exceed the limits.
    pub(crate) has_more: bool,
}

/// Sequences the subscription would take.
#[derive(Debug)]
pub(crate) struct Unseen {
    pub(crate) subscription: u32,
    pub(crate) epoch: u64,
    pub(crate) sequences: Vec<u64>,
}

impl Expiry {
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, ..Self::default() }
    }

    fn is_on(&self) -> bool {
        self.retention.max_age.is_some() || self.retention.max_bytes.is_some()
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        (self.is_on() && !self.is_asked).then_some(self.next_tick)
    }
}

impl Ledger {
    /// Requests the events to remove, if a check is due.
    pub(super) fn expire(&mut self, tick: u64, now_ms: u64) {
        let Expiry { retention, next_tick, is_asked } = self.expiry;
        if !self.expiry.is_on() || is_asked || tick < next_tick {
            return;
        }
        self.expiry.next_tick = tick.saturating_add(EVERY_MS);
        let from = self.counters.first_sequence;
        let to = self.oldest_unsettled();
        let excess_bytes =
            retention.max_bytes.map_or(0, |max| self.counters.log_bytes.saturating_sub(max));
        if from >= to || (retention.max_age.is_none() && excess_bytes == 0) {
            return;
        }
        let older_than_ms = retention.max_age.map_or(0, |age| now_ms.saturating_sub(millis(age)));
        self.expiry.is_asked = true;
        let expiring = self.subs.values().filter(|sub| sub.subscription().expires);
        let watched = expiring.filter_map(|sub| {
            let from = sub.unseen_from().filter(|from| *from < to)?;
            Some(sub.behind(from))
        });
        let watched = watched.collect();
        self.fetches.push(Fetch::Expired { from, to, older_than_ms, excess_bytes, watched });
    }

    /// The lowest sequence that a subscription still needs.
    fn oldest_unsettled(&self) -> u64 {
        let last = self.counters.last_sequence;
        let needing = self.subs.values().filter(|sub| !sub.subscription().expires);
        needing.map(|sub| sub.oldest_unsettled(last)).min().unwrap_or(last + 1)
    }

    /// Removes expired events from the log.
    pub(super) fn expired(&mut self, expired: Expired) {
        self.expiry.is_asked = false;
        let Expired { upto, bytes, correlations, unseen, has_more } = expired;
        if upto <= self.counters.first_sequence {
            return;
        }
        // Since the request, a redrive or another subscription may have come to need one of them,
        // or a filter may have changed: the next check asks again.
        let Some(unseen) = self.count_unseen(upto, &unseen) else { return };
        if upto > self.oldest_unsettled() {
            return;
        }
        self.stats.expired += upto - self.counters.first_sequence;
        self.counters.first_sequence = upto;
        self.counters.log_bytes = self.counters.log_bytes.saturating_sub(bytes);
        for key in correlations {
            self.outgoing.delete(Space::Correlations, key);
        }
        for (id, unseen) in unseen {
            self.expire_deliveries(id, upto, unseen);
        }
        self.dropped = Some(self.disposable_before(upto));
        if has_more {
            self.expiry.next_tick = 0;
        }
    }

    /// Restores the event of a delivery if retention has removed it.
    pub(super) fn put_back_event(&mut self, stored: &crate::api::StoredEvent) {
        if stored.sequence < self.counters.first_sequence {
            let key = keys::number(stored.sequence);
            self.outgoing.put(Space::Events, key, crate::store::rows::write_record(stored));
        }
    }
}
