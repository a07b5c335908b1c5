//! What operators did: recorded in the same commit as what it did.

use usher_event::SubscriptionName;

use super::Ledger;
use crate::AUDIT_MAX_RECORDS;
use crate::api::{AuditAction, AuditRecord};
use crate::store::{Space, audit, keys};

impl Ledger {
    /// Records something; the oldest record goes where there are too many.
    pub(super) fn record(
        &mut self,
        subscription: &SubscriptionName,
        action: AuditAction,
        now_ms: u64,
    ) {
        let number = self.next_audit;
        self.next_audit += 1;
        let subscription = subscription.clone();
        let record = AuditRecord { number, time_ms: now_ms, subscription, action };
        self.outgoing.put(Space::Audit, keys::number(number), audit::write(&record));
        if let Some(oldest) = number.checked_sub(AUDIT_MAX_RECORDS) {
            self.outgoing.delete(Space::Audit, keys::number(oldest));
        }
    }
}
