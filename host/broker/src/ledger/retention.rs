//! What the log keeps: events go from its beginning once they are too old or too many, never past
//! one that a subscription has not settled, unless it lets them expire. They go by a number that
//! rises; the store gives their space back afterwards.

use std::sync::Arc;

use usher_filter::Filter;

use super::{Fetch, Ledger};
use crate::Retention;
use crate::store::rows::millis;
use crate::store::{Space, keys};

/// How often the log is looked at.
const EVERY_MS: u64 = 1_000;

/// When the log was looked at, and whether an answer is on its way.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    retention: Retention,
    next_tick: u64,
    is_asked: bool,
}

/// The events that are to go, and what goes with them.
#[derive(Debug)]
pub(crate) struct Expired {
    /// The first that stays.
    pub(crate) upto: u64,
    pub(crate) bytes: u64,
    /// Rows of `correlations`.
    pub(crate) correlations: Vec<Vec<u8>>,
    /// For each subscription that was named, what of them it would take.
    pub(crate) unseen: Vec<Unseen>,
    /// Whether more would have to go.
    pub(crate) has_more: bool,
}

/// A subscription that lets events expire which it has not looked at yet, those from `from` on.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) subscription: u32,
    pub(crate) epoch: u64,
    pub(crate) filter: Arc<Filter>,
    pub(crate) from: u64,
}

/// The sequences it would take.
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
    /// Asks which events are to go, if it is time to.
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
            let (subscription, epoch, filter) = (sub.id, sub.epoch, Arc::clone(&sub.filter));
            Some(Watched { subscription, epoch, filter, from })
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

    /// Lets them go.
    pub(super) fn expired(&mut self, expired: Expired) {
        self.expiry.is_asked = false;
        let Expired { upto, bytes, correlations, unseen, has_more } = expired;
        if upto <= self.counters.first_sequence {
            return;
        }
        // A redriven dead letter or another subscription may need one of them since the question
        // was asked, or another filter would take others: it is asked again.
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

    /// Puts an event back that the log no longer has, for a delivery of it.
    pub(super) fn put_back_event(&mut self, stored: &crate::api::StoredEvent) {
        if stored.sequence < self.counters.first_sequence {
            let key = keys::number(stored.sequence);
            self.outgoing.put(Space::Events, key, crate::store::rows::write_record(stored));
        }
    }
}
