//! What operators did: recorded in the same commit as what it did.

use usher_event::{PluginName, SubscriptionName};

use super::Ledger;
use crate::AUDIT_MAX_RECORDS;
use crate::api::{AuditAction, AuditRecord, PluginChange};
use crate::store::{Space, audit, keys};

impl Ledger {
    /// Records what was done to a subscription.
    pub(super) fn record(
        &mut self,
        subscription: &SubscriptionName,
        action: AuditAction,
        now_ms: u64,
    ) {
        self.note(Some(subscription.clone()), action, now_ms);
    }

    /// Records what is done to a plugin.
    pub(crate) fn record_plugin_change(
        &mut self,
        plugin: PluginName,
        change: PluginChange,
        now_ms: u64,
    ) {
        self.note(None, AuditAction::Plugin { plugin, change }, now_ms);
    }

    /// The oldest record goes where there are too many.
    fn note(&mut self, subscription: Option<SubscriptionName>, action: AuditAction, now_ms: u64) {
        let number = self.next_audit;
        self.next_audit += 1;
        let record = AuditRecord { number, time_ms: now_ms, subscription, action };
        self.outgoing.put(Space::Audit, keys::number(number), audit::write(&record));
        if let Some(oldest) = number.checked_sub(AUDIT_MAX_RECORDS) {
            self.outgoing.delete(Space::Audit, keys::number(oldest));
        }
    }
}
