//! Dead letters: deliveries that were given up, kept with their event until an operator decides.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use usher_event::{DELIVERY_DEAD_TYPE, Event, Identity, SystemEvent};

use super::Ledger;
use super::append::Origin;
use super::settle::Report;
use super::subscription::Pending;
use crate::RETRIES_MAX;
use crate::api::{
    Actor, AuditAction, AuditedDeadLetter, BrokerError, Cause, CauseKind, Settled, StoredEvent,
};
use crate::store::rows::{DeadRow, RetryRow, write_attempt};
use crate::store::{Space, keys};

/// How long to wait if a subscription has too many retries.
pub(super) const MANY_RETRIES_AFTER: Duration = Duration::from_secs(1);

impl Ledger {
    /// Turns a delivery that is no longer held into a dead letter.
    pub(super) fn make_dead_letter(
        &mut self,
        report: &Report,
        mut pending: Pending,
        recording: Option<Bytes>,
        now_ms: u64,
    ) -> Settled {
        let (subscription_id, sequence) = (report.subscription, report.sequence);
        let Some(sub) = self.subs.get_mut(&subscription_id) else { return Settled::Stale };
        let id = self.counters.next_dead;
        self.counters.next_dead += 1;
        self.counters.dead_letters += 1;
        sub.dead += 1;
        let row = pending.retry.unwrap_or_default();
        if let Some(last) = pending.attempts.last_mut() {
            // Written a moment ago, before this was known.
            last.ended = true;
            let number = row.before.saturating_add(last.attempt);
            let key = keys::attempt(sequence, subscription_id, number);
            self.outgoing.put(Space::Attempts, key, write_attempt(last));
        }
        let dead = DeadRow {
            time_ms: now_ms,
            subscription_id,
            subscription: sub.subscription().name.clone(),
            attempt_count: row.failures,
            before: row.before,
            attempts: pending.attempts,
            stored: pending.stored,
        };
        sub.end(sequence, pending.lane, &mut self.outgoing);
        self.unsaved.insert(subscription_id);
        self.outgoing.put(Space::Dead, keys::number(id), dead.write());
        if let Some(recording) = recording {
            self.outgoing.put(Space::Recordings, keys::number(id), recording);
        }
        let delivery = keys::delivery(sequence, subscription_id);
        self.outgoing.put(Space::DeadByDelivery, delivery, keys::number(id));
        self.report(id, dead, now_ms);
        Settled::Dead(id)
    }

    /// Appends a report of a dead letter. Not for a report itself, which could loop forever.
    fn report(&mut self, id: u64, dead: DeadRow, now_ms: u64) {
        let DeadRow { subscription, attempt_count, mut attempts, stored, .. } = dead;
        if stored.event.has_system_type() {
            return;
        }
        let last = attempts.pop();
        let took_us = last.as_ref().map_or(0, |attempt| attempt.took_us);
        let data = json!({
            "dead_letter": id,
            "subscription": subscription,
            "plugin": subscription.plugin(),
            "version": last.as_ref().and_then(|attempt| attempt.version.as_deref()),
            "digest": last.as_ref().and_then(|attempt| attempt.digest).map(|d| d.to_string()),
            "class": last.as_ref().map(|attempt| attempt.class.as_str()),
            "reason": last.as_ref().map(|attempt| &*attempt.reason),
            "attempts": attempt_count,
            "event": {
                "source": stored.event.source(),
                "id": stored.event.id(),
                "type": stored.event.ty(),
                "sequence": stored.sequence,
            },
        });
        let event = SystemEvent {
            id: &format!("dead-letter/{id}"),
            ty: DELIVERY_DEAD_TYPE,
            subject: subscription.as_str(),
            time_ms: now_ms,
            data: &data,
        };
        // Can't fail: everything in it comes from a valid event and is bounded.
        let Ok(event) = event.about(&stored.event, stored.flow) else { return };
        let (kind, parent) = (CauseKind::Report, stored.sequence);
        let cause = Cause { kind, parent, subscription, attempt: attempt_count, took_us };
        let depth = stored.depth.saturating_add(1);
        let identity = event.identity();
        let origin = Origin { flow: stored.flow, depth, cause };
        self.append(event, &identity, Some(origin), now_ms);
    }

    /// Redelivers a dead letter's event with a fresh attempt count.
    pub(crate) fn redrive(
        &mut self,
        id: u64,
        dead: &DeadRow,
        actor: &Actor,
        now_ms: u64,
    ) -> Result<(), BrokerError> {
        let sub_id = self.ready_to_redrive(dead)?;
        let last = self.counters.last_sequence;
        let sub = self.subs.get(&sub_id);
        if !sub.is_some_and(|sub| sub.is_pending(&dead.stored, last)) {
            let same = sub_id == dead.subscription_id;
            let before = if same { dead.before.saturating_add(dead.attempt_count) } else { 0 };
            self.deliver_again(sub_id, &dead.stored, before, now_ms);
            self.put_back_event(&dead.stored);
        }
        self.remove_dead(id, dead);
        let delivery = keys::delivery(dead.stored.sequence, dead.subscription_id);
        self.outgoing.delete(Space::DeadByDelivery, delivery);
        self.record(&dead.subscription, AuditAction::Redrive(audited(id, dead)), actor, now_ms);
        Ok(())
    }

    /// Delivers another event in place of a dead letter's, to its subscription only; returns the
    /// new event's sequence.
    pub(crate) fn redrive_edited(
        &mut self,
        id: u64,
        dead: &DeadRow,
        (event, identity): (Event, &Identity),
        actor: &Actor,
        now_ms: u64,
    ) -> Result<u64, BrokerError> {
        let sub_id = self.ready_to_redrive(dead)?;
        let cause = Cause {
            kind: CauseKind::Redrive,
            parent: dead.stored.sequence,
            subscription: dead.subscription.clone(),
            attempt: dead.attempt_count,
            took_us: dead.attempts.last().map_or(0, |attempt| attempt.took_us),
        };
        // It replaces the old event, so it is no deeper.
        let origin = Origin { flow: dead.stored.flow, depth: dead.stored.depth, cause };
        let published = self.append(event.clone(), identity, Some(origin.clone()), now_ms);
        if published.duplicate {
            return Err(BrokerError::Invalid(format!(
                "event {} has the id that the new event would get, {:?}: redrive dead letter {id} \
                 as it is, or discard it",
                published.sequence,
                event.id()
            )));
        }
        let Origin { flow, depth, cause } = origin;
        let (sequence, recorded_ms) = (published.sequence, now_ms);
        let stored = StoredEvent { sequence, recorded_ms, flow, depth, cause: Some(cause), event };
        self.deliver_again(sub_id, &stored, 0, now_ms);
        self.remove_dead(id, dead);
        self.mark_resolved(dead);
        let action = AuditAction::RedriveEdited { dead: audited(id, dead), sequence };
        self.record(&dead.subscription, action, actor, now_ms);
        Ok(sequence)
    }

    /// The subscription of a dead letter, if it exists and accepts more deliveries.
    fn ready_to_redrive(&self, dead: &DeadRow) -> Result<u32, BrokerError> {
        let name = &dead.subscription;
        let sub_id = self.names.get(name).copied();
        let Some(sub) = sub_id.and_then(|sub_id| self.subs.get(&sub_id)) else {
            return Err(BrokerError::NoSubscription(name.clone()));
        };
        if sub.retries.len() >= RETRIES_MAX {
            return Err(BrokerError::ManyRetries {
                subscription: name.clone(),
                retry_after: MANY_RETRIES_AFTER,
            });
        }
        self.refusal_of(sub).map_or(Ok(sub.id), Err)
    }

    /// Starts a delivery again, as a retry that is due. The next audit record must be the
    /// operator's action that caused this, because the row refers to it.
    pub(super) fn deliver_again(
        &mut self,
        sub_id: u32,
        stored: &StoredEvent,
        before: u32,
        now_ms: u64,
    ) {
        let Some(sub) = self.subs.get_mut(&sub_id) else { return };
        // What an operator asks for neither waits for what is debounced nor holds it up.
        let lane = sub.lane_of(&stored.event).filter(|_| sub.debounced().is_none());
        let (failures, first_ms) = (0, 0);
        let row = RetryRow {
            failures,
            due_ms: now_ms,
            first_ms,
            before,
            replay: Some(self.next_audit),
            lane,
            ..RetryRow::default()
        };
        sub.add_retry(stored.sequence, row, false);
        self.touched.insert(sub_id);
        self.outgoing.put(Space::Retries, keys::retry(sub_id, stored.sequence), row.write());
    }

    /// Removes a dead letter for good; its flow still shows that there was one.
    pub(crate) fn discard(&mut self, id: u64, dead: &DeadRow, actor: &Actor, now_ms: u64) {
        self.remove_dead(id, dead);
        self.mark_resolved(dead);
        self.record(&dead.subscription, AuditAction::Discard(audited(id, dead)), actor, now_ms);
    }

    /// Marks on disk that there was a dead letter.
    fn mark_resolved(&mut self, dead: &DeadRow) {
        let delivery = keys::delivery(dead.stored.sequence, dead.subscription_id);
        self.outgoing.put(Space::DeadByDelivery, delivery, keys::number(0));
    }

    /// Whether the batch being assembled removes this dead letter.
    pub(crate) fn is_dead_letter_gone(&self, id: u64) -> bool {
        self.removed_dead.contains(&id)
    }

    fn remove_dead(&mut self, id: u64, dead: &DeadRow) {
        self.removed_dead.insert(id);
        self.outgoing.delete(Space::Dead, keys::number(id));
        self.outgoing.delete(Space::Recordings, keys::number(id));
        self.counters.dead_letters = self.counters.dead_letters.saturating_sub(1);
        if let Some(sub) = self.subs.get_mut(&dead.subscription_id) {
            sub.dead = sub.dead.saturating_sub(1);
            self.unsaved.insert(dead.subscription_id);
        }
    }
}

fn audited(id: u64, dead: &DeadRow) -> AuditedDeadLetter {
    let DeadRow { time_ms, attempts, stored, .. } = dead;
    AuditedDeadLetter::new(id, *time_ms, attempts, stored.sequence, &stored.event)
}
