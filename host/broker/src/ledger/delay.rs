//! Delayed emissions: stored at once, appended to the log when due.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use usher_event::{Event, SubscriptionName};

use super::append::Origin;
use super::{Fetch, FetchedEmission, Ledger};
use crate::store::rows::{millis, put_record};
use crate::store::{Space, keys};
use crate::{DELAY_MAX, DELAYED_MAX};

/// Maximum emissions read from the store at once.
const FETCH_MAX_EMISSIONS: usize = 256;

/// Waiting emissions: only their due time, flow and subscription; the rest is on disk.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By tick and number.
    waiting: BTreeMap<(u64, u64), Emission>,
    /// Being read from the store, by their key on disk.
    fetching: BTreeMap<(u64, u64), Emission>,
    /// How many wait or are being read, by plugin and subscription; zero counts are removed.
    counts: HashMap<Box<str>, HashMap<SubscriptionName, usize>>,
}

#[derive(Clone, Debug)]
struct Emission {
    due_ms: u64,
    flow: u64,
    subscription: SubscriptionName,
}

impl Delayed {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.fetching.len()
    }

    /// Number of waiting emissions of a plugin.
    fn of_plugin(&self, plugin: &str) -> usize {
        self.counts.get(plugin).map_or(0, |counts| counts.values().sum())
    }

    /// Number of waiting emissions of a subscription's deliveries.
    pub(super) fn of_subscription(&self, name: &SubscriptionName) -> usize {
        self.counts.get(name.plugin()).and_then(|counts| counts.get(name)).copied().unwrap_or(0)
    }

    /// Why `more` emissions of a plugin limited to `plugin_max` don't fit, and if that is final.
    pub(super) fn objection(
        &self,
        plugin: &str,
        more: usize,
        plugin_max: usize,
    ) -> Option<(String, bool)> {
        if more == 0 {
            return None;
        }
        let waiting = self.of_plugin(plugin);
        if waiting + more > plugin_max {
            let reason = format!(
                "{waiting} emissions of plugin {plugin} wait for their delay and {more} would be \
                 added, the limit is {plugin_max}; emit fewer or let them wait less, or raise \
                 plugin.{plugin}.limits.delayed_emissions"
            );
            return Some((reason, more > plugin_max));
        }
        if self.len() + more > DELAYED_MAX {
            let reason = format!(
                "{} emissions of all plugins wait for their delay and {more} would be added, the \
                 limit is {DELAYED_MAX}; lower plugin.NAME.limits.delayed_emissions of those that \
                 have most",
                self.len()
            );
            return Some((reason, false));
        }
        None
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        // While some are being read, their arrival wakes the committer.
        self.fetching.is_empty().then(|| self.waiting.first_key_value())?.map(|((due, _), _)| *due)
    }

    /// Adds an emission due at `due_tick`; `due_ms` and `number` are its key on disk.
    pub(super) fn insert(
        &mut self,
        due_tick: u64,
        (due_ms, number): (u64, u64),
        flow: u64,
        subscription: SubscriptionName,
    ) {
        let counts = match self.counts.get_mut(subscription.plugin()) {
            Some(counts) => counts,
            None => self.counts.entry(subscription.plugin().into()).or_default(),
        };
        *counts.entry(subscription.clone()).or_default() += 1;
        self.waiting.insert((due_tick, number), Emission { due_ms, flow, subscription });
    }

    /// Requests emissions that are due, one batch at a time.
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
            let emission = first.remove();
            self.fetching.insert((emission.due_ms, number), emission);
        }
        let keys: Vec<_> = self.fetching.keys().copied().collect();
        (!keys.is_empty()).then_some(Fetch::Delayed { keys })
    }

    /// Removes an emission that was read; returns whether it was being read.
    fn fetched(&mut self, key: (u64, u64)) -> bool {
        let Some(Emission { subscription, .. }) = self.fetching.remove(&key) else { return false };
        if let Some(counts) = self.counts.get_mut(subscription.plugin()) {
            if let Some(count) = counts.get_mut(&subscription) {
                *count -= 1;
            }
            counts.retain(|_, count| *count > 0);
            if counts.is_empty() {
                self.counts.remove(subscription.plugin());
            }
        }
        true
    }

    /// Keys on disk of a flow's waiting emissions.
    pub(super) fn of_flow(&self, flow: u64, max: usize) -> Vec<(u64, u64)> {
        let waiting = self.waiting.iter().filter(|(_, emission)| emission.flow == flow);
        let waiting = waiting.map(|((_, number), emission)| (emission.due_ms, *number));
        let fetching = self.fetching.iter().filter(|(_, emission)| emission.flow == flow);
        let fetching = fetching.map(|(key, _)| *key);
        let mut keys: Vec<_> = fetching.chain(waiting).take(max).collect();
        keys.sort_unstable();
        keys
    }
}

impl Ledger {
    /// Stores an emission until it is due.
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
        self.delayed.insert(due_tick, (due_ms, number), flow, cause.subscription);
    }

    /// Appends emissions whose delay has elapsed.
    pub(super) fn delays_over(&mut self, emissions: Vec<FetchedEmission>, now_ms: u64) {
        for FetchedEmission { key: (due_ms, number), stored } in emissions {
            if !self.delayed.fetched((due_ms, number)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_plugins_together_have_a_limit() {
        let mut delayed = Delayed::default();
        for number in 1..DELAYED_MAX as u64 {
            let name = format!("p{}/s", number % 10).parse().unwrap();
            delayed.insert(5, (5, number), number, name);
        }
        assert_eq!(delayed.objection("q", 0, 0), None);
        assert_eq!(delayed.objection("q", 1, 10), None, "at the limit");
        let (reason, is_final) = delayed.objection("q", 2, 10).unwrap();
        assert!(reason.starts_with("99999 emissions of all plugins wait"), "{reason}");
        assert!(!is_final, "others make room");
    }

    #[test]
    fn nothing_is_left_of_what_is_over() {
        let mut delayed = Delayed::default();
        for number in 1..=3 {
            let name = ["p/s", "p/t", "q/s"][number as usize - 1].parse().unwrap();
            delayed.insert(number, (number, number), 1, name);
        }
        assert_eq!((delayed.of_plugin("p"), delayed.of_plugin("q")), (2, 1));
        delayed.take_due(2);
        assert_eq!(delayed.of_plugin("p"), 2, "they wait until they are in the log");
        assert!(delayed.fetched((1, 1)) && !delayed.fetched((1, 1)));
        assert_eq!((delayed.of_plugin("p"), delayed.of_plugin("q")), (1, 1));
        assert_eq!(delayed.of_subscription(&"p/t".parse().unwrap()), 1);
        assert!(delayed.fetched((2, 2)));
        assert_eq!(delayed.counts.len(), 1, "none of a plugin without any");
    }
}
