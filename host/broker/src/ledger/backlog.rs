//! Backpressure: a subscription too far behind in the log blocks producers, and then plugins.
//!
//! Beyond the mark, publishing is refused. Beyond twice the mark, a delivery is held back if that
//! subscription would take its emissions: its effects are dropped, it runs again later, and its
//! subscription gets nothing more until then. Never held back are deliveries of a subscription that
//! is itself beyond twice the mark, or deliveries that run alone, since the others wait for them.
//! So the subscription furthest behind can always proceed, and the rest follow (invariant 13).
//!
//! With hysteresis: a subscription stays beyond a mark until it has caught up a quarter of it, or
//! producers would alternate between admitted and refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use usher_event::SubscriptionName;

use super::Ledger;
use super::subscription::Sub;
use crate::api::{Backpressure, BrokerError, NewEvent};

/// Up to so many subscriptions are all looked at each time.
const LOOKED_AT_ALWAYS_MAX: usize = 1_024;

/// How long a refused producer should wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Which subscriptions are too far behind, and which wait because of it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The mark; `None` for no limit.
    max_events: Option<u64>,
    beyond: BTreeSet<u32>,
    beyond_twice: BTreeSet<u32>,
    /// Subscriptions that are granted nothing, and the one each waits for.
    held_back: BTreeMap<u32, u32>,
    /// The newest sequence at which all subscriptions are looked at again.
    all_from: u64,
}

impl Backlog {
    pub(super) fn new(max_events: Option<u64>) -> Self {
        Self { max_events, ..Self::default() }
    }

    /// Whether a subscription is granted nothing for now.
    pub(super) fn holds_back(&self, id: u32) -> bool {
        self.held_back.contains_key(&id)
    }

    fn twice(&self) -> u64 {
        self.max_events.unwrap_or(u64::MAX).saturating_mul(2)
    }
}

/// Whether `lag` is beyond a mark, with hysteresis.
fn is_beyond(was_before: bool, lag: u64, mark: u64) -> bool {
    lag > if was_before { mark - mark / 4 } else { mark }
}

impl Ledger {
    /// Updates which subscriptions are too far behind. Returns whether any held back was released.
    ///
    /// One that has looked at the log gets no farther behind than the log grows, so many are all looked at only
    /// once it has grown by a part of the mark; those beyond it are looked at each time.
    pub(super) fn watch_backlog(&mut self) -> bool {
        const PARTS: u64 = 64;
        let Some(max_events) = self.backlog.max_events else { return false };
        let last = self.counters.last_sequence;
        let twice = self.backlog.twice();
        let (mut beyond, mut beyond_twice) = (BTreeSet::new(), BTreeSet::new());
        let mut look = |sub: &Sub| {
            // Subscriptions whose events may expire cause no backpressure.
            if sub.subscription().expires {
                return;
            }
            let (id, lag) = (sub.id, sub.backlog(last));
            if is_beyond(self.backlog.beyond.contains(&id), lag, max_events) {
                beyond.insert(id);
            }
            if is_beyond(self.backlog.beyond_twice.contains(&id), lag, twice) {
                beyond_twice.insert(id);
            }
        };
        if self.subs.len() <= LOOKED_AT_ALWAYS_MAX || last >= self.backlog.all_from {
            self.backlog.all_from = last + (max_events / PARTS).max(1);
            self.subs.values().for_each(look);
        } else {
            let beyond = self.backlog.beyond.union(&self.backlog.beyond_twice);
            beyond.filter_map(|id| self.subs.get(id)).for_each(&mut look);
        }
        let waits = |id: &u32, on: &u32| beyond_twice.contains(on) && !beyond_twice.contains(id);
        let freed = self.backlog.held_back.extract_if(.., |id, on| !waits(id, on));
        let freed: Vec<u32> = freed.map(|(id, _)| id).collect();
        self.touched.extend(freed.iter().filter(|id| self.subs.contains_key(id)));
        (self.backlog.beyond, self.backlog.beyond_twice) = (beyond, beyond_twice);
        !freed.is_empty()
    }

    /// Why publishing is currently refused, if it is.
    pub(crate) fn refusal(&self) -> Option<BrokerError> {
        let last = self.counters.last_sequence;
        let beyond = self.backlog.beyond.iter().filter_map(|id| self.subs.get(id));
        let furthest = beyond.max_by_key(|sub| sub.lag(last))?;
        Some(self.too_far_behind(furthest, self.backlog.max_events?))
    }

    /// Why a subscription currently accepts no more deliveries, if so.
    pub(super) fn refusal_of(&self, sub: &Sub) -> Option<BrokerError> {
        let is_beyond = self.backlog.beyond_twice.contains(&sub.id);
        is_beyond.then(|| self.too_far_behind(sub, self.backlog.twice()))
    }

    fn too_far_behind(&self, sub: &Sub, max_events: u64) -> BrokerError {
        BrokerError::Behind {
            subscription: sub.subscription().name.clone(),
            lag: sub.lag(self.counters.last_sequence),
            max_events,
            retry_after: RETRY_AFTER,
        }
    }

    /// A subscription beyond twice the mark that would take one of these emissions.
    pub(super) fn taker_too_far_behind(&self, id: u32, emissions: &[NewEvent]) -> Option<u32> {
        let Backlog { beyond_twice, .. } = &self.backlog;
        if beyond_twice.is_empty() || emissions.is_empty() || beyond_twice.contains(&id) {
            return None;
        }
        let plugin = self.subs.get(&id).map(|sub| sub.subscription().name.plugin());
        if plugin.is_some_and(|plugin| self.alone.blocks(plugin)) {
            return None;
        }
        let takes = |sub: &Sub| emissions.iter().any(|new| sub.filter().matches(&new.event));
        beyond_twice.iter().find(|on| self.subs.get(on).is_some_and(takes)).copied()
    }

    /// Holds a subscription back until the one it waits for has caught up.
    pub(super) fn hold_back(&mut self, id: u32, on: u32) {
        self.backlog.held_back.insert(id, on);
    }

    /// What a subscription blocks, and which subscription it waits for.
    pub(super) fn backlog_of(&self, id: u32) -> (Option<Backpressure>, Option<SubscriptionName>) {
        let holds_back = if self.backlog.beyond_twice.contains(&id) {
            Some(Backpressure::Plugins)
        } else {
            self.backlog.beyond.contains(&id).then_some(Backpressure::Producers)
        };
        let on = self.backlog.held_back.get(&id).and_then(|on| self.subs.get(on));
        (holds_back, on.map(|on| on.subscription().name.clone()))
    }
}
