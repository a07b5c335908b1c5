//! Creating, changing and removing subscriptions.

use usher_event::SubscriptionName;

use super::Ledger;
use super::subscription::Sub;
use crate::SUBSCRIPTIONS_MAX;
use crate::api::{BrokerError, Start, Subscription, SubscriptionStatus};
use crate::store::rows::{CursorRow, SubscriptionRow};
use crate::store::{Space, keys};

impl Ledger {
    /// Creates or updates a subscription; returns its id. `first` is where a new one with
    /// [`Start::Time`] begins.
    pub(crate) fn subscribe(
        &mut self,
        subscription: Subscription,
        first: Option<u64>,
    ) -> Result<u32, BrokerError> {
        let last = self.counters.last_sequence;
        let name = subscription.name.clone();
        let known = self.names.get(&name).copied();
        if let Some(id) = known
            && let Some(sub) = self.subs.get_mut(&id)
        {
            if *sub.subscription() != subscription {
                sub.change(subscription, last, &mut self.outgoing);
                self.index.remove(&id);
                self.index.insert(id, &sub.filter);
                self.outgoing.put(Space::Subscriptions, keys::subscription(id), sub.row.write());
                self.unsaved.insert(id);
            }
            self.touched.insert(id);
            return Ok(id);
        }
        if self.subs.len() >= SUBSCRIPTIONS_MAX {
            return Err(BrokerError::Invalid(format!(
                "there are {SUBSCRIPTIONS_MAX} subscriptions already; remove some first"
            )));
        }
        let id = self.counters.next_subscription;
        self.counters.next_subscription += 1;
        let first = match subscription.start {
            Start::Latest => last + 1,
            Start::Earliest => self.counters.first_sequence,
            Start::Sequence(sequence) => sequence,
            Start::Time(_) => first.unwrap_or(last + 1),
        };
        let first = first.clamp(self.counters.first_sequence, last + 1);
        let row = SubscriptionRow { first, filter_from: first, subscription };
        self.outgoing.put(Space::Subscriptions, keys::subscription(id), row.write());
        let cursor = CursorRow { next: first, ..CursorRow::default() };
        let sub = Sub::new(id, row, cursor, last);
        self.index.insert(id, &sub.filter);
        self.subs.insert(id, sub);
        self.names.insert(name, id);
        self.touched.insert(id);
        self.unsaved.insert(id);
        Ok(id)
    }

    /// Whether this would change the filter of an existing subscription.
    pub(crate) fn changes_filter(&self, subscription: &Subscription) -> bool {
        let known = self.names.get(&subscription.name).and_then(|id| self.subs.get(id));
        known.is_some_and(|known| known.subscription().filter != subscription.filter)
    }

    /// Takes back leases that no caller has received: their deliveries are ready again.
    pub(crate) fn take_back(&mut self, name: &SubscriptionName, leases: &[(u64, u64)]) {
        let Some(id) = self.names.get(name).copied() else { return };
        let Some(sub) = self.subs.get_mut(&id) else { return };
        for (sequence, token) in leases {
            if sub.is_leased(*sequence, *token) {
                sub.put_back(*sequence);
            }
        }
        self.expire_deliveries(id, self.counters.first_sequence, 0);
    }

    /// Removes a subscription, except for its dead letters; returns its id.
    pub(crate) fn unsubscribe(&mut self, name: &SubscriptionName) -> Option<u32> {
        let id = self.names.remove(name)?;
        let sub = self.subs.remove(&id)?;
        self.index.remove(&id);
        self.touched.remove(&id);
        self.unsaved.remove(&id);
        self.due.retain(|(_, of, _)| *of != id);
        for sequence in sub.retries.keys() {
            self.outgoing.delete(Space::Retries, keys::retry(id, *sequence));
        }
        for sequence in sub.parked.keys() {
            self.outgoing.delete(Space::Parked, keys::retry(id, *sequence));
        }
        self.outgoing.delete(Space::Subscriptions, keys::subscription(id));
        self.outgoing.delete(Space::Cursors, keys::subscription(id));
        Some(id)
    }

    /// Status of all subscriptions, sorted by name.
    pub(crate) fn statuses(&self) -> Vec<SubscriptionStatus> {
        let last = self.counters.last_sequence;
        let status = |sub: &Sub| {
            let (holds_back, held_back_by) = self.backlog_of(sub.id);
            let delayed = self.delayed.of_subscription(&sub.subscription().name) as u64;
            SubscriptionStatus { holds_back, held_back_by, delayed, ..sub.status(last) }
        };
        let mut all: Vec<_> = self.subs.values().map(status).collect();
        all.sort_by(|a, b| a.subscription.name.cmp(&b.subscription.name));
        all
    }
}
