//! The audit log: an operator's action is recorded in the same commit as its effect.

use usher_event::SubscriptionName;

use super::Ledger;
use crate::AUDIT_MAX_RECORDS;
use crate::api::{Actor, AuditAction, AuditRecord, Change};
use crate::store::{Space, audit, keys};

impl Ledger {
    /// Records an action on a subscription.
    pub(crate) fn record(
        &mut self,
        subscription: &SubscriptionName,
        action: AuditAction,
        actor: &Actor,
        now_ms: u64,
    ) {
        self.note(Some(subscription.clone()), action, actor, now_ms);
    }

    /// Records a change outside of the broker.
    pub(crate) fn record_change(&mut self, change: Change, actor: &Actor, now_ms: u64) {
        self.note(None, AuditAction::Change(change), actor, now_ms);
    }

    /// Appends a record; removes the oldest beyond the limit.
    fn note(
        &mut self,
        subscription: Option<SubscriptionName>,
        action: AuditAction,
        actor: &Actor,
        now_ms: u64,
    ) {
        let number = self.next_audit;
        self.next_audit += 1;
        let record =
            AuditRecord { number, time_ms: now_ms, actor: actor.clone(), subscription, action };
        self.outgoing.put(Space::Audit, keys::number(number), audit::write(&record));
        if let Some(oldest) = number.checked_sub(AUDIT_MAX_RECORDS) {
            self.outgoing.delete(Space::Audit, keys::number(oldest));
        }
    }
}
