//! Creating, changing and removing subscriptions.

use std::sync::Arc;

use usher_event::SubscriptionName;

use super::Ledger;
use super::subscription::Sub;
use crate::SUBSCRIPTIONS_MAX;
use crate::api::{BrokerError, Start, Subscription, SubscriptionStatus};
use crate::store::rows::{CursorRow, SubscriptionRow};
use crate::store::{Space, keys};

impl Ledger {
    /// Creates or updates a subscription. `first` is where a new one with [`Start::Time`] begins.
    pub(crate) fn subscribe(
        &mut self,
        subscription: Subscription,
        first: Option<u64>,
    ) -> Result<(), BrokerError> {
        let last = self.counters.last_sequence;
        let name = subscription.name.clone();
        let known = self.names.get(&name).copied();
        if let Some(id) = known
            && let Some(sub) = self.subs.get_mut(&id)
        {
            if *sub.subscription() != subscription {
                if sub.subscription().filter != subscription.filter {
                    // What isn't leased yet is matched against the new filter.
                    sub.take_back();
                    self.expire_deliveries(id, self.counters.first_sequence, 0);
                }
                let Some(sub) = self.subs.get_mut(&id) else { return Ok(()) };
                sub.change(subscription, last, &mut self.outgoing);
                self.index.remove(&id);
                self.index.insert(id, sub.filter());
                self.outgoing.put(Space::Subscriptions, keys::subscription(id), sub.row.write());
                self.unsaved.insert(id);
            } else {
                sub.share(subscription);
                self.index.share(&id, sub.filter());
            }
            self.touched.insert(id);
            return Ok(());
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
        let subscription = Arc::new(subscription);
        let row = SubscriptionRow { first, filter_from: first, subscription };
        self.outgoing.put(Space::Subscriptions, keys::subscription(id), row.write());
        let cursor = CursorRow { next: first, ..CursorRow::default() };
        let sub = Sub::new(id, row, cursor, last);
        self.index.insert(id, sub.filter());
        self.announced.push((name.clone(), Some(Arc::clone(&sub.queue))));
        self.subs.insert(id, sub);
        self.names.insert(name, id);
        self.touched.insert(id);
        self.unsaved.insert(id);
        Ok(())
    }

    /// Removes a subscription, except for its dead letters; returns whether there was one.
    pub(crate) fn unsubscribe(&mut self, name: &SubscriptionName) -> bool {
        let id = self.names.remove(name);
        let Some((id, sub)) = id.and_then(|id| Some((id, self.subs.remove(&id)?))) else {
            return false;
        };
        self.index.remove(&id);
        self.touched.remove(&id);
        self.unsaved.remove(&id);
        self.due.retain(|(_, of, _)| *of != id);
        self.paced.retain(|(_, of)| *of != id);
        for sequence in sub.retries.keys() {
            self.outgoing.delete(Space::Retries, keys::retry(id, *sequence));
        }
        for sequence in sub.parked.keys() {
            self.outgoing.delete(Space::Parked, keys::retry(id, *sequence));
        }
        self.outgoing.delete(Space::Subscriptions, keys::subscription(id));
        self.outgoing.delete(Space::Cursors, keys::subscription(id));
        self.announced.push((name.clone(), None));
        true
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

    /// The sequence that a subscription looks at next.
    pub(crate) fn next_of(&self, name: &SubscriptionName) -> Option<u64> {
        let sub = self.subs.get(self.names.get(name)?)?;
        Some(sub.next(self.counters.last_sequence))
    }
}
