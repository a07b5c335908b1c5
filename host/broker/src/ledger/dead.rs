//! Dead letters: deliveries that were given up, kept whole until an operator decides.

use super::Ledger;
use super::settle::Report;
use super::subscription::Pending;
use crate::RETRIES_MAX;
use crate::api::{BrokerError, Settled};
use crate::store::rows::{DeadRow, RetryRow};
use crate::store::{Space, keys};

impl Ledger {
    /// Turns a delivery that is no longer held into a dead letter.
    pub(super) fn bury(&mut self, report: &Report, pending: Pending, now_ms: u64) -> Settled {
        let (subscription_id, sequence) = (report.subscription, report.sequence);
        let Some(sub) = self.subs.get_mut(&subscription_id) else { return Settled::Stale };
        let id = self.counters.next_dead;
        self.counters.next_dead += 1;
        self.counters.dead_letters += 1;
        sub.dead += 1;
        let row = pending.retry.unwrap_or_default();
        let dead = DeadRow {
            time_ms: now_ms,
            subscription_id,
            subscription: sub.subscription().name.clone(),
            attempt_count: row.failures,
            before: row.before,
            attempts: pending.attempts,
            stored: pending.stored,
        };
        if sub.retries.remove(&sequence).is_some() {
            self.outgoing.delete(Space::Retries, keys::retry(subscription_id, sequence));
        }
        sub.unpark(sequence, &mut self.outgoing);
        if let Some(lane) = pending.lane {
            sub.leave_lane(lane);
        }
        self.unsaved.insert(subscription_id);
        self.outgoing.put(Space::Dead, keys::number(id), dead.write());
        let delivery = keys::delivery(sequence, subscription_id);
        self.outgoing.put(Space::DeadByDelivery, delivery, keys::number(id));
        Settled::Dead(id)
    }

    /// Delivers a dead letter's event again, with a fresh count.
    pub(crate) fn redrive(
        &mut self,
        id: u64,
        dead: &DeadRow,
        now_ms: u64,
    ) -> Result<(), BrokerError> {
        let name = &dead.subscription;
        let sub_id = self.names.get(name).copied();
        let Some(sub) = sub_id.and_then(|sub_id| self.subs.get_mut(&sub_id)) else {
            return Err(BrokerError::NoSubscription(name.clone()));
        };
        let sequence = dead.stored.sequence;
        if !sub.is_pending(&dead.stored, self.counters.last_sequence) {
            if sub.retries.len() >= RETRIES_MAX {
                return Err(BrokerError::Invalid(format!(
                    "{name} has {RETRIES_MAX} deliveries waiting for another attempt; \
                     try again when there are fewer"
                )));
            }
            let same = sub.id == dead.subscription_id;
            let before = if same { dead.before.saturating_add(dead.attempt_count) } else { 0 };
            let lane = sub.lane_of(&dead.stored.event);
            let (failures, first_ms) = (0, 0);
            let row = RetryRow { failures, due_ms: now_ms, first_ms, before, replay: true, lane };
            sub.add_retry(sequence, row, false);
            self.touched.insert(sub.id);
            self.outgoing.put(Space::Retries, keys::retry(sub.id, sequence), row.write());
            self.put_back_event(&dead.stored);
        }
        self.remove_dead(id, dead);
        let delivery = keys::delivery(sequence, dead.subscription_id);
        self.outgoing.delete(Space::DeadByDelivery, delivery);
        Ok(())
    }

    /// Removes a dead letter for good; that there was one stays visible in its flow.
    pub(crate) fn discard(&mut self, id: u64, dead: &DeadRow) {
        self.remove_dead(id, dead);
        let delivery = keys::delivery(dead.stored.sequence, dead.subscription_id);
        self.outgoing.put(Space::DeadByDelivery, delivery, keys::number(0));
    }

    /// Whether the batch that is being put together removes this dead letter.
    pub(crate) fn is_dead_letter_gone(&self, id: u64) -> bool {
        self.removed_dead.contains(&id)
    }

    fn remove_dead(&mut self, id: u64, dead: &DeadRow) {
        self.removed_dead.insert(id);
        self.outgoing.delete(Space::Dead, keys::number(id));
        self.counters.dead_letters = self.counters.dead_letters.saturating_sub(1);
        if let Some(sub) = self.subs.get_mut(&dead.subscription_id) {
            sub.dead = sub.dead.saturating_sub(1);
            self.unsaved.insert(dead.subscription_id);
        }
    }
}
