//! Restores the ledger from a store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use usher_event::{PluginName, ScheduleName, StateUsage, SubscriptionName};
use usher_filter::FilterIndex;

use super::backlog::Backlog;
use super::blobs::BlobLedger;
use super::delay::Delayed;
use super::documents::Documents;
use super::duplicates::Duplicates;
use super::retention::Expiry;
use super::retry::{Jitter, longest_backoff_ms};
use super::schedules::Schedules;
use super::state::StateLedger;
use super::subscription::Sub;
use super::timeline::{Timeline, is_ahead};
use super::{Counts, Ledger};
use crate::store::rows::{
    Counters, CursorRow, IdentitiesRow, RetryRow, ScheduleRow, SubscriptionRow, millis,
};
use crate::{Options, Retention};

/// State read from a store.
#[derive(Default)]
pub(crate) struct Recovered {
    pub(crate) counters: Counters,
    /// When the newest event was recorded; 0 if there is none.
    pub(crate) newest_recorded_ms: u64,
    pub(crate) subscriptions: Vec<(u32, SubscriptionRow, CursorRow)>,
    /// Subscription, sequence, retry row.
    pub(crate) retries: Vec<(u32, u64, RetryRow)>,
    /// Subscription, sequence, lane.
    pub(crate) parked: Vec<(u32, u64, u64)>,
    pub(crate) delayed: Vec<DelayedEmission>,
    pub(crate) usage: HashMap<PluginName, StateUsage>,
    /// Bytes of blobs kept by each plugin.
    pub(crate) blob_bytes: HashMap<Box<str>, u64>,
    /// First sequence and identities of each row of the window, oldest first.
    pub(crate) identities: Vec<(u64, IdentitiesRow)>,
    pub(crate) next_audit: u64,
    pub(crate) schedules: BTreeMap<ScheduleName, ScheduleRow>,
    /// The size of each document, bytes.
    pub(crate) documents: BTreeMap<Box<str>, usize>,
}

/// An emission waiting for its delay.
#[derive(Clone, Debug)]
pub(crate) struct DelayedEmission {
    pub(crate) due_ms: u64,
    pub(crate) number: u64,
    /// When its delay began.
    pub(crate) emitted_ms: u64,
    pub(crate) flow: u64,
    /// The subscription whose delivery emitted it.
    pub(crate) subscription: SubscriptionName,
}

/// Limits from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LedgerOptions {
    /// Size of the duplicates window, in events.
    pub(crate) window_events: usize,
    /// Maximum age of an event in it.
    pub(crate) window_ms: Option<u64>,
    pub(crate) retention: Retention,
    /// How far behind a subscription may be before publishing is refused.
    pub(crate) backlog_max_events: Option<u64>,
}

impl LedgerOptions {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            window_events: options.duplicates_window_events,
            window_ms: options.duplicates_window.map(millis),
            retention: options.retention,
            backlog_max_events: options.backlog_max_events,
        }
    }
}

impl Ledger {
    /// Restores the ledger from a store; `seed` is for the jitter of retries, and for where tokens begin.
    pub(crate) fn new(recovered: Recovered, rules: LedgerOptions, seed: u64, now_ms: u64) -> Self {
        let LedgerOptions { window_events, window_ms, retention, backlog_max_events } = rules;
        let last = recovered.counters.last_sequence;
        let mut timeline = Timeline::default();
        let tick = timeline.tick(now_ms);
        let mut jitter = Jitter::new(seed);
        // Elsewhere each time: what is leased by an earlier process isn't taken for a lease of this one.
        let next_token = jitter.next() >> 2;
        let mut ledger = Self {
            counters: recovered.counters,
            written_counters: recovered.counters,
            timeline,
            commit: 1,
            duplicates: Self::window(
                recovered.identities,
                (window_events, window_ms),
                last,
                now_ms,
            ),
            tail: super::Tail::default(),
            subs: Default::default(),
            names: HashMap::new(),
            leases: Default::default(),
            announced: Vec::new(),
            index: FilterIndex::default(),
            watched: FilterIndex::default(),
            marks: Default::default(),
            due: Default::default(),
            paced: Default::default(),
            delayed: Delayed::default(),
            state: StateLedger::new(recovered.usage),
            jitter,
            next_token,
            touched: Default::default(),
            unsaved: Default::default(),
            outgoing: Default::default(),
            fetches: Vec::new(),
            scans: Default::default(),
            blobs: BlobLedger::new(recovered.blob_bytes),
            alone: Default::default(),
            backlog: Backlog::new(backlog_max_events),
            expiry: Expiry::new(retention),
            dropped: None,
            removed_dead: Default::default(),
            next_audit: recovered.next_audit,
            schedules: Schedules::new(recovered.schedules),
            documents: Documents::new(recovered.documents),
            stats: Counts::default(),
        };
        for (id, row, cursor) in recovered.subscriptions {
            let name = row.subscription.name.clone();
            let sub = Sub::new(id, row, cursor, last);
            ledger.index.insert(id, sub.filter());
            ledger.leases.open(name.clone(), Arc::clone(&sub.queue));
            ledger.names.insert(name, id);
            ledger.subs.insert(id, sub);
            ledger.touched.insert(id);
        }
        ledger.timeline.found(recovered.newest_recorded_ms, now_ms);
        for (id, sequence, mut row) in recovered.retries {
            let Some(sub) = ledger.subs.get_mut(&id) else { continue };
            // A clock set back since must not delay it beyond its policy.
            let policy = &sub.subscription().retry;
            let mut wait_ms = row.due_ms.saturating_sub(now_ms).min(millis(policy.max_age));
            let is_ahead = is_ahead(row.first_ms, now_ms);
            if is_ahead || ledger.timeline.was_set_back() {
                // What a listener asked for may be longer than any backoff. By the clock before, this is what
                // was left of it, or more.
                let latest_ms = recovered.newest_recorded_ms.max(row.first_ms);
                let asked_ms = match row.uncounted {
                    0 => 0,
                    _ => row.due_ms.saturating_sub(latest_ms),
                };
                wait_ms = wait_ms.min(longest_backoff_ms(policy, row.failures).max(asked_ms));
            }
            if is_ahead {
                (row.first_ms, row.due_ms) = (now_ms, now_ms.saturating_add(wait_ms));
            }
            let due_tick = tick.saturating_add(wait_ms);
            sub.add_retry(sequence, row, true);
            ledger.due.insert((due_tick, id, sequence));
        }
        for (id, sequence, lane) in recovered.parked {
            if let Some(sub) = ledger.subs.get_mut(&id) {
                sub.found_parked(sequence, lane);
            }
        }
        ledger.expire_what_was_out();
        for sub in ledger.subs.values_mut() {
            sub.start_lanes();
        }
        for emission in recovered.delayed {
            let DelayedEmission { due_ms, number, emitted_ms, flow, subscription } = emission;
            // Share one name instead of allocating one per emission.
            let known = ledger.names.get_key_value(&subscription);
            let subscription = known.map_or(subscription.clone(), |(name, _)| name.clone());
            let mut wait_ms = due_ms.saturating_sub(now_ms);
            if is_ahead(emitted_ms, now_ms) {
                wait_ms = wait_ms.min(due_ms.saturating_sub(emitted_ms));
            }
            let due_tick = tick.saturating_add(wait_ms);
            ledger.delayed.insert(due_tick, (due_ms, number), flow, subscription);
        }
        ledger.watch_backlog();
        ledger
    }

    fn window(
        rows: Vec<(u64, IdentitiesRow)>,
        (events, window_ms): (usize, Option<u64>),
        last: u64,
        now_ms: u64,
    ) -> Duplicates {
        let first = rows.first().map_or(last + 1, |(first, _)| *first);
        let mut duplicates = Duplicates::new(events, window_ms, first);
        for (first, row) in rows {
            let IdentitiesRow { identities, recorded_ms } = row;
            for identity in &identities {
                duplicates.push(identity);
            }
            let count = u32::try_from(identities.len()).unwrap_or(u32::MAX);
            // Rows that have left the window are deleted with the next one written. Older versions
            // didn't record the time: then the age counts from now.
            duplicates.note_old_row(first, count, recorded_ms.unwrap_or(now_ms));
        }
        duplicates
    }
}
